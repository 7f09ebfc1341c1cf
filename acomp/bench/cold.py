"""A program: a codec from a cold start to its first codes, by acomp or by the official package.

`cold.py acomp|official CODEC WEIGHTS ENGINE` prints what it took as JSON. It is run as a file, so
that nothing is imported but what the one side needs.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from acomp.audio import Audio
    from acomp.codecs import CodecSpec

SECONDS = 1
"""Audio that is encoded; EnCodec 48 kHz, which has segments, gives no codes of less."""


def main() -> None:
    side, codec, path, engine = sys.argv[1:]
    work = _acomp if side == "acomp" else _official
    assert work(codec, Path(path), engine).size
    taken = {"end": time.monotonic(), "cpu_seconds": time.process_time(), "mib": _peak()}
    print(json.dumps(taken))


def _acomp(name: str, path: Path, engine: Any) -> Any:
    import acomp

    codec = acomp.load(name, weights=path, engine=engine, device="cpu")
    return codec.encode(_noise(codec.spec)).data


def _official(name: str, path: Path, _engine: str) -> Any:
    from acomp.backends.families import family_of
    from acomp.bare import codes_from
    from acomp.codecs import SPECS

    spec, official = SPECS[name], family_of(name).official
    assert official is not None
    # It is asked for as many codebooks as these codes have.
    frames = -(-SECONDS * spec.sample_rate // spec.hop_length)
    codes = codes_from(spec, [np.zeros((1, spec.codebooks, frames), np.uint16)])
    return official.side(official.open(path, name), _noise(spec), codes).encode()


def _noise(spec: CodecSpec) -> Audio:
    from acomp.audio import Audio

    shape = spec.channels, SECONDS * spec.sample_rate
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, shape)
    return Audio(samples.astype(np.float32), spec.sample_rate)


def _peak() -> float | None:
    """MiB that this process has held at most, what it has mapped of files included; None where the
    system does not tell. `getrusage` would count what the process was forked from.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else None


if __name__ == "__main__":
    main()
