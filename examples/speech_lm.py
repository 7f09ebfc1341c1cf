"""A small language model of a codec's tokens: train it on `acomp pack`'s stream, let it speak.

python examples/speech_lm.py STREAM OUT.wav [--minutes 3] [--seconds 5]

STREAM is the name that `acomp pack -o` was given, with --layout flat and an --eos. The model is a
plain GPT of a few million weights (A. Radford et al., "Language Models are Unsupervised Multitask
Learners", 2019), trained from scratch on whatever torch finds here.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

import acomp
from acomp import layouts

WIDTH, DEPTH, HEADS, CONTEXT = 256, 4, 4, 512
BATCH, RATE = 8, 1e-3
TEMPERATURE, LIKELIEST = 0.9, 100


class Block(nn.Module):
    """Attention to what came before, then a layer of neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.into, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.neurons = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x):
        batch, time_, _ = x.shape
        heads = self.into(self.norms[0](x)).view(batch, time_, 3, HEADS, -1).transpose(1, 3)
        seen = F.scaled_dot_product_attention(*heads.unbind(2), is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(x.shape))
        return x + self.neurons(self.norms[1](x))


class Model(nn.Module):
    """Tokens `[batch, time]` to logits of the next ones, `[batch, time, tokens]`."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.token = nn.Embedding(tokens, WIDTH)
        self.place = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH)
        self.last = nn.Linear(WIDTH, tokens, bias=False)

    def forward(self, x):
        places = torch.arange(x.shape[1], device=x.device)
        return self.last(self.norm(self.blocks(self.token(x) + self.place(places))))


def train(stream: np.ndarray, tokens: int, minutes: float, device: str) -> Model:
    torch.manual_seed(0)
    model = Model(tokens).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.1)
    begun, step, part = time.monotonic(), 0, 0.0
    while part < 1:
        starts = torch.randint(len(stream) - CONTEXT - 1, (BATCH,))
        rows = np.stack([stream[start : start + CONTEXT + 1] for start in starts.tolist()])
        x = torch.from_numpy(rows.astype(np.int64)).to(device)
        logits = model(x[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), x[:, 1:].flatten())
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * (1 - part)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            print(f"step {step}: {loss.item() / np.log(2):.2f} bits a token", flush=True)
        step += 1
        part = (time.monotonic() - begun) / (60 * minutes)
    print(f"after {step} steps: {loss.item() / np.log(2):.2f} bits a token", flush=True)
    return model.eval()


@torch.no_grad()
def speak(model: Model, vocabulary: layouts.Vocabulary, most: int, device: str) -> list[int]:
    """Tokens from one `eos` to the next, or so many; none that cannot stand where it would."""
    size, spoken = vocabulary.size, [vocabulary.eos]
    while len(spoken) <= most and (len(spoken) == 1 or spoken[-1] != vocabulary.eos):
        book = (len(spoken) - 1) % vocabulary.codebooks
        logits = model(torch.tensor([spoken[-CONTEXT:]], device=device))[0, -1] / TEMPERATURE
        first = vocabulary.first(book)
        possible = list(range(first, first + size))
        if book == 0 and len(spoken) > 1:
            possible.append(vocabulary.eos)
        likely, chosen = logits[possible].topk(min(LIKELIEST, size))
        spoken.append(possible[chosen[torch.multinomial(likely.softmax(0), 1)]])
    return spoken[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stream", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    asked = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"

    about = json.loads(asked.stream.with_name(f"{asked.stream.name}.json").read_text())
    stream = np.memmap(asked.stream.with_name(f"{asked.stream.name}.bin"), about["dtype"], "r")
    vocabulary = layouts.Vocabulary(**about["vocabulary"])
    if about["layout"] != "flat" or vocabulary.eos is None:
        raise SystemExit("pack the codes with --layout flat and an --eos")
    if len(stream) <= CONTEXT + 1:
        raise SystemExit(
            f"{len(stream)} tokens are too few: it takes {CONTEXT + 2}, better 100 000"
        )
    model = train(stream, max(vocabulary.end, vocabulary.eos + 1), asked.minutes, device)

    codec = acomp.load(about["codec"])
    most = round(asked.seconds * codec.spec.frame_rate) * vocabulary.codebooks
    found = layouts.repair(speak(model, vocabulary, most, device), vocabulary)
    if found.reason:
        print(f"dropped {found.dropped} tokens: {found.reason}")
    audio = codec.decode(codec.codes(found.codes))
    acomp.write_audio(asked.out, audio)
    print(f"{asked.out}: {audio.duration:.2f} s")


if __name__ == "__main__":
    main()
