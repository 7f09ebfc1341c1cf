"""Every failure a user can cause is an `AcompError`; its message, one line, says what to do."""


class AcompError(Exception):
    """Base class of acomp's errors."""


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
