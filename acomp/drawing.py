"""The look of acomp's pictures, drawn with matplotlib: palette, settings, and the file's bytes."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from acomp.errors import AcompError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150

# Of the palette of M. Okabe and K. Ito, "Color Universal Design" (2008), which all can tell apart.
BLUE, SKY, VERMILION, ORANGE = "#0072B2", "#9CD0F0", "#D55E00", "#E69F00"
GREY = "#8A8A8A"
COLOURS, LIGHTEST = "viridis_r", 0.15
"""From rarely to often used, ordered in lightness too; without the yellows, too near to white and
to vermilion."""


def rendered(draw: Callable[[], Figure], form: str, metadata: Mapping[str, str | None]) -> bytes:
    """The bytes of a figure in acomp's look, the same ones for the same input.

    Args:
        draw: makes the figure.
        form: `png` or `svg`.
        metadata: what the file says of itself, as matplotlib takes it.
    """
    content = io.BytesIO()
    # Matplotlib writes the time of day into an SVG unless it is told to leave it out.
    dateless = {"Date": None} if form == "svg" else {}
    with house_style():
        draw().savefig(content, format=form, dpi=DOTS_PER_INCH, metadata={**metadata, **dateless})
    return content.getvalue()


@contextmanager
def style(settings: Mapping[str, Any]) -> Iterator[None]:
    """Matplotlib's own settings and these, whatever a matplotlibrc of the user or of the current
    folder says.

    Raises:
        AcompError: there is one that cannot be read.
    """
    matplotlib = _import_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        # A codec's name may hold a $; the salt makes the same bytes each time.
        matplotlib.rcParams.update(
            {"svg.hashsalt": "acomp", "text.parse_math": False, **settings},
        )
        yield


def house_style() -> AbstractContextManager[None]:
    """The look of plots."""
    return style(
        {
            "axes.axisbelow": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "font.size": 9,
            "legend.frameon": False,
        }
    )


def _import_matplotlib() -> Any:
    log = logging.getLogger("matplotlib")
    before, log.disabled = log.disabled, True  # of a matplotlibrc, and where it keeps its fonts
    try:
        import matplotlib.figure
    except (UnicodeDecodeError, OSError) as error:
        raise AcompError(
            f"matplotlib cannot read its settings, a file named matplotlibrc: mend it ({error})"
        ) from error
    finally:
        log.disabled = before
    return matplotlib
