"""Hand over a DFT matrix as plain numbers, and get a fast transform back.

Shown: factorize() is not told what the matrix is; the error it reports is certified.
"""

import numpy as np
import scipy.fft

import lazyops as lo

n = 512
matrix = scipy.fft.fft(np.eye(n), axis=0)  # n * n complex numbers, nothing else

found = lo.factorize(matrix)
print("found      :", found.reason)
print("operator   :", found.operator)
print(f"entries    : {found.entries:,} instead of {n * n:,}")
print(
    f"certificate: {found.lower_bound:.1e} <= {found.relative_error:.1e} <= {found.upper_bound:.1e}"
)

x = np.random.default_rng(3).standard_normal(n)
print("same as fft:", np.allclose(found.operator @ x, scipy.fft.fft(x)))

noise = lo.factorize(np.random.default_rng(4).standard_normal((64, 64)))
print("noise      :", noise.chain, "-", noise.reason)
