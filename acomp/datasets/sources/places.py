"""Files that sources name: on this machine, or wherever fsspec reaches (`s3://`, `https://`)."""

from __future__ import annotations

import io
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from acomp.errors import AcompError
from acomp.files import reason_of
from acomp.packages import require_packages

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]{1,15}://")


def is_remote(name: str) -> bool:
    """Whether a name is an address that fsspec opens."""
    return _REMOTE.match(name) is not None


@contextmanager
def open_place(name: str) -> Iterator[BinaryIO]:
    """A file, to be read from any position.

    Raises:
        AcompError: it cannot be read, in the body too.
    """
    with reading(name):
        if not is_remote(name):
            # Opening a pipe would wait for ever, and reading a device might.
            mode = Path(name).stat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise AcompError(f"cannot read {name}: it is a pipe or a device, not a file")
            with Path(name).open("rb") as file:
                yield file
            return
        require_packages(name, "fsspec", extra="datasets")
        import fsspec

        with fsspec.open(name, "rb") as remote:
            yield io.BufferedReader(remote)  # whose lines can be read up to a length


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Make whatever fails while a file is read an error of one line.

    Raises:
        AcompError: in the place of another error.
    """
    try:
        yield
    except AcompError:
        raise
    except OSError as error:
        # Of an object that is not there, s3fs says nothing but its name.
        is_gone = isinstance(error, FileNotFoundError) and name.endswith(str(error))
        said = "there is no such file" if is_gone else reason_of(error)
        raise AcompError(f"cannot read {name}: {said}") from error
    except MemoryError as error:
        raise AcompError(f"cannot read {name}: there is not enough memory for it") from error
    except Exception as error:  # each kind of storage has errors of its own
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise AcompError(f"cannot read {name}: {said}") from error


def list_remote(name: str) -> list[str]:
    """The files below an address, sorted; of the address of a file, that alone.

    Raises:
        AcompError: it cannot be listed, or there is nothing.
    """
    require_packages(name, "fsspec", extra="datasets")
    import fsspec

    with reading(name):
        system, path = fsspec.core.url_to_fs(name)
        if system.isfile(path):
            return [name]
        found = [str(system.unstrip_protocol(each)) for each in system.find(path)]
    if not found:
        raise AcompError(f"cannot read {name}: there is nothing there, or it cannot be reached")
    return sorted(found)


def beside(name: str, other: str) -> str:
    """The file `other` as the file `name` means it: relative to the folder that it is in, or for
    one that is not there to the current one.
    """
    if is_remote(other) or os.path.isabs(other):  # noqa: PTH117 - of text, not of a path
        return other
    if is_remote(name):
        return posixpath.join(posixpath.dirname(name), other)
    there = str(Path(name).parent / other)
    # Of a name that no file can have, that of pathlib raises an error.
    return there if os.path.exists(there) or not os.path.exists(other) else other  # noqa: PTH110
