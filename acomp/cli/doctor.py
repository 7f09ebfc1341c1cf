"""acomp doctor"""

from __future__ import annotations

from acomp.errors import AcompError


def doctor() -> None:
    """Say what is installed, what fits together and what is missing."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from acomp.doctor import examine

    table = Table("", "", "", show_header=False, box=None, padding=(0, 1))
    bad = []
    for finding in examine():
        mark = Text("ok", "green") if finding.good else Text("!!", "bold red")
        table.add_row(mark, Text(finding.name), Text(finding.detail, overflow="fold"))
        if not finding.good:
            bad.append(finding.name)
    Console().print(table)
    if bad:
        raise AcompError(f"not in order: {', '.join(bad)}")
