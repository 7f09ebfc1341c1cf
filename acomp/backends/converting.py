"""Weights carried into another program: `acomp models convert`."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from acomp.backends.custom import named_shape, recognised_shape
from acomp.backends.dac.shape import DacShape, arguments
from acomp.backends.encodec.shape import EncodecShape
from acomp.backends.families import published_shape
from acomp.backends.mimi.shape import FIXED, MimiShape, read_shape
from acomp.backends.shared.shape import Shape
from acomp.backends.snac.shape import SnacShape
from acomp.backends.weights.checkpoint import Checkpoint, load_checkpoint, save_weights
from acomp.backends.weights.layouts import dac, encodec, mimi, norm
from acomp.backends.weights.layouts.files import WEIGHT_FILES, config_of, read_config
from acomp.codecs import PUBLISHED
from acomp.errors import ExistsError, WeightsError
from acomp.files import atomic_write, make_folder

if TYPE_CHECKING:
    import torch

Target = Literal["official", "huggingface", "acomp"]


@dataclass(frozen=True)
class _Weights:
    """Weights by acomp's names, and the shape of their network."""

    state: dict[str, torch.Tensor]
    shape: Any


def convert(source: Path, target: Path, to: Target, *, replace: bool = False) -> str:
    """Write weights as another program takes them.

    Args:
        source: a file or folder of weights, in any layout.
        target: the file to write, or the folder where that program takes one.
        to: "official" for the package of the codec's authors, "huggingface" for `transformers`
            (for SNAC its package), "acomp" for acomp's safetensors.
        replace: whether files that exist may be replaced.

    Returns:
        What was written, in words.

    Raises:
        WeightsError: the weights cannot be read, no codec is known that they are of, or the other
            program has no such network.
        ExistsError: a file exists that is not to be replaced.
    """
    checkpoint = load_checkpoint(source)
    weights = _Weights(checkpoint.state, _shape_of(source, checkpoint))
    if to == "acomp":
        _to_acomp(weights, target, replace=replace)
        return "acomp's safetensors"
    match weights.shape:
        case EncodecShape() if to == "official":
            _write(target, _pickled(weights.state), replace=replace)
            return "a state dict of the package encodec"
        case DacShape() if to == "official":
            _write(target, _pickled(_as_dac_saves(weights)), replace=replace)
            return "a file of descript-audio-codec"
        case EncodecShape():
            state = encodec.HUGGING_FACE.from_acomp(weights.state)
            _write_folder(target, state, _encodec_config(weights.shape), replace=replace)
        case DacShape():
            state = dac.HUGGING_FACE.from_acomp(weights.state)
            _write_folder(target, state, _dac_config(target, weights.shape), replace=replace)
        case SnacShape():
            _make_folder(target, "pytorch_model.bin", replace=replace)
            _write(target / "pytorch_model.bin", _pickled(weights.state), replace=replace)
            _write(target / "config.json", _json(weights.shape.config), replace=replace)
            return "a folder of the package snac"
        case MimiShape() if to == "huggingface":
            _write_folder(target, weights.state, _mimi_config(weights.shape), replace=replace)
        case _:
            _to_moshi(weights, target, replace=replace)
            return "a file of moshi"
    return "a folder of transformers"


def _shape_of(source: Path, checkpoint: Checkpoint) -> Any:
    """The shape of some weights, as they tell it, or else the published one that they fit."""
    shape: Any = named_shape(source, checkpoint) or recognised_shape(source, checkpoint)
    if shape is not None:
        return shape
    family = None if checkpoint.layout is None else checkpoint.layout.family
    if family == "mimi":
        config = config_of(source)
        return MimiShape() if config is None else read_shape(config)
    found, config = norm.whole_shapes(checkpoint.state), config_of(source)
    fitting = {
        name: published_shape(name)
        for name, codec in PUBLISHED.items()
        if codec.family == family and _shapes_of(published_shape(name)) == found
    }
    if config is not None and family == "snac":
        said = read_config(config).get("sampling_rate")
        fitting = {name: shape for name, shape in fitting.items() if shape.sample_rate == said}
    if not fitting:
        raise WeightsError(
            f"{source} does not say what codec it is of, and is in no published shape"
        )
    if len(fitting) > 1:
        raise WeightsError(
            f"{source} may be of {' or of '.join(fitting)}, which have the same tensors: name the "
            "folder with its config.json"
        )
    return next(iter(fitting.values()))


def _shapes_of(shape: Any) -> dict[str, list[int]]:
    """Shapes of the tensors of a network, for which no memory is taken."""
    import torch

    with torch.device("meta"):
        return norm.whole_shapes(shape.network().state_dict())


def _to_acomp(weights: _Weights, target: Path, *, replace: bool) -> None:
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: the name of acomp's files ends in .safetensors")
    shape, published = weights.shape, [published_shape(name) for name in PUBLISHED]
    own = shape if isinstance(shape, Shape) and shape not in published else None
    save_weights(target, weights.state, own, replace=replace)


def _to_moshi(weights: _Weights, target: Path, *, replace: bool) -> None:
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: the name of Moshi's files ends in .safetensors")
    heads = weights.shape.num_attention_heads
    if heads != mimi.HEADS:
        raise WeightsError(f"moshi has {mimi.HEADS} heads of attention, and these weights {heads}")
    save_weights(target, mimi.MOSHI.from_acomp(weights.state), replace=replace)


def _as_dac_saves(weights: _Weights) -> dict[str, Any]:
    return {"state_dict": weights.state, "metadata": {"kwargs": arguments(weights.shape)}}


# What config.json says


def _encodec_config(shape: EncodecShape) -> dict[str, Any]:
    return {
        "architectures": ["EncodecModel"],
        "model_type": "encodec",
        "sampling_rate": shape.sample_rate,
        "audio_channels": shape.channels,
        "upsampling_ratios": list(reversed(shape.strides)),
        "num_filters": shape.filters,
        "num_residual_layers": shape.residual_layers,
        "num_lstm_layers": shape.lstm_layers,
        "hidden_size": shape.dimension,
        "codebook_dim": shape.dimension,
        "codebook_size": shape.codebook_size,
        "use_causal_conv": shape.causal,
        "norm_type": shape.norm,
        "normalize": shape.segment is not None,
        "use_conv_shortcut": shape.shortcut,
        "pad_mode": {"reflect": "reflect", "zero": "constant"}[shape.padding],
        "chunk_length_s": shape.segment,
        "overlap": None if shape.segment is None else 0.01,
        "target_bandwidths": _bandwidths(shape),
    }


def _bandwidths(shape: EncodecShape) -> list[float]:
    """Bandwidths in kbps by which `transformers` finds each number of codebooks: it rounds the
    frame rate up, and what it divides by it down.
    """
    each = (shape.codebook_size.bit_length() - 1) * math.ceil(shape.sample_rate / shape.hop_length)
    exact = ((count, count * each / 1000) for count in shape.offered_codebooks())
    return [x if 1000 * x // each == count else math.nextafter(x, math.inf) for count, x in exact]


def _dac_config(target: Path, shape: DacShape) -> dict[str, Any]:
    if shape.latent_dimension not in (None, shape.encoder_width << len(shape.strides)):
        raise WeightsError(
            f"cannot write {target}: transformers has no DAC whose latents, of "
            f"{shape.latent_dimension} channels, are not the encoder's widest layer"
        )
    return {
        "architectures": ["DacModel"],
        "model_type": "dac",
        "sampling_rate": shape.sample_rate,
        "downsampling_ratios": list(shape.strides),
        "encoder_hidden_size": shape.encoder_width,
        "decoder_hidden_size": shape.decoder_width,
        "n_codebooks": shape.codebooks,
        "codebook_size": shape.codebook_size,
        "codebook_dim": shape.codebook_dimension,
    }


def _mimi_config(shape: MimiShape) -> dict[str, Any]:
    fixed = {
        key: value for key, value in FIXED.items() if key not in ("frame_rate", "rope_scaling")
    }
    return {
        "architectures": ["MimiModel"],
        **fixed,
        **asdict(shape),
        "head_dim": shape.head_dim,
        "num_key_value_heads": shape.num_attention_heads,
        "upsample_groups": shape.hidden_size,
    }


# Writing


def _write_folder(
    folder: Path, state: dict[str, torch.Tensor], config: Mapping[str, Any], *, replace: bool
) -> None:
    """A folder of `transformers`, the config last: without it no program takes the folder."""
    _make_folder(folder, "model.safetensors", replace=replace)
    save_weights(folder / "model.safetensors", state, replace=replace)
    _write(folder / "config.json", _json(config), replace=replace)


def _make_folder(folder: Path, weights: str, *, replace: bool) -> None:
    """Make the folder that a file of weights and a config.json are to go to, or find out before
    anything is written that they cannot: where one of them exists, or where weights of another
    name lie, which some programs would take instead.
    """
    for name in ("config.json", *WEIGHT_FILES):
        if not (folder / name).exists():
            continue
        if name not in ("config.json", weights):
            raise WeightsError(f"{folder} holds other weights, {name}: name another folder")
        if not replace:
            raise ExistsError(f"cannot write {folder / name}: it exists already")
    make_folder(folder, WeightsError)


def _pickled(contents: object) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(contents, buffer)
    return buffer.getvalue()


def _json(value: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(value, indent=2)}\n".encode()


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    with atomic_write(path, WeightsError, replace=replace) as file:
        file.write(data)
