"""Converts the weights that `train.py` trained to a file of weights of nano-2.

    PYTHONPATH=. python examples/nano/gpu/export.py RUN/average.pt WEIGHTS.safetensors

Matrices and codebooks become whole numbers of 8 bits with a scale for each row.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from acomp.backends.weights.checkpoint import SCALE, save_weights

SHORTEST = 16
"""Rows of fewer numbers stay float16, as do vectors."""


def packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, value in state.items():
        if value.dim() < 2 or value.shape[-1] <= SHORTEST:
            found[name] = value.half()
            continue
        largest = value.float().abs().amax(-1, keepdim=True).clamp(min=1e-8)
        scale = (largest / 127).half().float()
        found[name] = (value.float() / scale).round().clamp(-127, 127).to(torch.int8)
        found[name + SCALE] = scale
    return found


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    source, target = map(Path, sys.argv[1:])
    save_weights(target, packed(torch.load(source, map_location="cpu", weights_only=True)))


if __name__ == "__main__":
    main()
