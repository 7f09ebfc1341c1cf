"""The report: what its charts and table say, and its page in a browser."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import PHONE, browser, needs_browser, opened, wait_until
from commands import sound
from results_folder import FILES, SETTINGS, make_results

from acomp.audio import Audio, write_audio
from acomp.cli.report import report
from acomp.errors import AcompError
from acomp.evaluation.metrics import METRICS
from acomp.evaluation.results import Results, open_results
from acomp.evaluation.rows import write_rows
from acomp.pages import charts
from acomp.pages.clips import level_matched
from acomp.pages.figures import family, means
from acomp.pages.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["browser"]

HOSTILE = "<script>alert(1)</script> \"'`${x}&amp;.wav"
Edit = Callable[[Results], None]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def page(results: Results) -> Path:
    path = results.folder / "report.html"
    write_report(results, path)
    return path


# Figures


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("nano@6", "nano"),
        ("nano", "nano"),
        ("pcm", "pcm"),
        ("nano@3:runs/a@b.safetensors", "nano:runs/a@b.safetensors"),
        ("dac-24khz:x.pth", "dac-24khz:x.pth"),
    ],
)
def test_a_family_is_the_codec_and_its_weights(setting: str, expected: str) -> None:
    assert family(setting) == expected


def test_points_are_means_over_files_and_bits_over_seconds(results: Results) -> None:
    for metric in METRICS.values():
        found = means(results, metric)
        speech_only = metric.method.content == "speech"
        assert found.files == list(FILES[:1] if speech_only else FILES)
        assert found.partial == 0
        assert [point.setting for point in found.points] == ["nano@1.5", "nano@6", "opus@12"]
        for point in found.points:
            rows = [row for row in results.rows if row.setting == point.setting]
            rows = [row for row in rows if row.file in found.files]
            values = [row.metrics[metric.name] for row in rows]
            assert point.value == pytest.approx(np.mean(values))
            seconds = sum(row.seconds for row in rows)
            assert point.kbps == pytest.approx(sum(row.bytes for row in rows) / seconds / 125)


def test_long_files_weigh_more_in_the_bit_rate(results: Results) -> None:
    rows = [row for row in results.rows if row.setting == "nano@6"]
    long = replace(rows[1], seconds=3 * rows[1].seconds, bytes=6000)
    (point,) = means(Results(results.folder, [rows[0], long]), METRICS["si_sdr"]).points
    assert point.kbps == pytest.approx((rows[0].bytes + 6000) * 8 / (4 * rows[0].seconds) / 1000)


def test_means_leave_out_files_that_a_setting_lacks(results: Results) -> None:
    rows = [row for row in results.rows if (row.setting, row.file) != ("opus@12", FILES[1])]
    found = means(Results(results.folder, rows), METRICS["si_sdr"])
    assert found.files == [FILES[0]]
    assert found.partial == 1
    assert len(found.points) == 3


def test_settings_with_no_file_in_common_have_no_points(results: Results) -> None:
    rows = [row for row in results.rows if row.setting != "pcm"]
    rows = [row for row in rows if (row.setting == "nano@6") == (row.file == FILES[0])]
    found = means(Results(results.folder, rows), METRICS["si_sdr"])
    assert (found.points, found.files, found.partial) == ([], [], 2)


def test_what_is_no_number_has_no_point(results: Results) -> None:
    rows = [
        replace(row, metrics={"si_sdr": math.inf}) for row in results.rows if row.file == FILES[0]
    ]
    assert means(Results(results.folder, rows), METRICS["si_sdr"]).points == []


def test_charts_have_a_mark_for_each_point() -> None:
    points = [charts.Point("a<b@6", 6, 2.0), charts.Point("a<b@3", 3, 1.0)]
    svg = charts.rate_distortion({"a<b": points}, ["a<b"], "dB", 'said "so"')
    titles = re.findall(r"<title>(.*?)</title>", svg)
    assert titles == ["a&lt;b@3: 3.00 kbps, 1", "a&lt;b@6: 6.00 kbps, 2"]
    assert 'aria-label="said &quot;so&quot;"' in svg
    assert "fill: currentColor" in svg
    assert "stroke: var(--line)" in svg
    assert "stroke: var(--series-1)" in svg
    assert "#01020" not in svg
    assert "#0405" not in svg
    assert "#0707" not in svg


def test_parts_of_two_charts_have_no_name_in_common() -> None:
    one, other = (
        charts.codebook_usage(
            np.full((books, 16), 3),
            "usage",
        )
        for books in (2, 3)
    )
    names = [set(re.findall(r'id="([^"]*)"', svg)) for svg in (one, other)]
    assert names[0]
    assert not names[0] & names[1]
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]*)', one)) <= names[0]


def test_codebooks_without_codes_can_be_drawn() -> None:
    assert "<svg" in charts.codebook_usage(np.zeros((1, 2), np.int64), "none")


@pytest.mark.parametrize("hertz", [100, 1000, 5000])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_tone_is_in_the_spectrogram_where_the_marks_say(hertz: int, rate: int) -> None:
    time = np.arange(rate) / rate
    tone = Audio(np.sin(2 * np.pi * hertz * time)[None].astype(np.float32), rate)
    levels = charts.band_levels(tone)
    assert levels.shape == (charts.ROWS, charts.COLUMNS)
    row = int(levels[:, charts.COLUMNS // 2].argmax())
    top = min(rate / 2, charts.HIGHEST)
    found = top * (charts.LOWEST / top) ** ((row + 0.5) / charts.ROWS)
    assert found == pytest.approx(hertz, abs=rate / 1024 + 0.06 * hertz)
    marks = dict(charts.frequency_marks(rate))
    if hertz == 1000:
        assert (row + 0.5) / charts.ROWS == pytest.approx(marks["1k"], abs=0.02)


def test_a_gain_moves_the_levels() -> None:
    audio = sound(0.5)
    difference = charts.band_levels(audio, 2.0) - charts.band_levels(audio)
    assert np.median(difference) == pytest.approx(20 * np.log10(2), abs=0.01)


def test_one_channel_beside_two_is_as_loud_as_both_speakers_play_it() -> None:
    mono = sound(1.0)
    stereo = Audio(np.repeat(mono.samples, 2, axis=0), mono.sample_rate)
    clips = level_matched({"reference": stereo, "coded": mono, "quiet": _times(mono, 0.5)})
    assert [clip.gain for clip in clips] == pytest.approx([1, 1, 2], rel=1e-3)


def test_gains_are_numbers_that_json_takes() -> None:
    clips = level_matched({"reference": _times(sound(1.0), 3), "coded": sound(1.0)})
    peaks = [clip.gain * float(np.abs(clip.audio.samples).max()) for clip in clips]
    assert max(peaks) == pytest.approx(1, rel=1e-3)
    assert all(type(clip.gain) is float for clip in clips)


def _times(audio: Audio, factor: float) -> Audio:
    return Audio(np.float32(factor) * audio.samples, audio.sample_rate)


# The command, and what it refuses


def test_the_command_writes_the_page_and_tells_its_size(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    report(results.folder, page, [FILES[0]], start=0.5, seconds=1)
    assert capsys.readouterr().out == f"{page}: {page.stat().st_size / 1e6:.1f} MB\n"
    text = page.read_text()
    assert "0.5 to 1.5 s of 2 s" in text
    assert text.count('class="player"') == 1


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AcompError, match=r"holds no results\.csv: make it with `acomp eval"):
        report(tmp_path)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"files": ["tune.flac"]}, r"no file tune\.flac; they have talk\.wav, music/a tune\.flac"),
        ({"files": [FILES[0]], "start": 2.5}, r"talk\.wav is 2\.0 s long and has nothing at 2\.5"),
        ({"start": math.nan}, "an excerpt starts at 0 seconds or later"),
        ({"seconds": 0}, "longer than 0 seconds"),
    ],
)
def test_excerpts_that_are_not_there_are_refused(
    results: Results, tmp_path: Path, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(AcompError, match=words):
        write_report(results, tmp_path / "page.html", **asked)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_what_brings_it(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(AcompError, match=r'the report .*matplotlib.*pip install "acomp\[eval\]"'):
        write_report(results, tmp_path / "page.html")


def test_files_are_chosen_from_speech_and_other_in_turn(results: Results, tmp_path: Path) -> None:
    first = results.row("pcm", FILES[0])
    assert first is not None
    rows, names = [], [f"s{at}.wav" for at in range(5)] + ["o.wav"]
    made = Results(tmp_path)
    for name in names:
        rows.append(replace(first, file=name, content="other" if name == "o.wav" else "speech"))
        for path in (made.reference(name), made.decoded("pcm", name)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_audio(path, sound(0.2))
    write_rows(made.table, rows)
    write_report(open_results(tmp_path), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert re.findall(r'<h3 id="file-\d">(.*?)</h3>', text) == [
        "s0.wav",
        "s1.wav",
        "s2.wav",
        "o.wav",
    ]


def test_the_table_says_what_failed_and_what_was_left_out(results: Results, tmp_path: Path) -> None:
    rows = [row for row in results.rows if (row.setting, row.file) != ("opus@12", FILES[1])]
    short = Results(results.folder, rows)
    write_report(short, tmp_path / "page.html", files=[FILES[1]])
    text = (tmp_path / "page.html").read_text()
    assert "opus@12 has no result for 1 file: music/a tune.flac" in text
    assert "PESQ-WB left out of 1 of 2 files: not speech (nano@1.5, nano@6, pcm)" in text
    assert "<td>1.50 (1)</td>" in text
    assert "<td>1 of 2</td>" in text
    assert "no result of opus@12" in text
    assert "Left out: 1 file that not every setting has." in text


def test_the_table_marks_the_best_and_what_chance_may_have_made(
    results: Results, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    rows = [
        replace(row, file=f"{at}.wav", metrics={**row.metrics, "log_mel": 1.0 + at / 100})
        for row in results.rows
        for at in range(5)
        if row.file == FILES[0]
    ]
    made = Results(tmp_path, rows)
    for row in rows:
        for source, target in (
            (results.reference(FILES[0]), made.reference(row.file)),
            (results.decoded(row.setting, FILES[0]), made.decoded(row.setting, row.file)),
            (results.coded(row.setting, FILES[0]), made.coded(row.setting, row.file)),
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    write_report(made, page, files=["0.wav"])
    text = page.read_text()
    assert "<td><b>3.60</b><small>3.60 to 3.60</small></td>" not in text
    assert "<td><b>2.90</b><small>2.90 to 2.90</small></td>" in text  # PESQ of opus@12
    assert text.count("1.020 ≈<small>") == 2
    assert "In bold: the best setting but pcm" in text
    write_report(results, page)
    assert "In bold" not in page.read_text() and "≈" not in page.read_text()


def test_the_page_holds_no_address_of_a_network(page: Path) -> None:
    text = page.read_text()
    addresses = set(re.findall(r"https?://[^\"' ]*", text))
    assert addresses <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}
    assert "default-src &#39;none&#39;" in text


# In a browser


@pytest.fixture
def shown(browser: Browser, page: Path) -> Iterator[Page]:
    with opened(browser, page) as found:
        yield found


@needs_browser
def test_the_page_opens_from_disk_without_errors_and_network(shown: Page) -> None:
    assert shown.locator(".player").count() == 2
    assert shown.locator(".rates svg").count() == len(METRICS)
    assert shown.locator("tbody tr").count() == len(SETTINGS)
    assert shown.locator("section[aria-labelledby=usage] svg").count() == 2
    assert shown.locator(".player").first.locator(".version").count() == 1 + len(SETTINGS)
    loaded = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert shown.evaluate(loaded)
    # Charts that took parts of one another would have the same names twice.
    names = shown.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(names) == len(set(names))


@needs_browser
def test_the_policy_keeps_out_network_and_other_scripts(browser: Browser, page: Path) -> None:
    context = browser.new_context()
    try:
        shown = context.new_page()
        shown.goto(page.as_uri())
        assert (
            shown.evaluate("fetch('http://localhost:9/').catch((error) => 'refused')") == "refused"
        )
        shown.evaluate(
            "() => { const added = document.createElement('script');"
            " added.textContent = 'window.added = true'; document.body.append(added); }"
        )
        assert shown.evaluate("window.added") is None
    finally:
        context.close()


STATE = """(() => {
    const view = views[0], { player } = view;
    const now = () => player.context ? player.context.currentTime : 0;
    // Chromium's clock goes on within a task: what is read must be of one time.
    for (;;) {
        const time = now(), { position, selected, playing } = player;
        if (now() === time) return { position, selected, playing, time };
    }
})()"""
TAP = """() => {
    const connect = AudioNode.prototype.connect;
    AudioNode.prototype.connect = function (target, ...rest) {
        if (target instanceof AudioDestinationNode) {
            window.tap = window.tap || new AnalyserNode(target.context, { fftSize: 2048 });
            connect.call(this, window.tap);
        }
        return connect.call(this, target, ...rest);
    };
}"""
HEARD = """() => {
    // Levels in dB of the sines and of what is above them, where there is only noise.
    const bins = new Float32Array(window.tap.frequencyBinCount);
    window.tap.getFloatFrequencyData(bins);
    const hertz = window.tap.context.sampleRate / window.tap.fftSize;
    const mean = (from, to) => {
        const part = bins.slice(Math.round(from / hertz), Math.round(to / hertz));
        const power = part.reduce((sum, level) => sum + 10 ** (level / 10), 0);
        return 10 * Math.log10(power / part.length);
    };
    return { sines: mean(200, 800), noise: mean(3000, 9000) };
}"""


def _state(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(STATE)
    return found


def _play(page: Page) -> None:
    page.locator(".play").first.click()
    wait_until(page, "views[0].player.began !== null && views[0].player.position > 0.2")


def _heard(page: Page) -> dict[str, float]:
    """What sounds once a switch is through: the median of some moments, for the sound that starts
    anew clicks.
    """
    page.evaluate("window.tap.smoothingTimeConstant = 0")
    moments = []
    for _ in range(5):
        page.evaluate("window.since = views[0].player.context.currentTime")
        wait_until(page, "views[0].player.context.currentTime > window.since + 0.1")
        moments.append(page.evaluate(HEARD))
    return {name: float(np.median([each[name] for each in moments])) for name in moments[0]}


@needs_browser
def test_a_switch_changes_the_sound_and_not_the_position(shown: Page) -> None:
    shown.evaluate(TAP)
    _play(shown)
    original = _heard(shown)
    assert original["sines"] > -60
    before, after = shown.evaluate(
        f"() => {{ const before = {STATE}; views[0].buttons[1].click();"
        f" return [before, {STATE}]; }}"
    )
    assert (before["selected"], after["selected"]) == ("reference", "nano@1.5")

    def assert_has_gone_on(state: dict[str, Any]) -> None:
        expected = before["position"] + state["time"] - before["time"]
        # The sound of 2 s is repeated: 1.9999 and 0 are one place.
        assert (state["position"] - expected + 1) % 2 == pytest.approx(1, abs=1e-3)

    assert_has_gone_on(after)
    coded = _heard(shown)
    assert coded["noise"] - coded["sines"] > original["noise"] - original["sines"] + 6
    assert_has_gone_on(_state(shown))
    gains = shown.evaluate("views[0].player.voices.map((voice) => voice.gain.gain.value > 0.01)")
    assert gains == [False, True, False, False, False]


@needs_browser
def test_only_one_player_sounds(shown: Page) -> None:
    _play(shown)
    shown.locator(".play").nth(1).click()
    assert shown.evaluate("views.map((view) => view.player.playing)") == [False, True]
    assert shown.locator(".play").all_text_contents() == ["Play", "Pause"]


@needs_browser
def test_a_pause_while_it_loads_is_heeded(shown: Page) -> None:
    shown.evaluate("() => { views[0].toggle(); views[0].toggle(); }")
    shown.evaluate("views[0].player.load()")
    assert shown.evaluate("[views[0].player.playing, views[0].player.voices.length]") == [False, 0]


@needs_browser
def test_keys_drive_the_player_that_was_used_last(shown: Page) -> None:
    press = shown.keyboard.press
    press("2")
    assert _state(shown)["selected"] == "reference"  # no player has been used yet
    _play(shown)
    press("Space")
    assert not _state(shown)["playing"]
    press("Space")
    assert _state(shown)["playing"]
    press("Space")
    shown.evaluate("views[0].player.seek(0.5)")
    press("ArrowRight")
    wait_until(shown, "Math.abs(views[0].player.position - 1.5) < 1e-6")
    press("ArrowLeft")
    wait_until(shown, "Math.abs(views[0].player.position - 0.5) < 1e-6")
    for key, expected in (
        ("ArrowDown", "nano@1.5"),
        ("ArrowUp", "reference"),
        ("ArrowUp", "pcm"),
        ("2", "nano@6"),
        ("9", "nano@6"),
        ("0", "reference"),
        ("Control+1", "reference"),
        ("Alt+1", "reference"),
    ):
        press(key)
        assert _state(shown)["selected"] == expected, key
    pressed = shown.locator(".player").first.locator("[aria-pressed=true]")
    assert pressed.evaluate_all("(all) => all.map((each) => each.className)") == [
        "whole",
        "version",
        "spectrogram",
    ]


@needs_browser
def test_every_control_is_reached_by_tab_and_shows_it(shown: Page) -> None:
    shown.evaluate("document.querySelector('.wide').focus()")
    reached = []
    for _ in range(15):
        shown.keyboard.press("Tab")
        reached.append(
            shown.evaluate(
                "(each => [each.className, each.matches(':focus-visible'),"
                " getComputedStyle(each).outlineStyle])(document.activeElement)"
            )
        )
    versions = 1 + len(SETTINGS)
    names = ["play main", "seek", "from", "to", "whole"]
    names += versions * ["version"] + versions * ["spectrogram"]
    assert [name for name, _, _ in reached] == names
    assert all(visible and outline == "solid" for _, visible, outline in reached)


@needs_browser
def test_space_presses_a_button_and_plays_on_the_selected_version(shown: Page) -> None:
    buttons = shown.locator(".player").first.locator(".version")
    buttons.nth(1).focus()
    shown.keyboard.press("Space")
    assert _state(shown)["selected"] == "nano@1.5"
    assert not _state(shown)["playing"]
    shown.keyboard.press("Space")
    assert _state(shown)["playing"]
    shown.keyboard.press("3")
    assert shown.evaluate("document.activeElement === views[0].buttons[3]")


@needs_browser
def test_fields_outside_the_players_keep_their_keys(shown: Page) -> None:
    _play(shown)
    shown.evaluate(
        "() => { const field = document.createElement('input'); field.id = 'field';"
        " document.querySelector('main').prepend(field); field.focus(); }"
    )
    shown.keyboard.type("1 2")
    assert shown.input_value("#field") == "1 2"
    assert _state(shown)["playing"]
    assert _state(shown)["selected"] == "reference"


@needs_browser
def test_a_click_on_a_spectrogram_selects_and_seeks(shown: Page) -> None:
    picture = shown.locator(".spectrogram").nth(2)
    box = picture.bounding_box()
    assert box is not None
    picture.click(position={"x": box["width"] * 0.75, "y": 20})
    wait_until(shown, "views[0].player.position > 0")
    found = _state(shown)
    assert found["selected"] == "nano@6"
    assert found["position"] == pytest.approx(1.5, abs=0.02)
    assert picture.get_attribute("aria-pressed") == "true"
    cursor = shown.locator(".cursor").first.evaluate("(each) => parseFloat(each.style.left)")
    assert cursor == pytest.approx(75, abs=1)


@needs_browser
def test_a_section_is_repeated(shown: Page) -> None:
    player = shown.locator(".player").first
    for seconds, name in ((0.5, ".from"), (0.8, ".to")):
        shown.evaluate("(seconds) => views[0].seek(seconds)", seconds)
        player.locator(name).click()
    wait_until(shown, "views[0].player.loop && views[0].player.loop[1] < 1")
    assert shown.evaluate("views[0].player.loop") == pytest.approx([0.5, 0.8])
    assert player.locator(".section").is_visible()
    player.locator(".play").click()
    wait_until(
        shown,
        "(player => player.playing && player.context.currentTime > player.began + 0.5)"
        "(views[0].player)",
    )
    assert 0.5 <= _state(shown)["position"] <= 0.8
    player.locator(".whole").click()
    assert shown.evaluate("views[0].player.loop") is None
    assert not player.locator(".section").is_visible()


@needs_browser
def test_nothing_is_wider_than_a_phone(browser: Browser, page: Path) -> None:
    with opened(browser, page, PHONE) as shown:
        width, height = shown.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert width <= PHONE[0] < height
        assert shown.evaluate(
            "(box => box.scrollWidth > box.clientWidth)(document.querySelector('.wide'))"
        )
        # Text of charts as it is on the screen, in pixels.
        sizes = shown.evaluate(
            """[...document.querySelectorAll('svg text')].map((text) => {
                const matrix = text.getScreenCTM();
                const scale = Math.hypot(matrix.a, matrix.b);
                return scale * parseFloat(getComputedStyle(text).fontSize);
            })"""
        )
        assert min(sizes) > 9.5


@needs_browser
def test_hostile_names_are_text(browser: Browser, results: Results, tmp_path: Path) -> None:
    first = results.row("nano@6", FILES[0])
    assert first is not None
    setting = f"nano@6:{HOSTILE}"
    made = Results(tmp_path)
    name = "<img src=x onerror=alert(1)> \"'&amp;.wav"
    for path in (made.reference(name), made.decoded(setting, name), made.coded(setting, name)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path.with_suffix(".flac") if path.suffix == ".nac" else path, sound(0.5))
    made.coded(setting, name).write_bytes(results.coded("nano@6", FILES[0]).read_bytes())
    write_rows(made.table, [replace(first, setting=setting, file=name)])
    page = tmp_path / "page.html"
    write_report(open_results(tmp_path), page)
    with opened(browser, page, PHONE) as shown:
        assert shown.locator(".player h3").text_content() == name
        assert shown.locator(".version").nth(1).text_content() == f"1 {setting}"
        assert shown.locator("tbody th").text_content() == setting
        assert shown.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        shown.keyboard.press("Tab")
        shown.locator(".version").nth(1).click()
        assert _state(shown)["selected"] == setting
        assert shown.locator("img[onerror]").count() == 0
