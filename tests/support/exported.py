"""Exported folders beside the codecs that they are of."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import ROOT

import acomp
from acomp.audio import to_channels
from acomp.audio.resampling import resample
from acomp.backends.base import Codec


def speech(codec: Codec, length: int) -> acomp.Audio:
    """Some of the speech that ships with acomp, as the codec takes it."""
    audio = acomp.read_audio(Path(acomp.__file__).parent / "samples/speech.flac")
    samples = resample(audio, codec.spec.sample_rate).samples[:, 2000 : 2000 + length]
    return acomp.Audio(to_channels(samples, codec.spec.channels), codec.spec.sample_rate)


def assert_guide_works(
    codec: Codec, folder: Path, audio: acomp.Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python of a folder's README, run there, does what the codec does."""
    rate = codec.spec.sample_rate
    soundfile.write(folder / "speech.wav", audio.samples.T, rate, "FLOAT")
    text = (folder / "README.md").read_text()
    (python,) = re.findall(r"```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(folder)
    exec(python, {})
    (codebooks,) = {int(count) for count in re.findall(r"to (\d+) codes a frame", text)}
    expected = codec.decode(codec.encode(audio, codebooks=codebooks)).samples
    found, _ = soundfile.read(folder / "back.wav", dtype="float32", always_2d=True)
    assert np.abs(found.T - expected.clip(-1, 1)).max() < 1e-3  # written in 16 bits


PACKAGES = ROOT / "examples" / "browser" / "node_modules"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not PACKAGES.is_dir(),
    reason="node is not installed, or npm ci was not run",
)
_GIVEN = """
import {{ readFileSync, writeFileSync }} from "node:fs";
const samples = new Float32Array(readFileSync("samples.f32").buffer);
const length = samples.length / {channels};
const row = (x, c) => x.subarray((c * x.length) / {channels}, ((c + 1) * x.length) / {channels});
const channels = [...Array({channels}).keys()].map((c) => row(samples, c));
const card = JSON.parse(readFileSync("codec.json"));
const cut = (start, end) => channels.flatMap((x) => Array.from(x.subarray(start, end)));
const shape = (count) => (card.channels[0] === "1" ? [1, count] : [1, {channels}, count]);
"""
"""What the JavaScript of a README says that it is given, and for streams how to cut it."""
_STREAMED = """
const [encode, decode] = [await stream("encoder"), await stream("decoder")];
const parts = [];
for (const [start, end] of [[0, {cut}], [{cut}, length]]) {{
  const piece = new ort.Tensor("float32", cut(start, end), shape(end - start));
  parts.push((await decode(await encode(piece))).data);
}}
const joined = (c) => parts.flatMap((part) => Array.from(row(part, c)));
const decoded = channels.map((_, c) => joined(c));
"""
"""Two calls of each half of a stream."""
_WRITTEN = """
const rows = [decoded].flat().flatMap((x) => Array.from(x));
writeFileSync("decoded.f32", Buffer.from(Float32Array.from(rows).buffer));
"""


def assert_javascript_works(exports: Mapping[Path, Codec], place: Path) -> None:
    """The JavaScript of folders' READMEs, run there by one node, does what the codecs do.

    Args:
        exports: codecs, with one number of codebooks each, by their folders.
        place: a folder, in which packages are found.
    """
    (place / "node_modules").symlink_to(PACKAGES)
    lines, expected = [], {}
    for number, (folder, codec) in enumerate(exports.items()):
        hop, count = codec.spec.hop_length, codec.spec.channels
        audio = speech(codec, 20 * hop + 5)
        (folder / "samples.f32").write_bytes(audio.samples.tobytes())
        expected[folder] = codec.decode(codec.encode(audio, codebooks=codec.spec.codebooks)).samples
        (code,) = re.findall(r"```js\n(.*?)```", (folder / "README.md").read_text(), re.S)
        # The form of the package that node takes.
        code = _GIVEN.format(channels=count) + code.replace(
            "onnxruntime-web/wasm", "onnxruntime-web"
        )
        if "async function stream" in code:
            code += _STREAMED.format(cut=12 * hop)
        (place / f"{number}.mjs").write_text(code + _WRITTEN)
        lines += [f"process.chdir({str(folder)!r});", f'await import("./{number}.mjs");']
    (place / "all.mjs").write_text("\n".join(lines))
    run = subprocess.run(["node", "all.mjs"], cwd=place, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    for folder, samples in expected.items():
        channels, length = samples.shape
        found = np.fromfile(folder / "decoded.f32", np.float32)
        assert np.abs(found.reshape(channels, -1)[:, :length] - samples).max() < 1e-4
