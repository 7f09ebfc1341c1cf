"""Metrics that ask a speech recogniser: what it hears in the decoded speech, and what in the
original.

Another recogniser than the one that is built in is a function of a recording that returns what it
hears in it, words or phones, with spaces between them: `word_error(my_recogniser)` is a record.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

from acomp.audio import Audio
from acomp.evaluation.metrics.record import DoesNotApply, Method, Metric

WORD_ERROR = "word_error"
"""Name of the metric that can take transcripts."""
RATE = 16_000
"""Hz of the audio that a recogniser is given, in mono."""
Recogniser = Callable[[Audio], str]
_Unit = Literal["word", "phone"]
_ALLPHONE = {"lm": None, "beam": 1e-20, "pbeam": 1e-20, "lw": 2.0}
"""How pocketsphinx's authors have it recognise phones."""


def heard_words(audio: Audio) -> str:
    """The English words that pocketsphinx hears in mono audio at 16 kHz."""
    return _heard("word", audio)


def heard_phones(audio: Audio) -> str:
    """The phones of English (ARPABET) that pocketsphinx hears, without silence and noises."""
    heard = _heard("phone", audio).split()
    return " ".join(phone for phone in heard if phone.isalpha() and phone != "SIL")


def word_error(recogniser: Recogniser | None = None, transcript: str | None = None) -> Metric:
    """The record of the word error rate by a recogniser.

    Args:
        recogniser: takes mono audio at 16 kHz and returns the words that it hears, with spaces
            between them; pocketsphinx unless another is given.
        transcript: the words to hear, instead of those that it hears in the original.
    """
    by = "pocketsphinx (English)" if recogniser is None else "a recogniser"
    return Metric(
        name=WORD_ERROR,
        label="word error",
        short="words",
        unit="%",
        higher_is_better=False,
        digits=1,
        about=f"word errors of {by} that listens to the decoded speech, in percent of the words "
        "that it hears in the original, or of `--transcripts`",
        method=_method(recogniser, heard_words, transcript),
    )


def phone_error(recogniser: Recogniser | None = None) -> Metric:
    """The record of the phone error rate by a recogniser.

    Args:
        recogniser: takes mono audio at 16 kHz and returns the phones that it hears, with spaces
            between them; pocketsphinx unless another is given.
    """
    by = "pocketsphinx" if recogniser is None else "a recogniser"
    return Metric(
        name="phone_error",
        label="phone error",
        short="phones",
        unit="%",
        higher_is_better=False,
        digits=1,
        about=f"errors among the phones that {by} hears in the decoded speech, in percent of those "
        "that it hears in the original",
        method=_method(recogniser, heard_phones),
    )


def error_rate(expected: str, heard: str) -> float:
    """The least number of words put in, left out or replaced, in percent of those expected.

    Case and punctuation do not count.

    Raises:
        DoesNotApply: no words are expected.
    """
    from rapidfuzz.distance import Levenshtein

    first, second = _words(expected), _words(heard)
    if not first:
        raise DoesNotApply("no words to hear")
    return 100 * Levenshtein.distance(first, second) / len(first)


def _method(
    recogniser: Recogniser | None, built_in: Recogniser, transcript: str | None = None
) -> Method:
    listen = recogniser or built_in

    def compute(reference: Audio, decoded: Audio) -> float:
        if transcript is None:
            return error_rate(listen(reference), listen(decoded))
        if not transcript:
            raise DoesNotApply("no transcript")
        return error_rate(transcript, listen(decoded))

    return Method(
        compute=compute,
        content="speech",
        sample_rate=RATE,
        channels="mixed",
        longest=None,
        packages=("rapidfuzz",) if recogniser else ("pocketsphinx", "rapidfuzz"),
        extra="eval-full",
        cost="slow",
    )


def _words(text: str) -> Sequence[str]:
    return re.findall(r"[\w']+", text.lower())


_known: dict[tuple[_Unit, bytes], str] = {}
"""What was heard, by a hash of the samples: in every setting the original is heard again."""


def _heard(unit: _Unit, audio: Audio) -> str:
    samples = np.round(32767 * np.clip(audio.samples[0], -1, 1)).astype("<i2").tobytes()
    key = unit, hashlib.sha256(samples).digest()
    if key not in _known:
        _known[key] = _listen(unit, samples)
    return _known[key]


def _listen(unit: _Unit, samples: bytes) -> str:
    decoder = _decoder(unit)
    decoder.reinit_feat()  # or it would go on from the means of what it heard before
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return "" if found is None else str(found.hypstr)


@cache
def _decoder(unit: _Unit) -> Any:
    from pocketsphinx import Decoder, get_model_path

    settings: dict[str, Any] = {"loglevel": "FATAL", "cmn": "batch"}
    if unit == "phone":
        settings |= {"allphone": get_model_path("en-us/en-us-phone.lm.bin"), **_ALLPHONE}
    return Decoder(**settings)


METRICS = (word_error(), phone_error())
