"""The functions of the original acomp notebook, under their names, on EnCodec.

New code is better off with `acomp.load` and what it returns; these stay for what was written
against them. Tensors in and out, as they were.
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
from acomp.errors import CodecError
from acomp.formats import Writing, read_codes
from acomp.pipeline import decode_file, encode_file
from acomp.settings import Coding

if TYPE_CHECKING:
    import torch

KINDS = {"mono": 1, "encodec_24khz": 1, "stereo": 2, "encodec_48khz": 2}


def load_audio(file_path: str | Path) -> tuple[torch.Tensor, int]:
    """Samples `[channels, time]` and sample rate in Hz of an audio file.

    Raises:
        AudioError: the file cannot be read.
    """
    import torch

    audio = read_audio(file_path)
    return torch.from_numpy(audio.samples), audio.sample_rate


def get_model_and_sr(channels: int, bandwidth: float) -> tuple[Any, int]:
    """The `encodec.EncodecModel` for one or two channels, set to a bandwidth, and its sample rate.

    Raises:
        CodecError: there is no model for so many channels, or it lacks the bandwidth.
        WeightsError: its weights are neither here nor to be fetched.
    """
    codec = _encodec(channels)
    codec.spec.codebooks_for(bandwidth, None)
    model: Any = codec.module
    model.set_target_bandwidth(bandwidth)
    return model, codec.spec.sample_rate


def resample_audio(audio: torch.Tensor, orig_sr: int, target_sr: int) -> torch.Tensor:
    """`[channels, time]` at `orig_sr` Hz to `target_sr` Hz."""
    import torch

    samples = np.ascontiguousarray(audio.numpy(), np.float32)
    return torch.from_numpy(resample(Audio(samples, orig_sr), target_sr).samples)


def process_audio(
    input_file: str | Path,
    bandwidth: float,
    embedding_file: str | Path,
    output_file: str | Path | None = None,
) -> None:
    """Encode an audio file into a text file of codes, and decode it again to listen to.

    Raises:
        AcompError: its message says what is wrong.
    """
    coding, writing = Coding(bandwidth), Writing(form="txt")
    encode_file(_encodec, input_file, embedding_file, coding, writing, check=output_file)


def read_embeddings_from_txt(
    file_path: str | Path, num_codebooks: int | None = None
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """The codes of a text file as `EncodecModel.decode` takes them.

    Args:
        file_path: a file of codes in either layout.
        num_codebooks: how many codebooks it must hold, to be sure; the file says it anyway.

    Returns:
        For each segment the codes `[1, codebooks, frames]` and the scale `[1, 1]` or None.

    Raises:
        FormatError: the file is damaged.
        CodecError: it holds another number of codebooks.
    """
    codes = read_codes(file_path)
    if num_codebooks not in (None, codes.info.codebooks):
        raise CodecError(f"{file_path} has {codes.info.codebooks} codebooks, not {num_codebooks}")
    return list(_segments(codes))


def decode_audio_from_embeddings(embedding_file: str | Path, output_file: str | Path) -> None:
    """Decode a text file of codes into an audio file.

    Raises:
        AcompError: its message says what is wrong.
    """

    def codec_for(info: CodesInfo) -> Codec:
        return load(info.codec)

    decode_file(codec_for, embedding_file, output_file)


def get_codebooks(audio_type: str) -> torch.Tensor:
    """Codebooks of an EnCodec model: 'mono' gives `[32, 1024, 128]`, 'stereo' `[16, 1024, 128]`.

    Raises:
        CodecError: `audio_type` is none of mono, stereo, encodec_24khz and encodec_48khz.
        WeightsError: the weights are neither here nor to be fetched.
    """
    import torch

    if audio_type not in KINDS:
        raise CodecError(f"there are codebooks for {', '.join(KINDS)}, not for {audio_type!r}")
    return torch.from_numpy(_encodec(KINDS[audio_type]).codebooks())


def _encodec(channels: int) -> Codec:
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
