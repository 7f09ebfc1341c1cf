"""The codecs as facts: what a `CodecSpec` says of any codec, and what is published of each that
acomp has.

Every published codec stands here once, as literals, so that files of codes can be read, checked and
described with no network at hand. The tests hold the literals to the networks. Needs the standard
library alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, get_args

from acomp.errors import AudioError, CodecError, check_type
from acomp.scalars import real_number, whole_number
from acomp.settings import Channels

CHANNEL_COUNTS: Mapping[str, int] = {"mono": 1, "stereo": 2}
"""The number of channels that a choice of `Channels` names; the other choices keep the audio's."""

_COUNTS = ("sample_rate", "channels", "hop_length", "codebooks", "codebook_size", "codebook_dim")


@dataclass(frozen=True)
class CodecSpec:
    """What is fixed about a codec.

        >>> acomp.load("nano").spec
        CodecSpec(nano-2, 24000 Hz, 24 codebooks x 1024, 50 frames/s; 1, 1.5, 3, 6, 12 kbps)

    Attributes:
        name: name of the codec, also in files, for example `encodec-24khz`.
        sample_rate: sample rate in Hz.
        channels: channels of the network: 1, or 2 where it codes two jointly.
        hop_length: samples per frame.
        codebooks: number of codebooks; codes may use fewer.
        codebook_size: number of entries of a codebook.
        codebook_dim: dimension of an entry.
        bandwidths: published bandwidths of one stream in kbps, and the number of codebooks of each.
        stereo_streams: whether a mono network codes stereo as two streams; otherwise stereo is
            mixed down.
        delay: algorithmic delay of a stream in seconds: the most audio that encoder and decoder
            together hold back, beside the frame that is not complete yet.
        levels: codes per frame of each level, the coarsest first, for codecs whose levels run at
            several rates; their sum is `codebooks`, and only whole levels can be used. Otherwise
            empty.
        unit: the encoder pads the audio so that the number of frames is a multiple of this.
        segment_frames: frames of a whole segment, for codecs that code in segments with a gain
            each; otherwise None.
        extra_frames: frames that the encoder adds to the duration of the audio.
        segment_overlap: share of a segment that overlaps the next one.
        chunk_margin: samples by which a chunk (`CodesInfo.chunk`) decodes to less than the duration
            of its frames, because convolutions without padding shorten their input.
        nested: whether the codes of the first few codebooks are those that encoding with so few
            gives; not so where the codes of all codebooks are chosen together.

    Raises:
        CodecError: a value is not of its type, or a count is not positive.
    """

    name: str
    sample_rate: int
    channels: int
    hop_length: int
    codebooks: int
    codebook_size: int
    codebook_dim: int
    bandwidths: Mapping[float, int] = field(hash=False)
    stereo_streams: bool = False
    delay: float = 0.0
    levels: tuple[int, ...] = ()
    unit: int = 1
    segment_frames: int | None = None
    extra_frames: int = 0
    segment_overlap: float = 0.0
    chunk_margin: int = 0
    nested: bool = True

    def __post_init__(self) -> None:
        check_type(self.name, str, CodecError, "the name of a codec is")
        check_type(self.bandwidths, Mapping, CodecError, "codebooks by bandwidth in kbps are")
        for field_name in _COUNTS:
            count = whole_number(getattr(self, field_name), field_name, CodecError)
            if count < 1:
                raise CodecError(f"{field_name} is {count}; 1 or more is expected")
            object.__setattr__(self, field_name, count)

    def __repr__(self) -> str:
        codebooks = "+".join(map(str, self.levels)) or self.codebooks
        bandwidths = ", ".join(f"{kbps:g}" for kbps in sorted(self.bandwidths))
        return (
            f"CodecSpec({self.name}, {self.sample_rate} Hz, {codebooks} codebooks x "
            f"{self.codebook_size}, {self.frame_rate:.4g} frames/s; {bandwidths} kbps)"
        )

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def codebook_counts(self) -> list[int]:
        """The numbers of codebooks that codes can have: those of whole levels, or any."""
        return list(accumulate(self.levels)) or list(range(1, self.codebooks + 1))

    @property
    def segment_length(self) -> int:
        """Samples of a whole segment; 0 for codecs that have none."""
        return (self.segment_frames or 0) * self.hop_length

    @property
    def segment_stride(self) -> int:
        """Samples from the beginning of a segment to that of the next; 0 for codecs without."""
        return int((1 - self.segment_overlap) * self.segment_length)

    def codebooks_for(self, bandwidth: float | str | None, codebooks: int | None) -> int:
        """The number of codebooks that a bandwidth in kbps, or a bare number, asks for.

        Numbers are taken of any type, and a bandwidth as text too.

        With neither it is the codec's default: 6 kbps where that is published, otherwise the
        highest published bandwidth.

        Raises:
            CodecError: the codec does not have it, or both are given.
        """
        if bandwidth is not None and codebooks is not None:
            raise CodecError("give a bandwidth or a number of codebooks, not both")
        if codebooks is not None:
            return self._checked(whole_number(codebooks, "the number of codebooks", CodecError))
        if bandwidth is None:
            return self.bandwidths.get(6, self.bandwidths[max(self.bandwidths)])
        asked = real_number(bandwidth, "the bandwidth", "kbps", CodecError)
        for kbps, count in self.bandwidths.items():
            if math.isclose(kbps, asked, rel_tol=1e-6):  # a float32 is not the same number
                return count
        offered = ", ".join(f"{kbps:g}" for kbps in sorted(self.bandwidths))
        raise CodecError(
            f"{self.name} has no bandwidth of {asked:g} kbps; it has {offered} "
            "(or give a number of codebooks: --codebooks N, codebooks=N)"
        )

    def _checked(self, codebooks: int) -> int:
        counts = self.codebook_counts
        if codebooks in counts:
            return codebooks
        if not self.levels:
            raise CodecError(f"{self.name} has 1 to {self.codebooks} codebooks, not {codebooks}")
        raise CodecError(
            f"{self.name} codes in whole levels: it takes "
            f"{', '.join(map(str, counts[:-1]))} or {counts[-1]} codebooks, not {codebooks}"
        )

    def channels_for(self, source_channels: int, wanted: str | int) -> int:
        """The number of channels to encode.

        Args:
            source_channels: channels of the audio.
            wanted: "auto", "mono" or 1, "stereo" or 2, or "each", which codes each of any number
                of channels alone.

        Raises:
            CodecError: the codec cannot code them.
            AudioError: there are more than two channels, and neither mono nor each is wanted.
        """
        if not isinstance(wanted, str):
            number = whole_number(wanted, "the number of channels", CodecError)
            wanted = {1: "mono", 2: "stereo"}.get(number, str(number))
        if wanted not in get_args(Channels):
            raise CodecError(f"channels are auto, mono (1), stereo (2) or each, not {wanted!r}")
        if wanted == "each":
            if self.channels == 2:
                raise CodecError(
                    f"{self.name} codes two channels as one; take another codec to code each alone"
                )
            return source_channels
        if source_channels > 2 and wanted != "mono":
            raise AudioError(
                f"the audio has {source_channels} channels, and codecs take one or two; "
                "mix them down with channels mono (--channels mono), or code each alone "
                "(--channels each)"
            )
        if self.channels == 2:
            if wanted == "mono":
                raise CodecError(f"{self.name} codes two channels; take another codec for mono")
            return 2
        asked = CHANNEL_COUNTS.get(wanted, source_channels)
        if self.stereo_streams:
            return asked
        if wanted == "stereo":
            raise CodecError(f"{self.name} codes one channel; take another codec for stereo")
        return 1


@dataclass(frozen=True, kw_only=True)
class Published:
    """A codec that acomp has.

    Attributes:
        spec: what is fixed about it.
        family: folder of `acomp.backends` that its network is in.
        network: arguments of the family's shape beside the sample rate and the codebooks, which
            `spec` has, where they differ from the family's defaults.
        recipe: name of the default settings that it is trained with (`acomp/training/recipes`);
            None where it cannot be trained.
        official_form: form of the files that the official package writes of its codes: `ecdc` or
            `dac`; None where that has no files of its own.
        official_name: what such a file calls the codec; None where it does not name it.
        one_bandwidth: whether its network was trained for one bandwidth, that of all codebooks; the
            others are what its quantiser dropout was trained for.
        official_memory: bytes that the official package was seen to take for each second of audio
            given at once; None where there is no such package in Python.
        bench_seconds: durations of the cases that `acomp bench` times where none is named.
    """

    spec: CodecSpec
    family: str
    network: Mapping[str, Any] = field(default_factory=dict, hash=False)
    recipe: str | None = None
    official_form: Literal["ecdc", "dac"] | None = None
    official_name: str | None = None
    one_bandwidth: bool = False
    official_memory: float | None = None
    bench_seconds: tuple[int, ...] = ()


# Papers: EnCodec https://arxiv.org/abs/2210.13438, DAC https://arxiv.org/abs/2306.06546,
# SNAC https://arxiv.org/abs/2410.14411, Mimi https://arxiv.org/abs/2410.00037,
# SoundStream https://arxiv.org/abs/2107.03312.
#
# Each of DAC's models was published for one bandwidth; the others are what its quantiser dropout
# was trained for, rounded down to whole codebooks. Its networks are those of the configurations
# that it was published with (conf/final), SNAC's those of the models' config.json.

_ALL = (
    Published(
        spec=CodecSpec(
            name="nano-2",
            sample_rate=24_000,
            channels=1,
            hop_length=480,
            codebooks=24,
            codebook_size=1024,
            codebook_dim=128,
            bandwidths={1: 2, 1.5: 3, 3: 6, 6: 12, 12: 24},
            stereo_streams=True,
            delay=960 / 24_000,
            extra_frames=1,
            nested=False,
        ),
        family="nano",
        recipe="nano",
        network={
            "bands": 24,
            "encoder": (256, 4),
            "decoder": (320, 6),
            "expansion": 3,
            "sharpening": (450, 150),
        },
        bench_seconds=(20,),
    ),
    Published(
        spec=CodecSpec(
            name="nano-1",
            sample_rate=24_000,
            channels=1,
            hop_length=320,
            codebooks=16,
            codebook_size=1024,
            codebook_dim=128,
            bandwidths={1.5: 2, 3: 4, 6: 8, 12: 16},
            stereo_streams=True,
            delay=640 / 24_000,
            extra_frames=1,
            nested=False,
        ),
        family="nano",
        recipe="nano",
        network={
            "bands": 20,
            "encoder": (192, 4),
            "decoder": (192, 6),
            "expansion": 4,
            "sharpening": (150, 100),
        },
    ),
    Published(
        spec=CodecSpec(
            name="encodec-24khz",
            sample_rate=24_000,
            channels=1,
            hop_length=320,
            codebooks=32,
            codebook_size=1024,
            codebook_dim=128,
            bandwidths={1.5: 2, 3: 4, 6: 8, 12: 16, 24: 32},
            delay=320 / 24_000,
        ),
        family="encodec",
        recipe="encodec-24khz",
        official_form="ecdc",
        official_name="encodec_24khz",
        official_memory=20e6,
        bench_seconds=(20, 600),
    ),
    Published(
        spec=CodecSpec(
            name="encodec-48khz",
            sample_rate=48_000,
            channels=2,
            hop_length=320,
            codebooks=16,
            codebook_size=1024,
            codebook_dim=128,
            bandwidths={3: 2, 6: 4, 12: 8, 24: 16},
            delay=1.0,
            segment_frames=150,
            segment_overlap=0.01,
        ),
        family="encodec",
        recipe="encodec-48khz",
        network={"channels": 2, "causal": False, "norm": "time_group_norm", "segment": 1.0},
        official_form="ecdc",
        official_name="encodec_48khz",
        official_memory=5e6,
        bench_seconds=(20,),
    ),
    Published(
        spec=CodecSpec(
            name="dac-16khz",
            sample_rate=16_000,
            channels=1,
            hop_length=320,
            codebooks=12,
            codebook_size=1024,
            codebook_dim=8,
            bandwidths={1: 2, 2: 4, 3: 6, 4: 8, 6: 12},
            stereo_streams=True,
            delay=340 * 320 / 16_000,
            chunk_margin=5534,
        ),
        family="dac",
        recipe="dac",
        network={"strides": (2, 4, 5, 8)},
        official_form="dac",
        one_bandwidth=True,
        official_memory=40e6,
    ),
    Published(
        spec=CodecSpec(
            name="dac-24khz",
            sample_rate=24_000,
            channels=1,
            hop_length=320,
            codebooks=32,
            codebook_size=1024,
            codebook_dim=8,
            bandwidths={1.5: 2, 3: 4, 6: 8, 12: 16, 24: 32},
            stereo_streams=True,
            delay=340 * 320 / 24_000,
            chunk_margin=5534,
        ),
        family="dac",
        recipe="dac",
        network={"strides": (2, 4, 5, 8)},
        official_form="dac",
        one_bandwidth=True,
        official_memory=60e6,
    ),
    Published(
        spec=CodecSpec(
            name="dac-44khz",
            sample_rate=44_100,
            channels=1,
            hop_length=512,
            codebooks=9,
            codebook_size=1024,
            codebook_dim=8,
            bandwidths={1: 1, 2: 2, 4: 4, 6: 6, 8: 9},
            stereo_streams=True,
            delay=338 * 512 / 44_100,
            chunk_margin=8342,
        ),
        family="dac",
        recipe="dac",
        official_form="dac",
        one_bandwidth=True,
        official_memory=100e6,
        bench_seconds=(5,),
    ),
    Published(
        spec=CodecSpec(
            name="dac-44khz-16kbps",
            sample_rate=44_100,
            channels=1,
            hop_length=512,
            codebooks=18,
            codebook_size=1024,
            codebook_dim=8,
            bandwidths={2: 2, 4: 4, 8: 9, 12: 13, 16: 18},
            stereo_streams=True,
            delay=338 * 512 / 44_100,
            chunk_margin=8342,
        ),
        family="dac",
        recipe="dac",
        network={"latent_dimension": 128},
        official_form="dac",
        one_bandwidth=True,
        official_memory=100e6,
    ),
    Published(
        spec=CodecSpec(
            name="snac-24khz",
            sample_rate=24_000,
            channels=1,
            hop_length=2048,
            codebooks=7,
            codebook_size=4096,
            codebook_dim=8,
            bandwidths={0.14: 1, 0.42: 3, 0.98: 7},
            stereo_streams=True,
            delay=340 * 512 / 24_000,
            levels=(1, 2, 4),
        ),
        family="snac",
        official_memory=26e6,
    ),
    Published(
        spec=CodecSpec(
            name="snac-32khz",
            sample_rate=32_000,
            channels=1,
            hop_length=3072,
            codebooks=15,
            codebook_size=4096,
            codebook_dim=8,
            bandwidths={0.13: 1, 0.38: 3, 0.88: 7, 1.9: 15},
            stereo_streams=True,
            delay=474 * 384 / 32_000,
            levels=(1, 2, 4, 8),
            unit=4,
        ),
        family="snac",
        network={
            "strides": (2, 3, 8, 8),
            "encoder_width": 64,
            "decoder_width": 1536,
            "window": 32,
            "level_strides": (8, 4, 2, 1),
        },
        official_memory=56e6,
    ),
    Published(
        spec=CodecSpec(
            name="snac-44khz",
            sample_rate=44_100,
            channels=1,
            hop_length=3072,
            codebooks=15,
            codebook_size=4096,
            codebook_dim=8,
            bandwidths={0.17: 1, 0.52: 3, 1.2: 7, 2.6: 15},
            stereo_streams=True,
            delay=474 * 384 / 44_100,
            levels=(1, 2, 4, 8),
            unit=4,
        ),
        family="snac",
        network={
            "strides": (2, 3, 8, 8),
            "encoder_width": 64,
            "decoder_width": 1536,
            "window": 32,
            "level_strides": (8, 4, 2, 1),
            "noise_frames": 196,
        },
        official_memory=91e6,
    ),
    Published(
        spec=CodecSpec(
            name="soundstream",
            sample_rate=16_000,
            channels=1,
            hop_length=320,
            codebooks=46,
            codebook_size=16,
            codebook_dim=64,
            bandwidths={3.2: 16, 6: 30, 9.2: 46},
            stereo_streams=True,
        ),
        family="soundstream",
    ),
    Published(
        spec=CodecSpec(
            name="mimi",
            sample_rate=24_000,
            channels=1,
            hop_length=1920,
            codebooks=32,
            codebook_size=2048,
            codebook_dim=256,
            bandwidths={0.55: 4, 1.1: 8, 2.2: 16, 4.4: 32},
            stereo_streams=True,
        ),
        family="mimi",
        official_memory=20e6,
    ),
)

PUBLISHED = {codec.spec.name: codec for codec in _ALL}
"""The codecs that acomp has, by name."""

SPECS = {name: codec.spec for name, codec in PUBLISHED.items()}
"""What is fixed about each of them."""


def of_family(family: str) -> list[Published]:
    """The published codecs of a family."""
    return [codec for codec in PUBLISHED.values() if codec.family == family]


# Names that are no codec's own

CUSTOM = "custom"
"""A codec of one's own, whose file of weights says what it is; nothing is published of it."""

CUSTOM_OVERLAP = 0.01
"""Share of a segment that the next one overlaps in codes of `CUSTOM` that have segments; the codes
do not say it, and no family that codes in segments has another."""

BUILT_IN = "nano-2"
"""The codec to take where nothing can be downloaded: its weights ship with acomp."""

ALIASES = {"dac": "dac-44khz", "nano": BUILT_IN}
"""Other names of codecs; `nano` is its newest generation."""

FORMER = {"nano": "nano-1"}
"""Names in files of codecs that have another one now."""

ENCODEC = "encodec"
"""Not a codec but one for each number of channels; what is taken where no codec is named."""

BY_CHANNELS = {ENCODEC: {1: "encodec-24khz", 2: "encodec-48khz"}}
"""Names that stand for several codecs, and for which, by the channels that are to be coded."""

NAC_0 = "nac0-16khz"
"""The codec that made the codes of `.nac` version 0."""

READ_ONLY = {
    NAC_0: (
        "codes of .nac version 0 can be read and converted but not decoded: the weights of the "
        "codec that made them were never published with a checksum"
    )
}
"""Codecs whose codes are read, and why they are not decoded."""
