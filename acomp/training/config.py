"""What a run is asked to do, checked as a whole; every key is a field of the models below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from acomp.backends.families import families
from acomp.codecs import CUSTOM
from acomp.errors import TrainingError, did_you_mean
from acomp.plain import brief
from acomp.settings import DeviceKind, Precision
from acomp.training.discriminators import NAMES
from acomp.training.losses import RECONSTRUCTION

AGAINST_DISCRIMINATORS = ("adversarial", "feature_matching")


def _expected(words: str, holds: Callable[[Any], bool]) -> AfterValidator:
    """Refuse values of which `holds` is not true; `words` say what is expected."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise PydanticCustomError("expected", "{words}", {"words": words})
        return value

    return AfterValidator(check)


def _number(value: object) -> object:
    """YAML 1.1 takes 1e-4 for a word."""
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


def _pair(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) != 2:
        raise PydanticCustomError("expected", "a list of 2")
    return value


Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[Number, _expected("more than 0", lambda value: 0 < value < inf)]
NotNegative = Annotated[Number, _expected("0 or more", lambda value: 0 <= value < inf)]
Share = Annotated[Number, _expected("between 0 and 1", lambda value: 0 <= value <= 1)]
Part = Annotated[Number, _expected("between 0 and 1", lambda value: 0 < value < 1)]
Beta = Annotated[Number, _expected("from 0 to less than 1", lambda value: 0 <= value < 1)]
Decay = Annotated[Number, _expected("more than 0 and at most 1", lambda value: 0 < value <= 1)]
Level = Annotated[Number, _expected("a level in dB", lambda value: abs(value) < 200)]
Count = Annotated[int, _expected("more than 0", lambda value: value > 0)]
Step = Annotated[int, _expected("0 or more", lambda value: value >= 0)]
Seed = Annotated[int, _expected("from 0 to 2^63 - 1", lambda value: 0 <= value < 1 << 63)]
Levels = Annotated[tuple[Level, Level], BeforeValidator(_pair), Field(strict=False)]
Betas = Annotated[tuple[Beta, Beta], BeforeValidator(_pair), Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Data(_Model):
    """Where the audio comes from and what is cut from it.

    Attributes:
        sources: folders, or text files that list audio, and each one's share of the segments; null
            stands for its share of the hours.
        segment: length of a segment in seconds.
        held_out: share of the files that is kept for validation.
        validation: number of segments that are validated on, at most.
        gain: peak levels in dB between which segments are brought; null leaves them as they are.
        mix: probability that another segment is mixed in.
        noise: folder, list or file of noise that is put behind what is coded, while what is to come
            out stays clean; null for none.
        snr: signal-to-noise ratios in dB between which one is drawn for each segment.
    """

    sources: dict[str, Number | None]
    segment: Positive = 1.0
    held_out: Part = 0.05
    validation: Count = 24
    gain: Levels | None = (-24.0, 0.0)
    mix: Share = 0.0
    noise: str | None = None
    snr: Levels = (0.0, 20.0)


class Optimiser(_Model):
    """AdamW, and how fast it learns.

    Attributes:
        rate: learning rate at its peak.
        encoder: the encoder's learning rate, in parts of the others'; 0 leaves the encoder and the
            codebooks alone, so that the codes stay the same.
        betas: of AdamW.
        weight_decay: of AdamW.
        warm_up: steps over which the rate rises.
        schedule: how the rate falls afterwards: not at all, along a cosine to a fiftieth, or by the
            factor `decay` each step.
        decay: factor of a step of the schedule `exponential`.
        clip: largest norm of the gradient; null for any.
    """

    rate: Positive = 1e-4
    encoder: NotNegative = 1.0
    betas: Betas = (0.8, 0.99)
    weight_decay: NotNegative = 0.0
    warm_up: Step = 0
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    decay: Decay = 0.999996
    clip: Positive | None = None


class Adversary(_Model):
    """The discriminators.

    Attributes:
        discriminators: their names; none without any.
        loss: how they judge.
        relative: whether feature matching is relative to the features' size (EnCodec) or not (DAC).
        probability: share of the steps that discriminators learn in.
        start: step from which they take part.
        rate: learning rate at its peak; it rises and falls as the codec's does. Betas and weight
            decay are the codec's too.
        clip: largest norm of the gradient; null for any.
    """

    discriminators: Names = ()
    loss: Literal["hinge", "least-squares"] = "hinge"
    relative: bool = True
    probability: Share = 1.0
    start: Step = 0
    rate: Positive = 1e-4
    clip: Positive | None = None


class Config(_Model):
    """A whole run.

    Attributes:
        backend: name of the codec that is trained.
        data: where the audio comes from.
        losses: weights of the losses, by name.
        optimiser: of the codec.
        adversary: the discriminators.
        balance: whether the losses of the output are weighed by EnCodec's balancer.
        weights: file of the codec's weights, to begin from or to code with; null stands for the
            published ones.
        from_scratch: whether training begins from no weights.
        language_model: shape of a language model of the codec's codes, which is trained instead of
            the codec: what `acomp.entropy.cascade.CascadeShape` has beside the codec's own numbers.
        shape: what the backend `custom` is built as: `family` and the fields of its shape.
        steps: of the whole run.
        batch: segments of a step, of each process.
        dropout: share of the segments that are coded at a bandwidth drawn anew; the others take all
            codebooks.
        log_every: steps from one line of the table to the next.
        save_every: steps from one checkpoint to the next.
        validate_every: steps from one validation to the next.
        seed: of all that is random.
        precision: arithmetic of the networks.
        device: what they run on.
        devices: number of GPUs, or of processes on a CPU.
    """

    backend: str
    data: Data
    losses: dict[str, NotNegative]
    optimiser: Optimiser = Optimiser()
    adversary: Adversary = Adversary()
    balance: bool = False
    weights: str | None = None
    from_scratch: bool = False
    language_model: dict[str, Any] | None = None
    shape: dict[str, Any] | None = None
    steps: Count = 10_000
    batch: Count = 8
    dropout: Share = 1.0
    log_every: Count = 50
    save_every: Count = 1000
    validate_every: Count = 1000
    seed: Seed = 0
    precision: Precision = "fp32"
    device: DeviceKind = "auto"
    devices: Count = 1


def parse(settings: Mapping[str, Any]) -> Config:
    """The settings as a `Config` that a run can have.

    Raises:
        TrainingError: as `validate`, or values do not go together.
    """
    config = validate(settings)
    for problem in (_of_losses(config), _of_discriminators(config), _of_beginning(config)):
        if problem is not None:
            raise TrainingError(problem)
    return config


def validate(settings: Mapping[str, Any]) -> Config:
    """The settings as a `Config`, each by itself: whether they go together is not looked at.

    Raises:
        TrainingError: a key is unknown or missing, or a value is not what the key takes. The
            message is one line with the key's path.
    """
    try:
        return Config.model_validate(dict(settings))
    except ValidationError as error:
        # A key that is unknown may be why another one is missing.
        found = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        raise TrainingError(_said(found[0])) from error


_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a word",
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "tuple_type": "a list",
    "invalid_key": "keys that are words",
}


def _said(error: ErrorDetails) -> str:
    """What is wrong, as users are told."""
    kind, place, given = error["type"], error["loc"], error["input"]
    path = ".".join(str(part)[:60] for part in place if isinstance(part, str))
    match kind:
        case "extra_forbidden":
            return f"there is no setting {path}{did_you_mean(str(place[-1]), _keys(place[:-1]))}"
        case "missing":
            return f"the configuration lacks {path}"
        case "literal_error":
            known = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
            return f"{path} is one of {known}, not {brief(given)}"
        case "expected":
            expected = error["msg"]
        case _ if place and place[-1] == "[key]":
            path, expected = path.removesuffix(".[key]"), "keys that are words"
        case _:
            expected = _KINDS.get(kind, error["msg"])
    return f"{path or 'the configuration'} is to be {expected}, not {brief(given)}"


def _keys(place: tuple[int | str, ...]) -> list[str]:
    """The keys that there are at a place: of the whole, or of a model within it."""
    model: Any = Config
    for part in place:
        model = Config.model_fields[str(part)].annotation
    return list(model.model_fields)


def _of_losses(config: Config) -> str | None:
    """What is wrong with the losses, if anything."""
    if config.language_model is not None:
        if config.data.noise is not None:
            return "a language model learns the codes of audio as it is: leave data.noise out"
        if config.losses or config.from_scratch or config.shape:
            return (
                "a language model has no `losses` and no `shape` of a codec, and always begins "
                "from scratch: leave them out"
            )
        return None
    penalties = dict.fromkeys(name for family in families() for name in family.penalties)
    known = (*RECONSTRUCTION, *penalties, *AGAINST_DISCRIMINATORS)
    for name in config.losses:
        if name not in known:
            return f"there is no loss {brief(name)}; there are {', '.join(known)}"
    if not any(name in RECONSTRUCTION for name in config.losses):
        return f"losses name none that compares sounds; such are {', '.join(RECONSTRUCTION)}"
    return None


def _of_discriminators(config: Config) -> str | None:
    """What is wrong with the discriminators and their losses, if anything."""
    chosen = config.adversary.discriminators
    for name in chosen:
        if name not in NAMES:
            return f"there is no discriminator {brief(name)}; there are {', '.join(NAMES)}"
    if any(name in config.losses for name in AGAINST_DISCRIMINATORS) != bool(chosen):
        return (
            "the losses adversarial and feature_matching and adversary.discriminators need each "
            "other: give both or neither"
        )
    return None


def _of_beginning(config: Config) -> str | None:
    """What is wrong with what the run begins from, if anything."""
    if config.from_scratch and config.weights:
        return "a run from scratch begins from no weights: leave one of them out"
    if config.backend != CUSTOM:
        if config.shape is None:
            return None
        return f"a `shape` is for the backend {CUSTOM!r}; {config.backend} has its own"
    if not (config.from_scratch or config.weights):
        return (
            "a codec of one's own begins from scratch (--from-scratch) or from weights of its "
            "own (--weights FILE)"
        )
    if config.from_scratch and config.shape is None:
        return "a codec of one's own needs its `shape` (--config FILE)"
    return None
