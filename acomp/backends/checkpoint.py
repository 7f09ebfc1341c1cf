"""Checkpoints: loaded without running anything in them, and told apart by a fingerprint.

The safetensors that acomp writes of a codec of one's own name its shape: their header's metadata
has the key `acomp`, whose value is the JSON of `Shape.to_dict()`.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acomp.backends.shapes import Shape, shape_from
from acomp.errors import CodecError, WeightsError
from acomp.files import atomic_write, reason_of

if TYPE_CHECKING:
    import torch

MAX_SIZE = 8 << 30
"""Bytes that no weights file exceeds: 8 GiB."""
MAX_SHAPE = 1 << 16
"""Characters that no shape's JSON exceeds."""
SHAPE_KEY = "acomp"


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a weights file."""

    state: dict[str, torch.Tensor]
    """Tensors by their name in the module."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Settings that the module was built with, where the file says so (DAC): numbers, strings,
    None, and lists of them. They come from the file: bound them before use."""
    shape: Shape | None = None
    """What the module is, where the file says so (acomp's own)."""


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
        if path.suffix == ".safetensors":
            state, shape = _load_safetensors(path)
            return Checkpoint(_check_state(path, state), shape=shape)
        contents = _load_torch(path)
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {reason_of(error)}") from error
    if not isinstance(contents, dict):
        raise WeightsError(f"{path} is no weights file: it holds no tensors by name")
    metadata: object = {}
    if "state_dict" in contents:
        contents, metadata = contents["state_dict"], contents.get("metadata", {})
    kwargs = metadata.get("kwargs", {}) if isinstance(metadata, dict) else None
    if not isinstance(kwargs, dict) or not _is_plain(kwargs):
        raise WeightsError(f"{path} is no weights file: its metadata has an unknown form")
    return Checkpoint(_check_state(path, contents), kwargs)


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


def load_module(shape: Shape, path: Path, name: str) -> tuple[torch.nn.Module, str]:
    """The official module of a shape with the weights of a file, those of the codec `name`.

    Memory is taken once the file is known to hold tensors of just these names and shapes.

    Returns:
        The module, in eval mode, and the fingerprint of the weights.

    Raises:
        WeightsError: the file cannot be read, or holds other weights than this codec's.
        CodecError: a package is missing.
    """
    import torch

    with torch.device("meta"):
        module = shape.build()
    checkpoint = load_checkpoint(path)
    if checkpoint.shape not in (None, shape):
        raise WeightsError(
            f"{path} does not hold weights of {name} but those of a codec of its own shape: "
            "take -b custom"
        )
    if _shapes(module.state_dict()) != _shapes(checkpoint.state):
        raise WeightsError(f"{path} does not hold weights of {name}")
    module.to_empty(device="cpu").load_state_dict(checkpoint.state)
    return module, fingerprint(checkpoint.state)


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


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


def _load_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], Shape | None]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        state = load_file(path, device="cpu")
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is not a safetensors file, or it is damaged") from error
    return state, _shape_in(path, metadata[SHAPE_KEY]) if SHAPE_KEY in metadata else None


def _shape_in(path: Path, text: str) -> Shape:
    """The shape that a file's header names."""
    try:
        return shape_from(json.loads(text if len(text) <= MAX_SHAPE else ""))
    # Nesting as deep as the limit on length allows exhausts the parser's stack.
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: the shape that it names is not JSON") from error
    except CodecError as error:
        raise WeightsError(f"{path}: in the shape that it names {error}") from error


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


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file as arrays, without torch; bfloat16 is not among them.

    Raises:
        WeightsError: the file cannot be read or is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {reason_of(error)}") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is not a safetensors file, or it is damaged") from error


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
