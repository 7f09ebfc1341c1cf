"""The notebook that teaches a codec from nothing: it runs, and what is stored in it is whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "rvq_from_scratch.ipynb"

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


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_runs(notebook: Any, tmp_path: Path) -> None:
    (parameters,) = (c for c in code_cells(notebook) if "parameters" in c.metadata.get("tags", ()))
    parameters.source += SHORT
    code_cells(notebook)[-1].source += CHECKS
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert list(tmp_path.iterdir()) == []


def test_is_stored_with_whole_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    kinds = {output.output_type for output in outputs}
    assert kinds == {"stream", "display_data"}, "errors, or values nobody asked for"
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")
    shown = [kind for output in outputs for kind in output.get("data", ())]
    assert shown.count("image/png") >= 8
    assert sum("Audio" in output.get("data", {}).get("text/plain", "") for output in outputs) >= 10
    assert NOTEBOOK.stat().st_size < 3_000_000


def test_tells_nothing_of_the_machine(notebook: Any) -> None:
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert {key for cell in notebook.cells for key in cell.metadata} == {"tags"}
    texts = [cell.source for cell in notebook.cells]
    for cell in code_cells(notebook):
        for output in cell.outputs:
            texts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
    for text in texts:
        assert not re.search(r"(^|[\s\"'=(])/(\w+/)+|[A-Z]:\\", text), text


def test_sources_are_clean() -> None:
    for command in (["check"], ["format", "--check"]):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *command, NOTEBOOK], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stdout + run.stderr
