"""What a run is asked to do: the codec's recipe, the user's file, the command's options.

All three are mappings of the same keys, later ones over earlier ones; together they make a
`Config`, which the run keeps as `config.yaml`. Every key is a field of the dataclasses below.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from acomp.codecs import CUSTOM, PUBLISHED, of_family
from acomp.errors import TrainingError
from acomp.files import atomic_write, reason_of
from acomp.plain import MAX_TEXT, NotPlainError, brief, parse_yaml, read_small
from acomp.training.discriminators import NAMES
from acomp.training.losses import RECONSTRUCTION

PENALTIES = ("commitment", "codebook", "lines", "bands")
"""Losses that a network tells beside its output; `lines` and `bands` are nano's."""
AGAINST_DISCRIMINATORS = ("adversarial", "feature_matching")
"""The codec of a shape of one's own."""


@dataclass(frozen=True)
class Data:
    """Where the audio comes from and what is cut from it."""

    sources: dict[str, float | None]
    """Folders, or text files that list audio, and each one's share of the segments; null stands
    for its share of the hours."""
    segment: float = 1.0
    """Seconds."""
    held_out: float = 0.05
    """Share of the files that is kept for validation."""
    validation: int = 24
    """Segments that are validated on, at most."""
    gain: tuple[float, float] | None = (-24.0, 0.0)
    """Peak levels in dB that segments are brought to; null leaves them as they are."""
    mix: float = 0.0
    """Probability that another segment is mixed in."""


@dataclass(frozen=True)
class Optimiser:
    """AdamW, and how fast it learns."""

    rate: float = 1e-4
    """Learning rate at its peak."""
    encoder: float = 1.0
    """The encoder's learning rate, in parts of the others'; 0 leaves the encoder and the codebooks
    alone, so that the codes stay the same."""
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.0
    warm_up: int = 0
    """Steps over which the rate rises."""
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    """How it falls after: not, along a cosine to a fiftieth, or by `decay` a step."""
    decay: float = 0.999996
    clip: float | None = None
    """Largest norm of the gradient."""


@dataclass(frozen=True)
class Adversary:
    """The discriminators."""

    discriminators: tuple[str, ...] = ()
    loss: Literal["hinge", "least-squares"] = "hinge"
    relative: bool = True
    """Whether feature matching is relative to the features' size (EnCodec) or not (DAC)."""
    probability: float = 1.0
    """Share of the steps that discriminators learn in."""
    start: int = 0
    """Step from which they take part."""
    rate: float = 1e-4
    """Learning rate at its peak; it rises and falls as the codec's does. Betas and weight decay are
    the codec's too."""
    clip: float | None = None


@dataclass(frozen=True)
class Config:
    """A whole run."""

    backend: str
    data: Data
    losses: dict[str, float]
    """Weights of the losses by name."""
    optimiser: Optimiser = field(default_factory=Optimiser)
    adversary: Adversary = field(default_factory=Adversary)
    balance: bool = False
    """Whether the losses of the output are weighed by EnCodec's balancer."""
    weights: str | None = None
    """File of the codec's weights, to begin from or to code with; null stands for the published
    ones."""
    from_scratch: bool = False
    language_model: dict[str, Any] | None = None
    """Instead of the codec a language model of its codes is trained, of this shape: what
    `acomp.entropy.cascade.CascadeShape` has beside the codec's own numbers."""
    shape: dict[str, Any] | None = None
    """What the backend `custom` is built as: `family` and the fields of that family's shape."""
    steps: int = 10_000
    batch: int = 8
    """Segments of a step, of each process."""
    dropout: float = 1.0
    """Share of the segments that are coded at a bandwidth drawn anew; the others take all
    codebooks."""
    log_every: int = 50
    save_every: int = 1000
    validate_every: int = 1000
    """Steps."""
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        _check(self)


def recipe(backend: str, family: object = None) -> dict[str, Any]:
    """The default settings of a codec: its family's published ones. The backend `custom` needs to
    be told its family.

    Raises:
        TrainingError: the codec has none.
    """
    known = of_family(str(family)) if backend == CUSTOM else [PUBLISHED.get(backend)]
    name = next((codec.recipe for codec in known if codec and codec.recipe), None)
    if name is None and backend == CUSTOM:
        raise TrainingError(
            "a codec of one's own needs its shape: give a file with `shape:` and in it "
            "`family: encodec` or `family: dac` (--config FILE)"
        )
    if name is None:
        trained = ", ".join(name for name, codec in PUBLISHED.items() if codec.recipe)
        raise TrainingError(f"{backend} cannot be trained; these can: {trained}, {CUSTOM}")
    path = files("acomp.training") / "recipes" / f"{name}.yaml"
    return dict(yaml.safe_load(path.read_text()), backend=backend)


def language_model_recipe(backend: str) -> dict[str, Any]:
    """The default settings of training a language model of a codec's codes."""
    path = files("acomp.training") / "recipes" / "language-model.yaml"
    return dict(yaml.safe_load(path.read_text()), backend=backend)


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `under`, level by level; what is named by the user replaces whole what is
    `sources`, `losses` or `shape`.
    """
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        whole = key in ("sources", "losses", "shape")
        if isinstance(below, Mapping) and isinstance(value, Mapping) and not whole:
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        TrainingError: it cannot be read, is no YAML, or holds something else.
    """
    try:
        contents = parse_yaml(read_small(path, MAX_TEXT).decode("utf-8-sig"))
    except OSError as error:
        raise TrainingError(f"cannot read the configuration {path}: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is no YAML: it is not text in UTF-8") from error
    except NotPlainError as error:
        raise TrainingError(f"{path} {error}") from error
    if not isinstance(contents, dict) or not all(isinstance(key, str) for key in contents):
        raise TrainingError(f"{path} is no configuration: it holds no keys and values")
    return contents


def write_yaml(path: Path, config: Config) -> None:
    """Keep the configuration of a run."""
    text = yaml.safe_dump(_plain(asdict(config)), sort_keys=False)
    with atomic_write(path, TrainingError) as file:
        file.write(text.encode())


def parse(settings: Mapping[str, Any]) -> Config:
    """The settings as a `Config`.

    Raises:
        TrainingError: a key is unknown or missing, or a value is not what the key takes.
    """
    config: Config = _build(Config, settings, "")
    return config


def _plain(value: Any) -> Any:
    """Tuples as lists, as YAML has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _build(kind: Any, value: Any, name: str) -> Any:
    """`value` as `kind`, a dataclass, one of its fields' types, or their union."""
    if is_dataclass(kind):
        return _build_dataclass(kind, value, name)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        inner = [option for option in arguments if option is not type(None)]
        return (
            None if value is None and len(inner) < len(arguments) else _build(inner[0], value, name)
        )
    if origin is Literal:
        if value in arguments:
            return value
        raise TrainingError(f"{name} is one of {', '.join(arguments)}, not {brief(value)}")
    if origin is dict:
        _expect(isinstance(value, Mapping), name, "keys and values", value)
        _expect(all(isinstance(key, str) for key in value), name, "keys that are words", value)
        return {key: _build(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    if origin is tuple:
        return _build_tuple(arguments, value, name)
    return _build_scalar(kind, value, name)


def _build_dataclass(kind: Any, value: Any, name: str) -> Any:
    _expect(isinstance(value, Mapping), name or "the configuration", "keys and values", value)
    known, hints = {item.name: item for item in fields(kind)}, get_type_hints(kind)
    prefix = f"{name}." if name else ""
    for key in value:
        if key not in known:
            raise TrainingError(
                f"there is no setting {prefix}{key:.60}; there are {', '.join(map(str, known))}"
            )
    for key, item in known.items():
        if key not in value and item.default is MISSING and item.default_factory is MISSING:
            raise TrainingError(f"the configuration lacks {prefix}{key}")
    return kind(**{key: _build(hints[key], item, prefix + key) for key, item in value.items()})


def _build_tuple(arguments: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    _expect(isinstance(value, list | tuple), name, "a list", value)
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    _expect(len(kinds) == len(value), name, f"a list of {len(kinds)}", value)
    return tuple(_build(kind, item, name) for kind, item in zip(kinds, value, strict=True))


def _build_scalar(kind: Any, value: Any, name: str) -> Any:
    if kind is Any:
        return value
    if kind is float and isinstance(value, str):  # YAML 1.1 takes 1e-4 for a word
        with suppress(ValueError):
            value = float(value)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and numeric:
        return float(value)
    words = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    _expect(type(value) is kind, name, words[kind], value)
    return value


def _expect(right: bool, name: str, what: str, value: Any) -> None:
    if not right:
        raise TrainingError(f"{name} is to be {what}, not {brief(value)}")


def _check_losses(config: Config) -> None:
    if config.language_model is not None:
        if config.losses or config.from_scratch or config.shape:
            raise TrainingError(
                "a language model has no `losses` and no `shape` of a codec, and always begins "
                "from scratch: leave them out"
            )
        return
    known = (*RECONSTRUCTION, *PENALTIES, *AGAINST_DISCRIMINATORS)
    for name in config.losses:
        if name not in known:
            raise TrainingError(f"there is no loss {brief(name)}; there are {', '.join(known)}")
    if not any(name in RECONSTRUCTION for name in config.losses):
        raise TrainingError(
            f"losses name none that compares sounds; such are {', '.join(RECONSTRUCTION)}"
        )


def _check(config: Config) -> None:
    """Raise TrainingError where a value makes no sense."""
    _check_losses(config)
    for name in config.adversary.discriminators:
        if name not in NAMES:
            raise TrainingError(
                f"there is no discriminator {brief(name)}; there are {', '.join(NAMES)}"
            )
    if any(name in config.losses for name in AGAINST_DISCRIMINATORS) != bool(
        config.adversary.discriminators
    ):
        raise TrainingError(
            "the losses adversarial and feature_matching and adversary.discriminators need each "
            "other: give both or neither"
        )
    positive = {
        **{name: getattr(config, name) for name in ("steps", "batch", "devices")},
        **{name: getattr(config, name) for name in ("log_every", "save_every", "validate_every")},
        "data.segment": config.data.segment,
        "data.validation": config.data.validation,
        "optimiser.rate": config.optimiser.rate,
        "optimiser.clip": config.optimiser.clip or 1.0,
        "adversary.rate": config.adversary.rate,
        "adversary.clip": config.adversary.clip or 1.0,
    }
    for name, value in positive.items():
        _expect(0 < value < float("inf"), name, "more than 0", value)
    shares = {
        "dropout": config.dropout,
        "data.mix": config.data.mix,
        "adversary.probability": config.adversary.probability,
    }
    for name, value in shares.items():
        _expect(0 <= value <= 1, name, "between 0 and 1", value)
    not_negative = {
        "optimiser.encoder": config.optimiser.encoder,
        "optimiser.weight_decay": config.optimiser.weight_decay,
        "optimiser.warm_up": config.optimiser.warm_up,
        "adversary.start": config.adversary.start,
        **{f"losses.{name}": weight for name, weight in config.losses.items()},
    }
    for name, value in not_negative.items():
        _expect(0 <= value < float("inf"), name, "0 or more", value)
    _expect(0 <= config.seed < 1 << 63, "seed", "from 0 to 2^63 - 1", config.seed)
    for beta in config.optimiser.betas:
        _expect(0 <= beta < 1, "optimiser.betas", "from 0 to less than 1", beta)
    _expect(0 < config.optimiser.decay <= 1, "optimiser.decay", "0 to 1", config.optimiser.decay)
    _expect(
        config.data.gain is None or all(abs(level) < 200 for level in config.data.gain),
        "data.gain",
        "two levels in dB",
        config.data.gain,
    )
    _expect(0 < config.data.held_out < 1, "data.held_out", "between 0 and 1", config.data.held_out)
    if config.from_scratch and config.weights:
        raise TrainingError("a run from scratch begins from no weights: leave one of them out")
    if config.backend == CUSTOM:
        if not (config.from_scratch or config.weights):
            raise TrainingError(
                "a codec of one's own begins from scratch (--from-scratch) or from weights of its "
                "own (--weights FILE)"
            )
        if config.from_scratch and config.shape is None:
            raise TrainingError("a codec of one's own needs its `shape` (--config FILE)")
    elif config.shape is not None:
        raise TrainingError(
            f"a `shape` is for the backend {CUSTOM!r}; {config.backend} has its own"
        )
