"""Pages from their templates: one HTML file that has its styles, scripts and data within it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
STYLE = FOLDER / "style.css"
"""What all pages look like."""
PLAYER = FOLDER / "player.js"
"""What plays several versions of a sound in step."""


def render(
    template: Path, styles: Sequence[Path], scripts: Sequence[Path], **values: object
) -> bytes:
    """A page of UTF-8 from a template.

    Beside `values`, which are escaped, the template has `style` and `script`, the files that
    `styles` and `scripts` name, one after the other, and `policy`, a Content Security Policy which
    lets nothing but these run and nothing come from a network. They belong into
    `<meta http-equiv="Content-Security-Policy" content="{{ policy }}">`,
    `<style>{{ style }}</style>` and `<script>{{ script }}</script>` with nothing between the tags,
    because the policy holds the script's hash.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _joined(scripts)
    page = environment.get_template(template.name).render(
        style=Markup(_joined(styles)), script=Markup(script), policy=_policy(script), **values
    )
    return page.encode("utf-8")


def _joined(files: Sequence[Path]) -> str:
    return "\n".join(file.read_text("utf-8") for file in files)


def _policy(script: str) -> str:
    """Styles may stand in the page, as charts in SVG have them; scripts only if they are ours."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'sha256-{digest}'",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "media-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
