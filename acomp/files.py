"""Whole files or none: what acomp writes appears complete under its name, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import platformdirs

from acomp.errors import AcompError, ExistsError

_REASONS = {
    errno.ENOENT: "there is no such file",
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "it is not permitted",
    errno.EROFS: "the file system is read-only",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EPIPE: "its reader has gone",
}


class Closing(ABC):
    """Something that is closed when its `with` ends."""

    @abstractmethod
    def close(self) -> None: ...

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
    """Folder of downloaded weights and compiled networks: ACOMP_CACHE, or the user's cache."""
    folder = os.environ.get("ACOMP_CACHE")
    return Path(folder).expanduser() if folder else Path(platformdirs.user_cache_dir("acomp"))


@contextmanager
def atomic_write(
    path: Path, error: type[AcompError], *, replace: bool = True
) -> Iterator[BinaryIO]:
    """Give a binary file to write; it becomes `path` when the body ends, and vanishes if it fails.

    The bytes go to a temporary file in the same folder, which takes the place of `path` in one
    step, so whatever stood there before stays untouched until then. A link is followed. Devices
    and named pipes cannot be replaced and are written directly.

    Without `replace` a file that is there already stays, also one that has come in the meantime: of
    two processes that write the same name, the first to end keeps it and the other fails.

    Raises:
        ExistsError: there is such a file, and it is not to be replaced.
        AcompError: as `error`, for every OSError, the body's own included: the body is for writing,
            and what it reads it must guard itself.
    """
    try:
        if _is_special(path):
            with path.open("wb") as file:
                yield file
        else:
            with _replacing(Path(os.path.realpath(path)), replace=replace) as file:
                yield file
    except FileExistsError as failure:
        raise ExistsError(f"cannot write {path}: it exists already") from failure
    except OSError as failure:
        raise error(f"cannot write {path}: {_reason(path, failure)}") from failure


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def _replacing(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    if not replace and path.exists() and not path.is_dir():
        raise FileExistsError
    mode = _mode_to_keep(path)
    # The name is cut because the longest legal one would leave no room for the rest.
    temporary = path.with_name(f".{path.name[:48]}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
        if mode is not None:
            temporary.chmod(mode)
        if replace:
            temporary.replace(path)
        else:
            _take_name(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _take_name(temporary: Path, path: Path) -> None:
    """Give a file the name `path`, which nothing may have yet.

    Raises:
        FileExistsError: something has it.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system that has no hard links
        path.open("xb").close()
        temporary.replace(path)
    else:
        temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left of unfinished files below `folder`; none may be at work."""
    for path in folder.rglob(".*.part"):
        path.unlink(missing_ok=True)


def _mode_to_keep(path: Path) -> int | None:
    """Permissions of the file that is about to be replaced; None where there is none yet."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    # A rename asks only for the folder's permission, and root is never refused: look at the file.
    if not status.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise OSError(None, "it is read-only")
    return stat.S_IMODE(status.st_mode)


def reason_of(failure: OSError) -> str:
    """Why reading or writing failed, in words that follow `cannot read NAME: `."""
    reason = _REASONS.get(failure.errno or 0) or failure.strerror or str(failure)
    return " ".join(reason.split()) or type(failure).__name__


def _reason(path: Path, failure: OSError) -> str:
    folder = path.parent
    if failure.errno == errno.ENOENT and not folder.exists():
        return f"the folder {folder} does not exist"
    if failure.errno == errno.ENOTDIR:
        return f"{folder} is not a folder"
    return reason_of(failure)
