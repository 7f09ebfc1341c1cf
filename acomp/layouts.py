"""Codes as the tokens of a language model, and back: orders, numbering, special tokens.

A stream of codes is an array `[codebooks, frames]`. A `Vocabulary` says which number each code
gets; each layout is a function that puts the codes in an order, and one that takes them back out,
without loss:

| layout | tokens | back | as in |
|---|---|---|---|
| `parallel` | `[codebooks, frames]` | `from_parallel` | one prediction a codebook and frame |
| `delayed` | `[codebooks, frames + longest delay]` | `from_delayed` | MusicGen |
| `flat` | `[frames * codebooks]`, frame by frame | `from_flat` | most speech language models |
| `coarse_first` | `[codebooks * frames]`, codebook by codebook | `from_coarse_first` | AudioLM |
| `orpheus` | `[frames * 7]`, SNAC's levels in order of time | `from_orpheus` | Orpheus |

`repair` takes what a model generated, which may end within a frame or leave the vocabulary, and
gives the whole frames before that. All of it is plain numpy.

    >>> import numpy as np
    >>> from acomp.layouts import Vocabulary, flat, from_flat
    >>> codes = np.array([[5, 6, 7], [1, 2, 3]])
    >>> vocabulary = Vocabulary(codebooks=2, size=10, offset=100, eos=99)
    >>> flat(codes, vocabulary)
    array([105, 111, 106, 112, 107, 113,  99])
    >>> bool((from_flat(flat(codes, vocabulary), vocabulary) == codes).all())
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acomp.errors import CodecError, check_type
from acomp.scalars import whole_number
from acomp.values import as_array

Tokens = NDArray[np.int64]
MAX_TOKEN = 1 << 31
"""Beyond all vocabularies: tokens are below this."""
SPECIAL = ("bos", "eos", "pad")
ORPHEUS_ORDER = (0, 1, 3, 4, 2, 5, 6)
"""Codebooks of `snac-24khz` as Orpheus has those of a frame: by time, coarse ones first."""
ORPHEUS_OFFSET = 128_266
"""Token of Orpheus' first audio code: its text model has 128 256 tokens, and ten special ones."""


@dataclass(frozen=True)
class Vocabulary:
    """Which tokens stand for codes.

    Attributes:
        codebooks: number of codebooks.
        size: entries of a codebook.
        offset: token of the first entry of the first codebook.
        shared: whether all codebooks have the same tokens; otherwise each codebook's follow those
            of the one before.
        bos: token at the beginning of a sequence; None for none.
        eos: token at its end; None for none.
        pad: token where a delayed codebook has no code; None where none is needed.

    Raises:
        CodecError: a number is out of range, or a special token is one of a code or given twice.
    """

    codebooks: int
    size: int
    offset: int = 0
    shared: bool = False
    bos: int | None = None
    eos: int | None = None
    pad: int | None = None

    def __post_init__(self) -> None:
        least = {"codebooks": 1, "size": 1, "offset": 0}
        for name, low in least.items():
            _check(name, getattr(self, name), low)
        if self.end > MAX_TOKEN:
            raise CodecError(f"the vocabulary ends at {self.end}, beyond {MAX_TOKEN}")
        given = {name: getattr(self, name) for name in SPECIAL if getattr(self, name) is not None}
        for name, token in given.items():
            _check(name, token, 0)
            if self.offset <= token < self.end:
                raise CodecError(
                    f"{name} is {token}, which is a code's: those are {self.offset} to "
                    f"{self.end - 1}"
                )
        if len({*given.values()}) < len(given):
            raise CodecError(f"two of {', '.join(given)} are the same token")

    @property
    def end(self) -> int:
        """The token after those of codes."""
        return self.offset + (1 if self.shared else self.codebooks) * self.size

    def first(self, codebook: int) -> int:
        """The token of a codebook's first entry."""
        return self.offset + (0 if self.shared else codebook * self.size)


def _check(name: str, value: object, least: int) -> None:
    number = whole_number(value, name, CodecError)
    if not least <= number < MAX_TOKEN:
        raise CodecError(f"{name} is {number}, not a whole number from {least} to {MAX_TOKEN - 1}")


@dataclass(frozen=True)
class Repaired:
    """What could be used of the tokens that a model generated.

    Attributes:
        codes: `[codebooks, frames]`, whole frames.
        dropped: tokens after those, special ones not counted.
        reason: why they were dropped; None where nothing was.
    """

    codes: Tokens
    dropped: int
    reason: str | None


# To tokens


def parallel(codes: ArrayLike, vocabulary: Vocabulary) -> Tokens:
    """Each codebook's codes in a row of their own, `[codebooks, frames]`; special tokens have no
    place in it.

    Raises:
        CodecError: these are no codes of that vocabulary.
    """
    return _codes(codes, vocabulary) + _firsts(vocabulary)[:, np.newaxis]


def delayed(
    codes: ArrayLike, vocabulary: Vocabulary, delays: Sequence[int] | None = None
) -> Tokens:
    """As `parallel`, codebook i later by `delays[i]` frames: `[codebooks, frames + longest delay]`,
    with the token `pad` where a codebook has no code (J. Copet et al., "Simple and Controllable
    Music Generation", https://arxiv.org/abs/2306.05284).

    Args:
        codes: `[codebooks, frames]`.
        vocabulary: with a `pad`.
        delays: of each codebook; 0, 1, 2 and so on, as MusicGen has them, where not given.

    Raises:
        CodecError: these are no codes of that vocabulary, it has no `pad`, or a delay is none.
    """
    rows, late = parallel(codes, vocabulary), _delays(vocabulary, delays)
    frames = rows.shape[1]
    tokens = np.full((len(rows), frames + max(late)), _pad(vocabulary))
    for row, delay, target in zip(rows, late, tokens, strict=True):
        target[delay : delay + frames] = row
    return tokens


def flat(codes: ArrayLike, vocabulary: Vocabulary) -> Tokens:
    """Frame by frame, in each the codebooks in order; between `bos` and `eos` where there are any.

    Raises:
        CodecError: these are no codes of that vocabulary.
    """
    return _between(parallel(codes, vocabulary).T.reshape(-1), vocabulary)


def coarse_first(codes: ArrayLike, vocabulary: Vocabulary) -> Tokens:
    """All frames of the first codebook, then all of the second, and so on; between `bos` and `eos`
    where there are any (Z. Borsos et al., "AudioLM", https://arxiv.org/abs/2209.03143).

    Raises:
        CodecError: these are no codes of that vocabulary.
    """
    return _between(parallel(codes, vocabulary).reshape(-1), vocabulary)


def orpheus(codes: ArrayLike, vocabulary: Vocabulary | None = None) -> Tokens:
    """The seven codes of each frame of `snac-24khz` in order of time, numbered by their place in
    the frame, as Orpheus-TTS has them.

    Args:
        codes: `[7, frames]`.
        vocabulary: of 7 codebooks; where not given, Orpheus' own, from the token 128266 on.

    Raises:
        CodecError: these are no codes of that vocabulary, or it has not 7 codebooks.
    """
    own = _of_orpheus(vocabulary)
    return flat(_codes(codes, own)[list(ORPHEUS_ORDER)], own)


# Back to codes


def from_parallel(tokens: ArrayLike, vocabulary: Vocabulary) -> Tokens:
    """The codes `[codebooks, frames]` of what `parallel` gave.

    Raises:
        CodecError: a token is none of that codebook's.
    """
    rows = _rows(tokens, vocabulary)
    codes = rows - _firsts(vocabulary)[:, np.newaxis]
    wrong = np.argwhere((codes < 0) | (codes >= vocabulary.size))
    if len(wrong):
        codebook, frame = map(int, wrong[0])
        raise CodecError(
            f"the token {rows[codebook, frame]} of frame {frame} is none of codebook {codebook}, "
            f"whose are {vocabulary.first(codebook)} to "
            f"{vocabulary.first(codebook) + vocabulary.size - 1}: repair() cuts such tokens"
        )
    return codes


def from_delayed(
    tokens: ArrayLike, vocabulary: Vocabulary, delays: Sequence[int] | None = None
) -> Tokens:
    """The codes `[codebooks, frames]` of what `delayed` gave; what stands where codebooks have no
    code is not looked at.

    Raises:
        CodecError: a token is none of that codebook's, or there are fewer than the longest delay.
    """
    rows, late = _rows(tokens, vocabulary), _delays(vocabulary, delays)
    frames = rows.shape[1] - max(late)
    if frames < 0:
        raise CodecError(f"{rows.shape[1]} steps are fewer than the longest delay, {max(late)}")
    aligned = [row[delay : delay + frames] for row, delay in zip(rows, late, strict=True)]
    return from_parallel(np.stack(aligned), vocabulary)


def from_flat(tokens: ArrayLike, vocabulary: Vocabulary) -> Tokens:
    """The codes `[codebooks, frames]` of what `flat` gave.

    Raises:
        CodecError: a token is none of its codebook's, or the last frame is not whole.
    """
    inner = _within(tokens, vocabulary)
    return from_parallel(_whole(inner, vocabulary).reshape(-1, vocabulary.codebooks).T, vocabulary)


def from_coarse_first(tokens: ArrayLike, vocabulary: Vocabulary) -> Tokens:
    """The codes `[codebooks, frames]` of what `coarse_first` gave.

    Raises:
        CodecError: a token is none of its codebook's, or the codebooks are not equally long.
    """
    inner = _within(tokens, vocabulary)
    return from_parallel(_whole(inner, vocabulary).reshape(vocabulary.codebooks, -1), vocabulary)


def from_orpheus(tokens: ArrayLike, vocabulary: Vocabulary | None = None) -> Tokens:
    """The codes `[7, frames]` of what `orpheus` gave.

    Raises:
        CodecError: as `from_flat`.
    """
    codes = from_flat(tokens, _of_orpheus(vocabulary))
    return codes[np.argsort(ORPHEUS_ORDER)]


# What models generate


def repair(
    tokens: ArrayLike,
    vocabulary: Vocabulary,
    layout: str = "flat",
    delays: Sequence[int] | None = None,
) -> Repaired:
    """The whole frames of what a model generated, up to `eos`, or to the first token that cannot
    stand where it does.

    Args:
        tokens: in the shape of the layout; `bos` may be missing, and so may `eos`.
        vocabulary: of the tokens.
        layout: `parallel`, `delayed`, `flat`, `coarse_first` or `orpheus`.
        delays: as in `delayed`.

    Raises:
        CodecError: there is no such layout, or the tokens are not in its shape.
    """
    if layout in ("parallel", "delayed"):
        rows = _rows(tokens, vocabulary)
        late = _delays(vocabulary, delays) if layout == "delayed" else [0] * len(rows)
        sides = [row[delay:] for row, delay in zip(rows, late, strict=True)]
        return _repaired([_until_end(side, vocabulary) for side in sides], vocabulary)
    inner = _until_end(_line(tokens), vocabulary)
    if vocabulary.bos is not None and len(inner) and inner[0] == vocabulary.bos:
        inner = inner[1:]
    if layout == "flat":
        return _repaired(_strided(inner, vocabulary), vocabulary)
    if layout == "coarse_first":
        return _repaired(_sections(inner, vocabulary), vocabulary)
    if layout == "orpheus":
        found = _repaired(_strided(inner, _of_orpheus(vocabulary)), vocabulary)
        codes = found.codes[np.argsort(ORPHEUS_ORDER)]
        return Repaired(codes, found.dropped, found.reason)
    raise CodecError(
        f"there is no layout {layout!r}; there are parallel, delayed, flat, coarse_first, orpheus"
    )


def _repaired(sides: Sequence[Tokens], vocabulary: Vocabulary) -> Repaired:
    """The frames that all codebooks have, of each one's tokens up to its first wrong one."""
    total, reasons, good = sum(map(len, sides)), [], []
    for codebook, side in enumerate(sides):
        codes = side - vocabulary.first(codebook)
        wrong = np.flatnonzero((codes < 0) | (codes >= vocabulary.size))
        if len(wrong):
            at = int(wrong[0])
            reasons.append(
                (at, f"the token {side[at]} of frame {at} is none of codebook {codebook}")
            )
        good.append(codes[: wrong[0]] if len(wrong) else codes)
    frames = min(map(len, good))
    dropped = total - frames * len(good)
    reason = next((words for at, words in sorted(reasons) if at == frames), None)
    if dropped and reason is None:
        reason = f"frame {frames} is not whole"
    return Repaired(np.stack([codes[:frames] for codes in good]), dropped, reason)


def _strided(inner: Tokens, vocabulary: Vocabulary) -> list[Tokens]:
    return [inner[codebook :: vocabulary.codebooks] for codebook in range(vocabulary.codebooks)]


def _sections(inner: Tokens, vocabulary: Vocabulary) -> list[Tokens]:
    """Each codebook's tokens: those in its range where each has its own, else equal parts."""
    if vocabulary.shared:
        frames = len(inner) // vocabulary.codebooks
        ends = [frames * codebook for codebook in range(vocabulary.codebooks)]
        return [inner[start:end] for start, end in pairwise([*ends, len(inner)])]
    book = (inner - vocabulary.offset) // vocabulary.size
    starts = [0]
    for codebook in range(1, vocabulary.codebooks):
        after = np.flatnonzero(book[starts[-1] :] == codebook)
        starts.append(starts[-1] + int(after[0]) if len(after) else len(inner))
    return [inner[start:end] for start, end in pairwise([*starts, len(inner)])]


def _until_end(tokens: Tokens, vocabulary: Vocabulary) -> Tokens:
    """Tokens before the first `eos` or `pad`."""
    ends = [token for token in (vocabulary.eos, vocabulary.pad) if token is not None]
    found = np.flatnonzero(np.isin(tokens, ends))
    return tokens[: found[0]] if len(found) else tokens


# What all have in common


def _codes(codes: ArrayLike, vocabulary: Vocabulary) -> Tokens:
    array = _integers(codes, "codes")
    if array.ndim != 2 or len(array) != vocabulary.codebooks:
        raise CodecError(
            f"codes are to be [{vocabulary.codebooks}, frames], one stream at a time, not "
            f"{list(array.shape)}"
        )
    wrong = np.argwhere((array < 0) | (array >= vocabulary.size))
    if len(wrong):
        codebook, frame = map(int, wrong[0])
        raise CodecError(
            f"the code {array[codebook, frame]} of codebook {codebook} in frame {frame} is none of "
            f"{vocabulary.size}"
        )
    return array


def _integers(values: ArrayLike, what: str) -> Tokens:
    array: NDArray[Any] = as_array(values, what, CodecError)
    if array.dtype.kind not in "iu" and array.size:
        raise CodecError(f"{what} are integers, not {array.dtype}")
    if array.size and int(array.max()) >= MAX_TOKEN:
        raise CodecError(f"{what} are below {MAX_TOKEN}, and one is {array.max()}")
    return array.astype(np.int64)


def _rows(tokens: ArrayLike, vocabulary: Vocabulary) -> Tokens:
    array = _integers(tokens, "tokens")
    if array.ndim != 2 or len(array) != vocabulary.codebooks:
        raise CodecError(
            f"tokens are to be [{vocabulary.codebooks}, steps], not {list(array.shape)}"
        )
    return array


def _line(tokens: ArrayLike) -> Tokens:
    array = _integers(tokens, "tokens")
    if array.ndim != 1:
        raise CodecError(f"tokens are to be in one row, not {list(array.shape)}")
    return array


def _firsts(vocabulary: Vocabulary) -> Tokens:
    return np.array([vocabulary.first(number) for number in range(vocabulary.codebooks)], np.int64)


def _between(tokens: Tokens, vocabulary: Vocabulary) -> Tokens:
    before = [vocabulary.bos] if vocabulary.bos is not None else []
    after = [vocabulary.eos] if vocabulary.eos is not None else []
    return np.concatenate([np.array(before, np.int64), tokens, np.array(after, np.int64)])


def _within(tokens: ArrayLike, vocabulary: Vocabulary) -> Tokens:
    """Tokens without `bos` and `eos`, which must be there where the vocabulary has them."""
    inner = _line(tokens)
    if vocabulary.bos is not None:
        if not len(inner) or inner[0] != vocabulary.bos:
            raise CodecError(f"the tokens do not begin with {vocabulary.bos}, the vocabulary's bos")
        inner = inner[1:]
    if vocabulary.eos is not None:
        if not len(inner) or inner[-1] != vocabulary.eos:
            raise CodecError(f"the tokens do not end with {vocabulary.eos}, the vocabulary's eos")
        inner = inner[:-1]
    return inner


def _whole(inner: Tokens, vocabulary: Vocabulary) -> Tokens:
    if len(inner) % vocabulary.codebooks:
        raise CodecError(
            f"{len(inner)} tokens are no whole number of frames of {vocabulary.codebooks}: "
            "repair() cuts them"
        )
    return inner


def _delays(vocabulary: Vocabulary, delays: Sequence[int] | None) -> list[int]:
    if delays is None:
        return list(range(vocabulary.codebooks))
    check_type(delays, (Sequence, np.ndarray), CodecError, "delays: a list of numbers is")
    late = [whole_number(delay, "a delay", CodecError) for delay in delays]
    if len(late) != vocabulary.codebooks or not all(0 <= delay < 1 << 16 for delay in late):
        raise CodecError(
            f"delays are {vocabulary.codebooks} whole numbers from 0 on, one a codebook, not {late}"
        )
    return late


def _pad(vocabulary: Vocabulary) -> int:
    if vocabulary.pad is None:
        raise CodecError("delayed codebooks need a token where they have no code: give pad=")
    return vocabulary.pad


def _of_orpheus(vocabulary: Vocabulary | None) -> Vocabulary:
    if vocabulary is None:
        return Vocabulary(len(ORPHEUS_ORDER), 4096, ORPHEUS_OFFSET)
    if vocabulary.codebooks != len(ORPHEUS_ORDER):
        raise CodecError(f"Orpheus has frames of 7 codes, not of {vocabulary.codebooks}")
    return vocabulary
