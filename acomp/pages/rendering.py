"""Pages from their templates: one HTML file that has its styles, scripts and data within it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent


def render(template: str, styles: Sequence[str], scripts: Sequence[str], **values: object) -> bytes:
    """A page of UTF-8 from a template of this folder.

    Beside `values`, which are escaped, the template has `style` and `script`, the files of this
    folder that `styles` and `scripts` name, one after the other, and `policy`, a Content Security
    Policy which lets nothing but these run and nothing come from a network. They belong into
    `<meta http-equiv="Content-Security-Policy" content="{{ policy }}">`,
    `<style>{{ style }}</style>` and `<script>{{ script }}</script>` with nothing between the tags,
    because the policy holds the script's hash.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _joined(scripts)
    page = environment.get_template(template).render(
        style=Markup(_joined(styles)), script=Markup(script), policy=_policy(script), **values
    )
    return page.encode("utf-8")


def _joined(names: Sequence[str]) -> str:
    return "\n".join((FOLDER / name).read_text("utf-8") for name in names)


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
