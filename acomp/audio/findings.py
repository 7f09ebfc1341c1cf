"""What is wrong with a source of audio: parts that are lost, and remarks on what is unusual.

Both are listed, and an `AcompWarning` tells of each; the command line shows them as lines.
"""

from __future__ import annotations

import warnings

from acomp.errors import AcompWarning, AudioError

RECOVER = "fetch or make it again, or take what can be read of it: --recover, recover=True"
_MAX_FINDINGS = 20


class Findings:
    """Collects what is wrong with one source.

    Args:
        name: name of the source in messages.
        recover: whether to list what is lost and go on, instead of raising.
    """

    def __init__(self, name: str, *, recover: bool = False) -> None:
        self.name = name
        self.recover = recover
        self.damage: list[str] = []
        """What is lost and where, one line each."""
        self.remarks: list[str] = []
        """What is unusual but loses nothing, one line each."""

    def lost(self, what: str) -> None:
        """Report that audio is lost; `what` continues "NAME is ".

        Raises:
            AudioError: `recover` is False.
        """
        if not self.recover:
            raise AudioError(f"{self.name} is {what}; {RECOVER}")
        self._add(self.damage, f"is {what}")

    def remark(self, what: str) -> None:
        """Report something unusual that loses no audio; `what` continues "NAME "."""
        self._add(self.remarks, what)

    def _add(self, findings: list[str], what: str) -> None:
        if len(findings) == _MAX_FINDINGS - 1:
            what = "has more of the kind, which is not listed"
        if len(findings) < _MAX_FINDINGS and what not in findings:
            findings.append(what)
            warnings.warn(f"{self.name} {what}", AcompWarning, stacklevel=2)
