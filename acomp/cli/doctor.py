"""acomp doctor"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from acomp.cli.console import one_line
from acomp.cli.options import AsJson
from acomp.errors import AcompError

if TYPE_CHECKING:
    from acomp.doctor import Finding

MARKS = {"ok": ("ok", "green"), "not here": ("--", "yellow"), "not in order": ("!!", "bold red")}
"""How each state is shown, and its colour."""


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, what fits together and what is missing.

    ok: all is well; --: not here, and needed only for what it says; !!: not in order.
    """
    from acomp.doctor import examine

    findings = list(examine())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    bad = [finding.name for finding in findings if finding.state == "not in order"]
    if bad:
        raise AcompError(f"not in order: {', '.join(bad)}")


def _show(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", "", show_header=False, box=None, padding=(0, 1))
    for finding in findings:
        detail = Text(one_line(finding.detail), overflow="fold")
        table.add_row(Text(*MARKS[finding.state]), Text(finding.name), detail)
    Console().print(table)
