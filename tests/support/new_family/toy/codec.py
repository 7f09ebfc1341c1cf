"""The codec of the family toy, which codes as the third-party codec `tiny` does."""

from __future__ import annotations

from pathlib import Path

from third_party.tiny_codec import Tiny

from acomp.backends.weights.checkpoint import fingerprint, load_arrays
from acomp.codecs import CodecSpec
from acomp.engines import Engine


def load(spec: CodecSpec, _shape: None, weights: Path, _engine: Engine) -> Tiny:
    """The codec; its weights say nothing but that they are there.

    Raises:
        WeightsError: they cannot be read.
    """
    return Tiny(spec, fingerprint(load_arrays(weights)))
