"""EnCodec's networks as they are exported: of streams, of whole recordings, and of segments."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from acomp.backends.encodec.codec import Encodec
from acomp.backends.encodec.network import around_lstm, stack_of
from acomp.backends.encodec.quantisers import Residual
from acomp.backends.shared.quantisers import Quantiser
from acomp.engines.rewriting import replace_parts
from acomp.export.edges import CausalStack, PaddedConv
from acomp.export.onnx import Port
from acomp.export.streams import (
    FACTS,
    Decoder,
    Half,
    Parts,
    Stream,
    codes_port,
    dequantised,
    half,
    samples_port,
    stream_rules,
    whole_rules,
    without_channels,
)


def parts(codec: Encodec, codebooks: int, *, streaming: bool) -> Parts:
    """An EnCodec as it is exported; for streams, a causal one."""
    shape, network = codec.shape, codec.network
    samples, hop = samples_port(shape.channels), shape.hop_length
    codes, any_codes = codes_port(codebooks), codes_port("codebooks")
    quantise = Quantise(network.quantizer.vq, codebooks)
    dequantise = Dequantise(network.quantizer.vq)
    encoder, decoder = network.encoder.model, network.decoder.model
    if shape.causal:
        return Parts(
            half(CausalEncoder(encoder, quantise), samples, codes, streaming=streaming),
            half(CausalDecoder(decoder, dequantise), any_codes, samples, streaming=streaming),
            stream_rules(hop, shape.first_frames) if streaming else whole_rules(hop),
            {**FACTS, "first_frames": shape.first_frames},
        )
    encoding, decoding = Encoder(_padded(encoder), quantise), Decoder(_padded(decoder), dequantise)
    if shape.segment is None:
        return Parts(
            half(encoding, samples, codes, streaming=False),
            half(decoding, any_codes, samples, streaming=False),
            whole_rules(hop),
            FACTS,
        )
    scales = Port("scales", "float32", ("batch",))
    length, stride = shape.segment_length, codec.spec.segment_stride
    return Parts(
        Half(SegmentEncoder(encoding), [samples], [codes, scales]),
        Half(SegmentDecoder(decoding), [any_codes, scales], [samples]),
        _segment_rules(length, stride, hop),
        {**FACTS, "segment_samples": length, "segment_stride": stride},
    )


class Quantise(nn.Module):
    """Latents `[batch, dimension, frames]` to codes `[batch, codebooks, frames]`."""

    def __init__(self, quantiser: Any, codebooks: int) -> None:
        super().__init__()
        self.quantiser = quantiser
        self._codebooks = codebooks

    def forward(self, latents: Tensor) -> Tensor:
        if isinstance(self.quantiser, Residual):
            return self.quantiser.encode(latents, n_q=self._codebooks).transpose(0, 1)
        # Made here, so that what it derives from the codebooks is derived in the graph.
        books = [layer.codebook for layer in self.quantiser.layers[: self._codebooks]]
        codes: Tensor = Quantiser(torch.stack(books))(latents.transpose(1, 2))
        return codes


class Dequantise(nn.Module):
    """Codes `[batch, codebooks, frames]` to latents `[batch, dimension, frames]`."""

    def __init__(self, quantiser: Any) -> None:
        super().__init__()
        self.quantiser = quantiser

    def forward(self, codes: Tensor) -> Tensor:
        if isinstance(self.quantiser, Residual):
            levels = [level.entries for level in self.quantiser.levels]
        else:
            levels = [partial(_looked_up, layer) for layer in self.quantiser.layers]
        return dequantised(levels, codes).transpose(1, 2)


def _looked_up(layer: Any, codes: Tensor) -> Tensor:
    return nn.functional.embedding(codes, layer.codebook)


class CausalHalf(Stream):
    """Half a causal network over a stream: layers, an LSTM, layers."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        before, self.lstm, after = around_lstm(network)
        self.before_lstm = CausalStack(stack_of(before), "before")
        self.after_lstm = CausalStack(stack_of(after), "after")
        memory = (self.lstm.num_layers, self.lstm.hidden_size)
        self.state = {
            "begun": (),
            **self.before_lstm.state,
            "hidden": memory,
            "cell": memory,
            **self.after_lstm.state,
        }

    def run(self, x: Tensor, begun: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """`[batch, channels, time]`, and the state."""
        count = len(self.before_lstm.state)
        hidden, cell = (_swapped(part) for part in state[count : count + 2])
        y, *before = self.before_lstm(x, begun, *state[:count])
        y = y.permute(2, 0, 1)
        z, (hidden, cell) = self.lstm(y, (hidden, cell))
        y, *after = self.after_lstm((y + z).permute(1, 2, 0), begun, *state[count + 2 :])
        return (y, torch.ones_like(begun), *before, _swapped(hidden), _swapped(cell), *after)


def _swapped(x: Tensor) -> Tensor:
    """The batch first instead of second, or the other way round."""
    return x.transpose(0, 1).contiguous()


class CausalEncoder(CausalHalf):
    """Samples, and the state, to codes, and the next state."""

    def __init__(self, network: nn.Sequential, quantise: nn.Module) -> None:
        super().__init__(network)
        self.quantise = quantise

    def forward(self, samples: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        latents, *after = self.run(_with_channels(samples), *state)
        return (self.quantise(latents), *after)


class CausalDecoder(CausalHalf):
    """Codes, and the state, to samples, and the next state."""

    def __init__(self, network: nn.Sequential, dequantise: nn.Module) -> None:
        super().__init__(network)
        self.dequantise = dequantise

    def forward(self, codes: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        samples, *after = self.run(self.dequantise(codes), *state)
        return (without_channels(samples), *after)


def _with_channels(samples: Tensor) -> Tensor:
    return samples if samples.dim() == 3 else samples[:, None]


def _padded(network: nn.Module) -> nn.Module:
    """A copy of layers that see both sides, which takes any length when it is exported."""
    return replace_parts(deepcopy(network), PaddedConv.stands_for, PaddedConv)


class Encoder(nn.Module):
    """A recording to codes."""

    def __init__(self, network: nn.Module, quantise: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.quantise = quantise

    def forward(self, samples: Tensor) -> Tensor:
        codes: Tensor = self.quantise(self.network(_with_channels(samples)))
        return codes


class SegmentEncoder(nn.Module):
    """A segment to codes and its level."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        x = _with_channels(samples)
        scales = x.mean(1).square().mean(1).sqrt() + 1e-8
        return self.encoder(x / scales[:, None, None]), scales


class SegmentDecoder(nn.Module):
    """Codes of a segment and its level to the segment."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, codes: Tensor, scales: Tensor) -> Tensor:
        y: Tensor = self.decoder(codes)
        return y * (scales[:, None, None] if y.dim() == 3 else scales[:, None])


def _segment_rules(length: int, stride: int, hop: int) -> dict[str, str]:
    return {
        "encode": f"Call for each segment of {length} samples, every {stride} samples; those at "
        f"the end are shorter: n samples give ceil(n / {hop}) frames, and their level in scales. "
        "Whole segments may be items of a batch.",
        "decode": f"Each segment gives its frames * {hop} samples. Segments are added up where "
        f"they lie, {stride} samples apart, each weighted by a triangle as long as the first one: "
        "with t from 1 to its length, over its length + 1, 0.5 - |t - 0.5|; the sum is divided by "
        "that of the weights. Drop what exceeds the length of the recording.",
    }
