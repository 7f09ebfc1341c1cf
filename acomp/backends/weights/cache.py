"""Published weights: found, fetched and verified.

A file is looked for in acomp's cache, then where the official packages leave theirs, then among
what `transformers` has fetched in its own layout (`twins`). No file is used that differs from what
is known of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from acomp.backends.weights import hub, twins
from acomp.backends.weights.catalogue import Weights, lookup
from acomp.backends.weights.checkpoint import MAX_SIZE, load_checkpoint
from acomp.backends.weights.download import DownloadError, Progress, download
from acomp.backends.weights.places import own_path, places_of
from acomp.backends.weights.sums import file_sum, mark, marked_sum, record_path, recorded_sum
from acomp.errors import WeightsError
from acomp.files import atomic_write, reason_of


@dataclass(frozen=True)
class Status:
    """What is here of some weights.

    Attributes:
        name: of the weights, in the catalogue.
        path: the file, or folder; None where there is none.
        problem: why the file must not be used; None where nothing speaks against it.
        sha256: the file's SHA-256; None where it was not computed.
        vouched: whether a SHA-256 is known that the file has: the published one, or that of its
            download.
        is_twin: whether the path is a folder in the layout of `transformers`.
    """

    name: str
    path: Path | None
    problem: str | None = None
    sha256: str | None = None
    vouched: bool = True
    is_twin: bool = False


def find(name: str) -> Path | None:
    """The weights file of `name` if it is here: in acomp's cache or another program's; the folder,
    where they are several files, or in the layout of `transformers`.

    What is known of a file (size, SHA-256) is checked before it is returned, and of another layout
    whether the codec takes it. A file in another program's cache that fails is passed over.

    Raises:
        WeightsError: there are no such weights, or the file in acomp's cache fails.
    """
    here, weights = status(name), lookup(name)
    if here.is_twin and here.problem is None:
        return here.path if twins.refusal(weights) is None else None
    if here.problem is None:
        return here.path
    if weights.parts or here.path == own_path(weights):
        raise WeightsError(
            f"{here.path} is not the published file: {here.problem}; "
            f"replace it with: {remedy([name])}"
        )
    return None


def status(name: str) -> Status:
    """What is here of the weights of `name`; a file that passed once is hashed only if it changed.

    Raises:
        WeightsError: there are no such weights.
    """
    return _status(name, rehash=False)


def verify(name: str) -> Status:
    """As `status`, with every file hashed anew.

    Where the catalogue has no SHA-256, the one that was seen when acomp downloaded the file must
    still hold.

    Raises:
        WeightsError: there are no such weights.
    """
    return _status(name, rehash=True)


def fetch(name: str, progress: Progress | None = None) -> Path:
    """The weights file of `name`, or the folder of its files, downloaded if it is not here.

    Files of Hugging Face come from the mirror that HF_ENDPOINT names, with the user's token. A
    download is checked for all that is known: size and SHA-256, whole or its beginning. Where no
    SHA-256 is known (dac-44khz-16kbps) there is the size, and it must be a checkpoint of numbers.
    Where the catalogue lacks the whole SHA-256, the one seen is kept beside the
    file, so that a later change is noticed. A damaged file in acomp's cache is replaced. A download
    that breaks off is resumed by the next.

    Raises:
        WeightsError: there are no such weights, or they cannot be fetched, or they are not here
            and ACOMP_OFFLINE is set, or for Hugging Face's HF_HUB_OFFLINE.
    """
    weights = lookup(name)
    if weights.parts:
        first, *_ = [fetch(part, progress) for part in weights.parts]
        return first.parent
    found = _find_sound(name)
    if found:
        return found
    target = own_path(weights)
    if weights.source is not None:
        find(name)  # where a file is here but damaged, that is the thing to say
        raise WeightsError(
            f"weights of {name} do not ship with acomp: put {weights.source} of acomp's source at "
            f"{target} or pass {_option(weights)}"
        )
    if weights.url is None:
        raise WeightsError(f"{target} is missing: install acomp anew")
    variable = offline_by(weights)
    if variable is not None:
        find(name)  # where a file is here but damaged, that is the thing to say
        raise WeightsError(
            f"weights of {name} are not here{_refused_twin(weights)} and {variable} is set: "
            f"unset it, put the file of {weights.url} at {target} or pass {_option(weights)}"
        )
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            # Another process may have fetched them while this one waited for the lock.
            found = _find_sound(name)
            if found is None:
                _download(weights, target, progress or _no_progress)
    except DownloadError as error:
        raise WeightsError(
            f"cannot fetch the weights of {name} from {_host(weights)}: {error}; "
            f"put the file of {weights.url} at {target} or pass {_option(weights)}"
        ) from error
    except OSError as error:
        raise WeightsError(
            f"cannot keep weights in {target.parent}: {reason_of(error)}; "
            f"name another folder in ACOMP_CACHE or pass {_option(weights)}"
        ) from error
    return found or target


def remedy(names: Sequence[str]) -> str:
    """What brings weights here that are missing or damaged, to stand behind "mend with: "."""
    entries = [lookup(name) for name in names]
    fetched = " ".join(entry.name for entry in entries if not entry.source)
    by_hand = [
        f"{entry.source} of acomp's source, put at {own_path(entry)}"
        for entry in entries
        if entry.source
    ]
    return "; ".join([*([f"acomp models fetch {fetched}"] if fetched else []), *by_hand])


def offline_by(weights: Weights) -> str | None:
    """The variable by which the user wants these weights not to be downloaded, if any."""
    if os.environ.get("ACOMP_OFFLINE", "0") not in ("", "0"):
        return "ACOMP_OFFLINE"
    return None if weights.hub is None else hub.offline_by()


def _host(weights: Weights) -> str:
    """Who is asked for the file."""
    return urlsplit(hub.endpoint() if weights.hub else weights.url or "").netloc


def _refused_twin(weights: Weights) -> str:
    """Why a twin that is here is not taken, to stand in a message."""
    here = status(weights.name)
    if not here.is_twin:
        return ""
    return (
        f" (not taken: {here.path}: {here.problem})"
        if here.problem
        else (f" (not taken: {twins.refusal(weights)})")
    )


def _option(weights: Weights) -> str:
    """What names other weights on the command line."""
    if weights.is_language_model:
        return "--language-model FILE"
    return "--weights FOLDER" if weights.is_part else "--weights FILE"


def _find_sound(name: str) -> Path | None:
    """As `find`, with a damaged file in acomp's cache counted as none: a download replaces it."""
    try:
        return find(name)
    except WeightsError:
        return None


def _no_progress(_done: int, _total: int | None) -> None:
    pass


# Whether files are what they should be


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that this user may not look into
        return False


def _status(name: str, *, rehash: bool) -> Status:
    weights = lookup(name)
    if weights.parts:
        return _together(name, [_status(part, rehash=rehash) for part in weights.parts])
    own, *others = (
        _inspect(weights, path, _known_sums(weights, path), rehash=rehash)
        if _is_file(path)
        else Status(name, None)
        for path in places_of(weights)
    )
    if own.path:
        return own
    here = [other for other in others if other.path]
    sound = [other for other in here if other.problem is None]
    twin = [] if sound else _twin(weights, rehash=rehash)
    return next(iter([*sound, *twin, *here]), own)


def _twin(weights: Weights, *, rehash: bool) -> list[Status]:
    """The status of the twin that is here; none where there is none."""
    file = twins.file_of(weights)
    if file is None:
        return []
    unknown = replace(weights, size=None, sha256=None)
    here = _inspect(unknown, file, twins.sums_of(weights, file), rehash=rehash)
    return [replace(here, path=file.parent, is_twin=True)]


def _together(name: str, parts: list[Status]) -> Status:
    """The status of a folder: none is here unless all are, and one bad file spoils it."""
    bad = next((part for part in parts if part.problem), None)
    if bad is not None:
        return replace(bad, name=name)
    paths = [part.path for part in parts]
    folder = None if None in paths or not paths[0] else paths[0].parent
    return Status(name, folder, vouched=all(part.vouched for part in parts))


def _known_sums(weights: Weights, path: Path) -> list[str]:
    return [digits for digits in (weights.sha256, recorded_sum(path)) if digits]


def _inspect(weights: Weights, path: Path, expected: list[str], *, rehash: bool) -> Status:
    """Check `path` against all that is known of it, its SHA-256 or the beginnings of it too."""
    try:
        facts = path.stat()
        problem = _wrong_size(weights, facts.st_size)
        if problem:
            return Status(weights.name, path, problem)
        # What ships with acomp is as good as acomp's code, which nobody hashes at every start.
        if not rehash and (not expected or weights.ships_with_acomp):
            return Status(weights.name, path, vouched=bool(expected))
        marked = None if rehash else marked_sum(path, facts)
        sha256 = marked or file_sum(path)
    except OSError as error:
        return Status(weights.name, path, f"it cannot be read ({reason_of(error)})")
    problems = [_wrong_sum(digits, sha256) for digits in expected]
    problem = next((problem for problem in problems if problem), None)
    if expected and problem is None and marked is None and not weights.ships_with_acomp:
        mark(path, facts, sha256)
    return Status(weights.name, path, problem, sha256, vouched=bool(expected))


def _wrong_size(weights: Weights, size: int) -> str | None:
    if weights.size is not None and size != weights.size:
        return f"it has {size} bytes where {weights.size} are expected"
    return None


def _wrong_sum(expected: str, sha256: str) -> str | None:
    if not sha256.startswith(expected):
        return f"its SHA-256 begins {sha256[:8]} where {expected[:8]} is expected"
    return None


# Downloads


def _download(weights: Weights, target: Path, progress: Progress) -> None:
    """Download, verify and rename to `target`; the caller holds the lock.

    Raises:
        DownloadError: what came is not the file, or not all of it came.
        OSError: the file cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    resumed = _can_resume(weights, part)
    if not resumed:
        part.unlink(missing_ok=True)
    try:
        _transfer(weights, part, progress)
        sha256 = file_sum(part)
        problem = _wrong_download(weights, part, sha256)
        if problem and resumed:
            # What was kept may have been the beginning of something else.
            part.unlink()
            _transfer(weights, part, progress)
            sha256 = file_sum(part)
            problem = _wrong_download(weights, part, sha256)
        if problem:
            part.unlink()
            raise DownloadError(f"what it sent is not the published file: {problem}")
    except BaseException as failure:
        if isinstance(failure, OSError) or not _can_resume(weights, part):
            part.unlink(missing_ok=True)
        raise
    # The old file's record must be gone before the new file is there, else it would be refused.
    record_path(target).unlink(missing_ok=True)
    part.replace(target)
    if weights.sha256 is None or len(weights.sha256) < 64:
        with atomic_write(record_path(target), WeightsError) as file:
            file.write(f"{sha256}  {target.name}\n".encode())
    mark(target, target.stat(), sha256)


def _transfer(weights: Weights, part: Path, progress: Progress) -> None:
    limit = weights.size or MAX_SIZE
    if weights.hub is None:
        assert weights.url is not None
        download(weights.url, part, limit, progress)
        return
    source = hub.locate(weights, weights.hub)
    download(source.url, part, limit, progress, source.headers)


def _can_resume(weights: Weights, part: Path) -> bool:
    """Whether `part` can be gone on from: without a SHA-256 a wrong join would go unnoticed."""
    return weights.sha256 is not None and part.is_file() and part.stat().st_size > 0


def _wrong_download(weights: Weights, part: Path, sha256: str) -> str | None:
    problem = _wrong_size(weights, part.stat().st_size)
    if problem or weights.sha256:
        return problem or _wrong_sum(weights.sha256 or "", sha256)
    try:
        load_checkpoint(part)  # a page that says sorry, say, is none
    except WeightsError as error:
        return str(error).removeprefix(f"{part} ")
    return None
