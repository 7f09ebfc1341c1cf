"""How fast the page of examples/browser is in Chromium, on a page that was visited before, and how
many frames get other codes than acomp's; `make browser` builds it. Another page can be named, one
of other bit rates for example.

Times are those of the clock, and those of the processor on the worker's thread, which other work of
the machine does not lengthen; the latter count what else the worker does, spectrograms for one.

python tests/benchmarks/bench_browser.py [PAGE]
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

import acomp
from acomp.audio import Audio, resample

ROOT = Path(__file__).parents[2]
PAGE = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "examples" / "browser" / "dist")
sys.path.insert(0, str(ROOT / "tests" / "support"))

from browser import ARGUMENTS, CHROMIUM, wait_until  # noqa: E402

TIMES = 3
"""That the speech and the music of acomp follow each other: 25 s."""
READY = "document.getElementById('status').textContent === 'Ready.'"
LISTENS = """
window.last = {};
const RealWorker = Worker;
window.Worker = class extends RealWorker {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => { window.last[data.kind] = data; });
  }
};
"""
"""Keeps the worker's last report of each kind."""
FIRST_SOUND = """() => {
  const [opened, sound] = ["opened", "sound"].map((name) => performance.getEntriesByName(name)[0]);
  return sound.startTime - opened.startTime;
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def worker_seconds() -> float:
    """Of the processor, by all workers' threads of Chromium."""
    total = 0
    for name in Path("/proc").glob("[0-9]*/task/[0-9]*/comm"):
        try:
            if "DedicatedWorker" in name.read_text():
                fields = (name.parent / "stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        except OSError:
            continue  # of a thread that has ended
    return total / os.sysconf("SC_CLK_TCK")


def bandwidths() -> list[float]:
    """Those of the page's encoder, in kbps."""
    card = json.loads((PAGE / "model" / "codec.json").read_text())
    ports = card["models"]["encoder"]["outputs"]
    counts = sorted(port["shape"][1] for port in ports if port["name"].startswith("codes"))
    each = card["frame_rate"] * math.log2(card["codebook_size"]) / 1000
    return [count * each for count in counts]


def visited(page: Page, address: str) -> None:
    """Open the page and wait until it is ready."""
    page.goto(address)
    wait_until(page, READY)


def opened(page: Page, file: Path, done: str) -> float:
    """Seconds of the processor from choosing a file until something is true."""
    page.evaluate("window.last = {}; performance.clearMarks()")
    before = worker_seconds()
    page.set_input_files("#file", file)
    wait_until(page, done)
    return worker_seconds() - before


def times(page: Page, kind: str, processor: float) -> str:
    seconds, took = page.evaluate(f"[last.{kind}.seconds, last.{kind}.took]")
    return (
        f"{seconds:.1f} s of sound, {seconds / processor:.1f} times real time "
        f"of the processor, {seconds / took:.1f} of the clock"
    )


def measure(page: Page, address: str, folder: Path) -> None:
    samples = [
        resample(acomp.read_audio(ROOT / "acomp" / "samples" / f"{name}.flac"), 24_000).samples[:1]
        for name in ("speech", "music")
    ]
    audio = Audio(np.concatenate(samples * TIMES, axis=1), 24_000)
    sound, coded = folder / "sound.wav", folder / "sound.nac"
    acomp.write_audio(sound, audio)
    audio = acomp.read_audio(sound)
    codec = acomp.load("nano", engine="torch")
    acomp.write_codes(coded, codec.encode(audio, bandwidth=6))

    visited(page, address)
    page.evaluate("navigator.serviceWorker.ready.then(() => {})")
    visited(page, address)
    seconds = audio.samples.shape[1] / 24_000
    encoded = f"last.file && last.frames.seconds >= {seconds}"
    opened(page, sound, encoded)
    print(f"sound opened, first heard after {page.evaluate(FIRST_SOUND):.0f} ms")
    processor = opened(page, sound, encoded)
    print(f"encoded at {bandwidths()} kbps at once:", times(page, "frames", processor))
    for number, kbps in enumerate(bandwidths()):
        with page.expect_download() as coming:
            page.locator("#rows a").nth(number).click()
        coming.value.save_as(folder / "found.nac")
        found, expected = (
            acomp.read_codes(folder / "found.nac"),
            codec.encode(audio, bandwidth=kbps),
        )
        different = (found.data != expected.data).any(axis=(0, 1))
        print(f"{kbps:g} kbps: {different.sum()} of {different.size} frames have other codes")

    visited(page, address)
    decoded = f"last.decoded?.seconds >= {seconds - 0.01}"
    processor = opened(page, coded, decoded)
    print(f".nac opened, first heard after {page.evaluate(FIRST_SOUND):.0f} ms")
    print("decoded, 6 kbps:", times(page, "decoded", processor))


def main() -> None:
    handler = partial(Quiet, directory=str(PAGE))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = browser.new_page()
        page.add_init_script(LISTENS)
        measure(page, f"http://127.0.0.1:{server.server_port}/", Path(folder))
        browser.close()
    print("load of the machine, of the last minute:", os.getloadavg()[0])


if __name__ == "__main__":
    main()
