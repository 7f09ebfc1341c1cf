"""acomp info"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from acomp.batch.inputs import PIPE, stream_or_path
from acomp.cli.batches import Failures
from acomp.cli.codecs import spec_of
from acomp.cli.console import FILES, counted, one_line
from acomp.cli.options import MadeBy, Weights
from acomp.cli.progress import hours
from acomp.errors import AcompError


def info(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Files of codes, folders, datasets, or @LIST of them; - is standard input.",
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line.", rich_help_panel=FILES)
    ] = False,
    backend: MadeBy = None,
    weights: Weights = None,
) -> None:
    """Say what files of codes hold; reads and checks each whole file, with no model."""
    from acomp.batch.inputs import Kind, expand, gather
    from acomp.datasets.description import is_dataset
    from acomp.formats import describe, is_codes_name

    made_by = spec_of(backend, weights)
    names = list(expand(inputs))
    datasets = [Path(name) for name in names if is_dataset(Path(name))]
    for folder in datasets:
        _print_dataset(folder, as_json)
    others = [name for name in names if Path(name) not in datasets]
    found = gather(others, Kind("files of codes", is_codes_name))
    failures = Failures(found)
    for file in found.files:
        try:
            facts = {"file": file.name, **describe(stream_or_path(file.name), codec=made_by)}
        except AcompError as error:
            failures.add(error)
            continue
        facts.update(_size(file.name, facts["duration"]))
        print(json.dumps(facts) if as_json else _text(file.name, facts))
    failures.check()


def _print_dataset(folder: Path, as_json: bool) -> None:
    from acomp.datasets.summary import summarise

    facts = summarise(folder)
    print(json.dumps(facts) if as_json else _dataset_text(folder, facts))


def _dataset_text(folder: Path, facts: dict[str, Any]) -> str:
    engine = f"{facts['engine']} {facts['precision']} on {facts['device']}"
    lines = {
        "form": f"dataset, {counted(facts['parts'], 'part')}",
        "codec": f"{facts['codec']} (weights {facts['fingerprint'] or 'not known'})",
        "codes": f"{facts['codebooks']} codebooks of {facts['codebook_size']}, "
        f"{facts['bandwidth']:.4g} kbps a stream",
        "made by": f"acomp {facts['acomp']}, {engine}",
        "sources": ", ".join(facts["sources"]),
    }
    if facts["columns"]:
        lines["columns"] = ", ".join(facts["columns"])
    if not facts["finished"]:
        lines["state"] = f"{counted(facts['missing'], 'part')} still to be made"
    lines["holds"] = f"{counted(facts['rows'], 'row')}, {hours(facts['seconds'])} of audio"
    if facts["failures"]:
        when = "" if facts["finished"] else " once all parts are made"
        lines["failures"] = f"{facts['failures']}, as failures.jsonl says{when}"
    ratio = f", {facts['ratio']:.3f} times the bare codes" if facts["ratio"] else ""
    lines["size"] = f"{facts['bytes']} bytes{ratio}"
    shown = [str(folder), *(f"  {key:10} {value}" for key, value in lines.items())]
    return "\n".join(map(one_line, shown))


def _size(name: str, duration: float) -> dict[str, Any]:
    """Bytes and kbps of the whole file, None where they are not known: of a pipe, of no sound."""
    size = Path(name).stat().st_size if name != PIPE else None
    kbps = size * 8 / duration / 1000 if size is not None and duration else None
    return {"bytes": size, "kbps": kbps}


def _text(name: str, facts: dict[str, Any]) -> str:
    streams = f"{facts['streams']} x " if facts["streams"] > 1 else ""
    lines = {
        "form": facts["form"],
        "codec": f"{facts['codec']} (weights {facts['fingerprint'] or 'not known'})",
        "audio": f"{facts['duration']:.3f} s, {counted(facts['channels'], 'channel')}, "
        f"{facts['length']} samples at {facts['source_rate']} Hz",
        "codes": f"{counted(facts['streams'], 'stream')} x {facts['codebooks']} codebooks x "
        f"{facts['frames']} frames of {facts['bits']} bits, {facts['frame_rate']:.4g} frames/s",
        "bandwidth": f"{streams}{facts['bandwidth'] / facts['streams']:.4g} kbps",
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
    if facts["bytes"] is not None:
        kbps = "" if facts["kbps"] is None else f", {facts['kbps']:.4g} kbps in all"
        lines["size"] = f"{facts['bytes']} bytes{kbps}"
    shown = [name, *(f"  {key:10} {value}" for key, value in lines.items())]
    return "\n".join(map(one_line, shown))
