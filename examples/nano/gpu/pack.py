"""Packs the audio that `prepare.py` made: a few large files in place of many small ones.

    python examples/nano/gpu/pack.py PREPARED FOLDER [--flac]

writes `FOLDER/{speech,music}.NAME.ogg`, Opus of a few MB for the way to a GPU machine, or lossless
`.flac` where nothing travels: 24 kHz mono, from `PREPARED/{speech,music}/train`, none longer than
half an hour, and `FOLDER/held-out.npy`, clips of 2.4 s as int16 `[clips, samples]` from the files
that are held out. `train.py` takes the files in as they arrive, so that they may travel in several
pieces. It needs the program `ffmpeg`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE = 24_000
BIT_RATES = {"speech": "28k", "music": "40k"}
LONGEST = 30 * 60 * SAMPLE_RATE
FROM_ONE = {"speech": LONGEST, "music": 45 * SAMPLE_RATE}
"""Samples taken from the middle of one file, at most."""
CLIP = int(2.4 * SAMPLE_RATE)
CLIPS = {"speech": 24, "music": 24}


def samples(path: Path, most: int) -> NDArray[np.int16]:
    """The middle of a file, int16 `[samples]`."""
    audio, _ = soundfile.read(path, dtype="int16")
    start = max(0, (len(audio) - most) // 2)
    middle: NDArray[np.int16] = audio[start : start + most]
    return middle


def pieces(folder: Path, most: int) -> Iterator[NDArray[np.int16]]:
    """A package's files one after the other, in pieces of `LONGEST` or a little more."""
    found: list[NDArray[np.int16]] = []
    for path in sorted(folder.rglob("*.wav")):
        found.append(samples(path, most))
        if sum(map(len, found)) >= LONGEST:
            yield np.concatenate(found)
            found = []
    if found:
        yield np.concatenate(found)


def write(audio: NDArray[np.int16], bit_rate: str, target: Path) -> None:
    unfinished = target.with_suffix(".part")
    coder = {".ogg": ["libopus", "-b:a", bit_rate], ".flac": ["flac"]}[target.suffix]
    command = ["ffmpeg", "-v", "error", "-y", "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    command += ["-i", "-", "-c:a", *coder, "-f", target.suffix[1:], str(unfinished)]
    subprocess.run(command, input=audio.tobytes(), check=True)
    unfinished.rename(target)


def held_out(prepared: Path) -> NDArray[np.int16]:
    """Clips in the order of `CLIPS`, an equal share of each package's."""
    clips: list[NDArray[np.int16]] = []
    for kind, number in CLIPS.items():
        packages = sorted((prepared / kind / "heldout").iterdir())
        for package in packages:
            middles = (samples(path, CLIP) for path in sorted(package.rglob("*.wav")))
            long = [clip for clip in middles if len(clip) == CLIP]
            clips += long[: -(-number // len(packages))]
    return np.stack(clips)


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--flac"]
    if len(words) != 2:
        raise SystemExit(__doc__)
    suffix = "flac" if "--flac" in sys.argv else "ogg"
    prepared, folder = map(Path, words)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "held-out.npy", held_out(prepared))
    for kind, bit_rate in BIT_RATES.items():
        for package in sorted((prepared / kind / "train").iterdir()):
            for number, audio in enumerate(pieces(package, FROM_ONE[kind])):
                target = folder / f"{kind}.{package.name}-{number}.{suffix}"
                if not target.exists():
                    write(audio, bit_rate, target)


if __name__ == "__main__":
    main()
