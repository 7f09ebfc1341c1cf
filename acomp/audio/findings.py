"""What is wrong with a source of audio: what of it is lost, and what is merely odd.

Both are listed, and told by an `AcompWarning` each; the command line shows those as lines.
"""

from __future__ import annotations

import warnings

from acomp.errors import AcompWarning, AudioError

RECOVER = "fetch or make it again, or take what can be read of it: --recover, recover=True"
_MAX_FINDINGS = 20


class Findings:
    """What was found in one source.

    Args:
        name: what errors call the source.
        recover: whether to note what is lost and go on, where it would be an error.
    """

    def __init__(self, name: str, *, recover: bool = False) -> None:
        self.name = name
        self.recover = recover
        self.damage: list[str] = []
        """What is lost, and where: one line each."""
        self.remarks: list[str] = []
        """What loses nothing, but may not be what was meant: one line each."""

    def lost(self, what: str) -> None:
        """Sound is lost: `what` follows "NAME is ".

        Raises:
            AudioError: it is not to be recovered.
        """
        if not self.recover:
            raise AudioError(f"{self.name} is {what}; {RECOVER}")
        self._add(self.damage, f"is {what}")

    def remark(self, what: str) -> None:
        """Something is odd, and no sound is lost: `what` follows "NAME "."""
        self._add(self.remarks, what)

    def _add(self, findings: list[str], what: str) -> None:
        if len(findings) == _MAX_FINDINGS - 1:
            what = "has more of the kind, which is not listed"
        if len(findings) < _MAX_FINDINGS and what not in findings:
            findings.append(what)
            warnings.warn(f"{self.name} {what}", AcompWarning, stacklevel=2)
