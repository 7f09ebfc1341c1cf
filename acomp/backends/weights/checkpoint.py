"""Checkpoints: loaded without running anything in them, and told apart by a fingerprint.

The safetensors that acomp writes of a codec of one's own name its shape: their header's metadata
has the key `acomp`, whose value is the JSON of `Shape.to_dict()`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acomp.errors import WeightsError
from acomp.files import atomic_write, reason_of
from acomp.plain import NotPlainError, brief, check, parse_json
from acomp.tensors import load_tensors

if TYPE_CHECKING:
    import torch

MAX_SIZE = 8 << 30
"""Bytes that no weights file exceeds: 8 GiB."""
SHAPE_KEY = "acomp"


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a weights file.

    Attributes:
        state: tensors by their name in the module.
        kwargs: settings that the module was built with, where the file says so (DAC): numbers,
            strings, None, and lists of them. They come from the file: bound them before use.
        shape: what the module is, where the file says so (acomp's own): what `Shape.to_dict` gave,
            or anything else that JSON can hold.
    """

    state: dict[str, torch.Tensor]
    kwargs: dict[str, Any] = field(default_factory=dict)
    shape: object = None


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a weights file onto the CPU without running anything that hides in it.

    Taken are safetensors (`.safetensors`), EnCodec's layout (a state dict) and that of
    `descript-audiotools` for DAC (a dict of `state_dict` and `metadata`, whose `kwargs` are kept).
    Nothing is added to what torch's `weights_only` allows, as the published files need no more
    than tensors, dicts, lists, numbers and strings.

    Raises:
        WeightsError: the file cannot be read, is damaged, is no weights file, or holds weights that
            are no numbers (NaN, infinite).
    """
    size = weights_size(path)
    try:
        if _is_safetensors(path):
            state, shape = _load_safetensors(path)
            return Checkpoint(_check_state(path, state, size), shape=shape)
        with path.open("rb") as file:
            contents = load_tensors(file)
    except NotPlainError as error:
        raise WeightsError(f"{path} {error}") from error
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {reason_of(error)}") from error
    if not isinstance(contents, dict):
        raise WeightsError(f"{path} is no weights file: it holds no tensors by name")
    metadata: object = {}
    if "state_dict" in contents:
        contents, metadata = contents["state_dict"], contents.get("metadata", {})
    kwargs = metadata.get("kwargs", {}) if isinstance(metadata, dict) else None
    try:
        check(kwargs)
    except NotPlainError as error:
        raise WeightsError(f"{path} is no weights file: its metadata {error}") from error
    if not isinstance(kwargs, dict):
        raise WeightsError(f"{path} is no weights file: its metadata has an unknown form")
    return Checkpoint(_check_state(path, contents, size), kwargs)


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
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not hold weights of {name}") from error
    return fingerprint(state)


class Described(Protocol):
    """What a file of weights can name as its shape."""

    def to_dict(self) -> dict[str, Any]: ...


def save_weights(
    path: Path, state: Mapping[str, torch.Tensor], shape: Described | None = None
) -> None:
    """Write weights as safetensors, each tensor of the type it has; `path` ends in `.safetensors`.

    Args:
        path: the file, which appears whole or not at all.
        state: tensors by their name in the module.
        shape: what the module is, where it is one's own; None for a published one.

    Raises:
        WeightsError: the file cannot be written.
    """
    from safetensors.torch import save

    metadata = None if shape is None else {SHAPE_KEY: json.dumps(shape.to_dict())}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_write(path, WeightsError) as file:
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
        raise WeightsError(f"{path} is not a safetensors file, or it is damaged") from error
    if SHAPE_KEY not in metadata:
        return state, None
    try:
        return state, parse_json(metadata[SHAPE_KEY])
    except NotPlainError as error:
        raise WeightsError(f"{path}: the shape that it names {error}") from error


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
        if not torch.isfinite(tensor).all():
            raise _not_finite(path, name)
    return contents


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
