"""Writing whole files or none: what is there already, and who gets a name that two want."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
from commands import files_in

from acomp.errors import AcompError, AudioError, ExistsError
from acomp.files import atomic_write


def write(path: Path, content: bytes, *, replace: bool) -> None:
    with atomic_write(path, AudioError, replace=replace) as file:
        file.write(content)


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, b"one", replace=False)
    with pytest.raises(ExistsError, match="a: it exists already"):
        write(path, b"two", replace=False)
    assert files_in(tmp_path) == {"a": b"one"}
    write(path, b"two", replace=True)
    assert files_in(tmp_path) == {"a": b"two"}


@pytest.mark.parametrize("links", [True, False])
def test_the_first_to_end_keeps_a_name_that_two_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a"
    with (
        pytest.raises(ExistsError),
        atomic_write(path, AcompError, replace=False) as late,
    ):
        write(path, b"first", replace=False)
        late.write(b"late")
    assert files_in(tmp_path) == {"a": b"first"}


def test_a_link_to_nothing_is_followed_and_a_device_is_no_file_to_keep(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("there")
    write(link, b"one", replace=False)
    assert link.is_symlink()
    assert (tmp_path / "there").read_bytes() == b"one"
    with pytest.raises(ExistsError):
        write(link, b"two", replace=False)
    write(Path(os.devnull), b"away", replace=False)


def test_a_folder_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="it is a folder"):
        write(tmp_path, b"one", replace=False)
