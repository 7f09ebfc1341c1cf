"""The shape of Mimi's networks, and the `config.json` that tells it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acomp.codecs import SPECS, Published
from acomp.errors import WeightsError
from acomp.plain import read_json

SPEC = SPECS["mimi"]
STRIDE = 2
"""Positions of the transformers in a frame."""
KERNEL, END_KERNEL, RESIDUAL_KERNEL = 7, 3, 3
"""Sizes of the kernel next to the input of a stack, of its last one, and of a residual layer's."""
ROPE_BASE = 10_000.0
NORM_EPSILON = 1e-5
MOST = 1 << 14
"""What no number that a shape is made of exceeds."""

FIXED: dict[str, object] = {
    "model_type": "mimi",
    "sampling_rate": SPEC.sample_rate,
    "frame_rate": SPEC.frame_rate,
    "audio_channels": SPEC.channels,
    "num_quantizers": SPEC.codebooks,
    "num_semantic_quantizers": 1,
    "codebook_size": SPEC.codebook_size,
    "codebook_dim": SPEC.codebook_dim,
    "vector_quantization_hidden_dimension": SPEC.codebook_dim,
    "kernel_size": KERNEL,
    "last_kernel_size": END_KERNEL,
    "residual_kernel_size": RESIDUAL_KERNEL,
    "num_residual_layers": 1,
    "compress": 2,
    "use_causal_conv": True,
    "use_conv_shortcut": False,
    "pad_mode": "constant",
    "trim_right_ratio": 1.0,
    "hidden_act": "gelu",
    "attention_bias": False,
    "norm_eps": NORM_EPSILON,
    "rope_theta": ROPE_BASE,
    "rope_scaling": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE},
}
"""What a config.json, where it says it, must say: all that `MimiShape` does not leave open."""


@dataclass(frozen=True)
class MimiShape:
    """What may differ between networks of Mimi's kind; by default the published one.

    Attributes:
        hidden_size: channels of the latents and of the transformers.
        num_filters: channels of the layer next to the samples.
        upsampling_ratios: of the decoder's upsampling layers, the one next to the latents first.
        num_hidden_layers: layers of a transformer.
        num_attention_heads: heads of its attention.
        intermediate_size: channels within a layer's two products.
        sliding_window: positions that a position attends to, itself among them.
    """

    # Named as `transformers.MimiConfig` names them.

    hidden_size: int = 512
    num_filters: int = 64
    upsampling_ratios: tuple[int, ...] = (8, 6, 5, 4)
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    sliding_window: int = 250

    @classmethod
    def of(cls, codec: Published) -> MimiShape:
        """The shape of the published codec."""
        network: dict[str, Any] = dict(codec.network)
        return cls(**network)

    @property
    def head_dim(self) -> int:
        """Channels of an attention head."""
        return self.hidden_size // self.num_attention_heads


def read_shape(path: Path) -> MimiShape:
    """The shape that a `config.json` tells.

    Raises:
        WeightsError: it cannot be read, or tells of another codec.
    """
    config = read_json(path, WeightsError)
    try:
        return _shape_of(config)
    except ValueError as error:
        raise WeightsError(f"{path} does not describe mimi: {error}") from error


def _shape_of(config: object) -> MimiShape:
    """The shape that the contents of a `config.json` tell; ValueError says what does not fit."""
    if not isinstance(config, dict):
        raise ValueError("it is not a dictionary")
    for key, expected in FIXED.items():
        _agree(config, key, expected, expected)
    ratios = config.get("upsampling_ratios") or MimiShape.upsampling_ratios
    shape = MimiShape(
        hidden_size=_number(config, "hidden_size"),
        num_filters=_number(config, "num_filters"),
        upsampling_ratios=tuple(ratios) if isinstance(ratios, list | tuple) else (),
        num_hidden_layers=_number(config, "num_hidden_layers"),
        num_attention_heads=_number(config, "num_attention_heads"),
        intermediate_size=_number(config, "intermediate_size"),
        sliding_window=_number(config, "sliding_window"),
    )
    numbers = all(type(ratio) is int and ratio > 1 for ratio in shape.upsampling_ratios)
    if not numbers or math.prod(shape.upsampling_ratios) * STRIDE != SPEC.hop_length:
        raise ValueError(f"upsampling_ratios do not multiply to {SPEC.hop_length // STRIDE}")
    if shape.hidden_size % (2 * shape.num_attention_heads) or shape.num_filters % 2:
        raise ValueError("its heads or filters are of odd sizes")
    # Where they are not said, `transformers` takes the published numbers, whatever the others are.
    _agree(config, "num_key_value_heads", MimiShape.num_attention_heads, shape.num_attention_heads)
    _agree(config, "upsample_groups", MimiShape.hidden_size, shape.hidden_size)
    _agree(config, "head_dim", None, shape.head_dim, None)
    _agree(config, "_frame_rate", None, SPEC.frame_rate, None)
    return shape


def _agree(config: Mapping[str, object], key: str, default: object, *expected: object) -> None:
    value = config.get(key, default)
    if value not in expected:
        raise ValueError(f"{key} is {repr(value)[:40]}, not {expected[0]!r}")


def _number(config: Mapping[str, object], key: str) -> int:
    value = config.get(key, getattr(MimiShape, key))
    if type(value) is not int or not 1 <= value <= MOST:
        raise ValueError(f"{key} is no number from 1 to {MOST}")
    return value
