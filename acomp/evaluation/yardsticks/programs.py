"""Yardsticks that other programs code: each turns one file into another."""

from __future__ import annotations

import shutil
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from acomp.audio import Audio, read_audio, resample, write_audio
from acomp.errors import AcompError, AudioError
from acomp.evaluation.yardsticks.record import Coder
from acomp.files import atomic_write


class ProgramCoder(Coder):
    """A coder of two commands, each from a file to a file; between them and acomp are WAV files.

    Its times are those of whole processes.

    Attributes:
        suffix: of its coded files.
        late: samples, at its own rate, by which its decoded audio is late.
    """

    suffix: str
    late = 0

    @abstractmethod
    def prepare(self, audio: Audio) -> Audio:
        """Audio of the rate and channels that are coded."""

    @abstractmethod
    def encoding(self, source: Path, target: Path) -> Sequence[str]:
        """The command that codes a WAV file."""

    @abstractmethod
    def decoding(self, source: Path, target: Path) -> Sequence[str]:
        """The command that decodes into a WAV file."""

    def write(self, path: Path, audio: Audio) -> None:
        """Write what the first command reads."""
        write_audio(path, audio)

    def read(self, path: Path) -> Audio:
        """Read what the second command has written."""
        return read_audio(path)

    def encode(self, audio: Audio, target: Path) -> float:
        with TemporaryDirectory() as name:
            source, coded = Path(name, "audio.wav"), Path(name, f"coded{self.suffix}")
            self.write(source, self.prepare(audio))
            began = perf_counter()
            run(self.encoding(source, coded))
            seconds = perf_counter() - began
            with atomic_write(target, AudioError) as file, coded.open("rb") as found:
                shutil.copyfileobj(found, file)
        return seconds

    def decode(self, source: Path, sample_rate: int) -> tuple[Audio, float]:
        with TemporaryDirectory() as name:
            target = Path(name, "audio.wav")
            began = perf_counter()
            run(self.decoding(source.resolve(), target))
            found = self.read(target)
            in_step = Audio(found.samples[:, self.late :], found.sample_rate)
            audio = resample(in_step, sample_rate)
            return audio, perf_counter() - began


def find_program(program: str, package: str, yardstick: str) -> str:
    """Where a program lies.

    Args:
        program: its name.
        package: Debian's package that holds it.
        yardstick: what needs it.

    Raises:
        AcompError: it is not there.
    """
    found = shutil.which(program)
    if found is None:
        raise AcompError(
            f"{yardstick} needs the program {program}: install it (on Debian, apt install "
            f"{package}), or leave {yardstick} out"
        )
    return found


def run(command: Sequence[str]) -> str:
    """Run a command; returns what it writes to its standard output.

    Raises:
        AcompError: it fails.
    """
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, errors="replace"
    )
    if result.returncode:
        reason = result.stderr.strip().splitlines() or ["no reason"]
        raise AcompError(f"{Path(command[0]).name} failed: {reason[-1]}")
    return result.stdout
