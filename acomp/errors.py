"""The errors and warnings of acomp.

Every failure that a user can cause is an `AcompError` with a message of one line that says what is
wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable


class AcompError(Exception):
    """Base class of acomp's errors; the message is one line that says what is wrong."""


class ExistsError(AcompError):
    """An output file exists already and must not be replaced."""


class AcompWarning(UserWarning):
    """Base class of acomp's warnings, about what a user should know though the work goes on."""


class AudioError(AcompError):
    """Audio cannot be read, written or used as it is."""


class FormatError(AcompError):
    """A file of codes is damaged, truncated or of an unknown form, or codes have invalid values."""


class CodecError(AcompError):
    """The codec is unknown, does not have a setting, or is not the one that made the codes."""


class WeightsError(AcompError):
    """Weights are missing, cannot be fetched, fail their checksum or do not fit the codec."""


class TrainingError(AcompError):
    """Training cannot begin or go on because of its data, its configuration or its losses."""


class DivergenceError(TrainingError):
    """The losses of a training run have become NaN or infinite, or have grown many times over."""


def check_type(
    value: object,
    kinds: type | tuple[type, ...],
    error: type[AcompError],
    expected: str,
    hint: str = "",
) -> None:
    """Check the type of a value that a user gave.

    Args:
        value: the value.
        kinds: the types that it may have.
        error: what to raise.
        expected: what the message says is expected, with its verb: "Audio is".
        hint: how such a value is made, for the end of the message.

    Raises:
        AcompError: as `error`: `value` has another type.
    """
    if not isinstance(value, kinds):
        advice = f": {hint}" if hint else ""
        raise error(f"{expected} expected, not {type(value).__name__}{advice}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: similar names, or all known names."""
    from difflib import get_close_matches

    known = list(known)
    matches = [each for each in known if name and each.startswith(name)]
    matches = matches or get_close_matches(name.lower(), known)
    return (
        f"; did you mean {' or '.join(matches)}?" if matches else f"; there are {', '.join(known)}"
    )
