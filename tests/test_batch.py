"""Many files: the walk through folders, where outputs go, and work in several processes."""

from __future__ import annotations

import atexit
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from commands import files_in

from acomp.batch import walk as walking
from acomp.batch.inputs import Input, Kind, expand, gather
from acomp.batch.outputs import Existing, Guard, Names, Outputs, UsageError, plan, split_output
from acomp.batch.processes import each
from acomp.batch.walk import HIDDEN, counted, walk
from acomp.errors import AcompError, ExistsError

SOUND = Kind("audio files", lambda path: path.suffix == ".wav")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


# The walk


def test_a_walk_finds_each_file_once_and_says_what_it_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.wav", "in/z/a.wav", "out/c.wav", "in/n.txt", "in/m.TXT", "in/bare")
    touch(tmp_path, "in/.hidden.wav", "in/.trash/d.wav", "in/z/._a.wav")
    (tmp_path / "in" / "a-link-to-z").symlink_to("z")
    (tmp_path / "in" / "up").symlink_to("..")
    (tmp_path / "in" / "dead.wav").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in" / "pipe.wav")
    found = walk(tmp_path / "in", SOUND.takes)
    names = [str(path.relative_to(tmp_path / "in")) for path in found.files]
    assert names == ["b.wav", "up/out/c.wav", "z/a.wav"]  # `z`, not the link to it
    assert [(each.path.name, each.reason) for each in found.unusable] == [
        ("dead.wav", "the link leads to nothing")
    ]
    # `z` by its link; `in` and `z` again from above.
    left = {".txt": 2, HIDDEN: 3, "without a suffix": 1, walking._ODD: 1, walking._MET: 2}
    assert found.left_out == left


def test_what_cannot_be_entered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.wav", "locked/b.wav")
    scan = os.scandir

    def refuse(path: str) -> object:  # a mode stops nobody who is root
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = gather([str(tmp_path)], SOUND)
    assert [Path(file.name).name for file in found.files] == ["a.wav"]
    assert [str(problem) for problem in found.problems] == [
        f"cannot read {tmp_path}/locked: permission denied"
    ]


def test_a_folder_with_nothing_to_do_says_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path, "videos/a.mp5", "videos/b.mp5", "videos/c.txt")
    (tmp_path / "empty").mkdir()
    found = gather([str(tmp_path / "videos"), str(tmp_path / "empty")], SOUND)
    assert [str(problem).replace(f"{tmp_path}/", "") for problem in found.problems] == [
        "there are no audio files in videos: it holds 2 .mp5, 1 .txt",
        "there are no audio files in empty: it is empty",
    ]


def test_the_most_frequent_kinds_are_told() -> None:
    kinds = Counter({f".{n}": n for n in range(1, 10)})
    assert counted(kinds) == "9 .9, 8 .8, 7 .7, 6 .6, 5 .5, 4 .4, 6 of other kinds"


# Lists


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"a b.wav\r\n\r\n# no\n caf\xe9.wav\n", ["a b.wav", " caf\udce9.wav"]),
        (b"\xef\xbb\xbfa.wav", ["a.wav"]),
        (b"a\nb.wav\0#c\0", ["a\nb.wav", "#c"]),
        (b"", []),
    ],
)
def test_lists(tmp_path: Path, content: bytes, names: list[str]) -> None:
    (tmp_path / "list").write_bytes(content)
    assert list(expand(["first", f"@{tmp_path}/list"])) == ["first", *names]


def test_a_file_may_begin_with_the_sign_of_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "@home.wav")
    assert list(expand(["@home.wav"])) == ["@home.wav"]
    with pytest.raises(AcompError, match="list none"):
        list(expand(["@none"]))
    with pytest.raises(AcompError, match="an empty name"):
        list(expand([""]))


# Outputs


def targets(names: list[str], outputs: Outputs) -> list[str]:
    return [job.target for job in plan(gather(names, SOUND), outputs)]


def test_names_of_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "d/a.wav", "d/e/b.wav", "f/c.wav")
    out = Path("out")
    assert targets(["d", "f/c.wav"], Outputs(".nac")) == ["d/a.nac", "d/e/b.nac", "f/c.nac"]
    assert targets(["d", "f/c.wav"], Outputs(".nac", folder=out)) == [
        *("out/a.nac", "out/e/b.nac", "out/c.nac")
    ]
    kept = Outputs(".nac", folder=out, keep_suffix=True, keep_tree=True)
    expected = ["out/d/a.wav.nac", "out/d/e/b.wav.nac", "out/f/c.wav.nac"]
    assert targets(["d", "f/c.wav"], kept) == expected
    there = str(tmp_path / "f" / ".." / "f" / "c.wav")
    assert targets([there, "d/e/b.wav"], kept) == ["out/f/c.wav.nac", "out/d/e/b.wav.nac"]
    assert targets(["d", "d/a.wav"], Outputs(".nac")) == ["d/a.nac", "d/e/b.nac"]  # once


@pytest.mark.parametrize(
    ("names", "option"), [(("d/a.wav", "d/a.mp3"), "suffix"), (("d/a.wav", "e/a.wav"), "tree")]
)
def test_inputs_that_would_share_an_output(names: tuple[str, ...], option: str) -> None:
    jobs = plan(gather(names, SOUND), Outputs(".nac", folder=Path("out")))
    for job in jobs:
        assert f"would share the output out/a.nac: --keep-{option}" in str(job.problem)
    kept = Outputs(".nac", folder=Path("out"), keep_suffix=True, keep_tree=True)
    assert all(job.problem is None for job in plan(gather(names, SOUND), kept))


def test_what_exists_is_refused_replaced_or_left(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "a.nac")
    found = gather([str(tmp_path)], SOUND)
    (refused,) = plan(found, Outputs(".nac"))
    assert isinstance(refused.problem, ExistsError)
    assert "--overwrite" in str(refused.problem)
    (left,) = plan(found, Outputs(".nac", existing=Existing.SKIP))
    assert (left.problem, left.is_done) == (None, True)
    (replaced,) = plan(found, Outputs(".nac", existing=Existing.REPLACE))
    assert (replaced.problem, replaced.is_done) == (None, False)


def test_an_input_is_never_an_output_by_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a.wav", "b.wav", "sub/c")
    os.link("a.wav", "hard")
    Path("soft").symlink_to("a.wav")
    Path("loop").symlink_to(".")
    guard = Guard(["a.wav", "b.wav"], [Path("sub/c")])
    names = (
        "a.wav",
        "hard",
        "soft",
        "loop/a.wav",
        "sub/../b.wav",
        "sub/c",
        str(Path("b.wav").absolute()),
    )
    for name in names:
        for existing in Existing:
            with pytest.raises(ExistsError, match="input"):
                guard.is_free(name, existing)
    for name in ("new", "none/new", os.devnull, "sub", "-"):
        assert guard.is_free(name, Existing.REFUSE)


def test_the_last_name_is_an_output_as_cp_takes_it() -> None:
    kinds = Names(partial(_has_suffix, ".wav"), partial(_has_suffix, ".nac"), "a form: .nac")
    for names, expected in [
        (["a.wav", "b.nac"], (["a.wav"], "b.nac")),
        (["a.wav", "-"], (["a.wav"], "-")),
        (["a.wav", "b.wav"], (["a.wav", "b.wav"], None)),
        (["b.nac"], (["b.nac"], None)),
    ]:
        assert split_output(names, kinds) == expected
    with pytest.raises(UsageError, match="did you mean -o"):
        split_output(["a.wav", "b.wav", "c.nac"], kinds)
    with pytest.raises(UsageError, match=r"no such file, and \.foo is not a form: \.nac"):
        split_output(["a.wav", "b.foo"], kinds)


def _has_suffix(suffix: str, path: Path) -> bool:
    return path.suffix == suffix


def test_an_input_knows_its_place() -> None:
    assert Input("d/e/a.wav", Path("d")).inner == Path("e/a.wav")
    assert Input("d/e/a.wav", Path("d/e/a.wav")).inner == Path("a.wav")


# Processes


def start(folder: Path) -> Callable[[str], str]:
    """What a process does with a word: some words are faults."""

    def work(word: str) -> str:
        match word:
            case "raise":
                raise TypeError("no such thing")
            case "recurse":
                return work(word)
            case "memory":
                raise MemoryError
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "unpicklable":
                raise _OddError(1, 2)
            case "wait":
                try:
                    (folder / "begun").touch()
                    time.sleep(60)
                finally:
                    (folder / "ended").touch()
        return word.upper()

    return work


class _OddError(AcompError):
    """An error that pickle cannot make again."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"odd: {one}, {other}")


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_fault_of_an_item_ends_the_others(tmp_path: Path, jobs: int) -> None:
    words = ["a", "raise", "recurse", "memory", "b", "unpicklable", "c"]
    if jobs > 1:
        words.insert(2, "die")
    outcomes = {word: str(said) for word, said in each(words, partial(start, tmp_path), jobs)}
    assert {word: outcomes[word] for word in "abc"} == {"a": "A", "b": "B", "c": "C"}
    assert "fault of acomp" in outcomes["raise"]
    assert "TypeError: no such thing" in outcomes["raise"]
    assert "RecursionError" in outcomes["recurse"]
    assert "not enough memory" in outcomes["memory"]
    assert outcomes["unpicklable"] == "odd: 1, 2"
    if jobs > 1:
        assert "has died (SIGKILL)" in outcomes["die"]


def test_an_end_ends_all_processes_and_lets_them_tidy_up(tmp_path: Path) -> None:
    outcomes = each(["a", "wait", "b", "wait"], partial(start, tmp_path), 2)
    next(outcomes)
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    outcomes.close()
    assert sorted(files_in(tmp_path)) == ["begun", "ended"]


def ended_late(folder: Path) -> Callable[[str], str]:
    """As `start`, in a process that is told to end when it ends already."""
    atexit.register(os.kill, os.getpid(), signal.SIGTERM)
    return start(folder)


def test_an_end_that_comes_late_is_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As when the parent dies and the processes hear of it twice, by the pipe and by a signal."""
    assert len(list(each(["a", "b"], partial(ended_late, tmp_path), 2))) == 2
    outcomes = each(["a", "wait", "b", "wait"], partial(ended_late, tmp_path), 2)
    next(outcomes)
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    outcomes.close()
    assert capfd.readouterr().err == ""


def test_an_interrupt_is_no_fault() -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(each([1, 2], lambda: interrupt))
