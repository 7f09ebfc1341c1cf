"""A run: its folder, its data, its checkpoints, from the first step to the last.

config.yaml        what was asked for; a resumed run reads it
metrics.csv        losses and validation, and losses.png and metrics.png drawn of them
best.safetensors   the weights that validated best, the codec's or the language model's
last.safetensors   those of the last checkpoint
samples/           held-out audio, original and decoded by the best weights
checkpoints/       what --resume goes on from
tensorboard/       the same figures, where TensorBoard is installed
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from acomp.backends.weights.checkpoint import Described, save_weights
from acomp.codecs import CodecSpec
from acomp.errors import TrainingError
from acomp.files import make_folder, sole_user
from acomp.training import checkpoints
from acomp.training.codec_loop import CodecLoop
from acomp.training.config import Config, Data, parse
from acomp.training.config_files import read_yaml, write_yaml
from acomp.training.data.drawing import Segments, held_out
from acomp.training.data.noise import NoisySegments, fixed_pairs
from acomp.training.data.prefetch import Drawn
from acomp.training.data.scan import scan
from acomp.training.data.sources import Collection, Source
from acomp.training.fabric import Fabric
from acomp.training.families import build
from acomp.training.launching import launch, make_fabric
from acomp.training.loop import Loop
from acomp.training.session import CHECKPOINTS, CONFIG, MakeDisplay, Outcome, Session

START_SECONDS = 400
"""Audio that a network from scratch begins with."""


def load_config(folder: Path) -> Config:
    """What the run in a folder was asked to do.

    Raises:
        TrainingError: there is no run, or its configuration is damaged.
    """
    if not (folder / CONFIG).exists():
        raise TrainingError(f"there is no run in {folder} to go on with: leave --resume out")
    return parse(read_yaml(folder / CONFIG))


def find_audio(data: Data, progress: Callable[[int, int], None] | None = None) -> Collection:
    """The audio of a run; `progress` is told the files looked at and those in all."""
    sources = [Source(Path(path), share) for path, share in data.sources.items()]
    found = scan(sources, data.held_out, progress)
    if data.noise is None:
        return found
    return replace(found, noise=scan([Source(Path(data.noise))], data.held_out, progress).sources)


def train(config: Config, folder: Path, *, resume: bool, make_display: MakeDisplay) -> Outcome:
    """Train in `folder`, from the beginning or from its last checkpoint.

    SIGINT, SIGTERM and SIGHUP end it after the step at hand, with a checkpoint; a second one ends
    it at once.

    Raises:
        TrainingError: the data, the configuration, the losses or the disk do not let it go on, or
            another process trains in the folder.
        AcompError: the codec or its weights cannot be had.
    """
    done = checkpoints.steps(folder / CHECKPOINTS)
    if resume and not done:
        raise TrainingError(f"there is no checkpoint in {folder} to go on from: leave --resume out")
    if done and not resume:
        raise TrainingError(
            f"{folder} holds a run already: go on with it (--resume) or name another folder"
        )
    collection = find_audio(config.data)
    make_folder(folder, TrainingError)
    with sole_user(folder, TrainingError):
        checkpoints.remove_leftovers(folder / CHECKPOINTS)
        write_yaml(folder / CONFIG, config)
        start = done[-1] if resume else 0
        work = partial(_train, config=config, collection=collection, folder=folder, start=start)
        return launch(make_fabric(config), partial(work, make_display=make_display))


def _train(
    fabric: Fabric,
    config: Config,
    collection: Collection,
    folder: Path,
    start: int,
    make_display: MakeDisplay,
) -> Outcome:
    """One process's part."""
    return open_session(fabric, config, collection, folder, start).run(make_display)


def open_session(
    fabric: Fabric, config: Config, collection: Collection, folder: Path, start: int
) -> Session:
    """A process's part of a run, from the checkpoint of the step `start` on, or from 0."""
    if config.devices > 1 and fabric.device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // config.devices))
    torch.manual_seed(config.seed)  # before the networks are made: they are the same in each
    if config.language_model is None:
        loop, shape = _codec_loop(fabric, config, collection, start)
    else:
        loop, shape = _language_loop(fabric, config)
    segments = _segments(config, collection, loop.spec)
    validation = _validation(config, collection, loop.spec, segments.length)
    save = partial(save_weights, shape=shape)
    session = Session(loop, folder, segments, validation, save)
    if start:
        session.resume(start)
    return session


def _codec_loop(
    fabric: Fabric, config: Config, collection: Collection, start: int
) -> tuple[Loop, Described | None]:
    """The loop, and the shape of its codec where that is one of the user's own."""
    trainee, shape = build(config)
    if config.from_scratch and start == 0:
        segments = _segments(config, collection, trainee.spec)
        count = round(START_SECONDS * trainee.spec.sample_rate / segments.length)
        samples = segments.batch(config.steps, 0, count)
        trainee.start(samples if samples.dim() == 3 else samples[:, 0])
    return CodecLoop(fabric, config, trainee), shape


def _language_loop(fabric: Fabric, config: Config) -> tuple[Loop, Described]:
    from acomp.training.language_model import LanguageLoop

    loop = LanguageLoop(fabric, config)
    return loop, loop.shape


def _segments(config: Config, collection: Collection, spec: CodecSpec) -> Drawn:
    data = config.data
    frames = max(1, round(data.segment * spec.sample_rate / spec.hop_length))
    draw = partial(
        Segments,
        sample_rate=spec.sample_rate,
        channels=spec.channels,
        length=frames * spec.hop_length,
    )
    clean = draw(collection, gain=data.gain, mix=data.mix, seed=config.seed)
    if not collection.noise:
        return clean
    noise = draw(Collection(collection.noise), gain=None, seed=config.seed)
    return NoisySegments(clean, noise, data.snr, config.seed)


def _validation(config: Config, collection: Collection, spec: CodecSpec, length: int) -> Tensor:
    data = config.data
    clean, *noise = (
        held_out(each, spec.sample_rate, spec.channels, length, data.validation)
        for each in (collection, *([Collection(collection.noise)] if collection.noise else []))
    )
    return fixed_pairs(clean, noise[0], data.snr) if noise else clean
