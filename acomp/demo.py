"""`acomp demo`: encode, decode and measure the samples that ship with acomp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from acomp.audio import Audio, read_audio
from acomp.backends import load
from acomp.backends.base import Codec
from acomp.codecs import BUILT_IN, SPECS
from acomp.errors import AcompError
from acomp.metrics import log_mel_distance, si_sdr
from acomp.pipeline import decode_file, encode_file
from acomp.settings import Coding

SAMPLES = ("speech", "music")
"""The samples that ship with acomp, each named after what it holds."""
PAGE = "listen.html"
"""Name of the page that plays them."""
COLUMNS = (
    ("kbps", "asked for"),
    ("kbps", "of the file"),
    ("PCM ÷", ""),
    ("encoding", "times real time"),
    ("decoding", "times real time"),
    ("SI-SDR", "dB"),
    ("log-mel", ""),
)
"""Titles of the page's figures, and their units."""


@dataclass(frozen=True)
class Row:
    """The results of one sample at one bandwidth.

    Attributes:
        sample: name of the sample.
        seconds: its duration.
        bandwidth: bandwidth in kbps that was asked for, of each channel.
        nac_size: bytes of the `.nac`.
        txt_size: bytes of the `.txt`.
        bit_rate: bit rate of the whole `.nac` in kbps.
        compression: size of the audio as 16-bit PCM over the size of the `.nac`.
        encode_speed: speed of encoding in times real time, the faster of two runs.
        decode_speed: speed of decoding in times real time, the faster of two runs.
        si_sdr: SI-SDR in dB.
        log_mel: log-mel distance (`acomp.metrics.log_mel_distance`).
    """

    sample: str
    seconds: float
    bandwidth: float
    nac_size: int
    txt_size: int
    bit_rate: float
    compression: float
    encode_speed: float
    decode_speed: float
    si_sdr: float
    log_mel: float


def run(folder: Path) -> Iterator[Row]:
    """Encode and decode each sample at each bandwidth of nano, with the files in `folder`.

    Raises:
        AcompError: the folder cannot be written, or the `.nac` and `.txt` decode differently.
    """
    codec = load(BUILT_IN)
    codec.warm_up()
    for sample in SAMPLES:
        with _sample(sample) as path:
            audio = read_audio(path)
            for bandwidth in codec.spec.bandwidths:
                yield _row(codec, path, audio, bandwidth, folder)


def outputs(folder: Path) -> Iterator[Path]:
    """The files that `run` writes."""
    for sample in SAMPLES:
        for bandwidth in SPECS[BUILT_IN].bandwidths:
            nac, txt = _codes(folder, sample, bandwidth)
            yield from (nac, txt, nac.with_suffix(".wav"), txt.with_suffix(".txt.wav"))
    yield folder / PAGE


def write_page(folder: Path, rows: Sequence[Row]) -> Path:
    """Write a page that plays what `run` left in `folder`, and give its path.

    Raises:
        AcompError: a package of the extra `pages` is missing, or the page cannot be written.
    """
    from acomp.pages.demo import write_page as write
    from acomp.pages.players import REFERENCE, Sound

    def sound_of(sample: str, original: Path) -> Sound:
        mine = {f"{row.bandwidth:g} kbps": row for row in rows if row.sample == sample}
        decoded = {
            name: _codes(folder, sample, row.bandwidth)[0].with_suffix(".wav")
            for name, row in mine.items()
        }
        return Sound(
            sample,
            sample,
            next(iter(mine.values())).seconds,
            {REFERENCE: original, **decoded},
            {REFERENCE: ["the original"]}
            | {name: [f"{row.bit_rate:.2f} kbps, the whole file"] for name, row in mine.items()},
        )

    with ExitStack() as stack:
        originals = {sample: stack.enter_context(_sample(sample)) for sample in SAMPLES}
        sounds = [sound_of(sample, path) for sample, path in originals.items()]
        cells = [(row.sample, _cells(row)) for row in rows]
        write(folder / PAGE, SPECS[BUILT_IN].name, sounds, COLUMNS, cells)
    return folder / PAGE


def _cells(row: Row) -> list[str]:
    """Under `COLUMNS`."""
    return [
        f"{row.bandwidth:g}",
        f"{row.bit_rate:.2f}",
        f"{row.compression:.0f}",
        f"{row.encode_speed:.0f}",
        f"{row.decode_speed:.0f}",
        f"{row.si_sdr:.1f}",
        f"{row.log_mel:.3f}",
    ]


def _sample(name: str) -> AbstractContextManager[Path]:
    return as_file(files("acomp") / "samples" / f"{name}.flac")


def _codes(folder: Path, sample: str, bandwidth: float) -> tuple[Path, Path]:
    stem = f"{sample}-{bandwidth:g}kbps"
    return folder / f"{stem}.nac", folder / f"{stem}.txt"


def _row(codec: Codec, path: Path, audio: Audio, bandwidth: float, folder: Path) -> Row:
    nac, txt = _codes(folder, path.stem, bandwidth)
    encoding = [encode_file(lambda _: codec, path, to, Coding(bandwidth)) for to in (nac, txt)]
    decoding = [
        decode_file(lambda _: codec, nac, nac.with_suffix(".wav")),
        decode_file(lambda _: codec, txt, txt.with_suffix(".txt.wav")),
    ]
    output, same = read_audio(nac.with_suffix(".wav")), read_audio(txt.with_suffix(".txt.wav"))
    if not np.array_equal(output.samples, same.samples):
        raise AcompError(f"{nac} and {txt} decode to different sounds, which is a bug")
    size = nac.stat().st_size
    return Row(
        sample=path.stem,
        seconds=audio.duration,
        bandwidth=bandwidth,
        nac_size=size,
        txt_size=txt.stat().st_size,
        bit_rate=size * 8 / audio.duration / 1000,
        compression=audio.samples.size * 2 / size,
        encode_speed=audio.duration / min(result.codec_seconds for result in encoding),
        decode_speed=audio.duration / min(result.codec_seconds for result in decoding),
        si_sdr=si_sdr(audio, output),
        log_mel=log_mel_distance(audio, output),
    )
