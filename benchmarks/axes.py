"""Axes, moves, differences: lazyops beside NumPy and SciPy, interleaved; medians, ratios, marks.

    python benchmarks/axes.py [--quick] [--write docs/benchmarks/axes.md]

Transforms along one axis are held to SciPy's `axis=`: at most 5 % and 3 us more.  A Laplacian is
held to the memory: half the speed at which a fresh copy of the grid is made, on grids beyond all
caches (`into` is the copy into an array that is there already).  Filters of grids are held to the
faster of `scipy.signal.fftconvolve` and `scipy.ndimage.convolve`.
"""

from __future__ import annotations

import argparse
import math
import pathlib

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal
from scipy.sparse.linalg import LaplacianNd

import lazyops as lo
from lazyops import bench

rng = np.random.default_rng(0)
ROWS: list[tuple[str, ...]] = []


def row(what: str, figure: str, mark: str = "", met: bool | None = None) -> None:
    ROWS.append((what, figure, mark, "" if met is None else "yes" if met else "NO"))
    print(f"{what:44} {figure:52} {mark:16} {ROWS[-1][3]}", flush=True)


def along_axes(quick: bool) -> None:
    for shape in ((512, 512), (64, 64, 64)):
        for dtype in ("float64", "complex64"):
            x = bench.normal(shape, dtype, rng)
            flat = x.reshape(-1)
            for axis, n in enumerate(shape):
                A = lo.along_axis(lo.fft(n), shape, axis)
                assert np.array_equal(A @ flat, scipy.fft.fft(x, axis=axis).reshape(-1))
                t = bench.timed(
                    {
                        "ours": lambda: A @ flat,
                        "scipy": lambda: scipy.fft.fft(x, axis=axis),
                    },
                    0.5 if quick else 2.0,
                )
                over = (t["ours"] - 1.05 * t["scipy"]) * 1e6
                row(
                    f"fft along axis {axis} of {shape}, {dtype}",
                    f"{t['ours'] / t['scipy']:.3f} of SciPy's {t['scipy'] * 1e6:.0f} us",
                    "<= 1.05 + 3 us",
                    over <= 3,
                )


def laplacians(quick: bool) -> None:
    grids = ((1 << 20,), (1024, 1024)) if quick else ((1 << 24,), (4096, 4096), (256, 256, 256))
    for shape in grids:
        for dtype in ("float32", "float64"):
            x = bench.normal(math.prod(shape), dtype, rng)
            there = np.empty_like(x)
            A = lo.laplacian(shape)
            t = bench.timed(
                {
                    "ours": lambda: A @ x,
                    "copy": lambda: x.copy(),
                    "into": lambda: np.copyto(there, x),
                },
                5.0,
            )
            share = t["copy"] / t["ours"]
            row(
                f"laplacian of {shape}, {dtype}",
                f"{share:.2f} of a copy, {t['into'] / t['ours']:.2f} of one into",
                ">= 0.5",
                share >= 0.5,
            )
    x = bench.normal(512 * 512, "float64", rng)
    A, L = lo.laplacian((512, 512)), LaplacianNd((512, 512), dtype=float)
    S = L.tosparse().tocsr()
    t = bench.timed({"ours": lambda: A @ x, "nd": lambda: L @ x, "csr": lambda: S @ x}, 2.0)
    row("laplacian of (512, 512), LaplacianNd / ours", f"{t['nd'] / t['ours']:.1f}")
    row("laplacian of (512, 512), CSR / ours", f"{t['csr'] / t['ours']:.1f}")


def filters(quick: bool) -> None:
    sizes = ((64, 64), (256, 256)) if quick else ((64, 64), (512, 512), (64, 64, 64))
    for shape in sizes:
        for m in (3, 7, 15):
            if len(shape) == 3 and m == 15:
                continue
            h, x = rng.standard_normal((m,) * len(shape)), rng.standard_normal(shape)
            A, flat = lo.convolution(h, shape, "same"), x.reshape(-1)
            assert np.allclose(A @ flat, scipy.signal.fftconvolve(x, h, "same").reshape(-1))
            contestants = {
                "ours": lambda: A @ flat,
                "fft": lambda: scipy.signal.fftconvolve(x, h, "same"),
                "image": lambda: scipy.ndimage.convolve(x, h, mode="constant"),
            }
            t = bench.timed(contestants, 1.0)
            best = min(t["fft"], t["image"])
            row(
                f"convolution of {shape} with {m} taps an axis",
                f"{t['ours'] / best:.2f} of the faster of fftconvolve, {t['fft'] * 1e6:.0f} us, "
                f"and ndimage, {t['image'] * 1e6:.0f} us",
                "<= 1",
                t["ours"] <= best,
            )


def beside_numpy(quick: bool) -> None:
    n = 1 << (16 if quick else 20)
    x, window = bench.normal(n, "float64", rng), np.lib.stride_tricks.sliding_window_view
    cases = [
        ("diff(n)", lo.diff(n), lambda: np.diff(x)),
        ("diff(n, 2)", lo.diff(n, 2), lambda: np.diff(x, 2)),
        ("cumsum(n)", lo.cumsum(n), lambda: np.cumsum(x)),
        ("gradient(n)", lo.gradient(n), lambda: np.gradient(x)),
        ("pad(n, 64)", lo.pad(n, 64), lambda: np.pad(x, 64)),
        ("pad(n, 64, 'reflect')", lo.pad(n, 64, "reflect"), lambda: np.pad(x, 64, "reflect")),
        ("roll(n, 9)", lo.roll(n, 9), lambda: np.roll(x, 9)),
        ("flip(n)", lo.flip(n), lambda: np.flip(x).copy()),
        ("downsample(n, 4)", lo.downsample(n, 4), lambda: x[::4].copy()),
        ("chunk(n, 512, 256)", lo.chunk(n, 512, 256), lambda: window(x, 512)[::256].reshape(-1)),
    ]
    for name, A, f in cases:
        assert np.allclose(A @ x, f())
        y = A @ x
        H = A.H
        t = bench.timed({"ours": lambda: A @ x, "numpy": f, "adjoint": lambda: H @ y}, 1.0)
        row(
            f"{name}, n = {n}",
            f"{t['ours'] / t['numpy']:.2f} of NumPy's {t['numpy'] * 1e6:.0f} us; adjoint / forward "
            f"{t['adjoint'] / t['ours']:.2f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes; marks mean nothing")
    parser.add_argument("--write", help="a file for the table, as markdown")
    arguments = parser.parse_args()
    machine = bench.machine()
    print(machine)
    for job in (along_axes, laplacians, filters, beside_numpy):
        job(arguments.quick)
    if arguments.write:
        lines = ["# Axes, moves, differences: measured", ""]
        lines += [f"`python benchmarks/axes.py` on {machine}.", ""]
        lines += ["| what | figure | mark | met |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(r)} |" for r in ROWS]
        pathlib.Path(arguments.write).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
