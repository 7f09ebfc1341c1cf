"""A folder of results as `acomp eval` leaves it, with sounds and figures made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from commands import sound

from acomp.audio import Audio, write_audio
from acomp.codes import Codes, CodesInfo
from acomp.evaluation.metrics import METRICS
from acomp.evaluation.results import Results, write_summary
from acomp.evaluation.rows import Row, write_rows
from acomp.formats import write_codes

SETTINGS = {"nano@1.5": 2, "nano@6": 8, "opus@12": 0, "pcm": 0}
"""Settings, and the codebooks of each; 0 where there are none."""
FILES = ("talk.wav", "music/a tune.flac")


def make_results(folder: Path, seconds: float = 2.0) -> Results:
    """Files of `seconds`: speech in mono at 24 kHz, and music in stereo at 44.1 kHz."""
    results, rows = Results(folder), []
    for order, (setting, codebooks) in enumerate(SETTINGS.items()):
        for file in FILES:
            original = sound(seconds, *((24_000, 1) if file == "talk.wav" else (44_100, 2)))
            rows.append(_row(setting, codebooks, file, original, order))
            _save(results.reference(file), original)
            _save(results.decoded(setting, file), _noisy(original, 0.1 / 4**order))
            coded = results.coded(setting, file)
            coded.parent.mkdir(parents=True, exist_ok=True)
            if codebooks:
                write_codes(coded, _codes(original, codebooks))
            else:
                coded.write_bytes(b"coded")
    write_rows(results.table, rows)
    write_summary(results.summary, {"settings": []})
    return Results(folder, rows)


def _row(setting: str, codebooks: int, file: str, audio: Audio, order: int) -> Row:
    speech = file == "talk.wav"
    figures = dict.fromkeys(METRICS, 1.0 + order) | {
        "si_sdr": 3.0 + 4 * order,
        "pesq": 1.5 + 0.7 * order,
        "stoi": 0.8 + 0.05 * order,
        "log_mel": 0.3 / (1 + order),
        "mr_stft": 2.0 / (1 + order),
    }
    of_speech = [name for name, each in METRICS.items() if each.method.content == "speech"]
    left_out = {} if speech else dict.fromkeys(of_speech, "not speech")
    kbps = (2.0, 6.5, 12.5, 384.0)[order] * audio.channels
    return Row(
        setting=setting,
        file=file,
        codec=setting.partition("@")[0],
        content="speech" if speech else "other",
        seconds=audio.duration,
        sample_rate=audio.sample_rate,
        channels=audio.channels,
        bytes=round(kbps * 125 * audio.duration),
        kbps=kbps,
        tokens_per_second=75.0 * codebooks * audio.channels if codebooks else None,
        encode_speed=100.0 + order,
        decode_speed=200.0 + order,
        delay_ms=0.0,
        metrics={name: figure for name, figure in figures.items() if name not in left_out},
        utilisation=tuple(0.9 for _ in range(codebooks)),
        perplexity=tuple(500.0 for _ in range(codebooks)),
        left_out=left_out,
        key="0" * 16,
    )


def _noisy(audio: Audio, level: float) -> Audio:
    noise = np.random.default_rng(1).standard_normal(audio.samples.shape)
    return Audio((0.7 * audio.samples + level * noise).astype(np.float32), audio.sample_rate)


def _codes(audio: Audio, codebooks: int) -> Codes:
    info = CodesInfo(
        codec="nano-1",
        sample_rate=24_000,
        channels=audio.channels,
        streams=audio.channels,
        codebooks=codebooks,
        codebook_size=1024,
        hop_length=320,
        source_rate=audio.sample_rate,
        fingerprint=None,
    )
    frames = -(-audio.length * 75 // audio.sample_rate)
    random = np.random.default_rng(codebooks)
    data = (1024 * random.random((audio.channels, codebooks, frames)) ** 3).astype(np.uint16)
    return Codes(info, data, audio.length)


def _save(path: Path, audio: Audio) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, audio)
