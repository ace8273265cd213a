"""Fourier-like transforms and convolutions beside the library calls they make: the mark is 5 %
and 3 us more.

    python benchmarks/transforms.py [--quick] [--only WORD] [--write docs/benchmarks/transforms.md]
    python benchmarks/transforms.py --costs

Interleaved medians of the time of the thread, in one process.  A row is a family, a dtype and a
number of columns: the worst excess over its sizes, and where it is.  ``--costs`` times the methods
of a convolution beside what "auto" takes: the source of the constants in operators/convolution.py.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.fft
import scipy.signal

import lazyops as lo
from lazyops import bench
from lazyops.operators.convolution import cheapest

rng = np.random.default_rng(0)
SIZES = (64, 256, 1024, 1 << 12, 1 << 14, 1 << 17, 1 << 20)
SLACK, EXTRA = 1.05, 3e-6  # the mark: at most 5 % and 3 us more
ROWS: list[tuple[str, ...]] = []
Pair = tuple[Callable[[], Any], Callable[[], Any]]


def normal(shape, dtype):
    return bench.normal(shape, dtype, rng)


def excess(ours: float, library: float) -> float:
    """Time over the library's, less 3 us: 1.05 is the mark."""
    return (ours - EXTRA) / library


def timed(calls: dict[str, Callable], rounds: int = 9, sample: float = 2e-3) -> dict[str, float]:
    """Median seconds of each, in turns, by the clock of the thread: every call here has one thread,
    and what others do on the machine is not counted."""
    inner = {}
    for name, f in calls.items():
        f()
        start = time.thread_time()
        f()
        inner[name] = max(1, int(sample / max(time.thread_time() - start, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, f in calls.items():
            f()
            start = time.thread_time_ns()
            for _ in range(inner[name]):
                f()
            samples[name].append((time.thread_time_ns() - start) / inner[name] * 1e-9)
    return {name: float(np.median(s)) for name, s in samples.items()}


def measured(pair: Pair) -> tuple[float, float]:
    t = timed({"ours": pair[0], "library": pair[1]})
    return t["ours"], t["library"]


def row(what: str, found: list[tuple[str, float, float]]) -> None:
    """One line: the worst of `found`, which holds (where, ours, library)."""
    where, ours, library = max(found, key=lambda f: excess(f[1], f[2]))
    worst = excess(ours, library)
    met = "yes" if worst <= SLACK else "NO"
    median = float(np.median([o / l for _, o, l in found]))
    cells = (where, f"{library * 1e6:.1f}", f"{ours * 1e6:.1f}", f"{worst:.2f}", f"{median:.2f}")
    ROWS.append((what, *cells, met))
    print(f"{what:34} {where:>12}  {cells[1]:>10} -> {cells[2]:>10} us  (t - 3 us) / lib "
          f"{worst:5.2f} <= 1.05 {met:3}  median t / lib {median:.2f}", flush=True)  # fmt: skip


# -- 1-D transforms ---------------------------------------------------------------------------


def one_dimensional(name: str, n: int, dtype: str, k: int) -> Pair | None:
    shape = n if k == 1 else (n, k)
    x = normal(shape, dtype)
    make = {"fft": lo.fft, "ifft": lo.ifft, "rfft": lo.rfft, "dct": lo.dct, "dst": lo.dst}
    if name == "irfft":
        A, f = lo.irfft(n), scipy.fft.irfft
        z = scipy.fft.rfft(x, axis=0)
        p = z.view(dtype) if k == 1 else np.stack([z.real, z.imag], 1).reshape(-1, k)
        return (lambda: A @ p), (lambda: f(z, n, axis=0))
    if name == "pairs":
        A = lo.rfft(n, pairs=True)
        return (lambda: A @ x), (lambda: scipy.fft.rfft(x, axis=0))
    A, f = make[name](n), getattr(scipy.fft, name)
    return (lambda: A @ x), (lambda: f(x, axis=0))


def transforms(quick: bool) -> Iterator[None]:
    for name in ("fft", "ifft", "rfft", "pairs", "irfft", "dct", "dst"):
        real = name in ("rfft", "pairs", "irfft")
        dtypes = (
            ("float32", "float64") if real else ("float32", "float64", "complex64", "complex128")
        )
        for dtype in dtypes:
            for k in (1, 16):
                found = []
                for n in SIZES[:5] if quick else SIZES:
                    if n * k <= 1 << 22:
                        pair = one_dimensional(name, n, dtype, k)
                        found.append((f"n = {n}", *measured(pair)))
                row(f"{name} {dtype}, {k} column{'s' * (k > 1)}", found)
                yield


# -- n-D transforms ---------------------------------------------------------------------------


def several_axes(quick: bool) -> Iterator[None]:
    shapes = [(16, 16), (64, 64), (256, 256), (16, 16, 16), (32, 32, 32)]
    shapes += [] if quick else [(1024, 1024), (64, 64, 64)]
    for name in ("fftn", "ifftn", "dctn"):
        for dtype in ("float64", "complex64", "complex128"):
            for k in (1, 16):
                found = []
                for shape in shapes:
                    n = int(np.prod(shape))
                    if n * k > 1 << 22:
                        continue
                    A, f = getattr(lo, name)(shape), getattr(scipy.fft, name)
                    x = normal(n if k == 1 else (n, k), dtype)
                    stacked = x.reshape(shape if k == 1 else (*shape, k))
                    axes = tuple(range(len(shape)))
                    pair = (lambda: A @ x), (lambda: f(stacked, axes=axes))
                    found.append(("x".join(map(str, shape)), *measured(pair)))
                row(f"{name} {dtype}, {k} column{'s' * (k > 1)}", found)
                yield


# -- convolutions -----------------------------------------------------------------------------

FILTERS = (5, 64, 1000)


def library_convolutions(h: np.ndarray, x: np.ndarray) -> dict[str, Callable]:
    """What SciPy offers for these; the fastest is the one to compare with."""
    column = h if x.ndim == 1 else h[:, None]
    found = {
        "fftconvolve": lambda: scipy.signal.fftconvolve(x, column, axes=0),
        "oaconvolve": lambda: scipy.signal.oaconvolve(x, column, axes=0),
    }
    if x.size * len(h) <= 1 << 25:
        if x.ndim == 1:
            found["convolve"] = lambda: np.convolve(x, h)
        else:
            found["convolve"] = lambda: scipy.signal.convolve(x, column, method="direct")
    return found


def convolutions(quick: bool) -> Iterator[None]:
    for dtype in ("float32", "float64", "complex128"):
        for k in (1, 16):
            for m in FILTERS:
                found = []
                for n in SIZES[1:5] if quick else SIZES[1:]:
                    if n * k > 1 << 22:
                        continue
                    h, x = normal(m, dtype), normal(n if k == 1 else (n, k), dtype)
                    A = lo.convolution(h, n)
                    calls = {"ours": lambda: A @ x, **library_convolutions(h, x)}
                    t = timed(calls)
                    ours = t.pop("ours")
                    best = min(t, key=t.__getitem__)
                    found.append((f"n = {n}, {best}", ours, t[best]))
                row(f"convolution of {m}, {dtype}, {k} column{'s' * (k > 1)}", found)
                yield


def circulants(quick: bool) -> Iterator[None]:
    for dtype in ("float32", "float64", "complex128"):
        found = []
        for n in (64, 100, 1000, 1009, 1 << 14) + (() if quick else (1 << 17, 131071, 1 << 20)):
            c, x = normal(n, dtype), normal(n, dtype)
            A = lo.circulant(c)
            real = np.dtype(dtype).kind == "f"
            H = scipy.fft.rfft(c) if real else scipy.fft.fft(c)
            by_hand = (
                (lambda: scipy.fft.irfft(H * scipy.fft.rfft(x), n))
                if real
                else (lambda: scipy.fft.ifft(H * scipy.fft.fft(x)))
            )
            found.append((f"n = {n}", *measured(((lambda: A @ x), by_hand))))
        row(f"circulant, {dtype}, spectrum by hand", found)
        yield


def costs() -> None:
    """Each method beside the one that is taken: how much the rule loses, and where."""
    lost = []
    for dtype in ("float32", "float64", "complex64", "complex128"):
        for k in (1, 16):
            for n in (16, 64, 256, 1024, 4096, 1 << 14, 1 << 17):
                for m in (4, 16, 64, 256, 1024, 4096):
                    if n * k > 1 << 18:
                        continue
                    h, x = normal(m, dtype), normal((n, k), dtype)
                    methods = ["fft", "overlap-add"] + ["direct"] * (n * m * k <= 1 << 24)
                    ops = {name: lo.convolution(h, n, method=name) for name in methods}
                    calls = {name: lambda A=A: A @ x for name, A in ops.items()}
                    t = timed(calls, rounds=5, sample=1e-3)
                    taken = cheapest(ops["fft"], True, dtype, k)
                    lost.append(
                        (t[taken] / min(t.values()), f"{dtype} m={m} n={n} k={k}", taken, t)
                    )
    lost.sort(key=lambda e: -e[0])
    for ratio, where, taken, t in lost[:20]:
        times = ", ".join(f"{name} {s * 1e6:.0f}" for name, s in t.items())
        print(f"{ratio:5.2f} of the best: {where}, {taken} taken; us: {times}")
    print(f"median {np.median([e[0] for e in lost]):.2f}, mean {np.mean([e[0] for e in lost]):.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="sizes up to 2^14")
    parser.add_argument("--only", default="", help="one, several, convolutions or circulants")
    parser.add_argument("--costs", action="store_true", help="the methods of a convolution")
    parser.add_argument("--write", help="a file for the table, as markdown")
    arguments = parser.parse_args()
    if arguments.costs:
        costs()
        return 0
    print(bench.machine())
    jobs = {"one": transforms, "several": several_axes,
            "convolutions": convolutions, "circulants": circulants}  # fmt: skip
    for name, job in jobs.items():
        if arguments.only in name:
            for _ in job(arguments.quick):
                pass
    if arguments.write:
        write(arguments.write)
    return sum(r[-1] == "NO" for r in ROWS)


def write(path: str) -> None:
    lines = [
        "# Transforms: measured against the library calls they make", "",
        f"`python benchmarks/transforms.py` on {bench.machine()}, SciPy {scipy.__version__}, one",
        "thread, the time of the thread. Of all sizes the worst: the time of SciPy's call, ours,",
        "and (ours - 3 us) / SciPy's, whose mark is 1.05; then the median of ours / SciPy's over",
        "the sizes. Convolutions stand beside the fastest of SciPy's three.", "",
        "| what | worst at | SciPy, us | ours, us | excess | median | met |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {' | '.join(r)} |" for r in ROWS]
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
