"""Operators known by their products, and matrices larger than memory, each beside its mark.

``python benchmarks/matrix_free.py [--large] [--disk LOG2N FOLDER]``: large is N = 2^18.  The exit
code is the number of marks missed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np
import scipy.fft

import lazyops as lo

APPLICATIONS, ERROR, SECONDS = 532, 1e-13, 2.0  # at N = 16384
LARGE_ERROR, LARGE_GB = 1e-10, 24
DISK_GB = 1.0


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--large", action="store_true")
    options.add_argument("--disk", nargs=2, metavar=("LOG2N", "FOLDER"))
    options.add_argument("--read", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.read:
        return read(asked.read)
    missed = 0
    for told in (True, False):
        times, (count, error) = [], sketch(14, told)[:2]
        for _ in range(5):
            times.append(sketch(14, told)[2])
        seconds = float(np.median(times))
        missed += count > APPLICATIONS or error > ERROR or seconds > SECONDS
        print(
            f"fft*bitrev N=16384 {'chain told' if told else 'untold':<11} applications {count} "
            f"(mark {APPLICATIONS})  error {error:.1e} ({ERROR})  {seconds:.2f} s ({SECONDS})"
        )
    if asked.large:
        count, error, seconds = sketch(18, True)
        missed += error > LARGE_ERROR or peak() > LARGE_GB
        print(
            f"fft*bitrev N=262144 applications {count}  error {error:.1e} (mark {LARGE_ERROR})  "
            f"{seconds:.1f} s  peak {peak():.2f} GB (mark {LARGE_GB})"
        )
    if asked.disk:
        missed += disk(int(asked.disk[0]), pathlib.Path(asked.disk[1]))
    return missed


def sketch(log2n: int, told: bool) -> tuple[int, float, float]:
    """Products, true error on four columns, and seconds, of one factorization."""
    n, count = 1 << log2n, 0
    index = np.asarray(lo.Permutation.bit_reversal(n).index)

    def forward(x):
        nonlocal count
        count += x.shape[1]
        return scipy.fft.fft(x[index].T).T

    def backward(y):
        nonlocal count
        count += y.shape[1]
        return n * scipy.fft.ifft(y.T).T[index]

    A = lo.Function((n, n), forward, backward, dtype="complex128")
    start = time.perf_counter()
    found = lo.factorize(A, lo.Chain.square_dyadic(n) if told else None)
    seconds, products = time.perf_counter() - start, count
    x = np.random.default_rng(9).standard_normal((n, 4))
    y = forward(x)
    return products, float(np.linalg.norm(found.operator @ x - y) / np.linalg.norm(y)), seconds


def disk(log2n: int, folder: pathlib.Path) -> int:
    """A Hadamard matrix with noise in its last bits in an .npy file, removed afterwards."""
    n, path = 1 << log2n, folder / f"benchmark-{os.getpid()}.npy"
    try:
        write(path, n)
        done = subprocess.run([sys.executable, __file__, "--read", str(path)], check=False)
        return done.returncode
    finally:
        path.unlink(missing_ok=True)


def write(path: pathlib.Path, n: int) -> None:
    """Sylvester's Hadamard matrix: entry (i, j) is the parity of the bits of i & j."""
    j = np.arange(n, dtype=np.uint32)
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, n)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for i in range(n):
            file.write((1 - 2 * (np.bitwise_count(j & np.uint32(i)) & 1).astype("<f4")).data)


def read(path: str) -> int:
    A = np.load(path, mmap_mode="r")
    start = time.perf_counter()
    found = lo.factorize(A, checkpoint=path + ".panels")
    seconds = time.perf_counter() - start
    for kept in pathlib.Path(path + ".panels").iterdir():
        kept.unlink()
    os.rmdir(path + ".panels")
    print(
        f".npy of {A.nbytes / 1e9:.1f} GB float32, N={len(A)}: {seconds:.1f} s, "
        f"{A.nbytes / seconds / 1e9:.2f} GB/s, error {found.relative_error:.1e} <= "
        f"{found.upper_bound:.1e}, peak {peak():.2f} GB (mark {DISK_GB})"
    )
    return int(peak() > DISK_GB)


def peak() -> float:
    """Largest resident memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(main())
