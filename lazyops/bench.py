"""Products timed beside their rivals and the limits of the machine, in turns, in one process."""

from __future__ import annotations

import pathlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse

from . import kernels
from .kernels import cpu
from .operators import KroneckerSparse, LinearOperator, Permutation, Product
from .operators.chain import plans_of
from .pattern import Chain

Calls = Mapping[str, Callable[[], Any]]
SAMPLE = 2e-3  # seconds that one sample takes at least
PAUSE = 0.2  # seconds until the threads of what was timed before sleep
ROUNDS = 25
FEWEST = 5  # rounds, whatever the budget


def timed(calls: Calls, budget: float = 3.0, rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of a call of each, all taking turns; rounds stop after `budget` seconds.

    What has threads of its own (BLAS, torch) gets a call of `timed` apart: its threads spin for
    tens of milliseconds after each product, on the core that the others need.
    """
    time.sleep(PAUSE)
    inner = {}
    for name, f in calls.items():
        f()
        f()
        start = time.perf_counter()
        f()
        inner[name] = max(1, int(SAMPLE / max(time.perf_counter() - start, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= FEWEST and time.perf_counter() - begin > budget:
            break
        for name, f in calls.items():
            for _ in range(1 + inner[name] // 2):  # until the caches hold its data again
                f()
            start = time.perf_counter()
            for _ in range(inner[name]):
                f()
            samples[name].append((time.perf_counter() - start) / inner[name])
    return {name: float(np.median(s)) for name, s in samples.items()}


class Limits:
    """What the machine can do, measured by the threads of the kernels.

    Raises
    ------
    ValueError
        If the compiled kernel does not run: there is nothing to measure with.
    """

    MULTIPLY_ADD, DISTANCE = (1 << 11, 64), 20_000

    def __init__(self) -> None:
        found = cpu.library()
        why = "LAZYOPS_KERNEL=reference" if kernels.FORCED == "reference" else None
        if isinstance(found, str) or why:
            raise ValueError(f"no speed rows on the reference path: {why or found}")
        self.library, self.level = found, found.level
        self.peak_flops = self.library.multiply_add(*self.MULTIPLY_ADD)  # of one call of peak

    def read(self, arrays: Sequence[np.ndarray]) -> Callable[[], Any]:
        """A call that reads every byte of the arrays once."""
        return lambda: [self.library.read(a) for a in arrays]

    def peak(self) -> Any:
        """`peak_flops` operations, multiply-adds in registers."""
        return self.library.multiply_add(*self.MULTIPLY_ADD)

    def distance(self) -> float:
        """ns that a cache line takes to another thread and back."""
        return self.library.distance(self.DISTANCE)


def machine() -> str:
    """The name of the processor."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        names = (l.split(":")[1].strip() for l in text.splitlines() if l.startswith("model name"))
        return next(names)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def normal(shape: Any, dtype: Any, rng: np.random.Generator) -> np.ndarray:
    """Gaussian numbers, complex where the dtype is."""
    x = rng.standard_normal(shape, dtype="f4")
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape, dtype="f4")
    return x.astype(dtype)


def random_product(chain: Chain, dtype: Any, rng: np.random.Generator) -> LinearOperator:
    """A product of random factors over a chain, each about an isometry."""
    values = [normal(tuple(p), dtype, rng) / np.sqrt(p.c) for p in chain]
    return Product(tuple(KroneckerSparse(v.astype(dtype), copy=False) for v in values))


def csr(factor: Any) -> scipy.sparse.csr_array:
    """A Kronecker-sparse factor as SciPy's sparse rows.

    >>> csr(KroneckerSparse(np.ones((1, 2, 2, 2)))).toarray()[0]
    array([1., 0., 1., 0.])
    """
    v = factor.values
    _, b, c, d = v.shape
    i, j, k, l = np.indices(v.shape, dtype=np.int32)
    rows, columns = ((i * b + j) * d + l).ravel(), ((i * c + k) * d + l).ravel()
    return scipy.sparse.csr_array((v.ravel(), (rows, columns)), shape=factor.shape)


def packed(A: LinearOperator) -> list[np.ndarray]:
    """The values of a product as its kernels read them; there after the first product."""
    return [p.values for plan in plans_of(A) for p in plan.packed]


def csr_chain(A: Any, x: np.ndarray) -> Callable[[], np.ndarray]:
    """The call that multiplies by the factors of a product one by one, as sparse rows."""
    matrices = [csr(f) for f in reversed(A.factors)]

    def run() -> np.ndarray:
        y = x
        for matrix in matrices:
            y = matrix @ y
        return y

    return run


# -- the short form: `lazyops bench` -----------------------------------------------------------

BUDGET = 1.5  # seconds for the rounds of one row


def report(quick: bool = False) -> dict[str, Any]:
    """Times of one product of each size beside its rivals, as plain data.

    Parameters
    ----------
    quick : bool
        Small sizes and few rounds: a check that it runs, not a measurement.

    Raises
    ------
    ValueError
        If the compiled kernel does not run here.
    """
    limits = Limits()
    facts = {
        "machine": machine(),
        "level": limits.level,
        "threads": kernels.num_threads(),
        "distance_ns": limits.distance(),
    }
    return facts | {"rows": list(rows(limits, quick))}


def rows(limits: Limits, quick: bool) -> Iterator[dict[str, Any]]:
    exponents, width = ((6, 8), 16) if quick else ((12, 16, 20), 256)
    budget, rounds = (0.0, FEWEST) if quick else (BUDGET, ROUNDS)
    for k in exponents:
        yield row(limits, 1 << k, 1, "float32", budget, rounds)
    yield row(limits, 1 << exponents[0], width, "float32", budget, rounds)
    for k in exponents:
        yield row(limits, 1 << k, 1, "complex64", budget, rounds)


def row(
    limits: Limits, n: int, columns: int, dtype: str, budget: float, rounds: int
) -> dict[str, Any]:
    """One square dyadic product; where it is complex, with a bit reversal, as a DFT has one."""
    rng = np.random.default_rng(0)
    chain = Chain.square_dyadic(n)
    A = random_product(chain, dtype, rng)
    x = normal((n, columns) if columns > 1 else n, dtype, rng)
    z = x.astype("complex64")
    B = A @ Permutation.bit_reversal(n) if dtype == "complex64" else A
    B @ x  # packs the values
    calls: dict[str, Callable] = {"lazyops": lambda: B @ x, "csr": csr_chain(A, x)}
    if columns == 1:
        calls |= {"fft": lambda: scipy.fft.fft(z), "read": limits.read(packed(B))}
    else:
        calls["peak"] = limits.peak
    found = timed(calls, budget, rounds)
    ours = found["lazyops"]
    peak = found.get("peak")
    flops = (2 if dtype == "float32" else 8) * chain.entries * columns
    return {
        "n": n,
        "columns": columns,
        "dtype": dtype,
        "seconds": ours,
        "csr_seconds": found["csr"],
        "fft_seconds": found.get("fft"),
        "csr_ratio": found["csr"] / ours,
        "fft_ratio": found["fft"] / ours if "fft" in found else None,
        "read_share": found["read"] / ours if "read" in found else None,
        "peak_share": None if peak is None else flops / ours / (limits.peak_flops / peak),
    }


def text(report: Mapping[str, Any]) -> list[str]:
    """The report as lines of a table."""
    threads, apart = report["threads"], report["distance_ns"]
    head = ("product", "lazyops us", "CSR us", "FFT us", "CSR /", "FFT /", "of limit")
    lines = [
        f"{report['machine']}, kernel level {report['level']}, {threads} threads, "
        f"{apart:.0f} ns apart",
        "square dyadic chains; medians of calls in turns; ratios over the time of lazyops",
        layout(head),
    ]
    if threads > 1 and apart > 1000:
        lines[1:1] = ["the threads do not run at once: the machine is busy, trust no figure"]
    for r in report["rows"]:
        bound = r["read_share"] if r["peak_share"] is None else r["peak_share"]
        kind = "of reading the values" if r["peak_share"] is None else "of multiply-add peak"
        cells = (
            f"{r['n']} x {r['columns']} {r['dtype']}",
            *(number(r[name], 1e6) for name in ("seconds", "csr_seconds", "fft_seconds")),
            *(number(r[name], 1) for name in ("csr_ratio", "fft_ratio")),
            f"{bound:.2f}",
        )
        lines.append(f"{layout(cells)} {kind}")
    return lines


def number(value: float | None, scale: float) -> str:
    return "-" if value is None else f"{value * scale:.4g}"


def layout(cells: Sequence[str]) -> str:
    return f"{cells[0]:<24}" + "".join(f"{c:>11}" for c in cells[1:])
