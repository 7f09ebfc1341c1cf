"""Checkpoints: loaded without running anything in them, and told apart by a fingerprint.

The safetensors that acomp writes of a codec of one's own name its shape: their header's metadata
has the key `acomp`, whose value is the JSON of `Shape.to_dict()`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acomp.backends.weights.layouts import audiocraft, recognised
from acomp.backends.weights.layouts.configs import FAMILIES, shape_values
from acomp.backends.weights.layouts.files import Found, find, read_config
from acomp.backends.weights.layouts.layout import Layout
from acomp.errors import WeightsError
from acomp.files import atomic_write, reason_of
from acomp.plain import NotPlainError, brief, check, parse_json
from acomp.tensors import load_tensors

if TYPE_CHECKING:
    import torch

SCALE = "_scale"
"""Ends the name of what the rows of whole numbers are to be multiplied by."""
MAX_SIZE = 8 << 30
"""Bytes that no weights file exceeds: 8 GiB."""
SHAPE_KEY = "acomp"
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where files of training keep the weights, beside what else they hold."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a weights file.

    Attributes:
        state: tensors by their name in the module.
        kwargs: settings that the module was built with, where the file says so (DAC): numbers,
            strings, None, and lists of them. They come from the file: bound them before use.
        shape: what the module is, where the file says so (acomp's own), or the `config.json` beside
            it: what `Shape.to_dict` gave, or anything else that JSON can hold.
        layout: the layout that the file was in; None where it was in none that is known.
    """

    state: dict[str, torch.Tensor]
    kwargs: dict[str, Any] = field(default_factory=dict)
    shape: object = None
    layout: Layout | None = None


def load_checkpoint(path: Path) -> Checkpoint:
    """Load weights onto the CPU without running anything that hides in them.

    Taken are safetensors and torch's files, and folders with them, in every layout that
    `acomp.backends.weights.layouts` knows; tensors get acomp's names. Files are mapped into memory
    where their form allows it. Nothing is added to what torch's `weights_only` allows, as
    published files need no more than tensors, dicts, lists, numbers and strings.

    Raises:
        WeightsError: they cannot be read, are damaged, are no weights, or hold weights that are no
            numbers (NaN, infinite).
    """
    found = find(path)
    parts = [_load_file(file) for file in found.files]
    checkpoint = parts[0] if found.shards is None else _joined(path, found, parts)
    try:
        layout, state = recognised(checkpoint.state)
    except WeightsError as error:
        raise WeightsError(f"{path} {error}") from error
    checkpoint = dataclasses.replace(checkpoint, state=state, layout=layout)
    if found.config is None:
        return checkpoint
    config = read_config(found.config)
    kind = config.get("model_type")
    if layout is not None and kind in FAMILIES and kind != layout.family:
        raise WeightsError(
            f"{path} looks like {layout.title}, but its config.json is of {FAMILIES[kind]}: name "
            "the file alone, or put back its own config.json"
        )
    codebooks = sum(name.endswith("._codebook.embed") for name in state)
    shape = shape_values(config, codebooks, f"{path} is of a codec that acomp does not have")
    return dataclasses.replace(checkpoint, shape=checkpoint.shape or shape)


def _joined(path: Path, found: Found, parts: list[Checkpoint]) -> Checkpoint:
    """What the shards hold together, which is what their index says."""
    assert found.shards is not None
    state: dict[str, torch.Tensor] = {}
    for file, part in zip(found.files, parts, strict=True):
        for name, tensor in part.state.items():
            if found.shards.get(name) != file.name:
                raise WeightsError(f"{path}: its index has no {brief(name)} in {file.name}")
            state[name] = tensor
    missing = next((name for name in found.shards if name not in state), None)
    if missing is not None:
        raise WeightsError(f"{path}: {found.shards[missing]} lacks {brief(missing)}")
    return Checkpoint(state)


def _load_file(path: Path) -> Checkpoint:
    """The contents of one file."""
    size = weights_size(path)
    try:
        if _is_safetensors(path):
            state, shape = _load_safetensors(path)
            return Checkpoint(_check_state(path, state, size), shape=shape)
        with path.open("rb") as file:
            contents = load_tensors(file, mapped=path)
    except NotPlainError as error:
        raise WeightsError(f"{path} {error}{_package_advice(path)}") from error
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {reason_of(error)}") from error
    if not isinstance(contents, dict):
        raise WeightsError(f"{path} is no weights file: it holds no tensors by name")
    if audiocraft.CONFIG in contents:
        about = f"{path} looks like AudioCraft's layout"
        values = audiocraft.shape_values(contents[audiocraft.CONFIG], about)
        tensors = audiocraft.state_of(contents)
        return Checkpoint(_check_state(path, tensors, size), shape=values)
    metadata: object = contents.get("metadata", {}) if "state_dict" in contents else {}
    kwargs = metadata.get("kwargs", {}) if isinstance(metadata, dict) else None
    try:
        check(kwargs)
    except NotPlainError as error:
        raise WeightsError(f"{path} is no weights file: its metadata {error}") from error
    if not isinstance(kwargs, dict):
        raise WeightsError(f"{path} is no weights file: its metadata has an unknown form")
    return Checkpoint(_check_state(path, _unwrapped(contents), size), kwargs)


def _unwrapped(contents: dict[Any, Any]) -> object:
    """The tensors by name, out of what programs for training put around them."""
    for wrapper in WRAPPERS:
        if isinstance(contents.get(wrapper), dict):
            inner: object = contents[wrapper]
            return inner
    return contents


def _package_advice(path: Path) -> str:
    """What to take instead of a program of DAC's training."""
    return "; take weights.pth beside it" if path.name == "package.pth" else ""


def weights_size(path: Path) -> int:
    """Bytes of a file of weights, seen to be one that ends: no device, no pipe, not too large.

    Raises:
        WeightsError: it is something else, or is not there.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {reason_of(error)}") from error
    if not S_ISREG(facts.st_mode):
        raise WeightsError(f"cannot read the weights {path}: it is not a file")
    if facts.st_size > MAX_SIZE:
        raise WeightsError(f"{path} is no weights file: it is larger than {MAX_SIZE} bytes")
    return facts.st_size


def _is_safetensors(path: Path) -> bool:
    """By its first bytes, the size of a header and the header; or else by its name."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" or path.suffix == ".safetensors"


def load_weights(module: torch.nn.Module, path: Path, name: str) -> str:
    """Put the weights of a file into `module`, the network of the codec `name`.

    Returns:
        Their fingerprint.

    Raises:
        WeightsError: the file cannot be read, or holds other weights than this codec's.
    """
    state = load_checkpoint(path).state
    try:
        module.load_state_dict(scaled(state))
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{path} does not hold weights of {name}") from error
    return fingerprint(state)


def scaled(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors with their scales, where they have any.

    Raises:
        ValueError: a scale is not one number for each row.
    """
    found = {}
    for name, value in state.items():
        scale = state.get(name + SCALE)
        if scale is not None and scale.shape != (*value.shape[:-1], 1):
            raise ValueError(name)
        if not name.endswith(SCALE) or name.removesuffix(SCALE) not in state:
            found[name] = value if scale is None else value.float() * scale
    return found


class Described(Protocol):
    """What a file of weights can name as its shape."""

    def to_dict(self) -> dict[str, Any]: ...


def save_weights(
    path: Path,
    state: Mapping[str, torch.Tensor],
    shape: Described | None = None,
    *,
    replace: bool = True,
) -> None:
    """Write weights as safetensors, each tensor of the type it has; `path` ends in `.safetensors`.

    Args:
        path: the file, which appears whole or not at all.
        state: tensors by their name in the module.
        shape: what the module is, where it is one's own; None for a published one.
        replace: whether a file that exists may be replaced.

    Raises:
        WeightsError: the file cannot be written.
        ExistsError: it exists, and is not to be replaced.
    """
    from safetensors.torch import save

    # Of files that name no shape of acomp's, `transformers` wants to know that they are torch's.
    metadata = {"format": "pt"} if shape is None else {SHAPE_KEY: json.dumps(shape.to_dict())}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_write(path, WeightsError, replace=replace) as file:
        file.write(save(tensors, metadata))


def _load_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], object]:
    """The tensors, and the shape that the header names, if any."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        state = load_file(path, device="cpu")
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is not a safetensors file, or it is damaged{_why(error)}"
        ) from error
    if SHAPE_KEY not in metadata:
        return state, None
    try:
        return state, parse_json(metadata[SHAPE_KEY])
    except NotPlainError as error:
        raise WeightsError(f"{path}: the shape that it names {error}") from error


def _why(error: Exception) -> str:
    """What the header of safetensors says that is not so."""
    text = str(error).lower()
    if "not fully covered" in text or "incompletebuffer" in text:
        return ": its header tells of more than it holds, as after a download that broke off"
    if "header too large" in text or "invalid header length" in text or "headertoolarge" in text:
        return ": its header claims to be larger than the file, or than any header"
    return ""


def _check_state(path: Path, contents: object, size: int) -> dict[str, torch.Tensor]:
    """`contents` of a file of `size` bytes as a state dict of ordinary tensors, each within the
    memory it came with, of numbers alone.
    """
    import torch

    if not isinstance(contents, dict) or not contents:
        raise WeightsError(f"{path} is no weights file: it holds no tensors by name")
    total = 0
    for name, tensor in contents.items():
        if type(name) is not str or not isinstance(tensor, torch.Tensor):
            raise WeightsError(f"{path} is no weights file: it holds more than tensors by name")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or not _is_real(tensor):
            raise WeightsError(f"{path} is no weights file: {brief(name)} is no ordinary tensor")
        # Strides of 0 let a tensor of few bytes claim any shape; copying it would take the memory.
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise WeightsError(
                f"{path} is no weights file: {brief(name)} claims more than it holds"
            )
        total += tensor.nbytes
    # Tensors can share what they hold, but what is gone through must not multiply.
    if total > 2 * size:
        raise WeightsError(f"{path} is no weights file: its tensors claim {total} bytes")
    for name, tensor in contents.items():
        if not _is_finite(tensor):
            raise _not_finite(path, name)
    return contents


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether it holds numbers alone, seen in one pass: one that is none is the largest or the
    smallest, or makes both of them NaN.
    """
    import torch

    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(math.isfinite(end) for end in torch.aminmax(tensor))


def _is_real(tensor: torch.Tensor) -> bool:
    """Whether it is of whole numbers or of floats of 16 bits or more."""
    import torch

    if tensor.is_quantized or tensor.is_complex():
        return False
    return not tensor.is_floating_point() or tensor.dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )


def _not_finite(path: Path, name: str) -> WeightsError:
    return WeightsError(f"{path} is no good: {brief(name)} holds weights that are no numbers")


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file as arrays, without torch; bfloat16 is not among them.

    Raises:
        WeightsError: the file cannot be read, is damaged, or holds weights that are no numbers.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    weights_size(path)
    try:
        arrays = dict(load_file(path))
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {reason_of(error)}") from error
    # AttributeError is of types that numpy lacks, such as those of eight bits.
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path} is not a safetensors file, or it is damaged") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise WeightsError(f"{path} is no weights file: {brief(name)} is no ordinary tensor")
        if not np.isfinite(array).all():
            raise _not_finite(path, name)
    return arrays


def fingerprint(state: Mapping[str, torch.Tensor] | Mapping[str, NDArray[Any]]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the weights, whatever file they came in.

    Hashed are, in the order of the names, one line of JSON `["name", "dtype", [shape]]` and the
    tensor's bytes in row-major order, little-endian.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{json.dumps([name, dtype, list(tensor.shape)])}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _bytes(tensor: torch.Tensor | NDArray[Any]) -> memoryview:
    """The contents of a tensor, nothing copied."""
    if isinstance(tensor, np.ndarray):
        return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data
    import torch

    # Seen as bytes, since numpy lacks some of torch's types (bfloat16).
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
