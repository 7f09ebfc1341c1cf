"""SoundStream's networks on LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from acomp.audio.samples import Samples
from acomp.codecs import CodecSpec

UNUSED = -1
"""What the quantiser has in place of a code of a codebook that is not used."""


class Network:
    """A network of one input and one output, with the state of one stream."""

    def __init__(self, model: bytes) -> None:
        # An interpreter cannot be set back: after `reset_all_variables` the encoder gives other
        # latents than a new one. So each stream opens its own.
        self._interpreter = open_model(model)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, frame: Samples) -> Samples:
        self._interpreter.set_tensor(self._input, frame)
        self._interpreter.invoke()
        result: Samples = self._interpreter.get_tensor(self._output)
        return result


def open_model(model: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def read_codebooks(quantiser: bytes, spec: CodecSpec) -> NDArray[np.float32]:
    """What each code adds to a latent: each is decoded alone, all other codebooks unused."""
    decode = open_model(quantiser).get_signature_runner("decode")
    books = np.zeros((spec.codebooks, spec.codebook_size, spec.codebook_dim), np.float32)
    codes = np.full((spec.codebooks, 1, 1), UNUSED, np.int32)
    for level, entry in np.ndindex(books.shape[:2]):
        codes[level] = entry
        books[level, entry] = decode(encoding_indices=codes)["output_0"][0, 0]
        codes[level] = UNUSED
    return books
