"""Turn a folder of audio into token arrays, one .npy of [streams, codebooks, frames] a file.

python examples/tokenise.py clips/ tokens/ nano 6
"""

import sys
from pathlib import Path

import numpy as np

import acomp

source, target, name, bandwidth = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
target.mkdir(parents=True, exist_ok=True)
codec = acomp.load(name)
for path in sorted(source.glob("*")):
    codes = codec.encode(acomp.read_audio(path), bandwidth=float(bandwidth), channels="mono")
    np.save(target / f"{path.stem}.npy", codes.data)
    print(f"{path.name}: {codes.frames} frames of {codes.info.codebooks} tokens")
