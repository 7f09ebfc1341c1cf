"""Tables as CSV: within bounds, and whole lines only where lines are appended."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from acomp.errors import AcompError, TrainingError
from acomp.tables import csv_lines, read_csv

ROWS = [["a", "b"], ["1,5", 'said "so"'], ["two\nlines", ""]]


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(csv_lines(ROWS))
    assert list(read_csv(path, 100, AcompError)) == ROWS
    assert csv_lines([[0.1, 1e-300, None, "caf\udce9"]]) == b"0.1,1e-300,,caf\\udce9\n"


@pytest.mark.parametrize("cut", [1, 3])
def test_a_last_line_that_is_cut_is_passed_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(csv_lines([["a", "b"], ["1", "234"]])[:-cut])
    assert list(read_csv(path, 100, AcompError, appended=True)) == [["a", "b"]]
    assert len(list(read_csv(path, 100, AcompError))) == 2


def test_what_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(TrainingError, match=r"cannot read .*a.csv: there is no such file"):
        read_csv(path, 100, TrainingError)
    path.write_bytes(b"x" * 101)
    with pytest.raises(AcompError, match="longer than the 100 bytes"):
        read_csv(path, 100, AcompError)
    path.write_bytes(b"\xff\n")
    with pytest.raises(AcompError, match="not text in UTF-8"):
        read_csv(path, 100, AcompError)
    path.write_bytes(b'"a" b\n')
    with pytest.raises(csv.Error):
        list(read_csv(path, 100, AcompError))
