"""What the comparison of quantisers is made on: real speech, and real noise of a city.

All is from Debian packages: telephone prompts in five languages and Dutch actors, and the sounds of
a game about a city (fire, trains, water, machines, markets). It needs `apt-get`, `dpkg`, `ffmpeg`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from acomp import Audio, read_audio, write_audio

sys.path.insert(0, str(Path(__file__).parents[1] / "nano"))
from prepare import audio_files, convert, is_held_out, seconds, unpack

SPEECH = (
    *(f"asterisk-core-sounds-{language}-g722" for language in ("en", "es", "fr", "it", "ru")),
    "fillets-ng-data-nl",
)
NOISE = "lincity-ng-data"
TESTED = 24
"""Utterances that are tested on, all held out from training."""
SECONDS = (2.0, 4.0)
"""They are as long as the first at least, and cut to the second."""
SNR = (0.0, 20.0)
"""In dB, of training at random and of the test from one to the other."""


def prepare(folder: Path) -> None:
    """Fill `folder` with `{speech,noise}/{train,heldout}` and `test/{clean,noisy}`."""
    for package in SPEECH:
        root = unpack(package, folder / "packages")
        for source in audio_files(root, "**/*.*"):
            if "music" not in source.parts:
                name = f"{package}/{source.relative_to(root / 'usr/share')}"
                part = "heldout" if is_held_out(name) else "train"
                convert(source, folder / "speech" / part / f"{name}.wav")
        _keep_licence(root, package, folder)
    root = unpack(NOISE, folder / "packages")
    for number, source in enumerate(audio_files(root, "**/sounds/*.wav")):
        part = "train" if number % 4 else "heldout"
        convert(source, folder / "noise" / part / source.name)
    _keep_licence(root, NOISE, folder)
    if not (folder / "test").exists():
        _write_test(folder)


def _keep_licence(root: Path, package: str, folder: Path) -> None:
    shutil.copy(root / "usr/share/doc" / package / "copyright", folder / f"{package}.copyright")


def _write_test(folder: Path) -> None:
    """Held-out utterances, and the same with held-out noise."""
    least, most = SECONDS
    every = sorted((folder / "speech" / "heldout").rglob("*.wav"))
    long = [path for path in every if seconds(path) >= least]
    chosen = [long[i] for i in np.linspace(0, len(long) - 1, TESTED).astype(int)]
    noises = sorted((folder / "noise" / "heldout").glob("*.wav"))
    unfinished = folder / "test.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    for kind in ("clean", "noisy"):
        (unfinished / kind).mkdir(parents=True)
    ratios = np.random.default_rng(0).permutation(np.linspace(*SNR, TESTED))
    for number, (path, ratio) in enumerate(zip(chosen, ratios, strict=True)):
        clean = read_audio(path)
        samples = clean.samples[:, : round(most * clean.sample_rate)]
        noise = np.resize(read_audio(noises[number % len(noises)]).samples, samples.shape)
        noise = noise * np.sqrt((samples**2).mean() / (noise**2).mean()) * 10 ** (-ratio / 20)
        loudest = max(1.0, float(np.abs(samples + noise).max()))
        for kind, sound in (("clean", samples), ("noisy", samples + noise)):
            audio = Audio((sound / loudest).astype(np.float32), clean.sample_rate)
            write_audio(unfinished / kind / f"{number:02}.wav", audio)
    unfinished.rename(folder / "test")
