"""lazyops beside its rivals, in one process, interleaved: medians, ratios, and the marks.

    python benchmarks/cpu.py [--quick] [--only WORD] [--write docs/benchmarks/cpu.md]

Rivals: SciPy's CSR chain, dense BLAS, scipy.fft, NumPy's batched matmul, and torch, lazylinop,
pyfaust where they are installed.  The two limits (read bandwidth over the same bytes, multiply-add
peak) are measured in the same rounds; the timing is that of `lazyops bench` (lazyops/bench.py).
Trust ratios within a row.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import pathlib
import sys

import numpy as np
import scipy.fft
import scipy.sparse as sp

import lazyops as lo
from lazyops import bench, kernels
from lazyops.bench import Limits, csr, csr_chain, packed, timed

rng = np.random.default_rng(0)
ROWS: list[tuple[str, str, str, str, str]] = []  # what, ratio, figure, mark, met


def normal(shape, dtype):
    return bench.normal(shape, dtype, rng)


def product(chain, dtype="float32"):
    return bench.random_product(chain, dtype, rng)


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


# -- one vector -------------------------------------------------------------------------------


def one_vector(limits, sizes):
    for L in sizes:
        n = 1 << L
        A, C, D, Z = (product(lo.Chain.square_dyadic(n), t) for t in
                      ("float32", "complex64", "float64", "complex128"))  # fmt: skip
        B = C @ lo.Permutation.bit_reversal(n)
        x, c, d, z = (normal(n, t) for t in ("float32", "complex64", "float64", "complex128"))
        H = A.H
        A @ x, D @ d, Z @ z
        calls = {
            "lazyops": lambda: A @ x, "adjoint": lambda: H @ x, "csr": csr_chain(A, x),
            "fft": lambda: scipy.fft.fft(c), "complex64": lambda: B @ c,
            "float64": lambda: D @ d, "complex128": lambda: Z @ z,
            "read": limits.read(packed(A)), "read64": limits.read(packed(D)),
            "read128": limits.read(packed(Z)),
        }  # fmt: skip
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
            share = t["read128"] / t["complex128"]
            row(what, "read of the same bytes / complex128", share, 0.7, True)
        others(A, x, n, what)
        few_columns(A, n, what)
        gc.collect()


def others(A, x, n, what):
    """lazylinop, pyfaust and torch, where they are installed: each beside lazyops alone.

    Their threads spin on after a product and would slow every other call.
    """
    want, calls = A @ x, {}
    # lazylinop.butterfly imports psutil and pandas, which its package does not ask for
    if all(map(importlib.util.find_spec, ("lazylinop", "psutil", "pandas"))):
        import lazylinop.butterfly as lb

        chain = lb.ksm([np.asarray(f.values) for f in A.factors])  # its default backend
        calls["lazylinop"] = lambda: chain @ x
    if importlib.util.find_spec("pyfaust"):
        from pyfaust import Faust

        F = Faust([sp.csr_matrix(csr(f)) for f in A.factors])
        calls["pyfaust"] = lambda: F @ x
    if importlib.util.find_spec("torch"):
        import torch

        values = [torch.from_numpy(np.array(f.values)) for f in A.factors]
        calls["torch einsum"] = lambda: _einsum(torch, values, torch.from_numpy(x))
    for name, f in calls.items():
        np.testing.assert_allclose(np.asarray(f()), want, atol=1e-4, err_msg=name)
    for name, f in calls.items():
        t = timed({"lazyops": lambda: A @ x, name: f})
        show(f"{what}, beside {name}", t)
        if name == "lazylinop":
            row(what, "lazylinop / float32", t["lazylinop"] / t["lazyops"], 60, True)


def _einsum(torch, values, y):
    for v in reversed(values):
        a, _, c, d = v.shape
        y = torch.einsum("abcd,acd->abd", v, y.reshape(a, c, d)).reshape(-1)
    return y


def few_columns(A, n, what):
    counts = (2, 3, 5, 8, 9, 12, 16)
    xs = {k: normal((n, k), "float32") for k in (1, *counts)}
    t = timed({k: (lambda x=x: A @ x) for k, x in xs.items()}, 1.0)
    for k in counts:
        row(what, f"{k} columns / one", t[k] / t[1], k, False)


# -- many columns, mixed radix, small ---------------------------------------------------------


def batches(limits, sizes):
    for L, k in sizes:
        n = 1 << L
        A, x = product(lo.Chain.square_dyadic(n)), normal((n, k), "float32")
        f = np.asfortranarray(x)
        H = A.H
        calls = {"lazyops": lambda: A @ x, "rows": lambda: A @ f, "csr": csr_chain(A, x),
                 "adjoint": lambda: H @ x, "peak": limits.peak}  # fmt: skip
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
        t = timed({"lazyops": lazy, "peak": limits.peak})
        blas = timed({"lazyops": lazy, "numpy": batched, **_bmm(blocks, x, (a, c, d))})
        what = f"Monarch {tuple(f.pattern)}, 256 columns"
        show(what, {**t, **{f"{name}, beside BLAS": s for name, s in blas.items()}})
        share = 2 * f.pattern.entries * 256 / t["lazyops"] / (limits.peak_flops / t["peak"])
        row(what, "of multiply-add peak", share, 0.6, True)


def _bmm(blocks, x, sizes):
    """Batched products by torch, where it is installed."""
    if not importlib.util.find_spec("torch"):
        return {}
    import torch

    a, c, d = sizes
    values, z = torch.from_numpy(blocks.reshape(a * d, *blocks.shape[2:])), torch.from_numpy(x)

    def run():
        return torch.bmm(values, z.reshape(a, c, d, -1).transpose(1, 2).reshape(a * d, c, -1))

    return {"torch bmm": run}


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
    try:
        limits = Limits()
    except ValueError as error:
        sys.exit(str(error))
    machine = f"{bench.machine()}, level {limits.level}, {kernels.num_threads()} threads"
    first = limits.distance()
    print(f"{machine}; threads {first:.0f} ns apart")
    quick = arguments.quick
    jobs = {
        "vector": lambda: one_vector(limits, (12, 14, 16) if quick else (12, 14, 16, 18, 20)),
        "batch": lambda: batches(limits, [(12, 256), (14, 32)] if quick else
                                 [(12, 256), (14, 256), (16, 256), (16, 32), (18, 32), (18, 256),
                                  (20, 256)]),
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
        far = f"{first:.0f} ns apart at first, {apart:.0f} ns at last"
        write(arguments.write, f"{machine}; {far}")


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
