"""acomp demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acomp.cli.batches import guard
from acomp.cli.console import printable
from acomp.cli.options import Overwrite
from acomp.errors import AcompError
from acomp.files import make_folder


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

    for path in demonstration.outputs(output_dir):
        guard(path, overwrite)
    make_folder(output_dir, AcompError)
    columns = ("sample", "kbps", ".nac", ".txt", "true", "PCM/", "enc", "dec", "SI-SDR", "mel")
    table = Table(*columns, title="nano, the built-in codec")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in demonstration.run(output_dir):
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
        printable(f"Listen to the WAV files in {output_dir.resolve()}"),
        sep="\n",
        soft_wrap=True,
        highlight=False,
    )
