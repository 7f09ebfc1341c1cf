"""Writing of files that appear under their names complete, or not at all."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import shutil
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import platformdirs

from acomp.errors import AcompError, ExistsError, check_type

_REASONS = {
    errno.ENOENT: "there is no such file",
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it would be too large",
    errno.EACCES: "permission denied",
    errno.EPERM: "it is not permitted",
    errno.EROFS: "the file system is read-only",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EPIPE: "its reader has gone",
    errno.ENXIO: "it is a socket, or a device that is not there",
}

_PART = ".acomp.part"
"""End of the names of temporary files; it marks them as acomp's, so that acomp may remove them."""

_UNMOVABLE = {errno.EACCES, errno.EBUSY, errno.EPERM, errno.EROFS, errno.EXDEV}
"""Errors of renaming a file over another that can still be written in place."""


class Closing(ABC):
    """A context manager that is closed at the end of its `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Close it; `with` does so."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def cache_folder() -> Path:
    """The folder of downloaded weights and compiled networks.

    It is `ACOMP_CACHE`, or the user's cache folder, or for a user without a home a folder among the
    temporary files.

    Raises:
        AcompError: the folder among the temporary files belongs to, or is open to, other users.
    """
    with suppress(RuntimeError):  # without a home; older versions of platformdirs leave a ~
        folder = os.environ.get("ACOMP_CACHE") or platformdirs.user_cache_dir("acomp")
        if not str(expanded(folder)).startswith("~"):
            return expanded(folder)
    return _homeless()


def expanded(path: str | Path) -> Path:
    """`path` with ~ replaced by the user's home, if the user has one."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - that of pathlib raises RuntimeError


def _homeless() -> Path:
    path = Path(tempfile.gettempdir(), f"acomp-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as failure:
        reason = reason_of(failure)
        raise AcompError(f"cannot make the folder {path}: {reason}; set ACOMP_CACHE") from failure
    # Compiled networks are run: they must be nobody else's.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise AcompError(
            f"this user has no home, and {path} is not theirs alone: set ACOMP_CACHE to a folder"
        )
    return path


@contextmanager
def atomic_write(
    path: Path, error: type[AcompError], *, replace: bool = True
) -> Iterator[BinaryIO]:
    """Open a binary file for writing that appears at `path` when the body ends without an error.

    The bytes go to a temporary file in the same folder, which replaces `path` in one step once they
    are on the disk; until then an existing file is untouched. A link is followed. What cannot be
    replaced is written directly, as a stream that is not seekable: devices, named pipes, and files
    that this process has open (/dev/stdout, /dev/fd/N), which keep what they hold. Temporary files
    that killed processes left in the folder are removed.

    Args:
        path: of the file.
        error: what is raised.
        replace: whether a file that is there already may be replaced. If not, it is not, even if it
            appears while the body runs: of two processes that write the same name, the first to end
            keeps it and the other fails.

    Raises:
        ExistsError: there is such a file, and it is not to be replaced.
        AcompError: as `error`, for every OSError, the body's own included: the body is for writing,
            and what it reads it must guard itself.
    """
    try:
        if is_stream(path):
            with _open_stream(path) as file:
                yield file
        else:
            with _replacing(Path(os.path.realpath(path)), replace) as file:
                yield file
    except FileExistsError as failure:
        raise ExistsError(f"cannot write {path}: it exists already") from failure
    except OSError as failure:
        raise error(f"cannot write {path}: {_reason(path, failure)}") from failure


def check_place(place: object, method: Literal["read", "write"], error: type[AcompError]) -> None:
    """Check that `place` is a path, or a binary stream with `method`.

    Raises:
        AcompError: as `error`: it is neither.
    """
    if isinstance(place, io.TextIOBase):
        raise error("a binary stream is expected, not one of text: open the file in binary mode")
    if isinstance(place, str | os.PathLike) or not hasattr(place, method):
        check_path(place, f"to {method}, a path or a binary stream", error)


def check_path(path: object, expected: str, error: type[AcompError]) -> None:
    """Check that `path` can be the path of a file; messages say that `expected` is expected.

    Raises:
        AcompError: as `error`: it cannot.
    """
    check_type(path, (str, os.PathLike), error, f"{expected} is")
    name: object = os.fspath(path)  # type: ignore[call-overload]
    if not isinstance(name, str) or "\0" in name:
        raise error(f"{expected} is expected, not {name!r}, which no file can be called")


def is_stream(path: Path) -> bool:
    """Whether `path` is a device, a pipe or a file that this process has open.

    These are written to directly and never replaced.

    Raises:
        OSError: the path cannot be examined.
    """
    if _open_descriptor(path) is not None:
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def _open_descriptor(path: Path) -> int | None:
    """N for /dev/fd/N and what leads there, such as /dev/stdout; None for other paths."""
    own = re.compile(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd")
    for _ in range(40):  # as many links as Linux follows
        if path.name.isdecimal() and own.fullmatch(os.path.realpath(path.parent)):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


class _Unseekable(io.FileIO):
    """A file that is written from its current position on, without seeking.

    In a file opened for appending, whatever is written after seeking back would land at the end.
    """

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("a stream cannot be sought in")

    def tell(self) -> int:
        raise io.UnsupportedOperation("a stream has no position")


def _open_stream(path: Path) -> BinaryIO:
    descriptor = _open_descriptor(path)
    # Opening /dev/stdout anew would empty the file behind it, and is not possible for a socket.
    opened: Path | int = path if descriptor is None else os.dup(descriptor)
    return io.BufferedWriter(_Unseekable(opened, "wb"))


@contextmanager
def _replacing(path: Path, replace: bool) -> Iterator[BinaryIO]:
    mode = _mode_to_keep(path, replace)
    _remove_leftovers_once(path.parent)
    temporary, file = _create_part(path)
    # A second descriptor keeps the lock, because the body may close its file.
    held = os.dup(file.fileno())
    try:
        with file:
            yield file
        if mode is not None:
            os.fchmod(held, mode)
        os.fsync(held)  # without it a crash may leave the name with neither the old nor new bytes
        (_replace if replace else _place)(temporary, path)
        with suppress(OSError):  # some file systems cannot sync a folder
            sync(path.parent)
    finally:
        with suppress(OSError):  # it was renamed, or its folder is gone
            temporary.unlink()
        os.close(held)


def _create_part(path: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file for `path`, locked for as long as it is open."""
    # The name is cut, because the longest legal name would leave no room for the rest.
    name = f".{path.name[:48]}.{secrets.token_hex(4)}{_PART}"
    try:
        temporary = path.with_name(name)
        file = temporary.open("xb")
    except OSError as failure:
        if failure.errno not in _UNMOVABLE or not path.exists():
            raise
        # The file may be writable though its folder is not; then its content is copied.
        temporary = Path(tempfile.gettempdir(), name)
        file = temporary.open("xb")
    _lock(file.fileno())
    if not temporary.exists():  # another run took it for a leftover before it was locked
        file.close()
        return _create_part(path)
    return temporary, file


def _replace(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as failure:
        if failure.errno not in _UNMOVABLE or not path.exists():
            raise
        _copy_into(temporary, path)


def _copy_into(temporary: Path, path: Path) -> None:
    """Copy a complete file into one that cannot be renamed over, such as a mounted single file.

    Space is allocated first, so that a full disk does not cost the old content.
    """
    with temporary.open("rb") as whole, path.open("r+b", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        size = os.fstat(whole.fileno()).st_size
        if size > before and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), before, size - before)
            except OSError:
                file.truncate(before)
                raise
        shutil.copyfileobj(whole, file)
        file.truncate(size)
        os.fsync(file.fileno())


def _place(temporary: Path, path: Path) -> None:
    """Give a complete file its name in one step, unless that exists, even if others try it too."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: an empty file reserves the name
        path.open("xb").close()
        try:
            temporary.replace(path)
        except OSError:
            path.unlink()
            raise


def append(path: Path, data: bytes, error: type[AcompError]) -> None:
    """Append all of `data` to a file, or nothing.

    Raises:
        AcompError: as `error`: the file cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            size = file.tell()
            rest = memoryview(data)
            try:
                while rest:  # a disk that is nearly full takes only a part
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(size)
                raise
    except OSError as failure:
        raise error(f"cannot write {path}: {reason_of(failure)}") from failure


def make_folder(folder: Path, error: type[AcompError]) -> None:
    """Make a folder and its parents, unless they exist.

    Raises:
        AcompError: as `error`: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise error(f"cannot make the folder {folder}: {reason_of(failure)}") from failure


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk.

    Raises:
        OSError: they cannot be written.
    """
    with _descriptor_of(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


@contextmanager
def sole_user(folder: Path, error: type[AcompError]) -> Iterator[None]:
    """Lock a folder, so that no other process that does the same works in it.

    File systems without locks do not lock it.

    Raises:
        AcompError: as `error`: another process has locked the folder.
    """
    with _descriptor_of(folder, os.O_RDONLY) as descriptor:
        try:
            _lock(descriptor, wait=False)
        except BlockingIOError:
            raise error(f"another process is at work in {folder}: end it first") from None
        yield


@contextmanager
def _descriptor_of(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes in `folder` and below.

    Temporary files of processes that are at work stay.
    """
    for path in folder.rglob(f".*{_PART}"):
        _remove_if_left(path)


@cache
def _remove_leftovers_once(folder: Path) -> None:
    """Remove the leftovers in `folder` itself, the first time that this process writes there."""
    for path in folder.glob(f".*{_PART}"):
        _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    with suppress(OSError):  # another run may tidy up too
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
        with _descriptor_of(path, flags) as descriptor:
            if _lock(descriptor, wait=False):
                path.unlink()


def _lock(descriptor: int, *, wait: bool = True) -> bool:
    """Lock an open file until it is closed or its process ends, and return whether that worked.

    Some network file systems have no locks; there no file is ever taken for a leftover.

    Raises:
        BlockingIOError: another process has locked the file, and `wait` is False.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except (ImportError, OSError):
        return False
    return True


def _mode_to_keep(path: Path, replace: bool) -> int | None:
    """The permissions of the file that will be replaced; None if it does not exist."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not replace:
        raise FileExistsError(errno.EEXIST, "it exists already")
    # Renaming needs only the folder's permission, and root needs none, so the file's are checked.
    if not status.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise OSError(None, "it is read-only")
    return stat.S_IMODE(status.st_mode)


def reason_of(failure: OSError) -> str:
    """The reason why reading or writing failed, which continues `cannot read NAME: `."""
    reason = _REASONS.get(failure.errno or 0) or failure.strerror or str(failure)
    return " ".join(reason.split()) or type(failure).__name__


def _reason(path: Path, failure: OSError) -> str:
    folder = path.parent
    if failure.errno == errno.ENOENT and not folder.exists():
        return f"the folder {folder} does not exist"
    if failure.errno == errno.ENOTDIR:
        return f"{folder} is not a folder"
    return reason_of(failure)
