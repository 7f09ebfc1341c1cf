"""Turn a folder of audio into token arrays, one .npy of [streams, codebooks, frames] a file.

python examples/tokenise.py clips/ tokens/ nano 6
"""

import sys
from pathlib import Path

import numpy as np

import acomp
from acomp.audio import is_audio_name

source, target, name, bandwidth = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
target.mkdir(parents=True, exist_ok=True)
codec = acomp.load(name)
for path in sorted(filter(is_audio_name, source.glob("*"))):
    try:
        codes = codec.encode(acomp.read_audio(path), bandwidth=float(bandwidth), channels="mono")
    except acomp.AcompError as error:
        print(f"error: {error}", file=sys.stderr)
        continue
    np.save(target / f"{path.name}.npy", codes.data)  # a.wav and a.mp3 may both be there
    print(f"{path.name}: {codes.frames} frames of {codes.info.codebooks} tokens")
