"""The README of an exported folder: a few lines of Python and of JavaScript that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def guide(card: Mapping[str, Any], channels: int) -> str:
    """What a folder's README says.

    Args:
        card: its codec.json.
        channels: of the samples.
    """
    form = _SEGMENTS if "segment_samples" in card else _STREAM if card["streaming"] else _WHOLE
    hop, frames = card["hop_length"], card["first_frames"]
    padding = f"x = np.pad(x, ((0, 0), (0, -x.shape[1] % {hop} + {hop})))\n"
    ending = f" + [decode(np.full([1, {card['codebooks']}, {card['last_frames']}], -1))]"
    values = {
        "codec": card["codec"],
        "kind": "mono" if channels == 1 else "stereo",
        "hop": hop,
        "rate": card["sample_rate"],
        "codebooks": card["codebooks"],
        "channels": channels,
        "shape": "[1, samples.length]" if channels == 1 else "[1, 2, samples.length / 2]",
        "segment": "[1, count]" if channels == 1 else "[1, 2, count]",
        "given": "" if channels == 1 else ", all of the left channel and then all of the right",
        "first": frames * hop,
        "pad": padding if card["multiple"] > 1 else "",
        "late": f"{card['delay_samples'] or ''}",
        "end": ending if card["last_frames"] else "",
        "length": card.get("segment_samples"),
        "stride": card.get("segment_stride"),
    }
    return form.format(**values)


_WHOLE = """# {codec} in ONNX

Samples at {rate} Hz to {codebooks} codes a frame of {hop} samples, and back. codec.json has names,
shapes and rules.

Python, with numpy, soundfile and onnxruntime; `speech.wav` is {kind} at {rate} Hz:

```python
import numpy as np, onnxruntime, soundfile
encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
samples, rate = soundfile.read("speech.wav", dtype="float32")
(codes,) = encoder.run(["codes"], {{"samples": samples.T[np.newaxis]}})
(decoded,) = decoder.run(None, {{"codes": codes}})
soundfile.write("back.wav", decoded[0].T[: len(samples)], rate)
```

JavaScript, with onnxruntime-web; `samples` is a Float32Array{given}:

```js
import * as ort from "onnxruntime-web/wasm";
const externalData = [{{ path: "weights.bin", data: "weights.bin" }}];
const encoder = await ort.InferenceSession.create("encoder.onnx", {{ externalData }});
const decoder = await ort.InferenceSession.create("decoder.onnx", {{ externalData }});
const sound = new ort.Tensor("float32", samples, {shape});
const {{ codes }} = await encoder.run({{ samples: sound }});
const decoded = (await decoder.run({{ codes }})).samples.data; // longer than what was encoded
```
"""

_STREAM = """# {codec} in ONNX, for streams

Samples at {rate} Hz to {codebooks} codes a frame of {hop} samples, and back, piece by piece.
codec.json has names, shapes and rules.

Python, with numpy, soundfile and onnxruntime; `speech.wav` is {kind} at {rate} Hz:

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
x = samples.T[np.newaxis]
{pad}pieces = np.split(x, range({first}, x.shape[-1], {hop}), axis=-1)
parts = [decode(encode(piece)) for piece in pieces]{end}
decoded = np.concatenate(parts, axis=-1)[0]
soundfile.write("back.wav", decoded[..., {late}:].T[: len(samples)], rate)
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
    const size = shape.slice(1).reduce((a, b) => a * b, 1);
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

_SEGMENTS = """# {codec} in ONNX

Samples at {rate} Hz to {codebooks} codes a frame of {hop} samples, and back, in segments of
{length} samples, {stride} apart. codec.json has names, shapes and rules.

Python, with numpy, soundfile and onnxruntime; `speech.wav` is {kind} at {rate} Hz:

```python
import numpy as np, onnxruntime, soundfile
encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
samples, rate = soundfile.read("speech.wav", dtype="float32")
x, sums = samples.T[np.newaxis], np.zeros((2, {channels}, len(samples) + {length}))
for start in range(0, len(samples), {stride}):
    codes, scales = encoder.run(None, {{"samples": x[..., start : start + {length}]}})
    (part,) = decoder.run(None, {{"codes": codes, "scales": scales}})
    if start == 0:
        fade = 0.5 - abs(np.linspace(0, 1, part.shape[-1] + 2)[1:-1] - 0.5)
    weight = fade[: part.shape[-1]]
    part = part.reshape({channels}, -1)
    sums[..., start : start + len(weight)] += weight * part, weight + 0 * part
sound, weights = sums[..., : len(samples)]
soundfile.write("back.wav", (sound / weights).T, rate)
```

JavaScript, with onnxruntime-web; `channels` are as many Float32Arrays of `length` samples:

```js
import * as ort from "onnxruntime-web/wasm";
const externalData = [{{ path: "weights.bin", data: "weights.bin" }}];
const encoder = await ort.InferenceSession.create("encoder.onnx", {{ externalData }});
const decoder = await ort.InferenceSession.create("decoder.onnx", {{ externalData }});
const sound = channels.map(() => new Float32Array(length + {length}));
const weights = new Float32Array(length + {length});
let fade;
for (let start = 0; start < length; start += {stride}) {{
  const count = Math.min({length}, length - start);
  const segment = channels.flatMap((x) => Array.from(x.subarray(start, start + count)));
  const samples = new ort.Tensor("float32", segment, {segment});
  const part = (await decoder.run(await encoder.run({{ samples }}))).samples;
  const size = part.data.length / {channels};
  const slope = (_, t) => 0.5 - Math.abs((t + 1) / (size + 1) - 0.5);
  fade ??= Float32Array.from({{ length: size }}, slope);
  for (let t = 0; t < size; t++) {{
    sound.forEach((x, c) => (x[start + t] += fade[t] * part.data[c * size + t]));
    weights[start + t] += fade[t];
  }}
}}
const decoded = sound.map((x) => x.subarray(0, length).map((sum, t) => sum / weights[t]));
```
"""
