"""What a yardstick is: one record that says how it codes, at which bit rates, and what it needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from acomp.audio import Audio
from acomp.errors import AcompError


class Coder(ABC):
    """Codes audio into a file and decodes the file, and measures how long each takes."""

    @abstractmethod
    def encode(self, audio: Audio, target: Path) -> float:
        """Write audio as a coded file; returns the seconds that coding took."""

    @abstractmethod
    def decode(self, source: Path, sample_rate: int) -> tuple[Audio, float]:
        """Decode a file; returns audio at `sample_rate` Hz, and the seconds that decoding took."""


@dataclass(frozen=True)
class Choices:
    """The bit rates that may be asked for, in kbps.

    Attributes:
        least: the lowest.
        most: the highest.
        only: all of them, where it is not any between the two.
    """

    least: float
    most: float
    only: tuple[float, ...] = ()

    def __contains__(self, kbps: float) -> bool:
        return kbps in self.only if self.only else self.least <= kbps <= self.most

    def __str__(self) -> str:
        if not self.only:
            return f"{self.least:g} to {self.most:g}"
        *most, last = (f"{each:g}" for each in self.only)
        return f"{', '.join(most)} or {last}"


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """A codec that acomp's are held against.

    Attributes:
        name: what settings call it: NAME@KBPS, or NAME where there is no choice.
        label: what messages call it.
        suffix: of its coded files.
        choices: its bit rates, of all channels together; None where there is no choice.
        usual: one of them, as an example.
        about: what codes it and how, for docs/evaluation.md: Markdown, one line.
        coder: makes its coder, given the bit rate in kbps.
        version: returns what the figures depend on beside acomp, such as the version of a program;
            it raises AcompError where a program is missing.
    """

    name: str
    label: str
    suffix: str
    choices: Choices | None = None
    usual: float = 0
    about: str
    coder: Callable[[float], Coder] = field(repr=False)
    version: Callable[[], str] = field(repr=False)

    def check(self, setting: str, kbps: float | None) -> None:
        """See that a setting asks for a bit rate that there is.

        Raises:
            AcompError: it does not.
        """
        if self.choices is None:
            if kbps is not None:
                raise AcompError(
                    f"{setting}: {self.label} has no choice of bit rate; write {self.name}"
                )
        elif kbps is None or kbps not in self.choices:
            raise AcompError(
                f"{setting}: give {self.label} {self.choices} kbps, as in "
                f"{self.name}@{self.usual:g}"
            )
