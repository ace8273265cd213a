"""Wavelet transforms against PyWavelets and lazylinop, on 2^20 samples, 16 columns, and an image.

    python benchmarks/wavelet.py [--write FILE]

Medians over rounds in which all contestants take turns, in one process.  A ratio is our time over
theirs; the marks are those of issue 6: PyWavelets' time on NumPy, twice that in array-API code
(run on NumPy arrays, as GPUs and other libraries run it) and on torch, less than lazylinop's, and
1.3 of the transform's own time for its adjoint.
PyWavelets' time includes the one vector that ours returns (`numpy.concatenate`, `ravel_coeffs`).
Memory that any of them frees stays in the process, as with the allocators of GPUs: else the time
of the generic code is that of the pages which the system clears for its intermediate arrays, twice
as long in one run as in the next.
"""

from __future__ import annotations

import argparse
import ctypes
import pathlib
import statistics
import sys
import time

import numpy as np
import pywt

import lazyops as lo
from lazyops import bench

NAMES = ("haar", "db2", "db4", "db8", "bior4.4")
N = 1 << 20


def keep_memory():
    """Freed memory is kept, for all contestants alike (glibc alone can be told)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for what in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        mallopt(what, 1 << 30)


def medians(contestants, rounds=9):
    """Milliseconds a call; the order turns with every round."""
    names = list(contestants)
    times = {name: [] for name in names}
    for f in contestants.values():
        f()
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.perf_counter()
            contestants[name]()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def lazylinops(shape, name, x):
    """lazylinop's transform, or nothing where it is not installed."""
    try:
        import lazylinop.signal
        import lazylinop.signal2d
    except ImportError:
        return {}
    if len(shape) == 1:
        A = lazylinop.signal.dwt(shape[0], wavelet=name, mode="symmetric")
    else:
        A = lazylinop.signal2d.dwt2d(shape, wavelet=name, mode="symmetric")
    return {"lazylinop": lambda: A @ x}


def torchs(W, x):
    """The same product of a tensor, or nothing where torch is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(1)
    tensor = torch.asarray(x)
    return {"torch": lambda: W @ tensor}


def cases(name):
    """(what, x, shape, PyWavelets' call)"""
    rng = np.random.default_rng(0)
    x, image = rng.standard_normal(N), rng.standard_normal((512, 512))
    yield "2^20 samples", x, (N,), lambda: np.concatenate(pywt.wavedec(x, name))
    columns = rng.standard_normal((N, 16))
    if name in ("haar", "db4"):
        by_pywt = lambda: np.concatenate(pywt.wavedec(columns, name, axis=0))
        yield "2^20 x 16 columns", columns, (N,), by_pywt
    by_pywt = lambda: pywt.ravel_coeffs(pywt.wavedecn(image, name))
    yield "512 x 512 image", image.reshape(-1), (512, 512), by_pywt


def lines():
    for name in NAMES:
        for what, x, shape, by_pywt in cases(name):
            W = lo.wavelet(shape, name)
            y, columns = W @ x, x.reshape(len(x), -1)
            runs = {
                "ours": lambda: W @ x,
                "adjoint": lambda: W.H @ y,
                "array API": lambda: W._anywhere(columns),
                **torchs(W, x),
                "PyWavelets": by_pywt,
            }
            heavy = x.ndim == 2
            if not heavy:
                runs |= lazylinops(shape, name, x)
            found = medians(runs, 3 if heavy else 9)
            ours, theirs = found["ours"], found["PyWavelets"]
            checks = [
                ("NumPy / PyWavelets", ours / theirs, 1.0),
                ("array API / PyWavelets", found["array API"] / theirs, 2.0),
                ("adjoint / transform", found["adjoint"] / ours, 1.3),
            ]
            if "torch" in found:
                checks.append(("torch / PyWavelets", found["torch"] / theirs, 2.0))
            if "lazylinop" in found:
                checks.append(("NumPy / lazylinop", ours / found["lazylinop"], 1.0))
                checks.append(
                    ("array API / lazylinop", found["array API"] / found["lazylinop"], 1.0)
                )
            text = ", ".join(f"{key} {ms:.2f} ms" for key, ms in found.items())
            yield f"{name}, {what}: {text}", 0
            for check, ratio, mark in checks:
                missed = ratio > mark
                verdict = "  MISSED" if missed else ""
                yield f"    {check:24s} {ratio:6.2f}  mark {mark:g}{verdict}", missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=pathlib.Path, help="a file for the lines too")
    options = parser.parse_args()
    keep_memory()
    said = [f"{bench.machine()}; NumPy {np.__version__}, PyWavelets {pywt.__version__}"]
    print(said[0])
    count = 0
    for line, missed in lines():
        print(line, flush=True)
        said.append(line)
        count += missed
    if options.write:
        options.write.write_text("\n".join(said) + "\n")
    return count


if __name__ == "__main__":
    sys.exit(main())
