"""What the networks of exported codecs are: halves with inputs, outputs and, for streams, a state.

The state is what a stream carries over; zeros are the beginning of a recording. A whole recording
is one call, so the networks of a causal codec's streams are those of recordings, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.export.onnx import Port, Steps

Shapes = dict[str, tuple[int, ...]]
"""The parts of a state by name, and the shape of each without the batch."""


class Stream(nn.Module):
    """A network over a stream, `(x, *state)` to `(y, *state)`, and to more outputs if it has them.

    Attributes:
        state: what it carries over.
    """

    state: Shapes

    def before(self, x: Tensor) -> Tensor:
        """What a whole recording is made before it goes in."""
        return x

    def after(self, y: Tensor) -> Tensor:
        """What comes out for a whole recording, made of what the network gives."""
        return y


class Whole(nn.Module):
    """A network of streams on a whole recording, without state in or out."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        state = self.stream.state
        zeros = (torch.zeros(x.shape[0], *shape) for shape in state.values())
        y, *rest = self.stream(self.stream.before(x), *zeros)
        return (self.stream.after(y), *rest[len(state) :])


@dataclass(frozen=True)
class Half:
    """The encoder or the decoder of a codec, as it is exported.

    Attributes:
        module: takes what `inputs` say and returns what `outputs` say.
        inputs: what it takes.
        outputs: what it returns.
    """

    module: nn.Module
    inputs: Sequence[Port]
    outputs: Sequence[Port]


@dataclass(frozen=True)
class Parts:
    """A codec in the form that it is exported in.

    Attributes:
        encoder: samples to codes.
        decoder: codes to samples.
        rules: how recordings are encoded and decoded, in words.
        facts: the same in numbers, for codec.json.
        stored: weights by name as they are kept, with their scales if they have any; empty where
            that is how the modules have them. What else the modules have is constant then.
        computed: the steps to those that are not kept.
    """

    encoder: Half
    decoder: Half
    rules: Mapping[str, str]
    facts: Mapping[str, Any]
    stored: Mapping[str, Sequence[NDArray[np.generic]]] = field(default_factory=dict)
    computed: Callable[[str], Steps | None] = lambda _: None


def samples_port(channels: int) -> Port:
    """The port of samples; of one channel they have no axis for it."""
    axes: tuple[int | str, ...] = (
        ("batch", "time") if channels == 1 else ("batch", channels, "time")
    )
    return Port("samples", "float32", axes)


def codes_port(codebooks: int | str, name: str = "codes") -> Port:
    return Port(name, "int64", ("batch", codebooks, "frames"))


def fewer_codes(codebooks: int) -> str:
    """The output of an encoder that has the codes with fewer codebooks than its most."""
    return f"codes_{codebooks}"


def half(module: nn.Module, first: Port, last: Port, *more: Port, streaming: bool) -> Half:
    """A half of one input and output, the state where it is for streams, and more outputs."""
    if not streaming:
        whole = Whole(module) if isinstance(module, Stream) else module
        return Half(whole, [first], [last, *more])
    assert isinstance(module, Stream)
    state = [Port(name, "float32", ("batch", *shape)) for name, shape in module.state.items()]
    after = [Port(f"next_{port.name}", port.dtype, port.shape) for port in state]
    return Half(module, [first, *state], [last, *after, *more])


class Decoder(nn.Module):
    """Codes to a recording, by networks without a state."""

    def __init__(self, network: nn.Module, dequantise: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.dequantise = dequantise

    def forward(self, codes: Tensor) -> Tensor:
        samples: Tensor = self.network(self.dequantise(codes))
        return without_channels(samples)


def without_channels(samples: Tensor) -> Tensor:
    """Samples `[batch, channels, time]` as they are given out: `[batch, time]` of one channel."""
    return samples[:, 0] if samples.shape[1] == 1 else samples


def dequantised(levels: Iterable[Callable[[Tensor], Tensor]], codes: Tensor) -> Tensor:
    """What codes `[batch, codebooks, frames]` of the first levels, or of all, say together.

    Args:
        levels: each makes something of its codes `[batch, frames]`.
        codes: of any number of the levels, which a graph takes as it comes.
    """
    every = list(levels)
    count, batch, frames = codes.shape[1], codes.shape[0], codes.shape[2]
    more = torch.zeros(batch, len(every), frames, dtype=codes.dtype)
    codes = torch.cat([codes, more], dim=1)[:, : len(every)]
    total = every[0](codes[:, 0])
    for index, level in enumerate(every[1:], start=1):
        there = torch.as_tensor(count > index).to(total.dtype)
        total = total + there * level(codes[:, index])
    return total


FACTS: Mapping[str, Any] = {
    "delay_samples": 0,
    "first_frames": 1,
    "last_frames": 0,
    "multiple": 1,
}
"""Facts of most codecs: decoded samples are not late, a stream's first call takes a frame or more,
none of codes -1 end it, and the last call takes any number of samples."""


def whole_rules(hop: int) -> dict[str, str]:
    """The rules of a codec whose frames are just the hops of a recording."""
    return {
        "encode": f"Any length: n samples give ceil(n / {hop}) frames.",
        "decode": f"n frames give n * {hop} samples; drop what exceeds the length of the "
        "recording.",
    }


def stream_rules(hop: int, first: int) -> dict[str, str]:
    """The same for streams, whose first call takes so many frames or more."""
    begins = "A state of zeros begins a recording, then each next_NAME is the next call's NAME."
    if first > 1:
        begins += f" The first call takes {first} frames or more, if the recording has them."
    return {
        "encode": f"Call with whole hops of {hop} samples; only the last call of a recording may "
        f"have other lengths: n samples give ceil(n / {hop}) frames. {begins}",
        "decode": f"Each frame gives {hop} samples. {begins} Drop what exceeds the length of the "
        "recording.",
    }
