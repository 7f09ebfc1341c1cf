"""The functions of the original acomp notebook, which use EnCodec and torch tensors.

They keep older code working; new code should use `acomp.load`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acomp.audio import Audio, read_audio, resample
from acomp.backends import load
from acomp.backends.base import Codec
from acomp.codecs import ENCODEC
from acomp.codes import Codes, CodesInfo
from acomp.errors import AudioError, CodecError, check_type
from acomp.formats import Writing, read_codes
from acomp.pipeline import decode_file, encode_file
from acomp.scalars import whole_number
from acomp.settings import Coding
from acomp.values import as_array

if TYPE_CHECKING:
    import torch

KINDS = {"mono": 1, "encodec_24khz": 1, "stereo": 2, "encodec_48khz": 2}


def load_audio(file_path: str | Path) -> tuple[torch.Tensor, int]:
    """Read an audio file as float32 samples `[channels, time]` and its sample rate in Hz.

    Raises:
        AudioError: the file cannot be read.
    """
    import torch

    audio = read_audio(file_path)
    return torch.from_numpy(audio.samples), audio.sample_rate


def get_model_and_sr(channels: int, bandwidth: float) -> tuple[Any, int]:
    """The `encodec.EncodecModel` for 1 or 2 channels, and its sample rate in Hz.

    Args:
        channels: 1 for EnCodec 24 kHz, 2 for EnCodec 48 kHz.
        bandwidth: bandwidth in kbps that the model is set to.

    Raises:
        CodecError: there is no model for this number of channels, or it lacks the bandwidth.
        WeightsError: the weights cannot be downloaded.
    """
    codec = _encodec(channels)
    codec.spec.codebooks_for(bandwidth, None)
    model: Any = codec.module
    model.set_target_bandwidth(bandwidth)
    return model, codec.spec.sample_rate


def resample_audio(audio: torch.Tensor, orig_sr: int, target_sr: int) -> torch.Tensor:
    """Resample audio `[channels, time]` from `orig_sr` to `target_sr`, both in Hz.

    Raises:
        AudioError: `audio` holds no samples, or one sample rate is more than 256 times the other.
    """
    import torch

    samples = np.ascontiguousarray(as_array(audio, "samples", AudioError), np.float32)
    return torch.from_numpy(resample(Audio(samples, orig_sr), target_sr).samples)


def process_audio(
    input_file: str | Path,
    bandwidth: float,
    embedding_file: str | Path,
    output_file: str | Path | None = None,
) -> None:
    """Encode an audio file to a text file of codes with EnCodec.

    Args:
        input_file: the audio file; mono is coded at 24 kHz, stereo at 48 kHz.
        bandwidth: bandwidth in kbps.
        embedding_file: the text file to write.
        output_file: an audio file to decode the codes to as well.

    Raises:
        AcompError: a file cannot be read or written, or EnCodec lacks the bandwidth.
    """
    coding, writing = Coding(bandwidth), Writing(form="txt")
    encode_file(_encodec, input_file, embedding_file, coding, writing, check=output_file)


def read_embeddings_from_txt(
    file_path: str | Path, num_codebooks: int | None = None
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Read a text file of codes as `EncodecModel.decode` takes them.

    Args:
        file_path: a file of codes in either layout.
        num_codebooks: number of codebooks that the file must have; None takes any number.

    Returns:
        For each segment its codes `[1, codebooks, frames]` and its scale `[1, 1]` or None.

    Raises:
        FormatError: the file is damaged.
        CodecError: the file has another number of codebooks.
    """
    codes = read_codes(file_path)
    if num_codebooks not in (None, codes.info.codebooks):
        raise CodecError(f"{file_path} has {codes.info.codebooks} codebooks, not {num_codebooks}")
    return list(_segments(codes))


def decode_audio_from_embeddings(embedding_file: str | Path, output_file: str | Path) -> None:
    """Decode a text file of codes to an audio file.

    Raises:
        AcompError: the codes cannot be read or decoded, or the audio cannot be written.
    """

    def codec_for(info: CodesInfo) -> Codec:
        return load(info.codec)

    decode_file(codec_for, embedding_file, output_file)


def get_codebooks(audio_type: str) -> torch.Tensor:
    """The codebooks of an EnCodec model, float32 `[codebooks, size, dimension]`.

    Args:
        audio_type: "mono" or "encodec_24khz" gives `[32, 1024, 128]`; "stereo" or "encodec_48khz"
            gives `[16, 1024, 128]`.

    Raises:
        CodecError: `audio_type` is none of these.
        WeightsError: the weights cannot be downloaded.
    """
    import torch

    check_type(audio_type, str, CodecError, f"one of {', '.join(KINDS)} is")
    if audio_type not in KINDS:
        raise CodecError(f"there are codebooks for {', '.join(KINDS)}, not for {audio_type!r}")
    return torch.from_numpy(_encodec(KINDS[audio_type]).codebooks())


def _encodec(channels: int) -> Codec:
    channels = whole_number(channels, "the number of channels", CodecError)
    if channels not in (1, 2):
        raise CodecError(f"EnCodec has models for 1 and 2 channels, not for {channels}")
    return load(ENCODEC, channels=channels)


def _segments(codes: Codes) -> Any:
    import torch

    if codes.segments is None:
        yield torch.from_numpy(codes.data.astype(np.int64)), None
        return
    starts = np.cumsum(codes.segments.frames)[:-1]
    parts = np.split(codes.data.astype(np.int64), starts, axis=2)
    for part, scale in zip(parts, codes.segments.scales, strict=True):
        yield torch.from_numpy(part), torch.tensor([[scale]])
