"""Whole files or none, in hard places too."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from commands import ROOT, limited_file_size, sound

from acomp import files
from acomp.audio import read_audio, write_audio
from acomp.backends.weights import cache as weights
from acomp.errors import AcompError, AudioError, ExistsError, FormatError
from acomp.files import atomic_write, cache_folder, remove_leftovers


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, content: bytes, *, replace: bool = True) -> None:
    with atomic_write(path, AcompError, replace=replace) as file:
        file.write(content)


def test_atomic_write_keeps_permissions_and_follows_links(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(target)
    with atomic_write(link, AudioError) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert names_in(tmp_path) == ["link", "target"]


def test_atomic_write_gives_new_files_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic_write(tmp_path / "new", AudioError) as file:
        file.write(b"new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [AudioError, FormatError])
def test_atomic_write_raises_the_error_it_is_given(
    tmp_path: Path, error: type[AcompError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(error, match="quota"), atomic_write(tmp_path / "new", error) as file:
        file.write(b"new")
    assert names_in(tmp_path) == []


def test_what_exists_is_not_replaced_unasked(tmp_path: Path) -> None:
    taken, late, link = tmp_path / "taken", tmp_path / "late", tmp_path / "link"
    taken.write_bytes(b"mine")
    link.symlink_to(taken)
    for path in (taken, link):
        with pytest.raises(ExistsError, match="it exists already"):
            write(path, b"new", replace=False)
    with (
        pytest.raises(ExistsError, match="it exists already"),
        atomic_write(late, AcompError, replace=False) as file,
    ):
        file.write(b"new")
        late.write_bytes(b"mine")
    assert (taken.read_bytes(), late.read_bytes()) == (b"mine", b"mine")
    assert names_in(tmp_path) == ["late", "link", "taken"]
    write(tmp_path / "free", b"new", replace=False)
    assert (tmp_path / "free").read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False])
def test_of_many_that_want_a_name_one_gets_it(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        refuse(monkeypatch, "hardlink_to", errno.EPERM)

    def try_to_write(number: int) -> bool:
        try:
            write(tmp_path / "wanted", bytes([number]), replace=False)
        except ExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(try_to_write, range(32)))
    assert done.count(True) == 1
    assert (tmp_path / "wanted").read_bytes() == bytes([done.index(True)])
    assert names_in(tmp_path) == ["wanted"]


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
    with pytest.raises(AcompError, match="it is a folder"):
        write(tmp_path, b"one", replace=False)


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, number: int) -> None:
    """Have a method of paths fail."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, method, fail)


def test_the_bytes_are_on_the_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []

    def note(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((name.name[:5], name.stat().st_size if name.is_file() else -1))

    monkeypatch.setattr(os, "fsync", note)
    write(tmp_path / "new", b"four")
    assert synced == [(".new.", 4), (tmp_path.name[:5], -1)]


def test_a_file_that_is_mounted_on_its_own_is_written_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = tmp_path / "mounted"
    mounted.write_bytes(b"long old content")
    before = mounted.stat().st_ino
    refuse(monkeypatch, "replace", errno.EBUSY)
    for content in (b"short", b"longer than what was there"):
        write(mounted, content)
        assert mounted.read_bytes() == content
    assert mounted.stat().st_ino == before
    assert names_in(tmp_path) == ["mounted"]


def test_a_mounted_file_keeps_its_content_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = tmp_path / "mounted"
    mounted.write_bytes(b"old")

    def full(_: int, __: int, ___: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    refuse(monkeypatch, "replace", errno.EBUSY)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(AcompError, match="no space"):
        write(mounted, b"longer than the old")
    assert mounted.read_bytes() == b"old"
    assert names_in(tmp_path) == ["mounted"]


def test_a_file_whose_folder_is_closed_is_written_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "closed" / "target"
    target.parent.mkdir()
    target.write_bytes(b"old")
    opened = Path.open

    def open_(path: Path, mode: str = "r", *more: object, **named: object) -> object:
        if mode == "xb" and path.parent == target.parent:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, mode, *more, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    refuse(monkeypatch, "replace", errno.EACCES)
    write(target, b"new")
    assert target.read_bytes() == b"new"
    with pytest.raises(AcompError, match="permission denied"):
        write(target.with_name("another"), b"new")
    assert names_in(tmp_path) == ["closed"]
    assert names_in(target.parent) == ["target"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with limited_file_size(100), pytest.raises(AcompError, match="target: it would be too large"):
        write(target, bytes(1000))
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["target"]


WRITER = """
import sys
from pathlib import Path
from acomp.errors import AcompError
from acomp.files import atomic_write

with atomic_write(Path(sys.argv[1]), AcompError) as file:
    file.write(b"half")
    file.flush()
    print("at work", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    with writer(tmp_path / "killed") as killed, writer(tmp_path / "alive") as alive:
        for process in (killed, alive):
            assert process.stdout is not None
            assert process.stdout.readline() == b"at work\n"
        killed.kill()
        killed.wait()
        (tmp_path / ".theirs.1a2b3c4d.part").touch()
        assert [name.split(".")[1] for name in names_in(tmp_path)] == ["alive", "killed", "theirs"]
        write(tmp_path / "new", b"new")
        assert [name.split(".")[1] for name in names_in(tmp_path)[:-1]] == ["alive", "theirs"]
        alive.communicate()
    assert (tmp_path / "alive").read_bytes() == b"half"
    assert names_in(tmp_path) == [".theirs.1a2b3c4d.part", "alive", "new"]


def writer(path: Path) -> subprocess.Popen[bytes]:
    """A process that writes `path` until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )


def test_leftovers_are_found_in_folders_below(tmp_path: Path) -> None:
    part = tmp_path / "a" / "b" / ".x.wav.1a2b3c4d.acomp.part"
    part.parent.mkdir(parents=True)
    part.touch()
    remove_leftovers(tmp_path)
    assert names_in(part.parent) == []


def test_a_part_that_is_taken_for_a_leftover_at_once_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = files._lock
    tries: list[int] = []

    def tidied_up_before(descriptor: int, *, wait: bool = True) -> bool:
        if not tries:
            tries.append(1)
            remove_leftovers(tmp_path)
        return lock(descriptor, wait=wait)

    monkeypatch.setattr(files, "_lock", tidied_up_before)
    write(tmp_path / "new", b"new")
    assert names_in(tmp_path) == ["new"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_a_log_that_standard_output_appends_to_keeps_its_lines(tmp_path: Path, name: str) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"line\n")
    (tmp_path / "link").symlink_to("/dev/stdout")
    with log.open("ab") as file:
        run_writer(tmp_path / name, file.fileno())
    assert log.read_bytes() == b"line\nhalf"
    assert names_in(tmp_path) == ["link", "log.txt"]


def test_sound_goes_to_a_stream_without_a_suffix(tmp_path: Path) -> None:
    with (tmp_path / "all.wav").open("wb") as file:
        write_audio(f"/dev/fd/{file.fileno()}", sound(0.1))
    found, due = read_audio(tmp_path / "all.wav"), sound(0.1)
    np.testing.assert_allclose(found.samples, due.samples, atol=2**-15)


def test_standard_output_may_be_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run_writer(Path("/dev/stdout"), theirs.fileno())
        theirs.close()
        assert ours.makefile("rb").read() == b"half"
    bound = socket.socket(socket.AF_UNIX)
    with bound, pytest.raises(AcompError, match="it is a socket"):
        monkeypatch.chdir(tmp_path)  # the names of sockets are short
        bound.bind("bound")
        write(Path("bound"), b"new")


def run_writer(path: Path, stdout: int) -> None:
    program = WRITER.replace('print("at work", flush=True)', "assert not file.seekable()")
    command = [sys.executable, "-c", program, str(path)]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, cwd=ROOT, check=True)


def test_a_user_without_a_home_has_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "ACOMP_CACHE", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_: int) -> NoReturn:
        raise KeyError("no such user")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = cache_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert weights.find("encodec-24khz") is None
    folder.chmod(0o777)  # others could put compiled networks there
    with pytest.raises(AcompError, match="set ACOMP_CACHE"):
        cache_folder()
    monkeypatch.setenv("ACOMP_CACHE", "own")
    assert cache_folder() == Path("own")
    assert not (tmp_path / "~").exists()
