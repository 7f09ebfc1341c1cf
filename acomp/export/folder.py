"""A codec's folder: two ONNX graphs, their weights, and what describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acomp.backends.base import Codec
from acomp.backends.nano.codec import Nano
from acomp.backends.nano.shape import MEMORY
from acomp.backends.weights.cache import fetch
from acomp.backends.weights.checkpoint import SCALE, load_checkpoint
from acomp.errors import CodecError
from acomp.export.nano import Decoder, Encoder, Whole, named
from acomp.export.onnx import WEIGHTS, Packer, Port, trace
from acomp.files import atomic_write, make_folder, reason_of

ENCODER, DECODER, CARD, GUIDE = "encoder.onnx", "decoder.onnx", "codec.json", "README.md"
FILES = (ENCODER, DECODER, WEIGHTS, GUIDE, CARD)
"""What is in a folder, in the order that it is written: a folder with the last one is whole."""
EXAMPLE = 20
"""Frames of the example that graphs are traced by."""


def export(
    codec: Codec, weights: Path | None, folder: Path, *, codebooks: Sequence[int], streaming: bool
) -> dict[str, int]:
    """Write a codec into a folder.

    Args:
        codec: a nano, on torch.
        weights: the file its weights are from; None: the published ones.
        folder: is made where it does not exist.
        codebooks: that the encoder uses, one number or several, ascending; the decoder takes any.
        streaming: whether the graphs take and return the state of a stream.

    Returns:
        The size of each file in bytes, by its name.

    Raises:
        CodecError: the codec cannot be exported, or the folder not be written.
    """
    if not isinstance(codec, Nano):
        raise CodecError(f"{codec.spec.name} cannot be exported yet; nano can")
    packer = Packer(_stored(weights or fetch(codec.spec.name)), codec.shape.hop)
    contents: dict[str, bytes] = {}
    card = _card(codec, codebooks, streaming)
    network = named(codec.module)
    for file, stream in ((ENCODER, Encoder(network, codebooks)), (DECODER, Decoder(network))):
        inputs, outputs = _ports(stream, codebooks, streaming)
        module = stream if streaming else Whole(stream)
        traced = trace(module, [_example(port) for port in inputs], inputs, outputs)
        contents[file] = packer.pack(traced).SerializeToString()
        card["models"][file.removesuffix(".onnx")] = {
            "file": file,
            "inputs": [asdict(port) for port in inputs],
            "outputs": [asdict(port) for port in outputs],
            "state": {f"next_{port.name}": port.name for port in inputs[1:]},
        }
    contents[WEIGHTS] = bytes(packer.data)
    contents[GUIDE] = _guide(card).encode()
    contents[CARD] = (json.dumps(card, indent=1) + "\n").encode()
    _write(folder, contents)
    return {name: len(data) for name, data in contents.items()}


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    make_folder(folder, CodecError)
    try:
        (folder / CARD).unlink(missing_ok=True)
    except OSError as error:
        raise CodecError(f"cannot write {folder / CARD}: {reason_of(error)}") from error
    for name in FILES:
        with atomic_write(folder / name, CodecError) as out:
            out.write(contents[name])


def _stored(weights: Path) -> Mapping[str, list[NDArray[np.generic]]]:
    """The weights as the file has them, with their scales."""
    state = load_checkpoint(weights).state
    found = {}
    for name, value in state.items():
        if not name.endswith(SCALE) and value.dtype in (torch.float16, torch.int8, torch.float32):
            scale = state.get(name + SCALE)
            found[name] = [value.numpy(), *([] if scale is None else [scale.float().numpy()])]
    return found


def _ports(
    stream: Encoder | Decoder, codebooks: Sequence[int], streaming: bool
) -> tuple[list[Port], list[Port]]:
    hop = stream.network.hop
    fewer: list[Port] = []
    if isinstance(stream, Encoder):
        first = Port("samples", "float32", ("batch", "time"))
        *others, most = codebooks
        last = Port("codes", "int64", ("batch", most, "frames"))
        fewer += (Port(fewer_codes(n), "int64", ("batch", n, "frames")) for n in others)
    else:
        first = Port("codes", "int64", ("batch", "codebooks", "frames"))
        last = Port("samples", "float32", ("batch", "time"))
    if not streaming:
        return [first], [last, *fewer]
    state = [Port("before", "float32", ("batch", hop))]
    for number in range(len(stream.refiner.blocks)):
        state.append(Port(f"past_{number}", "float32", ("batch", MEMORY, stream.refiner.width)))
    after = [Port(f"next_{port.name}", port.dtype, port.shape) for port in state]
    return [first, *state], [last, *after, *fewer]


def fewer_codes(codebooks: int) -> str:
    """The output of an encoder that has the codes with fewer codebooks than its most."""
    return f"codes_{codebooks}"


def _example(port: Port) -> torch.Tensor:
    # A multiple of every hop, so that streams take it.
    lengths = {"batch": 2, "time": EXAMPLE * 960, "codebooks": 4, "frames": EXAMPLE}
    shape = [lengths[size] if isinstance(size, str) else size for size in port.shape]
    return torch.zeros(shape, dtype=torch.int64 if port.dtype == "int64" else torch.float32)


def _card(codec: Nano, codebooks: Sequence[int], streaming: bool) -> dict[str, Any]:
    spec = codec.spec
    hop = spec.hop_length
    if streaming:
        rules = {
            "encode": f"Call with whole hops of {hop} samples; a state of zeros begins a "
            f"recording, then each next_NAME is the next call's NAME. To end, pad with zeros to a "
            f"whole hop, and one hop of zeros more: n samples give ceil(n / {hop}) + 1 frames.",
            "decode": f"Each frame gives {hop} samples. Drop the first {hop} of a recording, and "
            "what exceeds the length of the recording.",
        }
    else:
        rules = {
            "encode": f"Any length: n samples give ceil(n / {hop}) + 1 frames.",
            "decode": f"n frames give (n - 1) * {hop} samples; drop what exceeds the length of the "
            "recording.",
        }
    if len(codebooks) > 1:
        rules["fewer"] = (
            "Outputs codes_K of the encoder are the codes with K codebooks, which are not the "
            "first K of codes."
        )
    return {
        "format": "acomp-onnx",
        "version": 1,
        "codec": spec.name,
        "weights": codec.fingerprint,
        "streaming": streaming,
        "sample_rate": spec.sample_rate,
        "hop_length": hop,
        "frame_rate": spec.frame_rate,
        "codebooks": codebooks[-1],
        "codebook_size": spec.codebook_size,
        "delay_samples": hop,
        "channels": "1; of several, each is an item of the batch",
        "samples": "float32, -1 to 1",
        "rules": rules,
        "external_data": WEIGHTS,
        "models": {},
    }


def _guide(card: Mapping[str, Any]) -> str:
    """How to use the folder, in Python and JavaScript."""
    streaming, hop, rate = card["streaming"], card["hop_length"], card["sample_rate"]
    return (_STREAM if streaming else _WHOLE).format(
        codec=card["codec"], hop=hop, rate=rate, codebooks=card["codebooks"]
    )


_WHOLE = """# {codec} in ONNX

Samples at {rate} Hz to {codebooks} codes a frame of {hop} samples, and back. codec.json has names,
shapes and rules.

Python, with numpy, soundfile and onnxruntime; `speech.wav` is mono at {rate} Hz:

```python
import numpy as np, onnxruntime, soundfile
encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
samples, rate = soundfile.read("speech.wav", dtype="float32")
(codes,) = encoder.run(["codes"], {{"samples": samples[np.newaxis]}})
(decoded,) = decoder.run(None, {{"codes": codes}})
soundfile.write("back.wav", decoded[0, : len(samples)], rate)
```

JavaScript, with onnxruntime-web; `samples` is a Float32Array:

```js
import * as ort from "onnxruntime-web/wasm";
const externalData = [{{ path: "weights.bin", data: "weights.bin" }}];
const encoder = await ort.InferenceSession.create("encoder.onnx", {{ externalData }});
const decoder = await ort.InferenceSession.create("decoder.onnx", {{ externalData }});
const sound = new ort.Tensor("float32", samples, [1, samples.length]);
const {{ codes }} = await encoder.run({{ samples: sound }});
const decoded = (await decoder.run({{ codes }})).samples.data.subarray(0, samples.length);
```
"""

_STREAM = """# {codec} in ONNX, for streams

Samples at {rate} Hz to {codebooks} codes a frame of {hop} samples, and back, piece by piece.
codec.json has names, shapes and rules.

Python, with numpy, soundfile and onnxruntime; `speech.wav` is mono at {rate} Hz:

```python
import json, numpy as np, onnxruntime, soundfile
models = json.load(open("codec.json"))["models"]
def stream(name):
    model, session = models[name], onnxruntime.InferenceSession(name + ".onnx")
    names, state = [p["name"] for p in model["inputs"]], []
    for port in model["inputs"][1:]:
        state.append(np.zeros([1, *port["shape"][1:]], "float32"))
    def push(x):
        y, *state[:] = session.run(None, dict(zip(names, [x, *state])))
        return y
    return push
encode, decode = stream("encoder"), stream("decoder")
samples, rate = soundfile.read("speech.wav", dtype="float32")
padded = np.pad(samples, (0, -len(samples) % {hop} + {hop}))[np.newaxis]
pieces = [decode(encode(padded[:, i : i + {hop}])) for i in range(0, padded.shape[1], {hop})]
soundfile.write("back.wav", np.concatenate(pieces, 1)[0, {hop} :][: len(samples)], rate)
```

JavaScript, with onnxruntime-web; `card` is codec.json:

```js
import * as ort from "onnxruntime-web/wasm";
const externalData = [{{ path: "weights.bin", data: "weights.bin" }}];
async function stream(name) {{
  const {{ inputs, outputs, state }} = card.models[name];
  const session = await ort.InferenceSession.create(name + ".onnx", {{ externalData }});
  const feeds = {{}};
  for (const {{ name, shape }} of inputs.slice(1)) {{
    const size = shape.slice(1).reduce((a, b) => a * b);
    feeds[name] = new ort.Tensor("float32", new Float32Array(size), [1, ...shape.slice(1)]);
  }}
  return async (x) => {{
    const results = await session.run({{ ...feeds, [inputs[0].name]: x }});
    for (const [after, before] of Object.entries(state)) feeds[before] = results[after];
    return results[outputs[0].name];
  }};
}}
```
"""
