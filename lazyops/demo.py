"""The main job, end to end: a Fourier integral operator that nobody built from a butterfly."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse.linalg

from . import io, kernels
from .butterfly.run import Progress
from .commands import factorize_file
from .operators import LinearOperator

PANEL = 1 << 20  # entries built at a time
ITERATIONS = 20  # of lsmr: enough to see the residual fall
ROUNDS = 4  # turns of each product when they are timed
TURN = 6  # products in one turn
PAUSE = 0.15  # seconds before each turn


def run(n: int, tol: float) -> dict[str, Any]:
    """Build, factorize, save, load, solve, time; the numbers of each step.

    Parameters
    ----------
    n : int
        Size of the operator: even, from 2 on.
    tol : float
        Relative error asked for.

    Raises
    ------
    ValueError
        If `n` is odd or too large for the temporary folder.
    """
    if n < 2 or n % 2:
        raise ValueError(f"the demo takes an even size from 2 on, got {n}")
    line = Progress(sys.stderr.isatty())
    with tempfile.TemporaryDirectory(prefix="lazyops-demo-") as folder:
        source = os.path.join(folder, "K.npy")
        target = os.path.join(folder, "K.safetensors")
        try:
            write_matrix(source, n, line)
            report = factorize_file(source, target, tol=tol, progress=line.wanted)
            if report["found"]:
                report |= use(source, target, line)
        finally:
            line.clear()
    return report | {"n": n, "tol": tol}


def write_matrix(path: str, n: int, line: Progress) -> None:
    """``K(x, k) = exp(2 pi i (x k + c(x) |k|))`` into an .npy file, in panels of rows."""
    needed, free = 16 * n * n, shutil.disk_usage(os.path.dirname(path)).free
    if needed > free:
        raise ValueError(
            f"the matrix takes {needed:,} bytes, {os.path.dirname(path)} has {free:,}: "
            "use a smaller --n"
        )
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.complex128, shape=(n, n))
    step = max(1, PANEL // n)
    for start in range(0, n, step):
        line.say(f"demo: writing the matrix, row {start} of {n}")
        matrix[start : start + step] = rows(n, start, min(start + step, n))
    matrix.flush()


def rows(n: int, start: int, stop: int) -> np.ndarray:
    """Rows `start` to `stop` of the operator.

    >>> rows(4, 0, 1).round(3)
    array([[-1.+0.j,  0.+1.j,  1.+0.j,  0.+1.j]])
    """
    x = np.arange(start, stop)[:, None] / n
    k = np.arange(-n // 2, n // 2)[None, :]
    c = (2 + np.sin(2 * np.pi * x)) / 8
    return np.exp(2j * np.pi * (x * k + c * np.abs(k)))


def use(source: str, target: str, line: Progress) -> dict[str, Any]:
    """Load the file, solve with it, and time it against the dense matrix."""
    line.say("demo: loading the file")
    start = time.perf_counter()
    K = io.load(target).operator
    loading = time.perf_counter() - start
    dense = np.load(source)
    return {"load_seconds": loading, **solve(K, dense, line), **timed(K, dense, line)}


def solve(K: LinearOperator, dense: np.ndarray, line: Progress) -> dict[str, Any]:
    """lsmr on the loaded operator; the right-hand side and the residual are of the dense matrix."""
    line.say("demo: solving with scipy.sparse.linalg.lsmr")
    rng = np.random.default_rng(0)
    n = len(dense)
    b = dense @ (rng.standard_normal(n) + 1j * rng.standard_normal(n))
    start = time.perf_counter()
    x, _, iterations, *_ = scipy.sparse.linalg.lsmr(K, b, atol=0, btol=0, maxiter=ITERATIONS)
    seconds = time.perf_counter() - start
    residual = np.linalg.norm(b - dense @ x) / np.linalg.norm(b)
    return {"iterations": int(iterations), "residual": float(residual), "lsmr_seconds": seconds}


def timed(K: LinearOperator, dense: np.ndarray, line: Progress) -> dict[str, Any]:
    """Median seconds of one product, dense (BLAS) and factorized, measured in turns.

    Between turns there is a pause: threads of BLAS spin for tens of milliseconds after their
    last product, on the core that the other product needs; no user of one of the two sees that.
    """
    x = np.random.default_rng(1).standard_normal(len(dense)) + 0j
    products: dict[str, Callable] = {"dense_seconds": dense.dot, "factorized_seconds": K.matvec}
    times: dict[str, list[float]] = {name: [] for name in products}
    for i in range(ROUNDS):
        line.say(f"demo: timing products, round {i + 1} of {ROUNDS}")
        for name, product in products.items():
            time.sleep(PAUSE)
            product(x)  # warms up
            for _ in range(TURN):
                start = time.perf_counter()
                product(x)
                times[name].append(time.perf_counter() - start)
    found = {name: statistics.median(t) for name, t in times.items()}
    ratio = found["dense_seconds"] / found["factorized_seconds"]
    return {**found, "ratio": ratio, "kernel": first_kernel()}


def first_kernel() -> str:
    """Name of the fastest kernel that runs on this machine."""
    status = kernels.status()
    return status["forced"] or next(k["name"] for k in status["kernels"] if k["available"])


def text(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report as pairs of a name and what is to be said."""
    n, matrix = report["n"], f"{16 * report['n'] ** 2 / 1e6:,.1f} MB"
    lines = [
        ("matrix", f"Fourier integral operator, {n} x {n} complex128, {matrix} in an .npy file")
    ]
    if not report["found"]:
        return [*lines, ("found", report["reason"])]
    chain = ["({},{},{},{})".format(*p) for p in report["chain"]]
    dense, fast = report["dense_seconds"] * 1e3, report["factorized_seconds"] * 1e3
    return [
        *lines,
        (
            "factorize",
            f"{len(chain)} factors to tol {report['tol']:g} in {report['seconds']:.1f} s",
        ),
        ("chain", " ".join(chain)),
        ("entries", f"{report['entries']:,} = {report['share']:.3f} N^2"),
        (
            "error",
            f"{report['relative_error']:.2e} measured, certified between "
            f"{report['lower_bound']:.2e} and {report['upper_bound']:.2e}",
        ),
        (
            "file",
            f"{report['bytes'] / 1e6:,.1f} MB, saved in {report['save_seconds']:.2f} s, "
            f"loaded in {report['load_seconds']:.2f} s",
        ),
        (
            "lsmr",
            f"{report['iterations']} iterations in {report['lsmr_seconds']:.2f} s, "
            f"relative residual {report['residual']:.1e} with the dense matrix",
        ),
        (
            "product",
            f"dense {dense:.3g} ms, factorized {fast:.3g} ms: {report['ratio']:.2f} times as fast "
            f"({report['kernel']} kernel)",
        ),
    ]
