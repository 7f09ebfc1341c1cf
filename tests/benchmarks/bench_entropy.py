"""What entropy coding saves, and how fast it is beside EnCodec's own.

    python tests/benchmarks/bench_entropy.py                  # speed
    python tests/benchmarks/bench_entropy.py nano FOLDER...   # saving on the sound in folders
    python tests/benchmarks/bench_entropy.py nano --language-model FILE FOLDER...

Speed is that of coding with EnCodec's language model at 6 kbps, from codes to bytes and back: the
`encodec` package's coder, as `.ecdc` files have it, and acomp's, as `.nac` files do, in turn. The
weights, which do not change the speed, are those that the model is initialised with.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

import acomp
from acomp.audio import is_audio_name
from acomp.codes import Codes, CodesInfo
from acomp.entropy.official import OfficialDecoder, OfficialEncoder
from acomp.formats import read_codes, write_codes
from acomp.settings import Entropy
from acomp.torchaudio import ensure_torchaudio

CODEC, CODEBOOKS, FRAME_RATE = "encodec-24khz", 8, 75
OFFICIAL_SECONDS, LENGTHS, ROUNDS = 5, (10, 60), 3


def speed_of(work: Callable[[], object], seconds: float) -> float:
    """Times real time."""
    began = perf_counter()
    work()
    return seconds / (perf_counter() - began)


def random_codes(seconds: int) -> Codes:
    info = CodesInfo(CODEC, 24_000, 1, 1, CODEBOOKS, 1024, 320, 24_000)
    shape = (1, CODEBOOKS, FRAME_RATE * seconds)
    data = np.random.default_rng(0).integers(0, 1024, shape, dtype=np.uint16)
    return Codes(info, data, shape[2] * info.hop_length)


def official_speeds(model: Any) -> tuple[float, float]:
    """Encoding and decoding with the package's coder, times real time."""
    codes = random_codes(OFFICIAL_SECONDS).data[0]
    stream = io.BytesIO()

    def encode() -> None:
        encoder = OfficialEncoder(model, CODEBOOKS, stream)
        encoder.push(codes)
        encoder.finish()

    def decode() -> None:
        stream.seek(0)
        decoded = OfficialDecoder(model, CODEBOOKS, stream).pull(codes.shape[1])
        np.testing.assert_array_equal(decoded, codes)

    return speed_of(encode, OFFICIAL_SECONDS), speed_of(decode, OFFICIAL_SECONDS)


def own_speeds(weights: Path, seconds: int) -> tuple[float, float]:
    """Writing and reading `.nac` with entropy coding, times real time."""
    codes = random_codes(seconds)
    file = weights.with_suffix(".nac")
    encode = speed_of(
        lambda: write_codes(file, codes, entropy="lm", language_model=weights), seconds
    )
    found: list[Codes] = []
    decode = speed_of(lambda: found.append(read_codes(file, language_model=weights)), seconds)
    np.testing.assert_array_equal(found[0].data, codes.data)
    return encode, decode


def print_speeds() -> None:
    ensure_torchaudio()
    from encodec.model import LMModel

    torch.manual_seed(0)
    model: Any = LMModel(32, 1024, num_layers=5, dim=200, past_context=int(3.5 * FRAME_RATE)).eval()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "lm.th"
        torch.save(model.state_dict(), weights)
        own_speeds(weights, 1)  # loads the weights
        rounds = [
            [official_speeds(model), *(own_speeds(weights, length) for length in LENGTHS)]
            for _ in range(ROUNDS)
        ]
    official, *own = np.median(np.array(rounds), axis=0)
    print("times real time   encode  decode")
    print(f"encodec           {official[0]:6.2f}  {official[1]:6.2f}")
    for length, (encode, decode) in zip(LENGTHS, own, strict=True):
        ratios = f"{encode / official[0]:.1f} and {decode / official[1]:.1f}"
        print(f"acomp, {length:2} s       {encode:6.2f}  {decode:6.2f}  {ratios} times encodec's")


def print_saving(codec: acomp.Codec, model: Path | None, folder: Path) -> None:
    """Sizes of the files of a folder's sound at each bandwidth, with entropy coding and without."""
    sounds = [acomp.read_audio(path) for path in sorted(folder.rglob("*")) if is_audio_name(path)]
    seconds = sum(sound.duration for sound in sounds)
    print(f"{folder.name}: {len(sounds)} files, {seconds:.0f} s")
    print("kbps asked  in the file  with lm  saved  lm encode  lm decode (times real time)")
    for kbps in codec.spec.bandwidths:
        measured = [_measure(codes, model) for codes in codec.encode_batch(sounds, bandwidth=kbps)]
        plain, coded, encode, decode = zip(*measured, strict=True)
        rates = [sum(sizes) * 8 / seconds / 1000 for sizes in (plain, coded)]
        print(
            f"{kbps:10g} {rates[0]:12.2f} {rates[1]:8.2f} {1 - rates[1] / rates[0]:6.1%} "
            f"{median(encode):9.1f}x {median(decode):9.1f}x"
        )


def _measure(codes: Codes, model: Path | None) -> tuple[int, int, float, float]:
    """Bytes without entropy coding and with it, and the speed of the latter both ways."""
    plain, coded = _written(codes, "none"), _written(codes, "lm", model)
    encode = speed_of(lambda: _written(codes, "lm", model), codes.duration)
    decode = speed_of(lambda: read_codes(io.BytesIO(coded), language_model=model), codes.duration)
    return len(plain), len(coded), encode, decode


def _written(codes: Codes, entropy: Entropy, model: Path | None = None) -> bytes:
    stream = io.BytesIO()
    write_codes(stream, codes, form="nac", entropy=entropy, language_model=model)
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codec", nargs="?")
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--language-model", type=Path)
    given = parser.parse_args()
    if given.codec is None:
        print_speeds()
        return
    codec = acomp.load(given.codec)
    for folder in given.folders:
        print_saving(codec, given.language_model, folder)


if __name__ == "__main__":
    main()
