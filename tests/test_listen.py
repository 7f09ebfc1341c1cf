"""The listening test: what goes into the page, and the page itself in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from browser import PHONE, browser, needs_browser, opened
from commands import Cli, assert_done, assert_refused, sound
from results_folder import FILES, make_results

from acomp.audio import Audio, write_audio
from acomp.errors import AcompError
from acomp.evaluation.results import Results
from acomp.evaluation.rows import Row
from acomp.listening.anchors import anchor, can_be_anchored, low_pass
from acomp.listening.page import write_listening_test
from acomp.listening.ratings import Rating, read_ratings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["browser"]

SETTINGS = ["nano@1.5", "nano@6", "opus@12"]
UNRATED = "\u2013"
SIGNALS = ["reference", *SETTINGS, "anchor35", "anchor70"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def page_file(results: Results) -> Path:
    path = results.folder / "listen.html"
    write_listening_test(results, path)
    return path


def held(path: Path) -> dict[str, Any]:
    """The data of a page."""
    found = re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"))
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def written(results: Results, **options: Any) -> dict[str, Any]:
    path = results.folder / "other.html"
    write_listening_test(results, path, **options)
    return held(path)


def with_rate(results: Results, folder: Path, rate: int) -> Results:
    """A folder with one file of that rate, in one setting."""
    one = Results(folder, [replace(results.rows[0], file="low <b>&.wav", sample_rate=rate)])
    for path in (one.reference("low <b>&.wav"), one.decoded("nano@1.5", "low <b>&.wav")):
        path.parent.mkdir(parents=True)
        write_audio(path, sound(1.0, rate))
    return one


def audio_of(clip: dict[str, Any]) -> Audio:
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(clip["flac"])), always_2d=True)
    return Audio(samples.T.astype(np.float32), rate)


# --- Anchors ---------------------------------------------------------------------------------


def decibels(rate: int, cutoff: int, low: float, high: float) -> np.ndarray:
    """The response of the low-pass from `low` to `high` Hz, by the Fourier transform."""
    response = np.abs(np.fft.rfft(low_pass(rate, cutoff), 1 << 17))
    frequencies = np.fft.rfftfreq(1 << 17, 1 / rate)
    within = response[(frequencies >= low) & (frequencies <= high)]
    return 20 * np.log10(np.maximum(within, 1e-9))


@pytest.mark.parametrize("cutoff", [3500, 7000])
@pytest.mark.parametrize("rate", [9000, 18_000, 24_000, 44_100, 48_000, 96_000])
def test_low_pass_filters_are_as_recommended(rate: int, cutoff: int) -> None:
    if not can_be_anchored(rate, cutoff):
        assert (rate, cutoff) == (9000, 7000)
        return
    assert np.abs(decibels(rate, cutoff, 0, cutoff)).max() <= 0.1
    assert decibels(rate, cutoff, cutoff * 4 / 3.5, rate / 2).max() <= -25
    assert decibels(rate, cutoff, cutoff * 4.5 / 3.5, rate / 2).max() <= -50


def test_an_anchor_is_in_step_and_dull() -> None:
    time = np.arange(24_000) / 24_000
    low, high = (0.3 * np.sin(2 * np.pi * pitch * time) for pitch in (1000, 5000))
    found = anchor(Audio(np.stack([low + high, low]).astype(np.float32), 24_000), 3500)
    assert found.samples.shape == (2, 24_000)
    np.testing.assert_allclose(
        found.samples[:, 500:-500], np.stack([low, low])[:, 500:-500], atol=2e-3
    )


def test_an_anchor_fits_into_full_scale() -> None:
    square = np.sign(np.sin(2 * np.pi * 300 * np.arange(24_000) / 24_000 + 0.1))
    found = anchor(Audio(square[None].astype(np.float32), 24_000), 3500)
    assert np.abs(found.samples).max() == pytest.approx(1.0)


@pytest.mark.parametrize(("rate", "anchors"), [(8000, []), (16_000, ["anchor35"])])
def test_a_low_rate_lacks_anchors_and_the_page_says_so(
    results: Results, tmp_path: Path, rate: int, anchors: list[str]
) -> None:
    low = with_rate(results, tmp_path, rate)
    write_listening_test(low, tmp_path / "page.html")
    clips = held(tmp_path / "page.html")["trials"][0]["clips"]
    assert [clip["condition"] for clip in clips] == ["reference", "nano@1.5", *anchors]
    html = (tmp_path / "page.html").read_text("utf-8")
    note = f"low &lt;b&gt;&amp;.wav has no anchor of 7 kHz: at its rate of {rate} Hz"
    assert note in html
    assert ("no anchor of 3.5 kHz" in html) is (rate == 8000)


# --- What goes into the page -----------------------------------------------------------------


def test_a_trial_holds_reference_settings_and_anchors(page_file: Path, results: Results) -> None:
    trials = held(page_file)["trials"]
    assert [trial["file"] for trial in trials] == list(FILES)
    for trial in trials:
        assert [clip["condition"] for clip in trial["clips"]] == SIGNALS
        clip = trial["clips"][0]
        reference, _ = soundfile.read(results.reference(trial["file"]), always_2d=True)
        np.testing.assert_allclose(audio_of(clip).samples, reference.T, atol=1e-4)
        # Decoded is 0.7 of the reference with little noise: it is played louder.
        assert trial["clips"][3]["gain"] / clip["gain"] == pytest.approx(1 / 0.7, rel=0.05)


def test_anchors_in_the_page_are_low_passed(page_file: Path) -> None:
    for trial in held(page_file)["trials"]:
        low, mid = (audio_of(clip) for clip in trial["clips"][-2:])
        for audio, edge in ((low, 4500), (mid, 9000)):
            spectrum = np.abs(np.fft.rfft(audio.samples[0] * np.hanning(audio.length))) ** 2
            above = np.fft.rfftfreq(audio.length, 1 / audio.sample_rate) > edge
            assert spectrum[above].max() < 1e-6 * spectrum.max()


def test_the_test_is_told_by_what_it_holds(results: Results) -> None:
    first = written(results)["test"]
    assert first == written(results)["test"]
    assert first != written(results, seconds=1)["test"]


def test_excerpts(results: Results) -> None:
    trial = written(results, files=["talk.wav"], start=0.5, seconds=1)["trials"][0]
    assert {audio_of(clip).length for clip in trial["clips"]} == {24_000}
    reference, _ = soundfile.read(results.reference("talk.wav"), always_2d=True)
    found = audio_of(trial["clips"][0]).samples.T
    np.testing.assert_allclose(found, reference[12_000:36_000], atol=1e-4)


def test_what_is_chosen(results: Results) -> None:
    chosen = written(results, files=["talk.wav"], settings=["pcm", "nano@6", "pcm"])["trials"]
    assert [trial["file"] for trial in chosen] == ["talk.wav"]
    assert [clip["condition"] for clip in chosen[0]["clips"][1:3]] == ["pcm", "nano@6"]


def test_files_are_spread_over_speech_and_other(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of seven of speech and three of other content, the one that failed left out."""
    row = results.row("nano@6", "talk.wav")
    assert row
    names = [f"s{each}" for each in range(7)] + [f"o{each}" for each in range(3)]
    rows = [
        replace(row, setting=setting, file=file, content="speech" if file[0] == "s" else "other")
        for setting in SETTINGS
        for file in names
        if (setting, file) != ("opus@12", "s0")
    ]
    read: list[str] = []

    def trial(_: object, file: str, *__: object) -> dict[str, object]:
        read.append(file)
        return {}

    monkeypatch.setattr("acomp.listening.page._trial", trial)
    write_listening_test(Results(results.folder, rows), results.folder / "other.html")
    assert read == ["s1", "o0", "s2", "o1", "s3", "o2"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 12.5}, "up to 12 s"),
        ({"seconds": 0}, "up to 12 s"),
        ({"seconds": float("nan")}, "up to 12 s"),
        ({"start": -1}, "cannot start at -1 s"),
        ({"start": float("inf")}, "cannot start at inf s"),
        ({"start": 5}, "talk.wav has no audio after 5 s"),
        ({"files": ["no.wav"]}, "no file no.wav"),
        ({"settings": ["dac@8"]}, "no setting dac@8; they have nano@1.5, nano@6"),
    ],
)
def test_refusals(results: Results, options: dict[str, Any], words: str) -> None:
    with pytest.raises(AcompError) as caught:
        write_listening_test(results, results.folder / "refused.html", **options)
    assert words in str(caught.value)
    assert not (results.folder / "refused.html").exists()


def test_refusals_of_the_results(results: Results, tmp_path: Path) -> None:
    def refused(rows: Sequence[Row], words: str, **options: Any) -> None:
        with pytest.raises(AcompError, match=words):
            write_listening_test(Results(results.folder, rows), tmp_path / "p.html", **options)

    rows = results.rows
    many = [replace(rows[0], setting=f"nano@{each}") for each in range(10)]
    refused(many, "10 settings are too many .* at most 9")
    refused([replace(rows[0], setting="pcm")], "no setting but pcm")
    refused([replace(rows[0], setting="anchor70")], "cannot be called anchor70")
    refused(rows[:-3], "no music/a tune.flac in the setting opus@12", files=[FILES[1]])
    refused([rows[0], replace(rows[2], file="b")], "no file came through all")


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    make_results(tmp_path / "results")
    run = cli("listen", "results", "--file", "talk.wav", "--setting", "nano@6", "--seconds", 1)
    assert_done(run)
    assert "results/listen.html" in run.out
    assert len(held(tmp_path / "results" / "listen.html")["trials"]) == 1
    assert_done(cli("listen", "results", "-o", "page.html"))
    assert len(held(tmp_path / "page.html")["trials"]) == 2
    assert_refused(cli("listen", "results", "--seconds", 13, "--overwrite"), "up to 12 s")
    assert_refused(cli("listen", "nowhere"), "nowhere holds no results.csv")


# --- The page in a browser -------------------------------------------------------------------


@contextmanager
def training(
    browser: Browser, path: Path, name: str = "Ada", size: tuple[int, int] = (1280, 900)
) -> Iterator[Page]:
    """The page after an assessor has given a name."""
    with opened(browser, path, size) as page:
        page.fill("#name", name)
        page.press("#name", "Enter")
        page.get_by_role("heading", name="Training").wait_for()
        yield page


def trial(page: Page, number: int) -> None:
    """Wait until that trial is shown and its sound is ready."""
    page.get_by_role("heading", name=f"Trial {number} of 2").wait_for()
    page.locator("#message:empty").wait_for(state="attached")


def signal(page: Page, position: int) -> Any:
    return page.locator(".signal:not(.open)").nth(position)


def heard(page: Page, position: int) -> None:
    signal(page, position).locator(".choose.heard").wait_for()


def shown(page: Page) -> list[str]:
    return page.locator("output.score").all_inner_texts()


def conditions(page: Page, path: Path) -> list[str]:
    """What stands at each position, by the sound that the player has for it."""
    clips = [clip for each in held(path)["trials"] for clip in each["clips"]]
    names = {clip["flac"]: clip["condition"] for clip in clips}
    found = page.evaluate("current.player.clips.map((clip) => clip.flac)")
    assert names[found[0]] == "reference"
    return [names[flac] for flac in found[1:]]


def rate_by_keys(page: Page, position: int) -> int:
    """Play a signal and score it with the keyboard alone; returns the expected score."""
    page.keyboard.press(str(position + 1) if position % 2 else "abcdef"[position])
    heard(page, position)
    for _ in range(position):
        page.keyboard.press("Shift+ArrowDown")
    for _ in range(4):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    return 53 - 10 * position


@needs_browser
def test_a_whole_test(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    with training(browser, page_file, 'Zoë "Z", 1') as page:
        page.keyboard.press("b")
        heard(page, 1)
        page.get_by_role("button", name="Start the test").press("Enter")

        trial(page, 1)
        due = [rate_by_keys(page, position) for position in range(6)]
        assert shown(page) == [str(score) for score in due]
        next_trial = page.get_by_role("button", name="Next trial")
        next_trial.press("Enter")
        assert "rate it 100" in page.locator("#message").inner_text()
        trials = [conditions(page, page_file)]

        page.reload()
        page.locator("#message:empty").wait_for(state="attached")
        assert shown(page) == [str(score) for score in due]
        assert conditions(page, page_file) == trials[0]
        page.keyboard.press("3")
        for _ in range(8):
            page.keyboard.press("Shift+ArrowUp")
        due[2] = 100
        next_trial.press("Enter")

        trial(page, 2)
        trials.append(conditions(page, page_file))
        given = [100, 0, 7, 64, 81, 99]
        for position, score in enumerate(given):
            signal(page, position).get_by_role("button").click()
            heard(page, position)
            signal(page, position).get_by_role("slider").fill(str(score))
        page.get_by_role("button", name="Finish").click()
        page.get_by_role("heading", name="Thank you").wait_for()
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download").click()
        assert waiting.value.suggested_filename == "acomp-ratings-Zoë_Z_1.csv"
        waiting.value.save_as(tmp_path / "a.csv")

    ratings = read_ratings([tmp_path / "a.csv"])
    assert {rating.assessor for rating in ratings} == {'Zoë "Z", 1'}
    assert {rating.test for rating in ratings} == {held(page_file)["test"]}
    assert sorted({rating.file for rating in ratings}) == sorted(FILES)
    for number, (found, scores) in enumerate(zip(trials, (due, given), strict=True), 1):
        assert sorted(found) == sorted(SIGNALS)
        rows = [rating for rating in ratings if rating.trial == number]
        assert [row.position for row in rows] == [1, 2, 3, 4, 5, 6]
        assert [row.condition for row in rows] == found
        assert [row.score for row in rows] == scores
        assert all(_is_sound(row) for row in rows)


def _is_sound(row: Rating) -> bool:
    return row.seconds > 0 and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", row.time) is not None


@needs_browser
def test_nothing_visible_tells_what_a_signal_is(browser: Browser, page_file: Path) -> None:
    with training(browser, page_file) as page:
        for step in ("training", "trial"):
            rows = page.locator(".signal:not(.open)").evaluate_all(
                "(rows) => rows.map((row) => row.outerHTML)"
            )
            plain = {re.sub(r"\b[A-F]\b", "", row) for row in rows}
            assert (len(rows), len(plain)) == (6, 1)
            html = page.evaluate(
                "(() => { const copy = document.documentElement.cloneNode(true);"
                "for (const each of copy.querySelectorAll('script, style')) each.remove();"
                "return copy.outerHTML; })()"
            )
            assert not [word for word in (*SETTINGS, "anchor", "pcm") if word in html]
            if step == "training":
                page.click("#next")
                trial(page, 1)


@needs_browser
def test_orders_are_new_for_each_assessor(browser: Browser, page_file: Path) -> None:
    orders = []
    for _ in range(2):
        with training(browser, page_file) as page:
            orders.append(page.evaluate("state.trials.map((trial) => trial.order)"))
    assert orders[0] != orders[1]
    assert all(sorted(order) == [0, 1, 2, 3, 4, 5] for trials in orders for order in trials)


@needs_browser
def test_a_trial_is_left_as_done_only_when_it_is(browser: Browser, page_file: Path) -> None:
    with training(browser, page_file) as page:
        page.click("#next")
        trial(page, 1)
        message = page.locator("#message")
        page.click("#next")
        assert (
            message.inner_text()
            == "Not done yet. Listen to A, B, C, D, E, F. Rate A, B, C, D, E, F."
        )
        for position in range(6):
            signal(page, position).get_by_role("slider").fill("100")
        page.click("#next")
        assert message.inner_text() == "Not done yet. Listen to A, B, C, D, E, F."
        assert page.locator("h2:visible").inner_text() == "Trial 1 of 2"
        page.click("#previous")
        page.click("#previous")
        page.click("#begin")
        assert page.locator("h2:visible").inner_text() == "Training"


@needs_browser
def test_keys(browser: Browser, page_file: Path) -> None:
    with training(browser, page_file) as page:
        page.click("#next")
        trial(page, 1)

        def selected() -> str:
            return page.locator('[aria-pressed="true"]').inner_text()

        assert selected() == "Reference"
        page.keyboard.press("ArrowUp")
        assert "no score" in page.locator("#message").inner_text()
        for key in ("Control+b", "Alt+b", "Meta+b"):
            page.keyboard.press(key)
        assert selected() == "Reference"
        page.keyboard.press("f")
        assert selected() == "F"
        page.keyboard.press("g")  # there is none
        page.keyboard.press("7")
        assert selected() == "F"
        page.get_by_role("button", name="Pause").wait_for()
        page.keyboard.press("Space")
        page.get_by_role("button", name="Play", exact=True).wait_for()
        page.keyboard.press("0")
        assert selected() == "Reference"
        signal(page, 1).get_by_role("slider").focus()  # what is scored is what is heard
        assert selected() == "B"
        page.keyboard.press("Shift+ArrowUp")
        assert shown(page) == [UNRATED, "60", *[UNRATED] * 4]
        assert signal(page, 1).get_by_role("slider").get_attribute("aria-valuetext") == "60, Good"
        page.keyboard.press("r")
        assert selected() == "Reference"
        page.keyboard.press("Space")  # on the button that is heard it pauses, as elsewhere
        page.get_by_role("button", name="Play", exact=True).wait_for()


@needs_browser
def test_position_and_loop(browser: Browser, page_file: Path) -> None:
    with training(browser, page_file) as page:
        page.locator("#message:empty").wait_for(state="attached")
        at = page.get_by_role("slider", name="Position")
        text = page.locator("#loop-text")
        page.keyboard.press("ArrowRight")
        assert at.get_attribute("aria-valuetext") == "1.0 of 2.0 seconds"
        page.keyboard.press("s")
        assert text.inner_text() == "1.0 to 2.0 s"
        at.fill("1.7")
        page.get_by_role("button", name="Loop to here").click()
        assert text.inner_text() == "1.0 to 1.7 s"
        at.fill("1.2")
        page.keyboard.press("t")
        assert "0.5 s at least" in page.locator("#message").inner_text()
        assert text.inner_text() == "1.0 to 1.7 s"
        page.keyboard.press("w")
        assert text.inner_text() == ""


@needs_browser
def test_starting_anew_drops_nothing_unasked(browser: Browser, page_file: Path) -> None:
    with training(browser, page_file) as page:
        page.click("#previous")
        assert page.input_value("#name") == "Ada"
        anew = page.get_by_role("button", name="Start anew")
        anew.click()
        assert page.input_value("#name") == "Ada"
        anew.click()
        assert page.input_value("#name") == ""
        page.reload()
        assert page.locator("h2:visible").inner_text() == "What you will do"


@needs_browser
def test_a_phone_scrolls_only_down(browser: Browser, results: Results, tmp_path: Path) -> None:
    low = with_rate(results, tmp_path, 16_000)
    name = "a" * 150 + ".wav"
    for folder in (low.reference("x").parent, low.decoded("nano@1.5", "x").parent):
        (folder / "low <b>&.wav.flac").rename(folder / f"{name}.flac")
    renamed = Results(low.folder, [replace(low.rows[0], file=name), *low.rows[1:]])
    write_listening_test(renamed, tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html", PHONE) as page:
        _assert_narrow(page)
        page.fill("#name", "N" * 60)
        page.click("#begin")
        _assert_narrow(page)
        page.click("#next")
        page.get_by_role("heading", name="Trial 1 of 1").wait_for()
        page.click("#next")
        _assert_narrow(page)
        page.evaluate("show(END)")
        _assert_narrow(page)


def _assert_narrow(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
