"""The yardsticks of `acomp eval`, a record each: codecs that are none of acomp's.

A new yardstick is a record beside its like in one of the files here: settings, the suffixes of
coded files, what is said when a program is missing, and the table of docs/evaluation.md follow.
"""

from __future__ import annotations

from acomp.evaluation.yardsticks import ffmpeg, pcm, speech
from acomp.evaluation.yardsticks.record import Coder, Yardstick

__all__ = ["YARDSTICKS", "Coder", "Yardstick"]

_KINDS = (ffmpeg, speech, pcm)
YARDSTICKS: dict[str, Yardstick] = {
    record.name: record for kind in _KINDS for record in kind.YARDSTICKS
}
"""All yardsticks by their names in settings."""
