"""nano's networks as they are exported: samples to codes and codes to samples, state in and out.

The state is what a stream carries over; zeros are the beginning of a recording. A whole recording
is one call, so the networks of a stream are those of a recording, too, but for what begins and ends
it, which the graphs that are not for streams do themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from acomp.backends.nano.network import Network
from acomp.backends.nano.shape import CHOICES, MEMORY, PATHS
from acomp.backends.shared.quantisers import Search


def named(network: Network) -> Network:
    """A copy whose constants are named in its graphs, as weights are."""
    network = deepcopy(network)
    for name in ("cosines", "sines", "to_bands", "to_lines"):
        network.register_buffer(name, network.get_buffer(name))
    return network


class Encoder(nn.Module):
    """Hops of samples `[batch, hops * hop]`, the hop before them `[batch, hop]` and the blocks'
    state to codes `[batch, codebooks, hops]`, what comes next, and the codes with fewer codebooks.
    """

    def __init__(self, network: Network, counts: Sequence[int]) -> None:
        """`counts` are the numbers of codebooks, ascending."""
        super().__init__()
        self.network = network
        self.refiner = network.encoder
        self.counts = counts

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


class Decoder(nn.Module):
    """Codes `[batch, codebooks, frames]`, the second half of the frame before them `[batch, hop]`
    and the blocks' state to samples `[batch, frames * hop]` and what comes next.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.refiner = network.decoder

    def forward(self, codes: Tensor, before: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        hop = self.network.hop
        books = self.network.codebooks
        first = torch.arange(codes.shape[1])[:, None] * books.shape[1]
        latents = books.flatten(0, 1)[codes + first].sum(1)
        features, after = self.network.decode(latents, list(state))
        frames = self.network.frames(features)
        halves = torch.cat([before[:, None], frames[:, :, hop:]], dim=1)
        samples = frames[:, :, :hop] + halves[:, :-1]
        return (samples.flatten(1), halves[:, -1], *after)


class Whole(nn.Module):
    """An encoder or decoder of streams on a whole recording, without state in or out.

    The encoder's takes any number of samples, `[batch, time]`, and returns codes, and those with
    fewer codebooks; the decoder's returns samples `[batch, (frames - 1) * hop]`.
    """

    def __init__(self, stream: Encoder | Decoder) -> None:
        super().__init__()
        self.stream = stream

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        hop = self.stream.network.hop
        batch = x.shape[0]
        zeros = self.stream.network.codebooks.new_zeros
        if isinstance(self.stream, Encoder):
            # Silence up to a whole hop, and one hop more for the last frame's second half.
            hops = (x.shape[1] + 2 * hop - 1) // hop
            x = torch.cat([x, zeros(batch, 2 * hop - 1)], dim=1)[:, : hops * hop]
        state = (
            zeros(batch, MEMORY, self.stream.refiner.width) for _ in self.stream.refiner.blocks
        )
        result, *rest = self.stream(x, zeros(batch, hop), *state)
        if isinstance(self.stream, Encoder):
            return (result, *rest[1 + len(self.stream.refiner.blocks) :])
        # What the first frame completes lies before the recording.
        return (result[:, hop:],)
