"""Fetches and prepares the audio that nano is trained on: Debian packages of speech and music.

    python examples/nano/prepare.py FOLDER

writes `FOLDER/{speech,music}/{train,heldout}/PACKAGE/...wav`, 24 kHz mono, 16 bits, and beside them
each package's `copyright`. It needs the programs `apt-get`, `dpkg` and `ffmpeg`. One file in 25,
chosen by the hash of its name, is held out from training; `FOLDER/evaluate/{speech,music}` has
clips of those files. What is there already is not made again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PATTERNS = {
    "speech": {
        "asterisk-core-sounds-en-g722": "**/*.g722",
        "asterisk-core-sounds-es-g722": "**/*.g722",
        "asterisk-core-sounds-fr-g722": "**/*.g722",
        "asterisk-core-sounds-it-g722": "**/*.g722",
        "asterisk-core-sounds-ru-g722": "**/*.g722",
        "fillets-ng-data": "**/sound/**/*.ogg",
        "fillets-ng-data-nl": "**/sound/**/*.ogg",
        "hedgewars-data": "**/voices/**/*.ogg",
        "klettres-data": "**/*.*",
        "ktuberling-data": "**/*.*",
        "tuxpaint-stamps-default": "**/*_desc*.*",
    },
    "music": {
        "drascula-music": "**/*.ogg",
        "fillets-ng-data": "**/music/**/*.ogg",
        "frozen-bubble-data": "**/*.*",
        "hedgewars-data": "**/Music/**/*.ogg",
        "hyperrogue-music": "**/music/*.ogg",
        "planetblupi-music-ogg": "**/*.ogg",
        "singularity-music": "**/*.ogg",
        "sonic-pi-samples": "**/*.flac",
        "supertuxkart-data": "**/*.ogg",
        "ufoai-music": "**/*.ogg",
        "warzone2100-music": "**/*.*",
        "wesnoth-1.16-music": "**/*.ogg",
        "widelands-data": "**/music/*.ogg",
    },
}
"""What is speech and what is music in each package, as patterns of pathlib's glob."""
SUFFIXES = {".flac", ".g722", ".mp3", ".oga", ".ogg", ".opus", ".wav"}
SAMPLE_RATE = 24_000
SHORTEST = 0.1
"""Seconds below which a file is left out."""
HELD_OUT = 25
EVALUATED = {"speech": (1.5, 6), "music": (1.0, 8)}
"""Of each package, how long the files are at least, in seconds, and how many are taken."""


def unpack(package: str, folder: Path) -> Path:
    """Download a package, unless that is done, and unpack it; returns the folder with its files."""
    target = folder / package
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        (archive,) = folder.glob(f"{package}_*.deb")
        unfinished = folder / f"{package}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        subprocess.run(["dpkg", "-x", archive, unfinished], check=True)
        unfinished.rename(target)
        archive.unlink()
    return target


def audio_files(root: Path, pattern: str) -> Iterator[Path]:
    for path in sorted(root.glob(pattern)):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink():
            yield path


def is_held_out(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % HELD_OUT == 0


def convert(source: Path, target: Path) -> None:
    """Decode an audio file to 24 kHz mono, unless that is done; what is too short is left out."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".part")
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", os.fspath(source)]
    command += ["-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le", "-f", "wav"]
    done = subprocess.run([*command, os.fspath(unfinished)], check=False)
    if done.returncode:
        print(f"left out, as ffmpeg cannot read it: {source}", file=sys.stderr)
    elif unfinished.stat().st_size > 2 * SAMPLE_RATE * SHORTEST:
        unfinished.rename(target)
        return
    unfinished.unlink(missing_ok=True)


def jobs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every source file and the file to be made of it."""
    for kind, packages in PATTERNS.items():
        for package, pattern in packages.items():
            root = unpack(package, folder / "packages")
            notice = root / "usr/share/doc" / package / "copyright"
            (folder / kind).mkdir(exist_ok=True)
            shutil.copy(notice, folder / kind / f"{package}.copyright")
            for source in audio_files(root, pattern):
                name = f"{package}/{source.relative_to(root / 'usr/share')}"
                part = "heldout" if is_held_out(name) else "train"
                yield source, folder / kind / part / f"{name}.wav"


def cut_clips(folder: Path) -> None:
    """Clips to evaluate on: the middle ten seconds of held-out files that are not too short."""
    for kind, (shortest, most) in EVALUATED.items():
        target = folder / "evaluate" / kind
        target.mkdir(parents=True, exist_ok=True)
        for package in sorted((folder / kind / "heldout").iterdir()):
            files = [path for path in sorted(package.rglob("*.wav")) if seconds(path) >= shortest]
            for number, path in enumerate(files[:most]):
                start = max(0.0, seconds(path) / 2 - 5)
                command = ["ffmpeg", "-v", "error", "-y", "-ss", f"{start:.3f}", "-i"]
                clip = target / f"{package.name}-{number + 1}.wav"
                subprocess.run([*command, os.fspath(path), "-t", "10", os.fspath(clip)], check=True)


def seconds(path: Path) -> float:
    """Of a file that `convert` made."""
    return path.stat().st_size / 2 / SAMPLE_RATE


def report(folder: Path) -> None:
    """Print how much there is."""
    for kind in PATTERNS:
        for part in ("train", "heldout"):
            files = list((folder / kind / part).rglob("*.wav"))
            hours = sum(map(seconds, files)) / 3600
            print(f"{kind}/{part}: {len(files)} files, {hours:.2f} h")


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: convert(*job), jobs(folder)))
    cut_clips(folder)
    report(folder)


if __name__ == "__main__":
    main()
