"""acomp train"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from acomp.cli.console import one_line, printable, say, settings
from acomp.cli.options import codec_names
from acomp.cli.progress import count_bar, plain_bar
from acomp.codecs import CUSTOM
from acomp.errors import AcompError
from acomp.packages import TRAINING, require_packages
from acomp.settings import DeviceKind, Precision

if TYPE_CHECKING:
    from rich.table import Table

    from acomp.training.config import Config
    from acomp.training.session import Outcome


def train(
    output: Annotated[
        Path, typer.Option("--output", "--out", "-o", metavar="FOLDER", help="Folder of the run.")
    ],
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            "-b",
            metavar="CODEC",
            autocompletion=codec_names,
            help="Codec to train; `custom` is one of your own shape.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER[=SHARE]",
            help="Audio: a folder, or a .txt file that lists files, and its share of what is "
            "learnt from. Can be repeated.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML file of settings, laid over the codec's own."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to begin from instead of the published ones."),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin from no weights at all.")
    ] = False,
    language_model: Annotated[
        bool,
        typer.Option(
            "--language-model",
            help="Train a language model of the codec's codes, for `encode --entropy lm`.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what audio was found and what is unreadable.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Steps of the whole run.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Segments in a step, of each device.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Another seed, another run.")
    ] = None,
    precision: Annotated[Precision | None, typer.Option(help="Arithmetic of the networks.")] = None,
    device: Annotated[DeviceKind | None, typer.Option(help="What to train on.")] = None,
    devices: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="GPUs, or processes on a CPU, to train on together."),
    ] = None,
) -> None:
    """Train a codec on your own audio, from its published weights on or from scratch.

    The run's folder gets the weights, metrics, plots and audio samples; the
    weights work wherever the codec does. Examples:

        acomp train -b nano --data my_audio/ --out runs/voice
        acomp encode -b nano --weights runs/voice/best.safetensors speech.wav

        acomp train -b nano --language-model --data my_audio/ --out runs/lm
        acomp encode -b nano --entropy lm --language-model runs/lm/best.safetensors speech.wav
    """
    require_packages("train", *TRAINING, extra="train")
    options: dict[str, Any] = {
        "weights": None if weights is None else str(weights),
        "from_scratch": from_scratch or None,
        "steps": steps,
        "batch": batch,
        "seed": seed,
        "precision": precision,
        "device": device,
        "devices": devices,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if resume:
        settled = _resumed(output, backend, data or [], config, given, language_model)
    else:
        settled = _settled(backend, data or [], config, given, language_model)
    if check:
        _check(settled)
        return
    from acomp.training import checkpoints
    from acomp.training.run import train as run
    from acomp.training.session import CHECKPOINTS

    try:
        outcome = run(settled, output, resume=resume, make_display=Display)
    except KeyboardInterrupt:
        print(f"ended at once; {checkpoints.kept(output / CHECKPOINTS)}", file=sys.stderr)
        raise typer.Exit(130) from None
    _report(output, outcome)


def _settled(
    backend: str | None,
    data: list[str],
    file: Path | None,
    given: Mapping[str, Any],
    language_model: bool,
) -> Config:
    """The recipe of the codec or of its language model, under the file's settings, under the
    options.
    """
    from acomp.training.config import parse
    from acomp.training.config_files import language_model_recipe, merge, read_yaml, recipe

    own = {} if file is None else read_yaml(file)
    name = backend or own.get("backend") or (CUSTOM if "shape" in own else None)
    if not isinstance(name, str):
        raise typer.BadParameter("name the codec to train", param_hint="--backend")
    if language_model or "language_model" in own:
        settings = merge(language_model_recipe(_resolved(name)), own)
    else:
        family = _family(own.get("shape"), given.get("weights")) if name == CUSTOM else None
        settings = merge(recipe(_resolved(name), family), own)
    settings = _with_sources(settings, data)
    chosen = settings.get("data")
    if isinstance(chosen, Mapping) and not chosen.get("sources"):
        raise typer.BadParameter("name a folder of audio to train on", param_hint="--data")
    return parse(merge(settings, {"backend": _resolved(name), **given}))


def _family(shape: object, weights: str | None) -> object:
    """The family of a codec of one's own, by its shape or by that of its weights."""
    from acomp.backends.custom import shape_of

    if isinstance(shape, Mapping):
        return shape.get("family")
    return None if weights is None else shape_of(Path(weights)).family


def _resolved(name: str) -> str:
    from acomp.backends import resolve

    return resolve(name)


def _resumed(
    folder: Path,
    backend: str | None,
    data: list[str],
    file: Path | None,
    given: Mapping[str, Any],
    language_model: bool,
) -> Config:
    """The configuration of the run that goes on; options that are given again must agree with it.

    Raises:
        TrainingError: one does not, or there is no run.
    """
    from acomp.training.config_files import going_on, merge, read_yaml
    from acomp.training.run import load_config

    config = load_config(folder)
    settings = {} if file is None else read_yaml(file)
    name = backend or settings.get("backend")
    if isinstance(name, str):
        settings["backend"] = _resolved(name)
    if language_model and config.language_model is None:
        raise AcompError(f"the run in {folder} trains a codec: leave --language-model out")
    return going_on(config, merge(_with_sources(settings, data), given))


def _with_sources(settings: dict[str, Any], data: list[str]) -> dict[str, Any]:
    """The settings with the sources that --data names, if it names any."""
    from acomp.training.config_files import merge
    from acomp.training.data.sources import parse_source

    shares = {str(source.path): source.share for source in map(parse_source, data)}
    return merge(settings, {"data": {"sources": shares}}) if shares else settings


def _check(config: Config) -> None:
    """Decode some of every file, print what there is, and fail where some cannot be used.

    Raises:
        TrainingError: there are unusable files.
    """
    from rich.console import Console

    from acomp.training.data.reading import probe
    from acomp.training.run import find_audio

    with count_bar() as bar:
        collection = find_audio(config.data, bar.show)
    rows, unusable = collection.summary(), 0
    found = (*collection.sources, *collection.noise)
    files = [file for source in found for file in source.files]
    with count_bar(len(files)) as bar:
        for file in files:
            problem = probe(file)
            if problem is not None:
                rows[0]["unusable"].append([str(file.path), problem])
            bar.advance()
    for row in rows:
        for path, reason in row["unusable"]:
            unusable += 1
            print(one_line(f"{path}: {reason}"), file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 120).print(_audio_table(rows))
    if unusable:
        raise AcompError(
            f"{unusable} of the files cannot be used, as said above; training leaves them out"
        )


def _audio_table(rows: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    table.add_column("source", overflow="fold")
    for heading in ("share", "files", "hours", "held out", "rates in Hz", "channels", "unusable"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            Text(printable(row["source"])),
            f"{row['share']:.0%}",
            str(row["files"]),
            f"{row['hours']:.2f}",
            f"{row['held_out_files']} ({row['held_out_hours']:.2f} h)",
            ", ".join(row["sample_rates"]),
            ", ".join(row["channels"]),
            str(len(row["unusable"])),
        )
    return table


def _report(folder: Path, outcome: Outcome) -> None:
    """Say how the run went.

    Raises:
        Interrupted: before its end.
    """
    from acomp.training.session import BEST

    if outcome.interrupted and not outcome.step:
        print("interrupted before the first step; nothing is kept", file=sys.stderr)
        raise typer.Exit(130)
    gain = f"validation {outcome.first:.4f} at the start, {outcome.best:.4f} at step"
    say(f"{folder / BEST}: {gain} {outcome.best_step}")
    say(f"{outcome.audio_rate:.1f} s of audio per second")
    if outcome.interrupted:
        print(f"interrupted after step {outcome.step}; --resume goes on", file=sys.stderr)
        raise typer.Exit(130)


class Display:
    """A bar with the losses on a terminal; in a pipe the lines that stay, alone."""

    def __init__(self, step: int, steps: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

        self._begun, self._steps = step, steps
        state = TextColumn("{task.fields[state]}", markup=False)
        self._bar = plain_bar(BarColumn(bar_width=20), MofNCompleteColumn(), state)
        self._task = self._bar.add_task("", total=steps, completed=step, state="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, step: int, losses: Mapping[str, float]) -> None:
        elapsed = self._bar.tasks[0].elapsed or 0.0
        speed = (step - self._begun) / elapsed if elapsed else 0.0
        state = f"{speed:.2f} steps/s"
        if speed:
            state += f", {timedelta(seconds=round((self._steps - step) / speed))} left"
        shown = " ".join(f"{name} {value:.3g}" for name, value in losses.items())
        self._bar.update(self._task, completed=step, state=f"{state}  {shown}")

    def say(self, line: str) -> None:
        if settings.quiet:
            return
        self._bar.console.print(one_line(line), markup=False, highlight=False)
