"""`acomp codebooks --plot` and its counts of codes, on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.figure  # here: a test's own home would get its cache of fonts
import numpy as np
import pytest
from codes_samples import encodec_24khz
from commands import ROOT, Cli, Run, assert_done, assert_refused, assert_wrong_usage, files_in
from numpy.typing import NDArray

import acomp
from acomp.analysis.plots import plot_codebooks
from acomp.analysis.usage import Usage, code_counts, perplexity, utilisation
from acomp.audio import read_audio
from acomp.errors import AcompError
from acomp.formats import read_codes, write_codes

NANO = ("-b", "nano")
PNG = b"\x89PNG\r\n\x1a\n"
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples that ship with acomp as codes: all codebooks of speech, four of stereo music."""
    folder = tmp_path_factory.mktemp("codes")
    nano = acomp.load("nano")
    for name, bandwidth in (("speech", 12), ("music", 3)):
        audio = read_audio(Path(str(files("acomp") / "samples" / f"{name}.flac")))
        write_codes(folder / f"{name}.nac", nano.encode(audio, bandwidth=bandwidth))
    return folder


def panels(picture: Path) -> list[str]:
    """The projections of an SVG, by the ids of their groups."""
    groups = ElementTree.parse(picture).iter(f"{SVG}g")
    return [name for group in groups if (name := group.get("id", "")).startswith("codebook-")]


def text_of(picture: Path) -> str:
    """What an SVG says: its letters are drawn, but a comment has them too."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    found = ElementTree.parse(picture, parser).iter(ElementTree.Comment)  # type: ignore[arg-type]
    return "\n".join(unescape(comment.text or "") for comment in found)


def references(picture: Path) -> Iterator[str]:
    """What an SVG would load."""
    for element in ElementTree.parse(picture).iter():
        for name, value in element.attrib.items():
            if name in (LINK, "href", "src"):
                yield value
            yield from (part.split(")")[0] for part in value.split("url(")[1:])


def test_png_and_svg(cli: Cli, tmp_path: Path, encoded: Path) -> None:
    run = cli("codebooks", encoded, "--plot", "a.png")
    assert_done(run)
    frames = sum(read_codes(file).frames for file in encoded.iterdir())
    assert run.out == f"a.png: 24 x 1024 x 128 of nano-2, {frames} frames of 2 file(s)\n"
    assert_done(cli("codebooks", *encoded.iterdir(), "--plot", "a.SVG", *NANO))
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    picture = tmp_path / "a.SVG"
    assert panels(picture) == [f"codebook-{number}" for number in range(1, 25)]
    said = text_of(picture)
    for words in (
        f"nano-2, weights {acomp.load('nano').fingerprint}: 24 x 1024 x 128",
        f"Usage in 2 files of codes, {frames} frames",
        "10 bits possible",
        "codebook size 1024",
        "times chosen",
    ):
        assert words in said
    loaded = list(references(picture))
    assert loaded
    assert all(reference.startswith(("#", "data:image/png;")) for reference in loaded)
    assert set(files_in(tmp_path)) == {"a.png", "a.SVG"}


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_same_bytes_for_the_same_input(tmp_path: Path, form: str) -> None:
    books, usage = random_books(5, 64, 8), random_usage(5, 64)
    before = dict(matplotlib.rcParams)
    plot_codebooks(tmp_path / f"a.{form}", "x", None, books, usage)
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "other"}):
        plot_codebooks(tmp_path / f"b.{form}", "x", None, books, usage)
    plot_codebooks(tmp_path / f"c.{form}", "x", None, 2 * books, usage)
    one, same, other = ((tmp_path / f"{name}.{form}").read_bytes() for name in "abc")
    assert one == same != other
    assert dict(matplotlib.rcParams) == before


def test_nothing_global_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    plot_codebooks(tmp_path / "a.png", "x", None, random_books(1, 16, 2), random_usage(1, 16))


def test_without_files_of_codes(cli: Cli, tmp_path: Path) -> None:
    assert_done(cli("codebooks", "--plot", "a.svg", *NANO))
    assert len(panels(tmp_path / "a.svg")) == 24
    said = text_of(tmp_path / "a.svg")
    assert "not known without files of codes" in said
    assert "Distance from an entry to its nearest neighbour" in said
    assert "perplexity" not in said


def test_fewer_codebooks_and_all_outputs_at_once(cli: Cli, tmp_path: Path, encoded: Path) -> None:
    music = read_codes(encoded / "music.nac")
    run = cli("codebooks", encoded / "music.nac", "--json", "--plot", "a.svg", "-o", "a.npy", *NANO)
    assert_done(run)
    facts = json.loads(run.out)
    assert (facts["codec"], facts["files"], facts["frames"]) == ("nano-2", 1, music.frames)
    counts = code_counts(music)
    assert [book["codes"] for book in facts["codebooks"]] == [2 * music.frames] * 6 + [0] * 18
    for figure in (utilisation, perplexity):
        found = [book[figure.__name__] for book in facts["codebooks"]]
        np.testing.assert_allclose(found[:6], figure(counts))
        assert found[6:] == [None] * 18
    first = facts["codebooks"][0]
    assert 2 ** first["entropy_bits"] == pytest.approx(first["perplexity"])
    assert first["nearest_mean"] > 0
    said = text_of(tmp_path / "a.svg")
    assert "codebook 7, no codes" in said
    assert "codebook 6, no codes" not in said
    assert "of 60 bits in all" in said
    assert set(files_in(tmp_path)) == {"a.svg", "a.npy"}


def test_codes_from_a_pipe_through_other_forms(cli: Cli, tmp_path: Path, encoded: Path) -> None:
    for form in ("txt", "npz"):
        assert_done(cli("convert", encoded / "speech.nac", f"speech.{form}"))
    whole = [cli("codebooks", name, "--json", *NANO) for name in ("speech.txt", "speech.npz")]
    whole.append(cli("codebooks", encoded / "speech.nac", "--json"))
    counted = [json.loads(run.out)["codebooks"] for run in whole]
    assert counted[0] == counted[1] == counted[2]
    assert counted[0][15]["codes"] > 0
    assert set(files_in(tmp_path)) == {"speech.txt", "speech.npz"}


# what goes wrong


@pytest.fixture
def refused(cli: Cli, tmp_path: Path) -> Iterator[Cli]:
    """Runs `cli`, and afterwards nothing must be there that was not before the first run."""
    before: list[dict[str, bytes]] = []

    def run(*arguments: object) -> Run:
        before.append(files_in(tmp_path))
        return cli(*arguments)

    yield run
    assert before and files_in(tmp_path) == before[0]


def test_files_that_nobody_counts(refused: Cli, encoded: Path) -> None:
    run = refused("codebooks", encoded, "-o", "a.npy", *NANO)
    assert_wrong_usage(run, "--plot", "--json")


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.png.txt"])
def test_another_suffix_is_refused_before_any_work(refused: Cli, name: str) -> None:
    run = refused("codebooks", "not-there.nac", "--plot", name, "-o", "a.npy", *NANO)
    assert_refused(run, f"{name}: plots go to .png or .svg")


def test_a_codec_that_is_not_there(refused: Cli, encoded: Path) -> None:
    run = refused("codebooks", encoded, "-b", "nope", "--plot", "a.png")
    assert_refused(run, "error: there is no codec 'nope'")


def test_codes_of_another_codec_are_told_and_not_counted(
    cli: Cli, tmp_path: Path, encoded: Path
) -> None:
    shutil.copy(encoded / "speech.nac", tmp_path / "a.nac")
    write_codes(tmp_path / "b.nac", encodec_24khz())
    # With nothing to draw, which takes longest, in all but one.
    for arguments, told in (
        (("a.nac", "b.nac", "--plot", "a.png", "-o", "a.npy"), " 1 file"),
        ((".", "--json"), '"files": 1,'),
        (("b.nac", "a.nac", *NANO, "--json"), '"files": 1,'),
    ):
        run = cli("codebooks", *arguments)
        assert run.code == 1 and "b.nac: these are codes of encodec-24khz, not of nano-2" in run.err
        assert "1 of 2 inputs failed" in run.err and told in run.out


def test_files_that_cannot_be_read_are_told_and_not_counted(
    cli: Cli, tmp_path: Path, encoded: Path
) -> None:
    content = (encoded / "speech.nac").read_bytes()
    (tmp_path / "short.nac").write_bytes(content[: len(content) // 2])
    (tmp_path / "other.nac").write_bytes(b"no codes")
    (tmp_path / "empty").mkdir()
    names = ("short.nac", "other.nac", "not-there.nac", "empty")
    run = cli("codebooks", encoded, *names, "--plot", "a.png", "-o", "a.npy", *NANO)
    *told, end = run.err.splitlines()
    assert run.code == 1 and end.endswith(", as said above")
    assert "3 of 5 inputs failed, and 1 of the folders" in end
    assert sorted(name for line in told for name in names if name in line) == sorted(names)
    assert " 2 file" in run.out


def test_without_matplotlib(refused: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run = refused("codebooks", "not-there.nac", "--plot", "a.png", *NANO)
    assert_refused(run, '--plot needs matplotlib: pip install "acomp[eval]"')


def test_a_plot_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    for name, reason in (("b/a.png", "does not exist"), ("a.png", "it is a folder")):
        with pytest.raises(AcompError, match=reason):
            plot_codebooks(tmp_path / name, "x", None, random_books(1, 16, 4))
    assert files_in(tmp_path) == {}


def test_codebooks_that_are_no_numbers(tmp_path: Path) -> None:
    books = random_books(2, 16, 4)
    books[1, 3, 2] = np.nan
    with pytest.raises(AcompError, match="not finite"):
        plot_codebooks(tmp_path / "a.png", "x", None, books)
    assert files_in(tmp_path) == {}


# any shape


def random_books(count: int, size: int, dimension: int) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    return random.standard_normal((count, size, dimension)).astype(np.float32)


def random_usage(count: int, size: int, frames: int = 1000) -> Usage:
    random = np.random.default_rng(1)
    counts = random.multinomial(frames, random.dirichlet(np.full(size, 0.1)), count)
    return Usage("x", counts, 3, frames)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 2, 1), (9, 32, 512), (32, 16, 8), (1, 4096, 4)])
def test_shapes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    count, size, _ = shape
    plot_codebooks(
        tmp_path / "a.svg", "$x_1$ <&>", "0" * 16, random_books(*shape), random_usage(count, size)
    )
    assert len(panels(tmp_path / "a.svg")) == count
    assert "$x_1$ <&>" in text_of(tmp_path / "a.svg")


@pytest.mark.filterwarnings("error")
def test_collapsed_codebooks(tmp_path: Path) -> None:
    books = random_books(3, 16, 4)
    books[1] = books[1, 0]
    usage = random_usage(3, 16)
    usage.counts[1] = 0
    usage.counts[1, 5] = 1000
    plot_codebooks(tmp_path / "a.svg", "x", None, books, usage)
    plot_codebooks(tmp_path / "b.svg", "x", None, books[[1, 1, 1]], usage)
    said = text_of(tmp_path / "a.svg")
    assert "codebook 2, 1 used" in said
    assert "PC 1 (0.0 %)" in said


DRAW = """
from pathlib import Path
import numpy as np
from acomp.analysis.plots import plot_codebooks

plot_codebooks(Path("books.png"), "own", None, np.eye(8, 4, dtype=np.float32)[None])
"""


def test_a_matplotlibrc_in_the_current_folder_changes_nothing(tmp_path: Path) -> None:
    """Neither the look nor what is said; it is read where matplotlib is first imported."""

    def draw(settings: bytes) -> bytes:
        (tmp_path / "matplotlibrc").write_bytes(settings)
        run = subprocess.run(
            [sys.executable, "-c", DRAW],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
        )
        return run.stderr

    assert draw(b"text.usetex: True\nfont.size: 40\nno.such.key: 3\nlines.linewidth: wide\n") == b""
    plot_codebooks(tmp_path / "due.png", "own", None, np.eye(8, 4, dtype=np.float32)[None])
    assert (tmp_path / "books.png").read_bytes() == (tmp_path / "due.png").read_bytes()
    assert b"AcompError: matplotlib cannot read its settings" in draw(b"\xff\xfe\xfa")
