"""What AudioCraft's files say of a codec: `xp.cfg`, the configuration of its training in YAML.

Its tensors have the names of the package `encodec` (`encodec`, the layout). MusicGen's codecs, of
32 kHz and not causal, are among these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from acomp.backends.weights.layouts.configs import PADDING
from acomp.errors import WeightsError
from acomp.plain import NotPlainError, brief, parse_yaml

STATE, CONFIG = "best_state", "xp.cfg"
"""Keys of the weights and of the configuration in a file."""
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_FIXED: dict[str, object] = {
    "seanet.activation": "ELU",
    "seanet.kernel_size": 7,
    "seanet.last_kernel_size": 7,
    "seanet.residual_kernel_size": 3,
    "seanet.dilation_base": 2,
    "seanet.compress": 2,
    "seanet.disable_norm_outer_blocks": 0,
    "encodec.autoencoder": "seanet",
    "encodec.quantizer": "rvq",
    "encodec.renormalize": False,
}
"""What `EncodecShape` does not leave open."""
_FIELDS = {
    "sample_rate": ("sample_rate", 24_000),
    "channels": ("channels", 1),
    "filters": ("seanet.n_filters", 32),
    "residual_layers": ("seanet.n_residual_layers", 1),
    "lstm_layers": ("seanet.lstm", 2),
    "dimension": ("seanet.dimension", 128),
    "codebooks": ("rvq.n_q", 8),
    "codebook_size": ("rvq.bins", 1024),
    "causal": ("encodec.causal", False),
    "norm": ("seanet.norm", "weight_norm"),
}
"""Fields of the shape: their places in a configuration, and AudioCraft's own defaults."""


def state_of(contents: Mapping[object, object]) -> object:
    """The tensors of a file by name: as a codec's file has them, or as one of training does."""
    state = contents.get(STATE)
    inner = state.get("model") if isinstance(state, dict) else None
    return inner if isinstance(inner, dict) else state


def shape_values(text: object, what: str) -> dict[str, object]:
    """The shape that a configuration tells, as `Shape.to_dict` gives it, not yet checked.

    Args:
        text: of the configuration.
        what: begins messages.

    Raises:
        WeightsError: it is no such configuration, or of a network that no shape describes.
    """
    config = _parsed(text, what)
    for place, value in _FIXED.items():
        found = _at(config, place, value)
        if found != value:
            raise WeightsError(f"{what}: in its {CONFIG} {place} is {brief(found)}, not {value!r}")
    ratios = _at(config, "seanet.ratios", [8, 5, 4, 2])
    padding = _at(config, "seanet.pad_mode", "constant")
    return {
        "family": "encodec",
        **{name: _at(config, *place) for name, place in _FIELDS.items()},
        "strides": ratios[::-1] if isinstance(ratios, list) else ratios,
        "shortcut": not _at(config, "seanet.true_skip", True),
        "padding": PADDING.get(str(padding), padding),
    }


def _parsed(text: object, what: str) -> Mapping[str, object]:
    if not isinstance(text, str):
        raise WeightsError(f"{what}: its {CONFIG} is no text")
    try:
        config = parse_yaml(text)
    except NotPlainError as error:
        raise WeightsError(f"{what}: its {CONFIG} {error}") from error
    except ImportError as error:
        raise WeightsError(
            f"{what}: its {CONFIG} is read by PyYAML, which is missing: pip install pyyaml"
        ) from error
    if not isinstance(config, dict):
        raise WeightsError(f"{what}: its {CONFIG} is no configuration")
    return config


def _at(config: Mapping[str, object], place: str, default: object) -> object:
    """The value at a place such as `seanet.ratios`; a reference such as `${channels}` is looked up,
    once.
    """
    value = _plain_at(config, place, default)
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return value if found is None else _plain_at(config, found[1], default)


def _plain_at(config: Mapping[str, object], place: str, default: object) -> object:
    value: object = config
    for key in place.split("."):
        if not isinstance(value, dict) or key not in value:
            return default
        value = value[key]
    return value
