"""Save an operator with its certificate, load it elsewhere: numbers and structure, no code.

Shown: the expression comes back node by node; a damaged file is refused.
"""

import pathlib
import tempfile

import numpy as np
import scipy.linalg

import lazyops as lo

found = lo.factorize(scipy.linalg.hadamard(256))

with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "hadamard.safetensors"
    lo.save(path, found)
    size = path.stat().st_size
    print(f"saved {size:,} bytes; the dense matrix takes {8 * 256**2:,}")

    again = lo.load(path)
    print("loaded:", again)
    x = np.random.default_rng(5).standard_normal(256)
    print("same bits:", np.array_equal(found.operator @ x, again.operator @ x))

    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    try:
        lo.load(path)
    except ValueError as error:
        print("refused:", str(error).replace(folder, "..."))
