"""Every failure a user can cause is an `AcompError`; its message, one line, says what to do."""

from __future__ import annotations

from collections.abc import Iterable


class AcompError(Exception):
    """Base class of acomp's errors: every failure that a user can cause, in one line."""


class ExistsError(AcompError):
    """An output that is there already and is not to be replaced."""


class AcompWarning(UserWarning):
    """Base class of acomp's warnings: what a user should know, though the work goes on."""


class AudioError(AcompError):
    """Audio that cannot be read, written or used as it is."""


class FormatError(AcompError):
    """A codes file that is damaged, truncated, of an unknown form, or holds impossible values."""


class CodecError(AcompError):
    """An unknown codec, a setting that the codec does not have, or codes of another codec."""


class WeightsError(AcompError):
    """Weights that are missing, cannot be fetched, fail their checksum or do not fit the codec."""


class TrainingError(AcompError):
    """Training that cannot begin or go on: its data, its configuration or its losses."""


class DivergenceError(TrainingError):
    """Losses that are no numbers any more, or have grown many times over."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to say behind a name that does not exist: those like it, or else all there are."""
    from difflib import get_close_matches

    known = list(known)
    matches = [each for each in known if name and each.startswith(name)]
    matches = matches or get_close_matches(name.lower(), known)
    return (
        f"; did you mean {' or '.join(matches)}?" if matches else f"; there are {', '.join(known)}"
    )
