"""What users choose: each choice as a type, for the library and the command line alike, and the
settings that travel together as one value. Needs the standard library alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Channels = Literal["auto", "mono", "stereo", "each"]
"""What is coded of the audio's channels: what the codec can keep, one, two, or each alone."""
FormName = Literal["nac", "txt", "npz", "dac", "ecdc"]
"""The file forms of codes."""
Entropy = Literal["none", "lm"]
"""How codes become bits: all of one width, or by the probabilities of a language model."""
EngineName = Literal["auto", "torch", "openvino"]
"""What runs networks; auto is OpenVINO on a CPU where it is installed, else torch."""
Precision = Literal["fp32", "bf16"]
"""The arithmetic of networks."""
DeviceKind = Literal["auto", "cpu", "cuda"]
"""What networks are trained on; auto is a CUDA GPU where there is one. To run them, one of several
GPUs can be named too, as in `cuda:1`."""
Content = Literal["auto", "speech", "other"]
"""What recordings that are measured hold: what each sounds like, or one of the two for all."""
TokenLayout = Literal["flat", "coarse-first", "orpheus", "delayed", "parallel"]
"""The orders of codes in a stream of tokens."""
PackForm = Literal["flat", "megatron"]
"""The file forms of streams of tokens."""
Export = Literal["nac", "webdataset"]
"""The forms that a dataset of codes is written in beside its own."""
Subtype = Literal["PCM_16", "PCM_24", "FLOAT"]
"""How the samples of a lossless audio file are stored."""


@dataclass(frozen=True)
class Coding:
    """How much is coded of audio.

    Attributes:
        bandwidth: in kbps, of one stream; None is the codec's default.
        codebooks: a number of codebooks, instead of a bandwidth.
        channels: what is coded of the channels; 1 is mono, and 2 stereo.
    """

    bandwidth: float | str | None = None
    codebooks: int | None = None
    channels: Channels | int = "auto"


@dataclass(frozen=True)
class Running:
    """How a codec is loaded and run: the keywords of `acomp.load`.

    Attributes:
        weights: file of weights; None is the published ones.
        engine: what runs the networks.
        precision: their arithmetic.
        device: auto, cpu, cuda or cuda:N.
    """

    weights: Path | None = None
    engine: EngineName = "auto"
    precision: Precision = "fp32"
    device: str = "auto"
