"""acomp demo"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acomp.cli.batches import guard
from acomp.cli.console import printable
from acomp.cli.options import Overwrite
from acomp.errors import AcompError
from acomp.files import make_folder

if TYPE_CHECKING:
    from acomp.demo import Row


def demo(
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", "-o", metavar="FOLDER", help="Folder for the files it makes."),
    ] = Path("demo"),
    overwrite: Overwrite = False,
) -> None:
    """Encode and decode the samples that ship with acomp, and print what came of it."""
    from rich.console import Console
    from rich.table import Table

    from acomp import demo as demonstration
    from acomp.codecs import BUILT_IN

    for path in demonstration.outputs(output_dir):
        guard(path, overwrite)
    make_folder(output_dir, AcompError)
    columns = ("sample", "kbps", ".nac", ".txt", "true", "PCM/", "enc", "dec", "SI-SDR", "mel")
    table = Table(*columns, title=f"{BUILT_IN}, the built-in codec")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = list(demonstration.run(output_dir))
    for row in rows:
        table.add_row(
            row.sample,
            f"{row.bandwidth:g}",
            f"{row.nac_size}",
            f"{row.txt_size}",
            f"{row.bit_rate:.1f}",
            f"{row.compression:.0f}",
            f"{row.encode_speed:.0f}x",
            f"{row.decode_speed:.0f}x",
            f"{row.si_sdr:.1f}",
            f"{row.log_mel:.3f}",
        )
    console = Console()
    console.print(table)
    console.print(
        "kbps: asked for, of each channel (speech is mono, music stereo)   true: of the whole .nac",
        ".nac, .txt: bytes   PCM/: how many times smaller than 16-bit PCM",
        "enc, dec: encoding and decoding, times real time, the faster of two runs",
        "SI-SDR: dB, higher is better   mel: log-mel distance, lower is better",
        printable(_where_to_listen(output_dir.resolve(), rows)),
        sep="\n",
        soft_wrap=True,
        highlight=False,
    )


def _where_to_listen(folder: Path, rows: Sequence[Row]) -> str:
    """Where the page is; or where the files are, and what the page would need."""
    from acomp.demo import write_page
    from acomp.packages import PAGES, missing_packages

    if missing_packages(*PAGES):
        advice = 'pip install "acomp[pages]" for a page that plays them side by side'
        return f"Listen to the WAV files in {folder} ({advice})"
    return f"Open {write_page(folder, rows)} in a browser to compare by ear"
