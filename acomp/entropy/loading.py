"""Loading of language models, by the name of their codec or from files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from acomp.backends.weights.cache import fetch
from acomp.backends.weights.catalogue import CATALOGUE
from acomp.backends.weights.checkpoint import (
    SHAPE_KEY,
    fingerprint,
    load_arrays,
    load_checkpoint,
    weights_size,
)
from acomp.codes import CodesInfo
from acomp.entropy.base import LanguageModel
from acomp.entropy.cascade import FAMILY, Cascade, CascadeShape
from acomp.entropy.coding import BlockCoder
from acomp.entropy.encodec import EncodecLanguageModel
from acomp.errors import FormatError, WeightsError
from acomp.files import reason_of
from acomp.plain import NotPlainError, parse_json

MAX_LOADED = 2
"""Language models that are kept in memory after use."""


@dataclass(frozen=True)
class _Version:
    """Identifies the content of a file, so that a file that was changed is loaded again."""

    path: Path
    size: int
    changed: int
    """Time of the last change in nanoseconds."""


def load_coder(info: CodesInfo, file: Path | None = None) -> BlockCoder:
    """The entropy coder for codes, with the language model of their codec or that of a file.

    Args:
        info: what the codes are of.
        file: a file of weights; by default the published language model of the codec.

    Raises:
        FormatError: the codec has no language model, or the model does not fit the codes.
        WeightsError: the weights cannot be downloaded, or the file holds no language model.
    """
    model = load_language_model(info.codec, info.frame_rate, file)
    if info.codebook_size != model.codebook_size or info.codebooks > model.codebooks:
        raise FormatError(
            f"the language model knows {model.codebooks} codebooks of {model.codebook_size} "
            f"entries, and the codes of {info.codec} have {info.codebooks} of {info.codebook_size}"
        )
    return BlockCoder(model, info)


def load_language_model(codec: str, frame_rate: float, file: Path | None = None) -> LanguageModel:
    """The published language model of a codec, or that of a file.

    Args:
        codec: name of the codec.
        frame_rate: frame rate of the codes in frames/s.
        file: a file of weights; by default the published language model of the codec.

    Raises:
        FormatError: the codec has no language model.
        WeightsError: the weights cannot be downloaded, or the file holds no language model.
    """
    path = file or _published(codec)
    size = weights_size(path)
    version = _Version(path.absolute(), size, path.stat().st_mtime_ns)
    return _load(version).at_rate(frame_rate)


def _published(codec: str) -> Path:
    name = f"{codec}-lm"
    if name not in CATALOGUE:
        models = [each for each, weights in CATALOGUE.items() if weights.is_language_model]
        offered = ", ".join(each.removesuffix("-lm") for each in models)
        raise FormatError(
            f"there is no language model for {codec}, only for {offered}: train one "
            "(acomp train --language-model) and name it (--language-model FILE)"
        )
    return fetch(name)


@lru_cache(maxsize=MAX_LOADED)
def _load(version: _Version) -> LanguageModel:
    file = version.path
    shape = _shape_in(file)
    if shape is not None:
        return _cascade(file, shape)
    state = load_checkpoint(file).state
    arrays = {name: tensor.float().numpy() for name, tensor in state.items()}
    try:
        return EncodecLanguageModel(arrays, fingerprint(state))
    except WeightsError as error:
        raise WeightsError(f"{file} holds no language model") from error


def _shape_in(file: Path) -> CascadeShape | None:
    """The shape that a file written by acomp states; None for any other file."""
    if file.suffix != ".safetensors":
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as opened:
            text = (opened.metadata() or {}).get(SHAPE_KEY, "null")
    except OSError as error:
        raise WeightsError(f"cannot read the weights {file}: {reason_of(error)}") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{file} is not a safetensors file, or it is damaged") from error
    try:
        fields = parse_json(text)
        if not isinstance(fields, dict) or fields.pop("family", None) != FAMILY:
            return None
        return CascadeShape(**{**fields, "dilations": tuple(fields["dilations"])})
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error
    except (NotPlainError, TypeError, KeyError) as error:
        raise WeightsError(f"{file} is damaged: it states no valid shape") from error


def _cascade(file: Path, shape: CascadeShape) -> Cascade:
    arrays = load_arrays(file)
    found = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    if found != _layout(shape):
        raise WeightsError(f"{file} does not hold weights of the shape that it states")
    return Cascade(shape, arrays, fingerprint(arrays))


def _layout(shape: CascadeShape) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Types and shapes of the arrays in a file, by name."""
    layout: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, size in shape.matrices().items():
        layout[name] = "int8", size
        layout[f"{name}_scale"] = "float32", (*size[:-1], 1)
    return {**layout, **{name: ("float32", size) for name, size in shape.vectors().items()}}
