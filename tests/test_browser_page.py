"""The page of examples/browser in Chromium: nano encodes and decodes as acomp does."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import soundfile
from browser import DESKTOP, PHONE, browser, needs_browser, wait_until
from commands import ROOT

import acomp
from acomp.audio import resample
from acomp.settings import Entropy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

__all__ = ["browser"]

BROWSER = ROOT / "examples" / "browser"
KBPS = (1.5, 3, 6, 12)
SECONDS = 2
WAIT = 120_000
"""Milliseconds that a busy machine may take."""
HEARS = """
window.heard = [];
const RealWorker = Worker;
window.Worker = class extends RealWorker {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => {
      if (data.kind === "sound") {
        window.heard.push([data.variant, data.index, data.samples.map((each) => [...each])]);
      }
    });
  }
};
"""
"""Keeps what the worker gives to be played."""
DROPS_TWO = """() => {
  const dataTransfer = new DataTransfer();
  for (const name of ["one.wav", "two.wav"]) dataTransfer.items.add(new File(["x"], name));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
}"""

pytestmark = [
    needs_browser,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (BROWSER / "node_modules" / "onnxruntime-web").is_dir(), reason="npm ci was not run"
    ),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012 - as in the standard library
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server of the built page."""
    from acomp.export.folder import export

    folder = tmp_path_factory.mktemp("page")
    codec = acomp.load("nano", engine="torch")
    books = [codec.spec.codebooks_for(kbps, None) for kbps in KBPS]
    export(codec, None, folder / "model", codebooks=books, streaming=True)
    command = ["node", "build.mjs", str(folder / "model"), str(folder / "page")]
    done = subprocess.run(command, cwd=BROWSER, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    handler = partial(Quiet, directory=str(folder / "page"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def page_at(
    browser: Browser,
    address: str,
    size: tuple[int, int] = DESKTOP,
    keeper: Literal["allow", "block"] = "allow",
) -> Iterator[Page]:
    """The page, when it is ready; it must raise no error.

    `keeper` is what makes it work offline, whose requests no test sees.
    """
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, service_workers=keeper
    )
    page = context.new_page()
    page.set_default_timeout(WAIT)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(HEARS)
    page.goto(address)
    wait_until(page, "document.getElementById('status').textContent === 'Ready.'")
    yield page
    context.close()
    assert not errors


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Speech at nano's own rate."""
    with_it = acomp.read_audio(ROOT / "acomp" / "samples" / "speech.flac")
    samples = resample(with_it, 24_000).samples[0, 24_000 : (1 + SECONDS) * 24_000]
    soundfile.write(tmp_path / "sound.wav", samples, 24_000, subtype="PCM_16")
    return tmp_path / "sound.wav"


def test_a_file_goes_in_and_acomp_decodes_what_comes_out(
    browser: Browser, address: str, sound: Path, tmp_path: Path
) -> None:
    codec = acomp.load("nano", engine="torch")
    audio = acomp.read_audio(sound)
    with page_at(browser, address) as page:
        page.set_input_files("#file", sound)
        wait_until(page, "document.querySelectorAll('#rows a').length === 4")
        for number, kbps in enumerate(KBPS):
            with page.expect_download() as coming:
                page.locator("#rows a").nth(number).click()
            file = tmp_path / coming.value.suggested_filename
            coming.value.save_as(file)
            assert file.name == f"sound-{kbps:g}kbps.nac"
            expected = codec.encode(audio, bandwidth=kbps)
            found = acomp.read_codes(file)
            assert found.data.shape == expected.data.shape
            # Sums that another library forms in another order decide between nearly equal codes.
            different = (found.data != expected.data).any(axis=(0, 1)).mean()
            assert different <= 0.01
            if not different:
                acomp.write_codes(tmp_path / "expected.nac", expected)
                assert file.read_bytes() == (tmp_path / "expected.nac").read_bytes()
            assert codec.decode(found).samples.shape == audio.samples.shape


@pytest.mark.parametrize("entropy", ["none", "lm"])
def test_a_file_of_acomp_s_sounds_as_acomp_decodes_it(
    browser: Browser, address: str, sound: Path, tmp_path: Path, entropy: Entropy
) -> None:
    codec = acomp.load("nano", engine="torch")
    codes = codec.encode(acomp.read_audio(sound), bandwidth=6)
    acomp.write_codes(tmp_path / "mine.nac", codes, entropy=entropy)
    expected = codec.decode(codes).samples
    with page_at(browser, address) as page:
        page.set_input_files("#file", tmp_path / "mine.nac")
        wait_until(page, f"new Set(window.heard.map(([, n]) => n)).size === {SECONDS}")
        pieces = {index: np.array(samples) for _, index, samples in page.evaluate("window.heard")}
    found = np.concatenate([pieces[index] for index in range(SECONDS)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_damaged_file_is_a_sentence(
    browser: Browser, address: str, sound: Path, tmp_path: Path
) -> None:
    codec = acomp.load("nano", engine="torch")
    acomp.write_codes(tmp_path / "whole.nac", codec.encode(acomp.read_audio(sound), bandwidth=6))
    data = bytearray((tmp_path / "whole.nac").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.nac").write_bytes(data)
    with page_at(browser, address) as page:
        assert_refused(page, tmp_path / "damaged.nac", "damaged")


def test_what_is_no_sound_is_a_sentence_that_names_the_file(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("no sound\n" * 99)
    (tmp_path / "beginning.nac").write_bytes(b"NAC")
    with page_at(browser, address) as page:
        assert_refused(page, tmp_path / "empty.wav", "nothing")
        assert_refused(page, tmp_path / "text.wav", "no sound")
        assert_refused(page, tmp_path / "beginning.nac", "cut short")
        page.evaluate(DROPS_TWO)
        wait_until(page, "document.getElementById('status').textContent === 'Drop one file.'")
        page.click("#speech")  # and the page still works
        wait_until(page, "performance.getEntriesByName('sound').length === 1")


def assert_refused(page: Page, file: Path, word: str) -> None:
    page.set_input_files("#file", file)
    said = "document.getElementById('status').textContent"
    wait_until(page, f"{said}.startsWith('{file.name}: ') && {said}.includes('{word}')")
    assert page.evaluate(said).endswith(".")
    assert page.get_attribute("#status", "class") == "alarm"
    assert not page.is_visible("#stage")  # nor what was open before


def test_what_could_not_be_fetched_is_a_sentence_and_the_next_file_opens(
    browser: Browser, address: str, sound: Path, tmp_path: Path
) -> None:
    codes = acomp.load("nano", engine="torch").encode(acomp.read_audio(sound), bandwidth=6)
    acomp.write_codes(tmp_path / "coded.nac", codes, entropy="lm")
    acomp.write_codes(tmp_path / "plain.nac", codes)
    with page_at(browser, address, keeper="block") as page:
        asked: list[Route] = []
        page.context.route("**/language-model*", lambda route: asked.append(route))
        page.set_input_files("#file", tmp_path / "coded.nac")
        for _ in range(500):
            if not asked:
                page.wait_for_timeout(20)
        page.set_input_files("#file", tmp_path / "plain.nac")
        wait_until(page, "document.getElementById('status').textContent.includes('plain')")
        asked[0].abort()
        wait_until(page, "window.heard.length > 0")
        page.context.route("**/samples/*", lambda route: route.abort())
        page.click("#music")
        wait_until(page, "document.getElementById('status').textContent.includes('music.flac')")


def test_a_microphone_is_asked_for_once(browser: Browser, address: str) -> None:
    with page_at(browser, address) as page:
        page.evaluate(
            "void (navigator.mediaDevices.getUserMedia = () => {"
            " window.asked = (window.asked ?? 0) + 1; return new Promise(() => {}); })"
        )
        page.dblclick("#record")
        assert page.evaluate("window.asked") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: Browser, address: str, sound: Path, scheme: str) -> None:
    with page_at(browser, address, PHONE) as page:
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_input_files("#file", sound)
        wait_until(page, "document.querySelectorAll('#rows a').length === 4")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE[0]
        page.keyboard.press("3")
        assert page.evaluate("document.querySelector('#variants input:checked').value") == "12"


def test_keys_do_what_they_say_after_a_button_was_used(browser: Browser, address: str) -> None:
    playing = "document.getElementById('play').getAttribute('aria-label') === 'Pause'"
    with page_at(browser, address) as page:
        page.focus("#speech")
        page.keyboard.press("Enter")
        wait_until(page, playing)
        page.keyboard.press(" ")
        wait_until(page, f"!({playing})")
        before = float(page.input_value("#seek"))
        page.keyboard.press("ArrowRight")
        wait_until(page, f"Number(document.getElementById('seek').value) > {before + 1}")


def test_it_works_without_a_network_after_the_first_visit(browser: Browser, address: str) -> None:
    with page_at(browser, address) as page:
        wait_until(page, "navigator.serviceWorker.controller !== null")
        page.context.set_offline(True)
        page.reload()
        wait_until(page, "document.getElementById('status').textContent === 'Ready.'")
        page.click("#speech")
        wait_until(page, "performance.getEntriesByName('sound').length === 1")
