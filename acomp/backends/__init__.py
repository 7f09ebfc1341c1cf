"""The codecs by name.

acomp's own are those of `acomp.codecs.PUBLISHED`, each of a family (`families`), and `custom`, a
codec of the user's own. Another package's is an entry point of the group `acomp.backends` whose
name is the codec's and whose object is a function `(name, weights, engine) -> Codec`: `weights` is
the path of a file, or None where the user gave none; `engine` runs the codec's networks.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from acomp.codecs import ALIASES, BY_CHANNELS, CUSTOM, PUBLISHED, READ_ONLY
from acomp.errors import CodecError, WeightsError, check_type, did_you_mean
from acomp.files import check_path
from acomp.scalars import whole_number
from acomp.settings import EngineName, Precision

if TYPE_CHECKING:
    from acomp.backends.base import Codec
    from acomp.engines import Engine

    Loader = Callable[[str, Path | None, Engine], Codec]

ENTRY_POINTS = "acomp.backends"


def names() -> list[str]:
    """Every name that `load` takes, in alphabetical order.

    >>> "nano" in acomp.names()
    True
    """
    return sorted({*BY_CHANNELS, *ALIASES, *PUBLISHED, CUSTOM, *third_party()})


def resolve(name: str, channels: int = 1) -> str:
    """The name of the codec that `name` stands for, given the number of channels of the audio.

    Raises:
        CodecError: there is no such codec.
    """
    check_type(name, str, CodecError, "the name of a codec, such as 'nano', is")
    channels = whole_number(channels, "the number of channels", CodecError)
    if name in BY_CHANNELS:
        by_channels = BY_CHANNELS[name]
        return by_channels.get(channels, by_channels[1])
    name = ALIASES.get(name, name)
    if name in READ_ONLY:
        raise CodecError(READ_ONLY[name])
    if name != CUSTOM and name not in PUBLISHED and name not in third_party():
        raise CodecError(f"there is no codec {name!r}{did_you_mean(name, names())}")
    return name


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    engine: EngineName = "auto",
    precision: Precision = "fp32",
    device: object = "auto",
    channels: int = 1,
) -> Codec:
    """Load a codec with its weights.

        >>> acomp.load("nano", engine="torch", device="cpu")
        <codec nano-2, 24000 Hz, torch fp32>

    Args:
        name: name of the codec, for example `nano`, `encodec-24khz` or `dac-44khz`; the command
            `acomp models list` lists them.
        weights: a file or folder of weights, in any layout that docs/weights.md names.
            By default the published weights, which are downloaded to the user's cache folder when
            they are first needed; `custom` needs a file or folder.
        engine: what runs the networks: "torch", "openvino", or "auto", which is OpenVINO on a CPU
            where it is installed and torch otherwise.
        precision: arithmetic of the networks: "fp32", or "bf16", which is faster and gives slightly
            different codes.
        device: "cpu", "cuda", "cuda:N", a `torch.device`, or "auto", which is a CUDA GPU where
            there is one and the CPU otherwise. Codes of a GPU may differ from those of a CPU where
            two codebook entries are almost equally near.
        channels: channels of the audio: `encodec` is `encodec-24khz` for 1 and `encodec-48khz` for
            2. Other names do not depend on it.

    Raises:
        CodecError: the codec, engine, precision or device does not exist, or a package that it
            needs is not installed.
        WeightsError: the weights are missing, cannot be downloaded, are damaged, or are of another
            codec.
    """
    from acomp.backends.reloading import Loading
    from acomp.engines import pick_engine

    name = resolve(name, channels)
    if weights is not None:
        check_path(weights, "the path of a file of weights", WeightsError)
    path = None if weights is None else Path(weights)
    codec = _loader(name)(name, path, pick_engine(engine, precision, device))
    kept = None if path is None else str(path.absolute())
    codec.loading = Loading(name, kept, engine, precision, str(device))
    return codec


def _loader(name: str) -> Loader:
    if name in PUBLISHED:
        return _load_published
    if name == CUSTOM:
        return _load_custom
    entry = third_party()[name]
    try:
        loader: Loader = entry.load()
    except Exception as error:  # whatever somebody else's package raises on import
        raise CodecError(f"the codec {name} ({entry.value}) does not load: {error}") from error
    return loader


def _load_published(name: str, weights: Path | None, engine: Engine) -> Codec:
    from acomp.backends.families import family_of
    from acomp.backends.weights.cache import fetch

    if weights is None:
        check_packages(name)
        weights = fetch(name)
    codec, family = PUBLISHED[name], family_of(name)
    return family.load(codec.spec, family.shape_of(codec), weights, engine)


def _load_custom(name: str, weights: Path | None, engine: Engine) -> Codec:
    from acomp.backends.custom import load

    if weights is None:
        raise CodecError(f"{name} is a codec of your own: give its file of weights (--weights)")
    return load(name, weights, engine)


def check_packages(name: str) -> None:
    """Check that the package a codec needs is installed, before its weights are downloaded.

    Raises:
        CodecError: it is not; the message says how to install it.
    """
    from acomp.backends.families import family_of

    package = family_of(name).package if name in PUBLISHED else None
    if package is not None and not package.is_installed:
        raise CodecError(
            f"the codec {name} needs the package {package.import_name}: {package.advice}"
        )


def third_party() -> dict[str, EntryPoint]:
    """The codecs of other packages by name; none of them is imported."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
