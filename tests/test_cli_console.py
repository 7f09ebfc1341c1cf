"""What commands say, and to whom: help, completion, names that command a terminal, warnings."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
import warnings
from inspect import unwrap
from pathlib import Path
from typing import Any

import pytest
import typer
from codes_samples import encodec_24khz
from commands import Cli, assert_done, assert_refused, assert_wrong_usage, environment, make
from hypothesis import given, strategies as st
from test_imports import imported

from acomp import pipeline
from acomp.batch.outputs import Job
from acomp.cli import app, models
from acomp.cli.batches import what_was_done
from acomp.cli.console import one_line, only_our_warnings, printable, settings, with_settings
from acomp.engines.base import preparing
from acomp.errors import AcompWarning
from acomp.pipeline.clock import Clock

NANO = ("-b", "nano", "--engine", "torch")
COMMANDS = (
    *("encode", "decode", "info", "convert", "demo", "doctor", "eval", "report", "listen"),
    *("bench", "codebooks", "train", "models list", "models fetch", "models verify"),
)


# Help


def test_help_is_short_for_help_and_shows_no_types_of_python(cli: Cli) -> None:
    for command in ("", *COMMANDS):
        run = cli(*command.split(), "-h")
        assert_done(run)
        assert "Running" in run.out
        for words in ("list[", "None", "<str>", "<bool>", "<path>", "<float", "<int", "_file"):
            assert words not in run.out, (command, words)


def test_help_of_encode_is_in_groups_and_shows_defaults(cli: Cli) -> None:
    out = " ".join(cli("encode", "-h").out.replace("│", " ").split())
    places = [out.index(group) for group in ("Input and output ─", "Codec ─", "Running ─")]
    assert places == sorted(places)
    assert "6, or the codec's highest: nine codebooks of dac" in out


@pytest.mark.parametrize(
    ("typed", "meant"), [("encod", "encode"), ("decde", "decode"), ("model", "models")]
)
def test_a_mistyped_command_is_guessed(cli: Cli, typed: str, meant: str) -> None:
    assert_wrong_usage(cli(typed), f"Did you mean '{meant}'")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("encodec-24", "encodec-24khz"), ("DAC", "dac"), ("nanno", "nano"), ("snac", "snac-24khz")],
)
def test_a_mistyped_codec_is_guessed(cli: Cli, speech: Path, typed: str, meant: str) -> None:
    run = cli("encode", speech, "-b", typed)
    assert_refused(run, f"there is no codec {typed!r}; did you mean ")
    assert meant in run.err.split("did you mean ")[1]


def test_underscores_in_options_are_hyphens(cli: Cli, speech: Path, tmp_path: Path) -> None:
    assert_done(cli("encode", "--input_file", speech, "--output_dir", "out", *NANO))
    assert (tmp_path / "out" / "speech.nac").exists()


# Completion


def completed(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words of a command line."""
    script = 'eval "$(env _ACOMP_COMPLETE=source_bash acomp)"; _acomp_completion acomp; '
    script += 'printf "%s\\n" "${COMPREPLY[@]}"'
    quoted = " ".join(f"'{word}'" for word in words)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; {script}"],
        env=environment(folder, PATH=path),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("acomp encode -b encodec", ["encodec", "encodec-24khz", "encodec-48khz"]),
        ("acomp models fetch nano", ["nano", "nano-1", "nano-1-lm", "nano-2", "nano-2-lm"]),
    ],
)
def test_bash_completes(tmp_path: Path, words: str, found: list[str]) -> None:
    assert sorted(completed(tmp_path, *words.split())) == found


def test_completion_imports_no_torch(tmp_path: Path) -> None:
    variables = {
        "_ACOMP_COMPLETE": "complete_bash",
        "COMP_WORDS": "acomp encode -b enc",
        "COMP_CWORD": "3",
    }
    program = f"import os; os.environ.update({variables}); sys.argv = ['acomp']; "
    assert imported(tmp_path, f"{program}from acomp.cli import main; main()") == set()


# Names, whatever they hold

EVIL = "a\x1b[2J\x1b]0;b\x07\x9bc\u202ed\ne.wav"


@given(st.text())
def test_printable_text_commands_nothing_and_plain_text_stays(text: str) -> None:
    shown = one_line(text)
    assert all(character >= " " and character not in "\x7f\x9b\u202e\u2028" for character in shown)
    shown.encode()
    if text.isprintable():
        assert printable(text) == text


def test_names_do_not_command_the_terminal(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "f\x1b[2J"
    folder.mkdir()
    make(folder / EVIL, 0.2)
    (folder / "b\x1b[31m.wav").write_bytes(b"no sound")
    for arguments in (
        ("encode", folder, *NANO),
        ("info", folder),
        ("decode", folder, "--output-dir", tmp_path / "d\x1b[2J", *NANO[2:]),
        ("codebooks", *NANO[:2], "-o", folder / "books.npy"),
        ("convert", folder / "none.nac", folder / "none.txt"),
        ("encode", "-b", "x\x1b[2J", folder),
        ("models", "fetch", "x\x1b[2J"),
        ("report", folder),
        ("\x1b[2J",),
    ):
        run = cli(*arguments)
        shown = run.out + run.err
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown), run
        assert "\\x1b[2J" in shown, run


# Warnings


def test_warnings_of_other_packages_are_for_debugging(
    cli: Cli, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = pipeline.encode_file

    def noisy(*arguments: object, **settings: object) -> pipeline.Result:
        warnings.warn("of a package", UserWarning, stacklevel=1)
        warnings.warn("of acomp\x1b", AcompWarning, stacklevel=1)
        return encode(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr("acomp.pipeline.jobs.encode_file", noisy)
    plain = cli("encode", speech, *NANO, "-o", "a.nac").err
    assert "of a package" not in plain
    assert "warning: of acomp\\x1b\n" in plain
    shown = cli("encode", speech, *NANO, "-o", "b.nac", "--debug").err
    assert "UserWarning: of a package" in shown


@pytest.mark.parametrize("debug", [False, True])
def test_what_packages_log_is_for_debugging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], debug: bool
) -> None:
    monkeypatch.setattr(settings, "debug", debug)
    record = logging.LogRecord("package", logging.WARNING, "", 0, "a line of a log", None, None)
    assert logging.lastResort is not None
    with only_our_warnings():
        logging.lastResort.handle(record)
    assert ("a line of a log" in capsys.readouterr().err) is debug


def test_quiet_leaves_errors(cli: Cli, speech: Path, tmp_path: Path) -> None:
    run = cli("encode", speech, *NANO, "-q")
    assert (run.code, run.out, run.err) == (0, "", "")
    assert (tmp_path / "speech.nac").exists()
    assert_refused(cli("encode", "none.wav", "-q", *NANO), "none.wav")
    assert "speech.nac" in cli("decode", "speech.nac", *NANO[2:], "-o", "a.wav").err
    assert cli("--quiet", "decode", "speech.nac", *NANO[2:], "-o", "b.wav").err == ""


# Bytes


@pytest.mark.parametrize(
    "command",
    [
        ("encode", "speech.wav", "-", *NANO),
        ("decode", "a.nac", "-"),
        ("convert", "a.nac", "-", "--format", "npz"),
    ],
)
def test_no_bytes_go_to_a_terminal(
    cli: Cli, speech: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shutil.copy(speech, "a.nac")
    assert_wrong_usage(cli(*command), "would go to the terminal", "-o")


def test_the_line_says_what_the_codes_come_to(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 1, channels=2)
    err = cli("encode", "a.wav", "-k", 3, *NANO).err
    size = (tmp_path / "a.nac").stat().st_size
    assert "a.wav -> a.nac: nano-2, 2 x 3 kbps, 1.00 s at " in err
    ratio = 24_000 * 2 * 2 / size
    assert f", {size} bytes ({size / 125:.3g} kbps in all, {ratio:.0f} times smaller than" in err
    assert "nano-2, 2 x 3 kbps, 1.00 s at " in cli("decode", "a.nac", "-o", "b.wav", *NANO[2:]).err


@pytest.mark.parametrize(("seconds", "said"), [(2.0, True), (0.1, False)])
def test_the_line_says_how_long_the_networks_were_prepared(seconds: float, said: bool) -> None:
    result = pipeline.Result(encodec_24khz(frames=10).info, 1.0, 0.5, preparing_seconds=seconds)
    line = what_was_done(Job("a.wav", "a.nac"), result)
    assert "1.00 s at 2.0 times real time" in line
    assert line.endswith(" after 2.0 s of preparing the networks") is said


def test_the_clock_leaves_out_the_preparing_of_networks() -> None:
    clock = Clock()

    @preparing()
    def compiles() -> None:
        time.sleep(0.05)

    clock(compiles)
    assert clock.preparing >= 0.05 > clock.seconds


def a_fault() -> None:
    raise KeyError("two\nlines")


EVERY_COMMAND = [
    ([*group, str(command.name or getattr(command.callback, "__name__", ""))], command)
    for group, commands in (
        ([], app.registered_commands),
        (["models"], models.app.registered_commands),
    )
    for command in commands
]


@pytest.mark.parametrize(
    ("words", "command"), EVERY_COMMAND, ids=[" ".join(words) for words, _ in EVERY_COMMAND]
)
def test_a_fault_of_ours_is_one_line_too(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, words: list[str], command: Any
) -> None:
    monkeypatch.setattr(command, "callback", with_settings(a_fault, quiet=False))
    monkeypatch.setattr("typer.main.get_command", unwrap(typer.main.get_command))
    said = "a fault of acomp, please report it (KeyError: "
    assert_refused(cli(*words), said)
    run = cli(*words, "--debug")
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith("Traceback") and "in a_fault" in run.err
    assert said in run.err.splitlines()[-1]
