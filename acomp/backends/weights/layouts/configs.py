"""What a `config.json` of Hugging Face says of a network, as the fields of acomp's shapes."""

from __future__ import annotations

from collections.abc import Mapping

from acomp.errors import WeightsError
from acomp.plain import brief

FAMILIES: Mapping[object, str] = {"encodec": "EnCodec", "dac": "DAC", "mimi": "Mimi"}
"""Codecs by what a `config.json` calls their family, as acomp does."""
_ENCODEC_FIXED: dict[str, object] = {
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "dilation_growth_rate": 2,
    "compress": 2,
    "trim_right_ratio": 1.0,
}
"""What `EncodecShape` does not leave open, and `transformers` takes where it is not said."""


PADDING = {"reflect": "reflect", "constant": "zero"}
"""The padding of a shape, by what the package and `transformers` call it."""


def agree(config: Mapping[str, object], expected: Mapping[str, object], what: str) -> None:
    """Check that a configuration says what is expected, where it says it.

    Raises:
        WeightsError: it says otherwise; the message begins with `what`.
    """
    for key, value in expected.items():
        if key in config and config[key] != value:
            raise WeightsError(
                f"{what}: in its config.json {key} is {brief(config[key])}, not {value!r}"
            )


def shape_values(config: Mapping[str, object], codebooks: int, what: str) -> object:
    """The shape that a configuration of EnCodec or DAC tells, as `Shape.to_dict` gives it, not yet
    checked; None where it is of another kind.

    Args:
        config: the configuration.
        codebooks: codebooks that the file holds, which EnCodec's configuration does not say.
        what: begins messages.

    Raises:
        WeightsError: it is of a network that no shape describes.
    """
    match config.get("model_type"):
        case "encodec":
            return _encodec(config, codebooks, what)
        case "dac":
            return _dac(config)
    return None


def _encodec(config: Mapping[str, object], codebooks: int, what: str) -> object:
    causal = config.get("use_causal_conv", True)
    dimension = config.get("hidden_size", 128)
    segment = None if causal else config.get("chunk_length_s")
    agree(config, {**_ENCODEC_FIXED, "normalize": segment is not None}, what)
    if config.get("codebook_dim") not in (None, dimension):
        raise WeightsError(f"{what}: in its config.json codebook_dim is not hidden_size")
    strides = config.get("upsampling_ratios", [8, 5, 4, 2])
    return {
        "family": "encodec",
        "sample_rate": config.get("sampling_rate", 24_000),
        "channels": config.get("audio_channels", 1),
        "strides": strides[::-1] if isinstance(strides, list) else strides,
        "filters": config.get("num_filters", 32),
        "residual_layers": config.get("num_residual_layers", 1),
        "lstm_layers": config.get("num_lstm_layers", 2),
        "dimension": dimension,
        "codebooks": codebooks,
        "codebook_size": config.get("codebook_size", 1024),
        "causal": causal,
        "norm": config.get("norm_type", "weight_norm"),
        "segment": segment,
        "shortcut": config.get("use_conv_shortcut", True),
        "padding": PADDING.get(str(config.get("pad_mode", "reflect")), config.get("pad_mode")),
    }


def _dac(config: Mapping[str, object]) -> object:
    return {
        "family": "dac",
        "sample_rate": config.get("sampling_rate", 16_000),
        "strides": config.get("downsampling_ratios", [2, 4, 8, 8]),
        "encoder_width": config.get("encoder_hidden_size", 64),
        "decoder_width": config.get("decoder_hidden_size", 1536),
        "codebooks": config.get("n_codebooks", 9),
        "codebook_size": config.get("codebook_size", 1024),
        "codebook_dimension": config.get("codebook_dim", 8),
    }
