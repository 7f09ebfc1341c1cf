"""A browser for the tests of pages: Chromium without a window, driven by playwright.

A test module that wants it says `from browser import browser` and, for each of its tests,
`@needs_browser`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
DESKTOP = (1280, 900)
PHONE = (390, 844)

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH: pages are not opened"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module.

    Not of a session: playwright keeps an event loop running as long as it lives, which nothing
    else could then start, playwright of another module included.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield started
        started.close()


@contextmanager
def opened(browser: Browser, path: Path, size: tuple[int, int] = DESKTOP) -> Iterator[Page]:
    """A page from disk in a window of `size`; it must raise no error and ask for no network."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda said: _note(problems, said.type == "error", said.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: _dismiss(problems, dialog))
    page.on("request", lambda request: _note(problems, not _local(request.url), request.url))
    try:
        page.goto(path.as_uri())
        yield page
        assert problems == []
    finally:
        context.close()


def wait_until(page: Page, expression: str) -> None:
    """Wait until an expression of JavaScript is true, for half a minute at most.

    Playwright's own `wait_for_function` needs `eval`, which a page's policy may forbid.
    """
    deadline = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never came true: {expression}"
        page.wait_for_timeout(20)


def _local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))


def _note(problems: list[str], bad: bool, text: str) -> None:
    if bad:
        problems.append(text)


def _dismiss(problems: list[str], dialog: object) -> None:
    problems.append(f"dialog: {dialog}")
    dialog.dismiss()  # type: ignore[attr-defined]
