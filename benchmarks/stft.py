"""Short-time transforms on 2^20 samples, beside SciPy's and lazylinop's.

    python benchmarks/stft.py [--write FILE]

Each figure is a median over rounds in which all contestants take turns, in one process, on one
thread.  Marks of issue 6: on NumPy not slower than ``scipy.signal.ShortTimeFFT``, the array-API
code within twice its time, both faster than lazylinop's (where that is installed); `mdct` beside
the cosine transform that it calls.  The array-API code runs on array-api-strict, which is NumPy's
memory and FFT behind the standard's checks, and on torch.  Freed memory stays in the process, as in
`wavelet.py`, for all contestants alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable

import numpy as np
import scipy.fft
import scipy.signal
from wavelet import keep_memory

import lazyops as lo

N = 1 << 20
ROUNDS = 9
SETTINGS = [(256, 64), (256, 128), (1024, 256), (4096, 1024)]  # window, hop
ABOUT = """# Short-time transforms

`python benchmarks/stft.py --write docs/benchmarks/stft.md`: medians of nine rounds in which all
take turns.

`istft` of one side is linear over the complex numbers, so it runs complex FFTs, where SciPy's,
whose result is the real part, runs real ones: with windows of 4096, where a loop over frames costs
little, that shows.  Everything else is within its mark.  On torch's tensors of the CPU frames are
cut and added, and large FFTs run, by what runs NumPy's arrays; traced, mapped and device tensors
run by the array API, as array-api-strict does here.

`mdct` takes 1.4 to 1.9 times its cosine transform: the rotations and the change of order pass four
times over the signal.
"""
Row = tuple[str, float, float, float | None]  # what, ms, ratio to SciPy, mark


def medians(contestants: dict[str, Callable]) -> dict[str, float]:
    """Milliseconds a call, the contestants interleaved; the order turns with every round."""
    names = list(contestants)
    times: dict[str, list[float]] = {name: [] for name in names}
    for f in contestants.values():
        f()
    for i in range(ROUNDS):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.perf_counter()
            contestants[name]()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def elsewhere(A, x: np.ndarray) -> dict[str, Callable]:
    """The product of `A` in the other libraries that are installed."""
    found = {}
    if importlib.util.find_spec("array_api_strict"):
        import array_api_strict

        strict = array_api_strict.asarray(x)
        found["array-api-strict"] = lambda: A @ strict
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        tensor = torch.asarray(x)
        found["torch"] = lambda: A @ tensor
    return found


def short_time(m: int, hop: int) -> Iterable[Row]:
    """`stft` of both modes, and `istft`, with a Hann window of m samples."""
    x = np.random.default_rng(0).standard_normal(N)
    w = scipy.signal.get_window("hann", m)
    for mode in ("twosided", "onesided"):
        theirs = scipy.signal.ShortTimeFFT(w, hop, 1.0, fft_mode=mode)
        A, B = (f(N, w, hop, fft_mode=mode) for f in (lo.stft, lo.istft))
        S = theirs.stft(x)
        y = S.reshape(-1)
        np.testing.assert_allclose(A @ x, y, atol=1e-10)
        forward = {"scipy": lambda: theirs.stft(x), "numpy": lambda: A @ x, **elsewhere(A, x)}
        back = {
            "scipy": lambda: theirs.istft(S, 0, N),
            "numpy": lambda: B @ y,
            **elsewhere(B, y),
        }
        if mode == "twosided" and importlib.util.find_spec("lazylinop"):
            from lazylinop.signal import istft, stft

            L, R = stft(N, ("hann", m), hop), istft(N, ("hann", m), hop)
            z = L @ x
            forward["lazylinop"], back["lazylinop"] = (lambda: L @ x), (lambda: R @ z)
        yield from rows(f"stft {m}/{hop} {mode}", forward)
        yield from rows(f"istft {m}/{hop} {mode}", back)


def rows(what: str, contestants: dict[str, Callable]) -> Iterable[Row]:
    found = medians(contestants)
    for name, taken in found.items():
        mark = {"scipy": None, "lazylinop": None, "numpy": 1.0}.get(name, 2.0)
        yield f"{what}, {name}", taken, taken / found["scipy"], mark


def lapped(size: int) -> Iterable[Row]:
    """`mdct` and its inverse beside the cosine transforms in them, along the same axis."""
    x = np.random.default_rng(0).standard_normal(N)
    A = lo.mdct(N, ("sine", 2 * size))
    blocks = x.reshape(size, -1)
    found = medians(
        {
            "scipy": lambda: scipy.fft.dct(blocks, 4, axis=0, norm="ortho"),
            "mdct": lambda: A @ x,
            "imdct": lambda: A.H @ x,
        }
    )
    for name, taken in found.items():
        yield f"{name} 2 * {size}", taken, taken / found["scipy"], None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", metavar="FILE", help="write the table to FILE as well")
    options = parser.parse_args()
    keep_memory()
    lines = [
        f"NumPy {np.__version__}, SciPy {scipy.__version__}, Python {platform.python_version()}, "
        f"{platform.processor() or platform.machine()}, one thread, {N} samples, float64",
        "",
        "| what | ms | ratio to SciPy | mark |",
        "|---|---|---|---|",
    ]
    print("\n".join(lines))
    missed = 0
    for section in (*(short_time(*s) for s in SETTINGS), lapped(128), lapped(1024)):
        for what, taken, ratio, mark in section:
            held = mark is None or ratio <= mark
            missed += not held
            verdict = "" if mark is None else f"<= {mark:g}{'' if held else ' MISSED'}"
            lines.append(f"| {what} | {taken:.1f} | {ratio:.2f} | {verdict} |")
            print(lines[-1], flush=True)
    if options.write:
        pathlib.Path(options.write).write_text("\n".join([ABOUT, *lines]) + "\n")
    return missed


if __name__ == "__main__":
    sys.exit(main())
