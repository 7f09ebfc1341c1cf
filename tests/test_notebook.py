"""The notebooks: they run, and what is stored of the one that teaches a codec is whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOK = EXAMPLES / "rvq_from_scratch.ipynb"
FUNCTIONS = EXAMPLES / "function_notebook.ipynb"
LATENTS = EXAMPLES / "latents.ipynb"

SHORT = """
STEPS, WARM_UP, BATCH, SEGMENT = 50, 25, 4, 4096
CODEBOOKS, ENTRIES, LATENT = 4, 32, 16
"""

CHECKS = """
assert len(history) == STEPS and held_out_history[STEPS] < held_out_history[0]
assert utilisation.min() > 0 and perplexity.max() <= ENTRIES
for name in shown:
    errors = latent_error(held_out[name][0])
    assert errors[-1] < errors[0] < 0, errors
    assert results[name][-1][0] > results[name][0][0], results
    codes = encode(held_out[name][0])
    frames = math.ceil(held_out[name].shape[1] / 128)
    assert codes.shape == (1, 4, frames)
    assert len(pack(codes)) == math.ceil(frames * 4 * 5 / 8)
    assert torch.equal(unpack(pack(codes), frames), codes)
"""

SHORT_OF_LATENTS = """
STEPS, BATCH, MAPPED = 2, 1, 32
"""

CHECKS_OF_LATENTS = """
assert np.array_equal(same.data, codec.encode(speech, bandwidth=6).data)
assert to_first[0] == to_second[-1] > to_first[1] > to_first[-1] == 0
assert drone.samples.std() > 0.01 and len(brightness) == MAPPED
assert not np.array_equal(before.samples, after.samples)
"""

RANDOM_WEIGHTS = """
from pathlib import Path
import acomp.backends.weights.cache as _cache
import acomp.engines as _engines
_engines.find_spec = lambda _: None  # nothing is compiled
_cache.fetch = lambda name, *_: Path({folder!r}) / f"{{name}}.th"
"""

ONE_SECOND = """
_speech = acomp.read_audio(recording)
_second = _speech.samples[:, : _speech.sample_rate]
acomp.write_audio(recording, acomp.Audio(_second, _speech.sample_rate))
"""

CHECKS_OF_FUNCTIONS = """
assert model_rate == 24_000
assert abs(lower.shape[1] / 16_000 - audio.shape[1] / rate) < 1e-3
assert scale is None and official.shape == (1, embedded.shape[2] * 320)
assert tuple(codebooks.shape) == (32, 1024, 128)
assert np.array_equal(codes.data, embedded.numpy())
assert not folder.exists()
"""


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shortened(path: Path, short: str, checks: str) -> list[Any]:
    """The cells of a notebook with other settings, and checks after the last."""
    notebook = read(path)
    code = code_cells(notebook)
    (parameters,) = (cell for cell in code if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += short
    code[-1].source += checks + "\n%reset -f"
    cells: list[Any] = notebook.cells
    return cells


def functions(folder: Path) -> list[Any]:
    """The cells of the functions' notebook, with a second of sound.

    In the place of EnCodec's published weights there are random ones.
    """
    notebook = read(FUNCTIONS)
    nbformat.validate(notebook)
    code = code_cells(notebook)
    assert not any(cell.outputs for cell in code)
    code[0].source = RANDOM_WEIGHTS.format(folder=str(folder)) + code[0].source + ONE_SECOND
    code[-1].source += CHECKS_OF_FUNCTIONS
    cells: list[Any] = notebook.cells
    return cells


def test_all_run(tmp_path: Path, encodec_24khz: Path, encodec_48khz: Path) -> None:
    """In one process, as each that starts takes seconds; none finds the names of another."""
    for weights in (encodec_24khz, encodec_48khz):
        shutil.copy(weights, tmp_path)
    notebook = read(NOTEBOOK)
    notebook.cells = [
        *shortened(NOTEBOOK, SHORT, CHECKS),
        *shortened(LATENTS, SHORT_OF_LATENTS, CHECKS_OF_LATENTS),
        *functions(tmp_path),  # last, as it replaces a function of acomp's
    ]
    here = tmp_path / "here"
    here.mkdir()
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(here)}}).execute()
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "pictures", "players"), [(NOTEBOOK, 8, 10), (LATENTS, 9, 9)], ids=["rvq", "latents"]
)
def test_is_stored_with_whole_outputs(path: Path, pictures: int, players: int) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    kinds = {output.output_type for output in outputs}
    assert kinds == {"stream", "display_data"}, "errors, or values nobody asked for"
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")
    shown = [kind for output in outputs for kind in output.get("data", ())]
    assert shown.count("image/png") >= pictures
    heard = sum("Audio" in output.get("data", {}).get("text/plain", "") for output in outputs)
    assert heard >= players
    assert path.stat().st_size < 3_000_000


@pytest.mark.parametrize("path", [NOTEBOOK, LATENTS], ids=["rvq", "latents"])
def test_tells_nothing_of_the_machine(path: Path) -> None:
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert {key for cell in notebook.cells for key in cell.metadata} == {"tags"}
    texts = [cell.source for cell in notebook.cells]
    for cell in code_cells(notebook):
        for output in cell.outputs:
            texts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
    for text in texts:
        assert not re.search(r"(^|[\s\"'=(])/(\w+/)+|[A-Z]:\\", text), text


@pytest.mark.parametrize("path", [NOTEBOOK, FUNCTIONS, LATENTS], ids=lambda path: path.stem)
def test_sources_are_clean(path: Path) -> None:
    for command in (["check"], ["format", "--check"]):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *command, path], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stdout + run.stderr
