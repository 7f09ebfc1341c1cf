"""nano's networks as they are exported: samples to codes and codes to samples, state in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acomp.backends.nano.codec import Nano
from acomp.backends.nano.network import Network, Refiner
from acomp.backends.nano.shape import CHOICES, MEMORY, PATHS
from acomp.backends.shared.quantisers import Search
from acomp.backends.weights.cache import fetch
from acomp.backends.weights.checkpoint import SCALE, load_checkpoint
from acomp.export.onnx import Steps, node
from acomp.export.streams import (
    FACTS,
    Parts,
    Shapes,
    Stream,
    codes_port,
    fewer_codes,
    half,
    samples_port,
)


def parts(codec: Nano, weights: Path | None, codebooks: Sequence[int], *, streaming: bool) -> Parts:
    """A nano as it is exported."""
    network = _named(codec.module)
    hop, samples = network.hop, samples_port(1)
    *others, most = codebooks
    fewer = [codes_port(count, fewer_codes(count)) for count in others]
    encoder, decoder = Encoder(network, codebooks), Decoder(network)
    rules = _stream_rules(hop) if streaming else _whole_rules(hop)
    if fewer:
        rules["fewer"] = (
            "Outputs codes_K of the encoder are the codes with K codebooks, which are not the "
            "first K of codes."
        )
    return Parts(
        half(encoder, samples, codes_port(most), *fewer, streaming=streaming),
        half(decoder, codes_port("codebooks"), samples, streaming=streaming),
        rules,
        _stream_facts(hop) if streaming else FACTS,
        _stored(weights or fetch(codec.spec.name)),
        partial(_transform, hop),
    )


def _named(network: Network) -> Network:
    """A copy whose constants are named in its graphs, as weights are."""
    network = deepcopy(network)
    for name in ("cosines", "sines", "to_bands", "to_lines"):
        network.register_buffer(name, network.get_buffer(name))
    return network


class Encoder(Stream):
    """Hops of samples `[batch, hops * hop]`, the hop before them `[batch, hop]` and the blocks'
    state to codes `[batch, codebooks, hops]`, what comes next, and the codes with fewer codebooks.
    """

    def __init__(self, network: Network, counts: Sequence[int]) -> None:
        """`counts` are the numbers of codebooks, ascending."""
        super().__init__()
        self.network = network
        self.counts = counts
        self.state = _state(network.hop, network.encoder)

    def forward(self, samples: Tensor, before: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        hop = self.network.hop
        hops = torch.cat([before, samples], dim=1).reshape(samples.shape[0], -1, hop)
        frames = torch.cat([hops[:, :-1], hops[:, 1:]], dim=2)
        features, sines = self.network.features(frames)
        latents, after = self.network.encode(features, sines, list(state))
        # Made here, so that what it derives from the codebooks is derived in the graph.
        books = self.network.codebooks[: self.counts[-1]]
        search = Search(books, paths=PATHS, choices=CHOICES)
        *fewer, codes = search.after(latents, self.counts)
        return (codes, hops[:, -1], *after, *fewer)

    def before(self, x: Tensor) -> Tensor:
        # Silence up to a whole hop, and one hop more for the last frame's second half.
        hop = self.network.hop
        hops = (x.shape[1] + 2 * hop - 1) // hop
        return torch.cat([x, torch.zeros(x.shape[0], 2 * hop - 1)], dim=1)[:, : hops * hop]


class Decoder(Stream):
    """Codes `[batch, codebooks, frames]` and the state to samples `[batch, frames * hop]` and what
    comes next. Of the state are, `[batch, hop]` each, the last sharpened frame's second half, the
    last hop that is not sharpened, and the last frame's second half; then the blocks' state. A
    frame of codes below 0 is silent.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        hop = (network.hop,)
        self.state = {"sharp": hop, "known": hop, **_state(network.hop, network.decoder)}

    def forward(
        self, codes: Tensor, sharp: Tensor, known: Tensor, before: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        books = self.network.codebooks
        first = torch.arange(codes.shape[1])[:, None] * books.shape[1]
        latents = books.flatten(0, 1)[codes.clamp(min=0) + first].sum(1)
        features, after = self.network.decode(latents, list(state))
        frames = self.network.frames(features) * (codes[:, 0, :, None] >= 0)
        hops, before = self._added(frames, before)
        known = torch.cat([known[:, None], hops], dim=1)
        pairs = torch.cat([known[:, :-1], known[:, 1:]], dim=2)
        samples, sharp = self._added(self.network.sharpen(pairs), sharp)
        return (samples.flatten(1), sharp, known[:, -1], before, *after)

    def _added(self, frames: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """The hops that frames complete, and the second half of the last."""
        hop = self.network.hop
        halves = torch.cat([before[:, None], frames[:, :, hop:]], dim=1)
        return frames[:, :, :hop] + halves[:, :-1], halves[:, -1]

    def before(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.full_like(x[:, :, :1], -1)], dim=2)

    def after(self, y: Tensor) -> Tensor:
        # What the first frames complete lies before the recording.
        return y[:, 2 * self.network.hop :]


def _state(hop: int, refiner: Refiner) -> Shapes:
    pasts = {f"past_{number}": (MEMORY, refiner.width) for number in range(len(refiner.blocks))}
    return {"before": (hop,), **pasts}


def _whole_rules(hop: int) -> dict[str, str]:
    return {
        "encode": f"Any length: n samples give ceil(n / {hop}) + 1 frames.",
        "decode": f"n frames give (n - 1) * {hop} samples; drop what exceeds the length of the "
        "recording.",
    }


def _stream_facts(hop: int) -> dict[str, int]:
    return {**FACTS, "delay_samples": 2 * hop, "last_frames": 1, "multiple": hop}


def _stream_rules(hop: int) -> dict[str, str]:
    return {
        "encode": f"Call with whole hops of {hop} samples; a state of zeros begins a "
        f"recording, then each next_NAME is the next call's NAME. To end, pad with zeros to a "
        f"whole hop, and one hop of zeros more: n samples give ceil(n / {hop}) + 1 frames.",
        "decode": f"Each frame gives {hop} samples. To end, call once more with a frame of codes "
        f"-1. Drop the first {2 * hop} samples, and what exceeds the length of the recording.",
    }


def _stored(weights: Path) -> Mapping[str, list[NDArray[np.generic]]]:
    """The weights as the file has them, with their scales."""
    state = load_checkpoint(weights).state
    found = {}
    for name, value in state.items():
        if not name.endswith(SCALE) and value.dtype in (torch.float16, torch.int8, torch.float32):
            scale = state.get(name + SCALE)
            found[name] = [value.numpy(), *([] if scale is None else [scale.float().numpy()])]
    return found


def _transform(hop: int, name: str) -> Steps | None:
    """The steps to the matrix of the MDCT or its sine twin, `[2 * hop, hop]`, and what they need;
    None to other weights.

    Its entries are few cosines, over and over: pi / (4 * hop) times (2 * time + 1 + hop) times
    (2 * line + 1), the product modulo 8 * hop.
    """
    kind = name.rpartition("network.")[2]
    if kind not in ("cosines", "sines"):
        return None
    time, line = np.arange(2 * hop), np.arange(hop)
    turn = 2 * np.pi / (8 * hop)
    shift = 2 * hop if kind == "sines" else 0
    window = np.sin(np.pi / (2 * hop) * (time + 0.5)) * np.sqrt(2 / hop)
    values: dict[str, NDArray[np.generic]] = {
        f"{name}.rows": (2 * time + 1 + hop)[:, np.newaxis],
        f"{name}.columns": 2 * line + 1,
        f"{name}.circle": np.array(8 * hop),
        f"{name}.table": np.cos(turn * (np.arange(8 * hop) - shift)).astype(np.float32),
        f"{name}.window": window.astype(np.float32)[:, np.newaxis],
    }
    nodes = [
        node("Mul", [f"{name}.rows", f"{name}.columns"], f"{name}.products"),
        node("Mod", [f"{name}.products", f"{name}.circle"], f"{name}.places"),
        node("Gather", [f"{name}.table", f"{name}.places"], f"{name}.bare"),
        node("Mul", [f"{name}.bare", f"{name}.window"], name),
    ]
    return Steps(nodes, values)
