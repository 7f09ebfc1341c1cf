"""The page of `acomp demo`: the samples in every version, to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acomp import __version__
from acomp.errors import AcompError
from acomp.files import atomic_write
from acomp.packages import PAGES, require_packages
from acomp.pages import charts
from acomp.pages.players import Sound, player_of
from acomp.pages.rendering import FOLDER, PLAYER, STYLE, render


def write_page(
    page: Path,
    codec: str,
    sounds: Sequence[Sound],
    columns: Sequence[tuple[str, str]],
    rows: Sequence[tuple[str, Sequence[str]]],
) -> None:
    """Write a page that plays the samples of the demo; it needs nothing but itself.

    Args:
        page: the HTML file, which is replaced.
        codec: name of the codec.
        sounds: the samples, each in all its versions.
        columns: titles of the figures, and their units.
        rows: the sample of each row, and its figures.

    Raises:
        AcompError: a package is missing, or the page cannot be written.
    """
    require_packages("the page", *PAGES, extra="pages")
    content = render(
        FOLDER / "demo.html",
        [STYLE, FOLDER / "report.css"],
        [PLAYER, FOLDER / "report.js"],
        codec=codec,
        version=__version__,
        range=f"{charts.RANGE:g}",
        players=[player_of(sound, 0, sound.seconds) for sound in sounds],
        columns=columns,
        rows=rows,
    )
    with atomic_write(page, AcompError) as file:
        file.write(content)
