"""Accuracy and size of factorizations, each beside its mark: ``python benchmarks/factorize.py``.

Nothing is timed.  The exit code is the number of marks missed.
"""

from __future__ import annotations

import sys

import numpy as np
import scipy.fft
import scipy.linalg

import lazyops as lo
from lazyops.demo import rows

ORDERS = ("balanced", "left-to-right", "right-to-left")
EXACT = 3e-15  # relative error of DFT-1024 and Hadamard-1024
ENTRIES = {1024: 0.55, 4096: 0.27}  # of N^2, for the Fourier integral operator at 1e-6


def main() -> int:
    missed = 0
    transforms = {
        "DFT-1024": scipy.fft.fft(np.eye(1024), axis=0),
        "Hadamard-1024": scipy.linalg.hadamard(1024).astype(float),
    }
    for name, matrix in transforms.items():
        for order in ORDERS:
            found = lo.factorize(matrix, order=order)
            missed += found.relative_error > EXACT
            print(
                f"{name:<14} {order:<14} relative error {found.relative_error:.1e}  "
                f"mark {EXACT:.0e}  bounds {found.lower_bound:.1e} .. {found.upper_bound:.1e}"
            )
    for n, mark in ENTRIES.items():
        found = lo.factorize(rows(n, 0, n), tol=1e-6)
        share = found.entries / n**2
        missed += share > mark or found.relative_error > 1e-6
        print(
            f"FIO-{n:<10} {'tol 1e-6':<14} entries {share:.3f} N^2  mark {mark}  error "
            f"{found.lower_bound:.2e} <= {found.relative_error:.2e} <= {found.upper_bound:.2e}"
        )
    return missed


if __name__ == "__main__":
    sys.exit(main())
