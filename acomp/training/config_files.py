"""Where the settings of a run come from: the codec's recipe, a YAML file, the command's options.

All three are mappings of the same keys, later ones over earlier ones; together they make a
`Config`, which the run keeps as `config.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from acomp.backends.families import families
from acomp.codecs import CUSTOM, PUBLISHED, of_family
from acomp.errors import TrainingError
from acomp.files import atomic_write
from acomp.plain import MAX_TEXT, NotPlainError, brief, parse_yaml, read_text
from acomp.training.config import Config, validate

_WHOLE = ("sources", "losses", "shape")
"""Settings that replace what is under them whole."""
_MAY_CHANGE = ("steps", "device")
"""Settings that may change when a run goes on."""


def recipe(backend: str, family: object = None) -> dict[str, Any]:
    """The default settings of a codec: its family's published ones. The backend `custom` needs to
    be told its family.

    Raises:
        TrainingError: the codec has none.
    """
    buildable = [each.name for each in families() if each.own_shape]
    if backend != CUSTOM:
        known = [PUBLISHED.get(backend)]
    else:
        known = [*of_family(str(family))] if family in buildable else []
    name = next((codec.recipe for codec in known if codec and codec.recipe), None)
    if name is None and backend == CUSTOM:
        own = [f"`family: {each}`" for each in buildable]
        raise TrainingError(
            "a codec of one's own needs its shape: give a file with `shape:` and in it "
            f"{' or '.join(own)} (--config FILE)"
        )
    if name is None:
        trained = ", ".join(name for name, codec in PUBLISHED.items() if codec.recipe)
        raise TrainingError(f"{backend} cannot be trained; these can: {trained}, {CUSTOM}")
    path = files("acomp.training") / "recipes" / f"{name}.yaml"
    return dict(yaml.safe_load(path.read_text()), backend=backend)


def language_model_recipe(backend: str) -> dict[str, Any]:
    """The default settings of training a language model of a codec's codes."""
    path = files("acomp.training") / "recipes" / "language-model.yaml"
    return dict(yaml.safe_load(path.read_text()), backend=backend)


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `under`, level by level; what is named by the user replaces whole what is
    `sources`, `losses` or `shape`.
    """
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        whole = key in _WHOLE
        if isinstance(below, Mapping) and isinstance(value, Mapping) and not whole:
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        TrainingError: it cannot be read, is no YAML, or holds something else.
    """
    text = read_text(path, MAX_TEXT, TrainingError)
    try:
        contents = parse_yaml(text)
    except NotPlainError as error:
        raise TrainingError(f"{path} {error}") from error
    if not isinstance(contents, dict) or not all(isinstance(key, str) for key in contents):
        raise TrainingError(f"{path} is no configuration: it holds no keys and values")
    return contents


def write_yaml(path: Path, config: Config) -> None:
    """Keep the configuration of a run."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    with atomic_write(path, TrainingError) as file:
        file.write(text.encode())


def going_on(config: Config, settings: Mapping[str, Any]) -> Config:
    """The configuration of a run that goes on, with settings that are given again.

    They must be those of the run, but for `steps` and `device`, which may be others.

    Raises:
        TrainingError: one differs, which the message names, or is none that there is.
    """
    before = config.model_dump()
    changed = validate(merge(before, settings))
    for key, old, new in _differences(before, changed.model_dump()):
        if key not in _MAY_CHANGE:
            raise TrainingError(
                f"the run goes on with {key} {brief(old)}, as it began, not with {brief(new)}: "
                "leave it out, or begin another run"
            )
    return config.model_copy(update={key: getattr(changed, key) for key in _MAY_CHANGE})


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """What differs, by the path of its key: the old and the new value."""
    for key in old:
        one, other = old[key], new[key]
        nested = key not in _WHOLE and isinstance(one, Mapping) and isinstance(other, Mapping)
        if nested and one.keys() == other.keys():
            yield from _differences(one, other, f"{above}{key}.")
        elif one != other and not (key == "sources" and _places(one) == _places(other)):
            yield f"{above}{key}", one, other


def _places(sources: Mapping[str, Any]) -> dict[Path, Any]:
    """The shares of sources by where they are, however their paths are written."""
    return {Path(path).resolve(): share for path, share in sources.items()}
