"""Weights files: found, fetched, verified, loaded and told apart.

A file is looked for in acomp's cache and then where the official packages leave theirs, and no
file is used that differs from what the catalogue knows of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import platformdirs

from acomp.backends.catalogue import Weights, lookup
from acomp.errors import WeightsError
from acomp.files import atomic_write

if TYPE_CHECKING:
    import requests
    import torch

MAX_SIZE = 8 << 30
"""Bytes that no weights file exceeds: 8 GiB."""
TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes of a download."""
CHUNK = 1 << 16

Progress = Callable[[int, int | None], None]
"""Called as a download goes on with the bytes that are here and all bytes, None if not known."""


@dataclass(frozen=True)
class Status:
    """What is here of some weights."""

    name: str
    path: Path | None
    """The file; None where there is none."""
    problem: str | None = None
    """Why the file must not be used; None where nothing speaks against it."""
    sha256: str | None = None
    """The file's SHA-256; None where it was not computed."""


def cache_folder() -> Path:
    """Folder that acomp keeps downloaded weights in: ACOMP_CACHE, or the user's cache folder."""
    folder = os.environ.get("ACOMP_CACHE")
    return Path(folder).expanduser() if folder else Path(platformdirs.user_cache_dir("acomp"))


def find(name: str) -> Path | None:
    """The weights file of `name` if it is here: in acomp's cache or an official package's.

    What is known of a file (size, SHA-256) is checked before it is returned. A file in an official
    package's cache that fails is passed over.

    Raises:
        WeightsError: there are no such weights, or the file in acomp's cache fails.
    """
    here = status(name)
    if here.problem is None:
        return here.path
    if here.path == _own_path(lookup(name)):
        raise WeightsError(
            f"{here.path} is not the published file: {here.problem}; "
            f"replace it with: acomp models fetch {name}"
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

    Where the catalogue has no SHA-256 (dac-44khz-16kbps: its size alone is known), the one that
    was seen when acomp downloaded the file must still hold.

    Raises:
        WeightsError: there are no such weights.
    """
    return _status(name, rehash=True)


def fetch(name: str, progress: Progress | None = None) -> Path:
    """The weights file of `name`, downloaded if it is not here.

    A download is checked for all that is known: size and SHA-256, whole or its beginning. Where no
    SHA-256 is known (dac-44khz-16kbps) only the size is checked. Where the catalogue lacks the
    whole SHA-256, the one seen is kept beside the file, so that a later change is noticed. A
    damaged file in acomp's cache is replaced. A download that breaks off is resumed by the next.

    Raises:
        WeightsError: there are no such weights, or they cannot be fetched, or ACOMP_OFFLINE is set
            and they are not here.
    """
    weights = lookup(name)
    found = _find_sound(name)
    if found:
        return found
    target = _own_path(weights)
    if weights.url is None:
        raise WeightsError(f"{target} is missing: install acomp anew")
    if os.environ.get("ACOMP_OFFLINE", "0") not in ("", "0"):
        find(name)  # where a file is here but damaged, that is the thing to say
        raise WeightsError(
            f"weights of {name} are not here and ACOMP_OFFLINE is set: "
            f"unset it, put the file at {target} or pass --weights FILE"
        )
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            # Another process may have fetched them while this one waited for the lock.
            found = _find_sound(name)
            if found is None:
                _download(weights, target, progress or _no_progress)
    except _FetchError as error:
        raise WeightsError(
            f"cannot fetch the weights of {name} from {urlsplit(weights.url).netloc}: {error}; "
            f"put the file at {target} or pass --weights FILE"
        ) from error
    except OSError as error:
        raise WeightsError(
            f"cannot keep weights in {target.parent}: {_reason(error)}; "
            "name another folder in ACOMP_CACHE or pass --weights FILE"
        ) from error
    return found or target


class _FetchError(Exception):
    """A reason why a download failed, as it stands in the error's line."""


def _find_sound(name: str) -> Path | None:
    """As `find`, with a damaged file in acomp's cache counted as none: a download replaces it."""
    try:
        return find(name)
    except WeightsError:
        return None


def _no_progress(_done: int, _total: int | None) -> None:
    pass


# Where files are


def _own_path(weights: Weights) -> Path:
    """Where acomp itself keeps the file."""
    if weights.url is None:
        return Path(__file__).with_name(weights.file)
    return cache_folder() / weights.file


def _paths(weights: Weights) -> list[Path]:
    """Places of the file, the one to prefer first."""
    paths = [_own_path(weights)]
    if weights.package == "encodec":
        paths.append(_torch_home() / "hub" / "checkpoints" / weights.file)
    elif weights.package == "dac":
        paths.append(Path.home() / ".cache" / "descript" / "dac" / weights.file)
    return paths


def _torch_home() -> Path:
    """Torch's folder for downloads, told without importing torch.

    See https://docs.pytorch.org/docs/stable/hub.html, "Where are my downloaded models saved?".
    """
    home = os.environ.get("TORCH_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home) if home else Path(cache) / "torch").expanduser()


# Whether files are what they should be


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that this user may not look into
        return False


def _status(name: str, *, rehash: bool) -> Status:
    weights = lookup(name)
    own, *others = (
        _inspect(weights, path, rehash=rehash) if _is_file(path) else Status(name, None)
        for path in _paths(weights)
    )
    if own.path:
        return own
    here = [other for other in others if other.path]
    sound = [other for other in here if other.problem is None]
    return next(iter(sound + here), own)


def _inspect(weights: Weights, path: Path, *, rehash: bool) -> Status:
    """Check `path` against all that is known of it."""
    try:
        facts = path.stat()
        problem = _wrong_size(weights, facts.st_size)
        if problem:
            return Status(weights.name, path, problem)
        due = [digits for digits in (weights.sha256, _recorded_sum(path)) if digits]
        if not due and not rehash:
            return Status(weights.name, path)
        marked = None if rehash else _marked_sum(path, facts)
        sha256 = marked or _file_sum(path)
    except OSError as error:
        return Status(weights.name, path, f"it cannot be read ({_reason(error)})")
    problems = [_wrong_sum(digits, sha256) for digits in due]
    problem = next((problem for problem in problems if problem), None)
    if due and problem is None and marked is None:
        _mark(path, facts, sha256)
    return Status(weights.name, path, problem, sha256)


def _wrong_size(weights: Weights, size: int) -> str | None:
    if weights.size is not None and size != weights.size:
        return f"it has {size} bytes where {weights.size} are due"
    return None


def _wrong_sum(due: str, sha256: str) -> str | None:
    if not sha256.startswith(due):
        return f"its SHA-256 begins {sha256[:8]} where {due[:8]} is due"
    return None


def _file_sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _recorded_sum(path: Path) -> str | None:
    """The SHA-256 that was seen when acomp downloaded the file, in `sha256sum`'s form."""
    try:
        with _record_path(path).open("rb") as file:
            digits = file.read(64).decode("ascii", "replace")
    except OSError:
        return None
    return digits if re.fullmatch("[0-9a-f]{64}", digits) else None


# Hashing 300 MB at every start would cost half a second, so a passed check is marked, and the mark
# holds for as long as the file keeps its size and its time of change.


def _marks_path() -> Path:
    return cache_folder() / "verified.json"


def _marks() -> dict[str, Any]:
    try:
        marks = json.loads(_marks_path().read_bytes())
    except (OSError, ValueError):
        return {}
    return marks if isinstance(marks, dict) else {}


def _facts(facts: os.stat_result) -> dict[str, int]:
    return {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def _marked_sum(path: Path, facts: os.stat_result) -> str | None:
    mark = _marks().get(str(path.absolute()))
    if not isinstance(mark, dict):
        return None
    sha256 = mark.pop("sha256", None)
    return sha256 if mark == _facts(facts) and isinstance(sha256, str) else None


def _mark(path: Path, facts: os.stat_result, sha256: str) -> None:
    marks = _marks()
    marks[str(path.absolute())] = {**_facts(facts), "sha256": sha256}
    # A mark that cannot be written, or that another process overwrites, costs one more hashing.
    with suppress(WeightsError, OSError):
        _marks_path().parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(_marks_path(), WeightsError) as file:
            file.write(json.dumps(marks, indent=2).encode())


# Downloads. pooch would do for most of this, but it neither resumes nor checks a SHA-256 of which
# only the beginning is published, so the loop is our own, on requests.


def _download(weights: Weights, target: Path, progress: Progress) -> None:
    """Download, verify and rename to `target`; the caller holds the lock.

    Raises:
        _FetchError: what came is not the file, or not all of it came.
        OSError: the file cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    resumed = _can_resume(weights, part)
    if not resumed:
        part.unlink(missing_ok=True)
    try:
        _transfer(weights, part, progress)
        sha256 = _file_sum(part)
        problem = _wrong_download(weights, part, sha256)
        if problem and resumed:
            # What was kept may have been the beginning of something else.
            part.unlink()
            _transfer(weights, part, progress)
            sha256 = _file_sum(part)
            problem = _wrong_download(weights, part, sha256)
        if problem:
            part.unlink()
            raise _FetchError(f"what it sent is not the published file: {problem}")
    except BaseException as failure:
        if isinstance(failure, OSError) or not _can_resume(weights, part):
            part.unlink(missing_ok=True)
        raise
    # The old file's record must be gone before the new file is there, else it would be refused.
    _record_path(target).unlink(missing_ok=True)
    part.replace(target)
    if weights.sha256 is None or len(weights.sha256) < 64:
        with atomic_write(_record_path(target), WeightsError) as file:
            file.write(f"{sha256}  {target.name}\n".encode())
    _mark(target, target.stat(), sha256)


def _can_resume(weights: Weights, part: Path) -> bool:
    """Whether `part` can be gone on from: without a SHA-256 a wrong join would go unnoticed."""
    return weights.sha256 is not None and part.is_file() and part.stat().st_size > 0


def _wrong_download(weights: Weights, part: Path, sha256: str) -> str | None:
    problem = _wrong_size(weights, part.stat().st_size)
    return problem or (_wrong_sum(weights.sha256, sha256) if weights.sha256 else None)


def _transfer(weights: Weights, part: Path, progress: Progress) -> None:
    """Append to `part` what it lacks, or write it anew where the server sends all.

    Raises:
        _FetchError: the server fails, or the connection breaks; `part` keeps what came.
        OSError: `part` cannot be written.
    """
    import requests

    assert weights.url is not None
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # the bytes themselves: their number is checked
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        with requests.get(weights.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == requests.codes.range_not_satisfiable:
                return  # `part` has every byte already, or too many: its SHA-256 will tell
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                done = 0
            _receive(response, part, done, weights.size, progress)
    except requests.RequestException as error:
        raise _FetchError(_request_reason(error)) from error


def _receive(
    response: requests.Response, part: Path, done: int, size: int | None, progress: Progress
) -> None:
    """Write the body of `response` to `part`, whose first `done` bytes are kept."""
    import requests

    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isdecimal() else size
    limit = size or MAX_SIZE
    with part.open("ab" if done else "wb") as file:
        progress(done, total)
        try:
            for chunk in response.iter_content(CHUNK):
                done += len(chunk)
                if done > limit:
                    raise _FetchError(f"it sends more than the {limit} bytes that are due")
                file.write(chunk)
                progress(done, total)
        except requests.RequestException as error:
            of_all = f"{done} of {total}" if total else f"{done}"
            raise _FetchError(f"the connection broke after {of_all} bytes, try again") from error
        file.flush()
        os.fsync(file.fileno())


def _request_reason(error: requests.RequestException) -> str:
    """Why a request failed, in a few words."""
    import requests
    from urllib3.exceptions import NameResolutionError

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"it answers HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate cannot be verified"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached"
    cause = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(cause, NameResolutionError):
        return "its address is not known; is there a network?"
    if isinstance(error, requests.ConnectionError):
        return "it cannot be reached"
    return f"the request fails ({type(error).__name__})"


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


# Loading


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a weights file."""

    state: dict[str, torch.Tensor]
    """Tensors by their name in the module."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Settings that the module was built with, where the file says so (DAC): numbers, strings,
    None, and lists of them. They come from the file: bound them before use."""


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a weights file onto the CPU without running anything that hides in it.

    Taken are safetensors (`.safetensors`), EnCodec's layout (a state dict) and that of
    `descript-audiotools` for DAC (a dict of `state_dict` and `metadata`, whose `kwargs` are kept).
    Nothing is added to what torch's `weights_only` allows, as the published files need no more
    than tensors, dicts, lists, numbers and strings.

    Raises:
        WeightsError: the file cannot be read, is damaged, or is no weights file.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise WeightsError(f"cannot read the weights {path}: it is not a file")
        if size > MAX_SIZE:
            raise WeightsError(f"{path} is no weights file: it is larger than {MAX_SIZE} bytes")
        contents = _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path)
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {_reason(error)}") from error
    if not isinstance(contents, dict):
        raise WeightsError(f"{path} is no weights file: it holds no tensors by name")
    metadata: object = {}
    if "state_dict" in contents:
        contents, metadata = contents["state_dict"], contents.get("metadata", {})
    kwargs = metadata.get("kwargs", {}) if isinstance(metadata, dict) else None
    if not isinstance(kwargs, dict) or not _is_plain(kwargs):
        raise WeightsError(f"{path} is no weights file: its metadata has an unknown form")
    return Checkpoint(_check_state(path, contents), kwargs)


def _load_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is not a safetensors file, or it is damaged") from error


def _load_torch(path: Path) -> object:
    import torch

    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            _check_zip(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what the error below says
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # A damaged or hostile pickle can make the unpickler raise anything at all.
    except Exception as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted:
            raise WeightsError(
                f"{path} is refused and nothing in it was run: it asks for {wanted[1]}, "
                "and weights hold tensors alone"
            ) from error
        raise WeightsError(f"{path} is not a torch checkpoint, or it is damaged") from error


def _check_zip(path: Path) -> None:
    """Refuse an archive that unpacks to more than its own size; torch stores tensors unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{path} is not a torch checkpoint, or it is damaged") from error
    if unpacked > path.stat().st_size:
        raise WeightsError(f"{path} is no weights file: it unpacks to {unpacked} bytes")


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _check_state(path: Path, contents: object) -> dict[str, torch.Tensor]:
    """`contents` as a state dict of ordinary tensors, each within the memory it came with."""
    import torch

    if not isinstance(contents, dict) or not contents:
        raise WeightsError(f"{path} is no weights file: it holds no tensors by name")
    total = 0
    for name, tensor in contents.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise WeightsError(f"{path} is no weights file: it holds more than tensors by name")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise WeightsError(f"{path} is no weights file: {name!r} is no ordinary tensor")
        # Strides of 0 let a tensor of few bytes claim any shape; copying it would take the memory.
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise WeightsError(f"{path} is no weights file: {name!r} claims more than it holds")
        total += tensor.nbytes
    if total > MAX_SIZE:
        raise WeightsError(f"{path} is no weights file: its tensors claim {total} bytes")
    return contents


def fingerprint(state: Mapping[str, torch.Tensor]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the weights, whatever file they came in.

    Hashed are, in the order of the names, one line of JSON `["name", "dtype", [shape]]` and the
    tensor's bytes in row-major order, little-endian.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{json.dumps([name, dtype, list(tensor.shape)])}\n".encode())
        # Seen as bytes, since numpy lacks some of torch's types (bfloat16); nothing is copied.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
