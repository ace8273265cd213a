"""lazyops beside its rivals, in one process, interleaved: medians, ratios, and the marks.

    python benchmarks/cpu.py [--quick] [--only WORD] [--write docs/benchmarks/cpu.md]

Rivals: SciPy's CSR chain, dense BLAS, scipy.fft, NumPy's batched matmul, and torch, lazylinop,
pyfaust where they are installed.  The two limits (read bandwidth over the same bytes, multiply-add
peak) are measured in the same rounds, by benchmarks/limits.cpp.  Trust ratios within a row.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import pathlib
import platform
import sys
import time

import numpy as np
import scipy.fft
import scipy.sparse as sp

import lazyops as lo
from lazyops import kernels
from lazyops.kernels import cpu
from lazyops.operators.chain import plans_of

rng = np.random.default_rng(0)
ROWS: list[tuple[str, str, str, str, str]] = []  # what, ratio, figure, mark, met


def normal(shape, dtype):
    x = rng.standard_normal(shape, dtype="f4")
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape, dtype="f4")
    return x.astype(dtype)


def product(chain, dtype="float32"):
    scale = [np.float32(1 / np.sqrt(p.c)) for p in chain]
    values = [normal(tuple(p), dtype) * s for p, s in zip(chain, scale, strict=True)]
    return lo.Product(tuple(lo.KroneckerSparse(v.astype(dtype), copy=False) for v in values))


def csr(factor):
    v = factor.values
    _, b, c, d = v.shape
    i, j, k, l = np.indices(v.shape, dtype=np.int32)
    rows, columns = ((i * b + j) * d + l).ravel(), ((i * c + k) * d + l).ravel()
    return sp.csr_array((v.ravel(), (rows, columns)), shape=factor.shape)


def csr_chain(A, x):
    matrices = [csr(f) for f in reversed(A.factors)]

    def run():
        y = x
        for m in matrices:
            y = m @ y
        return y

    return run


class Limits:
    """A plain read of the bytes, the multiply-add peak, the cores' distance: by our own threads."""

    ROUNDS, PARTS = 1 << 11, 64

    def __init__(self):
        self.lib = cpu.library()
        self.peak_flops = self.lib.multiply_add(self.ROUNDS, self.PARTS)

    def read(self, arrays):
        return lambda: [self.lib.read(a) for a in arrays]

    def peak(self):
        return lambda: self.lib.multiply_add(self.ROUNDS, self.PARTS)

    def distance(self):
        return self.lib.distance(20000)


def timed(calls, budget=3.0, rounds=25):
    """Interleaved rounds: the median time of a call of each, in seconds.

    What has threads of its own (BLAS, torch) gets rounds apart, with a pause before the next:
    its threads spin on the core that the others need for tens of milliseconds after each call.
    """
    time.sleep(0.2)
    inner = {}
    for name, f in calls.items():
        f()
        f()
        t = time.perf_counter()
        f()
        inner[name] = max(1, int(2e-3 / max(time.perf_counter() - t, 1e-7)))
    samples = {name: [] for name in calls}
    start = time.perf_counter()
    for r in range(rounds):
        for name, f in calls.items():
            for _ in range(1 + inner[name] // 2):  # until the caches hold what this one reads
                f()
            t = time.perf_counter()
            for _ in range(inner[name]):
                f()
            samples[name].append((time.perf_counter() - t) / inner[name])
        if r >= 4 and time.perf_counter() - start > budget:
            break
    return {name: float(np.median(s)) for name, s in samples.items()}


def row(what, ratio, figure, mark, least):
    met = figure >= mark if least else figure <= mark
    ROWS.append(
        (
            what,
            ratio,
            f"{figure:.2f}",
            f"{'>=' if least else '<='} {mark:g}",
            "yes" if met else "NO",
        )
    )
    print(f"{what:44} {ratio:34} {figure:8.2f}   mark {ROWS[-1][3]:8} {ROWS[-1][4]}", flush=True)


def show(what, times):
    print(f"-- {what}: " + ", ".join(f"{k} {v * 1e6:.1f} us" for k, v in times.items()), flush=True)


def packed(A):
    return [p.values for plan in plans_of(A) for p in plan.packed]


# -- one vector -------------------------------------------------------------------------------


def one_vector(limits, sizes):
    for L in sizes:
        n = 1 << L
        A, C, D, Z = (product(lo.Chain.square_dyadic(n), t) for t in
                      ("float32", "complex64", "float64", "complex128"))  # fmt: skip
        B = C @ lo.Permutation.bit_reversal(n)
        x, c, d, z = (normal(n, t) for t in ("float32", "complex64", "float64", "complex128"))
        H = A.H
        A @ x, D @ d
        calls = {
            "lazyops": lambda: A @ x, "adjoint": lambda: H @ x, "csr": csr_chain(A, x),
            "fft": lambda: scipy.fft.fft(c), "complex64": lambda: B @ c,
            "float64": lambda: D @ d, "complex128": lambda: Z @ z,
            "read": limits.read(packed(A)), "read64": limits.read(packed(D)),
        }  # fmt: skip
        others(calls, A, x, n)
        t = timed(calls)
        what = f"dyadic 2^{L}, one vector"
        show(what, t)
        if L >= 12:
            row(what, "CSR / float32", t["csr"] / t["lazyops"], 5 if L == 20 else 7, True)
        if L >= 14:
            row(
                what,
                "float32 / fft complex64",
                t["lazyops"] / t["fft"],
                0.5 if L == 20 else 0.35,
                False,
            )
            mark = {18: 0.85, 20: 1.0}.get(L, 0.5)
            row(what, "complex64 with reversal / fft", t["complex64"] / t["fft"], mark, False)
        if L == 20:
            row(what, "read of the same bytes / float32", t["read"] / t["lazyops"], 0.8, True)
        row(what, "adjoint / forward", t["adjoint"] / t["lazyops"], 1.15, False)
        if L in (12, 20):
            row(what, "float64 / float32", t["float64"] / t["lazyops"], 2.2, False)
            row(what, "complex128 / complex64", t["complex128"] / t["complex64"], 2.2, False)
        elif L > 12:
            row(what, "read of the same bytes / float64", t["read64"] / t["float64"], 0.7, True)
        if "lazylinop" in t:
            row(what, "lazylinop / float32", t["lazylinop"] / t["lazyops"], 60, True)
        few_columns(A, n, what)
        gc.collect()


def others(calls, A, x, n):
    """lazylinop, pyfaust and torch, where they are installed."""
    if importlib.util.find_spec("lazylinop"):
        import lazylinop.butterfly as lb
        from lazylinop import LazyLinOp  # noqa: F401

        ops = [lb.ksm(np.asarray(f.values)) for f in A.factors]

        def run(ops=ops):
            y = x
            for op in reversed(ops):
                y = op @ y
            return y

        calls["lazylinop"] = run
    if importlib.util.find_spec("pyfaust"):
        from pyfaust import Faust

        F = Faust([sp.csr_matrix(csr(f)) for f in A.factors])
        calls["pyfaust"] = lambda: F @ x
    if importlib.util.find_spec("torch") and n <= 1 << 16:
        import torch

        values = [torch.from_numpy(np.array(f.values)) for f in A.factors]
        calls["torch einsum"] = lambda: _einsum(torch, values, torch.from_numpy(x))


def _einsum(torch, values, y):
    for v in reversed(values):
        a, _, c, d = v.shape
        y = torch.einsum("abcd,acd->abd", v, y.reshape(a, c, d)).reshape(-1)
    return y


def few_columns(A, n, what):
    xs = {k: normal((n, k), "float32") for k in (1, 2, 8, 16)}
    t = timed({k: (lambda x=x: A @ x) for k, x in xs.items()}, 1.0)
    for k in (2, 8, 16):
        row(what, f"{k} columns / one", t[k] / t[1], k, False)


# -- many columns, mixed radix, small ---------------------------------------------------------


def batches(limits, sizes):
    for L, k in sizes:
        n = 1 << L
        A, x = product(lo.Chain.square_dyadic(n)), normal((n, k), "float32")
        f = np.asfortranarray(x)
        H = A.H
        calls = {"lazyops": lambda: A @ x, "rows": lambda: A @ f, "csr": csr_chain(A, x),
                 "adjoint": lambda: H @ x, "peak": limits.peak()}  # fmt: skip
        t = timed(calls, 5.0)
        blas = {}
        if n <= 4096:
            M = A.to_dense()
            blas = timed({"lazyops": calls["lazyops"], "dense": lambda: M @ x}, 5.0)
        what = f"dyadic 2^{L}, {k} columns, float32"
        show(what, t)
        share = 4 * n * k * L / t["lazyops"] / (limits.peak_flops / t["peak"])
        small = n <= 4096
        row(what, "of multiply-add peak", share, 0.3 if small else 0.28 if k > 32 else 0.2, True)
        row(what, "CSR / lazyops", t["csr"] / t["lazyops"], 7 if small else 12, True)
        if blas:
            row(what, "dense / lazyops", blas["dense"] / t["lazyops"], 100, True)
        row(what, "(k, n) rows / (n, k)", t["rows"] / t["lazyops"], 1.25, False)
        row(what, "adjoint / forward", t["adjoint"] / t["lazyops"], 1.15, False)
        gc.collect()


def monarch(limits):
    A, x = product(lo.Chain.monarch(4096, 4096)), normal((4096, 256), "float32")
    for f in A.factors:
        one = lo.Product((f, lo.Identity(4096)))
        a, _, c, d = f.pattern
        blocks = np.ascontiguousarray(np.asarray(f.values).transpose(0, 3, 1, 2))

        def batched(a=a, c=c, d=d, blocks=blocks):
            return blocks @ x.reshape(a, c, d, -1).transpose(0, 2, 1, 3)

        lazy = lambda one=one: one @ x
        t = timed({"lazyops": lazy, "peak": limits.peak()})
        blas = timed({"lazyops": lazy, "numpy": batched})
        what = f"Monarch {tuple(f.pattern)}, 256 columns"
        show(what, {**t, "numpy": blas["numpy"]})
        share = 2 * f.pattern.entries * 256 / t["lazyops"] / (limits.peak_flops / t["peak"])
        row(what, "of multiply-add peak", share, 0.6, True)


def mixed():
    # rectangular: 4096 -> 1024
    rectangular = lo.Chain.from_cores([(2, 2)] * 8 + [(2, 4)] * 2)
    cases = [("mixed radix 1000", lo.Chain.mixed_radix(1000)),
             ("mixed radix 3 * 2^12", lo.Chain.mixed_radix(3 << 12)),
             ("rectangular 4096 -> 1024", rectangular)]  # fmt: skip
    for name, chain in cases:
        A = product(chain)
        x = normal(A.shape[1], "float32")
        t = timed({"lazyops": lambda A=A, x=x: A @ x, "csr": csr_chain(A, x)})
        row(f"{name}, one vector", "CSR / lazyops", t["csr"] / t["lazyops"], 4, True)
    for k in (17, 100):
        A, x = product(lo.Chain.square_dyadic(4096), "complex64"), normal((4096, k), "complex64")
        t = timed({"lazyops": lambda A=A, x=x: A @ x, "csr": csr_chain(A, x)})
        row(
            f"dyadic 2^12 complex64, {k} columns", "CSR / lazyops", t["csr"] / t["lazyops"], 4, True
        )


def small():
    A, x = product(lo.Chain.square_dyadic(64)), normal(64, "float32")
    t = timed({"lazyops": lambda: A @ x})
    row("dyadic 64, one vector, the whole call", "microseconds", t["lazyops"] * 1e6, 2, False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="sizes up to 2^16")
    parser.add_argument("--only", default="", help="vector, batch, monarch, mixed or small")
    parser.add_argument("--write", help="a file for the table, as markdown")
    arguments = parser.parse_args()
    state = kernels.status()["kernels"][0]
    if state["obstacle"] or kernels.FORCED == "reference":
        why = state["obstacle"] or "LAZYOPS_KERNEL=reference"
        sys.exit(f"no speed rows on the reference path: {why}")
    limits = Limits()
    machine = f"{cpu_name()}, level {state['level']}, {kernels.num_threads()} threads"
    print(f"{machine}; threads {limits.distance():.0f} ns apart")
    quick = arguments.quick
    jobs = {
        "vector": lambda: one_vector(limits, (12, 14, 16) if quick else (12, 14, 16, 18, 20)),
        "batch": lambda: batches(limits, [(12, 256), (14, 32)] if quick else
                                 [(12, 256), (14, 256), (16, 256), (16, 32), (18, 32), (18, 256)]),
        "monarch": lambda: monarch(limits), "mixed": mixed, "small": small,
    }  # fmt: skip
    for name, job in jobs.items():
        if arguments.only in name:
            job()
    if (apart := limits.distance()) > 1000:
        print("the two threads do not run at once: the machine is busy; no figure of more than one "
              "thread means anything (OMP_NUM_THREADS=1 compares kernels)")  # fmt: skip
    print(f"threads {apart:.0f} ns apart")
    if arguments.write:
        write(arguments.write, machine)


def cpu_name():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        return next(
            l.split(":")[1].strip() for l in text.splitlines() if l.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write(path, machine):
    lines = ["# CPU engine: measured against its marks", ""]
    lines += [f"`python benchmarks/cpu.py` on {machine}.", "",
             "| what | ratio | figure | mark | met |", "|---|---|---|---|---|"]  # fmt: skip
    lines += [f"| {' | '.join(r)} |" for r in ROWS]
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
