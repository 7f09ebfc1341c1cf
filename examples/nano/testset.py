"""Fetches the fixed set that nano is tested on: Debian packages that it was never trained on.

    python examples/nano/testset.py FOLDER

writes `FOLDER/{speech,music}/PACKAGE-NUMBER.wav`, 24 kHz mono, of what `testset.tsv` beside this
lists: package, path, SHA-256, and which seconds. A file that is another one than listed is left
out, and told. It needs the programs `apt-get`, `dpkg` and `ffmpeg`.
"""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

from prepare import SAMPLE_RATE, unpack

LIST = Path(__file__).with_suffix(".tsv")


def cut(source: Path, target: Path, start: str, seconds: str) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-ss", start, "-t", seconds, "-i"]
    command += [str(source), "-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le", str(target)]
    subprocess.run(command, check=True)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    with LIST.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    missing = 0
    for number, row in enumerate(rows):
        root = unpack(row["package"], folder / "packages")
        source = root / row["path"]
        if not source.is_file() or hashlib.sha256(source.read_bytes()).hexdigest() != row["sha256"]:
            print(f"left out, as it is not the file that is listed: {source}", file=sys.stderr)
            missing += 1
            continue
        (folder / row["kind"]).mkdir(parents=True, exist_ok=True)
        target = folder / row["kind"] / f"{row['package']}-{number:03}.wav"
        cut(source, target, row["start"], row["seconds"])
    print(f"{len(rows) - missing} of {len(rows)} clips in {folder}")


if __name__ == "__main__":
    main()
