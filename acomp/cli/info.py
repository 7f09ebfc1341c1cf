"""acomp info"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from acomp.batch.inputs import stream_or_path
from acomp.cli.common import MadeBy, Weights, spec_of
from acomp.cli.console import one_line


def info(
    files: Annotated[list[str], typer.Argument(help="Files of codes; - is standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    backend: MadeBy = None,
    weights: Weights = None,
) -> None:
    """Say what files of codes hold; reads and checks each whole file, with no model."""
    from acomp.cli.common import report_failures
    from acomp.formats import describe

    made_by = spec_of(backend, weights)

    def show(name: str) -> None:
        facts = describe(stream_or_path(name), codec=made_by)
        print(json.dumps({"file": name, **facts}) if as_json else _text(name, facts))

    report_failures(files, show)


def _text(name: str, facts: dict[str, Any]) -> str:
    size = Path(name).stat().st_size if name != "-" else None
    lines = {
        "form": facts["form"],
        "codec": f"{facts['codec']} (weights {facts['fingerprint'] or 'not known'})",
        "audio": f"{facts['duration']:.3f} s, {facts['channels']} channel(s), "
        f"{facts['length']} samples at {facts['source_rate']} Hz",
        "codes": f"{facts['streams']} stream(s) x {facts['codebooks']} codebooks x "
        f"{facts['frames']} frames of {facts['bits']} bits, {facts['frame_rate']:.4g} frames/s",
        "bandwidth": f"{facts['bandwidth']:.4g} kbps",
    }
    if facts["segments"] is not None:
        lines["segments"] = f"{facts['segments']}, each with a scale"
    if "chunk" in facts:
        lines["chunks"] = f"of {facts['chunk']} frames, each coded on its own"
    if "loudness" in facts:
        each = ", ".join(f"{lufs:.1f}" for lufs in facts["loudness"])
        lines["loudness"] = f"{each} LUFS, which decoding restores"
    if facts["language_model"] is not None:
        lines["entropy"] = f"coded by the language model {facts['language_model']}"
    if size is not None and facts["duration"]:
        lines["size"] = f"{size} bytes, {size * 8 / facts['duration'] / 1000:.4g} kbps in all"
    shown = [name, *(f"  {key:10} {value}" for key, value in lines.items())]
    return "\n".join(map(one_line, shown))
