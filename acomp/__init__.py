"""acomp: audio to the discrete codes of neural codecs and back.

    import acomp

    codec = acomp.load("nano")               # any of acomp.names()
    codes = codec.encode(acomp.read_audio("speech.flac"), bandwidth=6)      # kbps; or codebooks=8
    codes.data                               # uint16 [streams, codebooks, frames]
    acomp.write_codes("speech.nac", codes)
    audio = codec.decode(acomp.read_codes("speech.nac"))
    acomp.write_audio("decoded.wav", audio)

`Audio` holds float samples `[channels, time]`, full scale +-1, and their rate in Hz; `Codes` hold
the codes and all that decoding takes. Audio longer than memory passes block by block through
`open_audio`, `Encoder` and `create_codes`, and back through `open_codes`, `Decoder` and
`AudioWriter`. Every failure that a user can cause is an `AcompError` with a message of one
line. An `AcompWarning` tells what a user should know though the work goes on.

The examples in docstrings import numpy as np and read `speech.flac`, which comes with the package
and lies in its folder `samples`. To run them, copy it to where you work:

    import shutil
    from importlib.resources import files

    shutil.copy(str(files("acomp") / "samples" / "speech.flac"), ".")

Names are imported when they are first used: `import acomp` imports neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acomp.audio import (
        Audio as Audio,
        AudioReader as AudioReader,
        AudioWriter as AudioWriter,
        open_audio as open_audio,
        read_audio as read_audio,
        resample as resample,
        write_audio as write_audio,
    )
    from acomp.backends import (
        load as load,
        names as names,
    )
    from acomp.backends.base import (
        Codec as Codec,
    )
    from acomp.backends.latents import (
        LatentDecoder as LatentDecoder,
        LatentEncoder as LatentEncoder,
    )
    from acomp.backends.streaming import (
        Decoder as Decoder,
        Encoder as Encoder,
    )
    from acomp.codecs import (
        CodecSpec as CodecSpec,
    )
    from acomp.codes import (
        Block as Block,
        Codes as Codes,
        CodesInfo as CodesInfo,
        Segments as Segments,
    )
    from acomp.datasets.reading import (
        Dataset as Dataset,
        Row as Row,
    )
    from acomp.errors import (
        AcompError as AcompError,
        AcompWarning as AcompWarning,
        AudioError as AudioError,
        CodecError as CodecError,
        ExistsError as ExistsError,
        FormatError as FormatError,
        TrainingError as TrainingError,
        WeightsError as WeightsError,
    )
    from acomp.formats import (
        CodesReader as CodesReader,
        CodesWriter as CodesWriter,
        convert as convert,
        create_codes as create_codes,
        open_codes as open_codes,
        read_codes as read_codes,
        write_codes as write_codes,
    )
    from acomp.functions import (
        decode_audio_from_embeddings as decode_audio_from_embeddings,
        get_codebooks as get_codebooks,
        get_model_and_sr as get_model_and_sr,
        load_audio as load_audio,
        process_audio as process_audio,
        read_embeddings_from_txt as read_embeddings_from_txt,
        resample_audio as resample_audio,
    )

__version__ = "0.1.0"

_NAMES = {
    "acomp.audio": "Audio AudioReader AudioWriter open_audio read_audio resample write_audio",
    "acomp.backends": "load names",
    "acomp.backends.base": "Codec",
    "acomp.backends.latents": "LatentDecoder LatentEncoder",
    "acomp.backends.streaming": "Decoder Encoder",
    "acomp.codecs": "CodecSpec",
    "acomp.codes": "Block Codes CodesInfo Segments",
    "acomp.datasets.reading": "Dataset Row",
    "acomp.errors": (
        "AcompError AcompWarning AudioError CodecError ExistsError FormatError TrainingError "
        "WeightsError"
    ),
    "acomp.formats": (
        "CodesReader CodesWriter convert create_codes open_codes read_codes write_codes"
    ),
    "acomp.functions": (
        "decode_audio_from_embeddings get_codebooks get_model_and_sr load_audio process_audio "
        "read_embeddings_from_txt resample_audio"
    ),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'acomp' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
