"""Chains and factors on a CUDA device beside their peers, in one call of less than eight minutes.

    python benchmarks/gpu.py [--budget 440] [--write docs/benchmarks/gpu.md]

Needs CuPy and torch.  Every case is checked against float64 on some columns first.  Times are of
the device: medians of replays of a CUDA graph over a ring of arrays larger than L2.  Fractions are
of a copy that is measured in the same run.  A case that would begin after the budget is skipped and
named.
"""

from __future__ import annotations

import argparse
import functools
import math
import pathlib
import time

import numpy as np

import lazyops as lo
from lazyops.kernels import cuda

BEGUN = time.perf_counter()
RING = 256e6  # bytes
ROWS: list[tuple[str, str, str, str, str]] = []


def row(what, compared, figure, mark=None, least=True):
    met = "" if mark is None else "yes" if (figure >= mark if least else figure <= mark) else "NO"
    told = "" if mark is None else f"{'>=' if least else '<='} {mark:g}"
    ROWS.append((what, compared, f"{figure:.3g}", told, met))
    print(f"{what:44} {compared:28} {figure:9.3f}   {told:8} {met}", flush=True)


def on_device(calls, replays=20):
    """Seconds of one call: a graph of all of them, replayed."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls[:2]:
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call() for call in calls]
    graph.replay()
    torch.cuda.synchronize()
    times = []
    for _ in range(replays):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e-3 / len(calls))
    del kept
    return float(np.median(times))


def on_host(call, rounds=50):
    """Seconds of one call with the wait for its result."""
    import torch

    call()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def random(shape, dtype, scale=1.0):
    import torch

    wide = {"bfloat16": "float32", "float16": "float32"}.get(dtype, dtype)
    x = torch.randn(*shape, device="cuda", dtype=getattr(torch, wide)) * scale
    return x.to(getattr(torch, dtype))


@functools.cache
def copied():
    """Bytes per second of a copy."""
    import torch

    x = torch.empty(1 << 28, device="cuda")
    y = torch.empty_like(x)
    return 2 * x.numel() * 4 / on_device([lambda: y.copy_(x)] * 4)


def einsum(v, x):
    import torch

    a, b, c, d = v.shape
    y = torch.einsum("arsd,asdn->ardn", v, x.reshape(a, c, d, -1))
    return y.reshape(a * b * d, -1)


def check(A, values, x):
    """Largest error of some columns, of what float64 gives."""
    import torch

    few = x[:, :4]
    z = few.to(torch.complex128 if few.is_complex() else torch.float64)
    for v in reversed(values):
        z = einsum(v.to(z.dtype), z)
    got = (A @ x)[:, :4].to(z.dtype)
    error = float((got - z).abs().max() / z.abs().max())
    most = 2e-2 if x.dtype.itemsize == 2 else 1e-4 if x.dtype.itemsize <= 8 else 1e-11
    assert error < most, f"wrong by {error}"


def chain(n, columns, dtype, marks):
    """A square dyadic chain: of the floor (x, y and values once), and beside its peers."""
    import torch

    size = {"float32": 4, "complex64": 8, "bfloat16": 2}[dtype]
    patterns = list(lo.Chain.square_dyadic(n))
    values = [random(p, dtype, 2**-0.5) for p in patterns]
    A = lo.Product([lo.KroneckerSparse(v, copy=False) for v in values])
    bytes_ = size * (2 * n * columns + sum(p.entries for p in patterns))
    xs = [random((n, columns), dtype) for _ in range(ring(size * 2 * n * columns))]
    check(A, values, xs[0])
    what = f"{dtype} N={n}, {columns} columns"
    ours = on_device([lambda x=x: A @ x for x in xs])
    row(what, "of the floor", bytes_ / copied() / ours, marks.get("floor"))
    row(what, "us on the device", ours * 1e6, marks.get("us"), False)
    if columns <= 64:
        row(what, "us of a call", on_host(lambda: A @ xs[0]) * 1e6, marks.get("call"), False)
    alone = [lo.KroneckerSparse(v, copy=False) for v in values]

    def one_by_one(x):
        for K in reversed(alone):
            x = K @ x
        return x

    apart = on_device([lambda x=x: one_by_one(x) for x in xs[:4]])
    row(what, "factor by factor / fused", apart / ours, marks.get("apart"))
    if n * columns <= 1 << 25 and dtype != "bfloat16":
        peer = on_device([lambda x=x: functools.reduce(lambda z, v: einsum(v, z), values[::-1], x)
                          for x in xs[:2]], 5)  # fmt: skip
        row(what, "torch einsum / ours", peer / ours)
    if n <= 4096:
        dense = random((n, n), dtype)
        for tf32 in (False, True) if dtype == "float32" else (False,):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            peer = on_device([lambda x=x: dense @ x for x in xs[:4]], 5)
            row(what, f"dense{' tf32' if tf32 else ''} / ours", peer / ours,
                marks.get("tf32" if tf32 else "dense"))  # fmt: skip
        torch.backends.cuda.matmul.allow_tf32 = False
    if dtype == "complex64":
        peer = on_device([lambda x=x: torch.fft.fft(x, dim=0) for x in xs[:4]], 10)
        row(what, "ours / cuFFT", ours / peer, marks.get("cufft"), False)
    if "cusparse" in marks:
        row(what, "cuSPARSE / ours", cusparse(values, xs[0]) / ours, marks["cusparse"])
    if "lazylinop" in marks:
        peer = lazylinop(values, xs[0])
        if peer is not None:
            row(what, "lazylinop / ours", peer / ours, marks["lazylinop"])
    backward(A, values, xs[0], what) if dtype == "float32" and columns >= 512 else None


def ring(bytes_):
    return max(1, min(16, math.ceil(RING / bytes_)))


def cusparse(values, x):
    """The factors as CSR matrices, one product after the other."""
    import cupy
    import cupyx.scipy.sparse

    matrices = []
    for v in values:
        a, b, c, d = v.shape
        rows = np.arange(a * b * d)
        base = rows // (b * d) * c * d + rows % d
        columns = (base[:, None] + np.arange(c) * d).ravel()
        data = cupy.from_dlpack(v.permute(0, 1, 3, 2).reshape(-1).contiguous())
        indices = cupy.asarray(columns.astype(np.int32))
        starts = cupy.arange(0, a * b * d * c + 1, c, dtype=cupy.int32)
        shape = (a * b * d, a * c * d)
        matrices.append(cupyx.scipy.sparse.csr_matrix((data, indices, starts), shape=shape))
    z = cupy.from_dlpack(x)
    return on_host(lambda: functools.reduce(lambda y, m: m @ y, matrices[::-1], z), 5)


def lazylinop(values, x):
    """The peer's own kernels, where it is installed."""
    try:
        from lazylinop.butterfly import ksm
    except ImportError:
        return None
    import cupy

    A = ksm([cupy.from_dlpack(v.contiguous()) for v in values], backend="ksmm")
    z = cupy.from_dlpack(x)
    return on_host(lambda: A @ z, 5)


def backward(A, values, x, what):
    """Forward with gradients of x, and of x and values, beside the forward."""
    import torch

    forward = on_host(lambda: A @ x, 20)
    x = x.clone().requires_grad_()
    g = torch.ones_like(x)

    def of_x():
        (A @ x).backward(g)

    row(what, "forward, backward of x / forward", on_host(of_x, 20) / forward, 2.2, False)
    leaves = [v.clone().requires_grad_() for v in values]
    B = lo.Product([lo.KroneckerSparse(v, copy=False) for v in leaves])

    def of_all():
        (B @ x).backward(g)

    row(what, "forward, backward / forward", on_host(of_all, 20) / forward, 4.5, False)


def factor(pattern, columns, dtype, along, mark):
    """One factor: of a copy of the same bytes, beside bmm with the copies that it needs."""
    import torch

    a, b, c, d = pattern
    size = {"float32": 4, "float64": 8, "complex64": 8, "bfloat16": 2}[dtype]
    v = random(pattern, dtype)
    K = lo.KroneckerSparse(v, copy=False)
    n, m = a * c * d, a * b * d
    bytes_ = size * (columns * (n + m) + v.numel())
    shape = (n, columns) if along else (columns, n)
    xs = [random(shape, dtype) for _ in range(ring(size * columns * (n + m)))]
    xs = xs if along else [x.mT for x in xs]
    check(K, [v], xs[0])
    what = f"{dtype} {pattern}, {columns} {'columns' if along else 'rows'}"
    ours = on_device([lambda x=x: K @ x for x in xs])
    row(what, "of a copy", bytes_ / copied() / ours, mark)
    blocks = v.permute(0, 3, 1, 2).reshape(a * d, b, c).contiguous()

    def bmm(x):
        z = x.reshape(a, c, d, columns).transpose(1, 2).reshape(a * d, c, columns)
        return torch.bmm(blocks, z).reshape(a, d, b, columns).transpose(1, 2).reshape(m, columns)

    row(what, "bmm and copies / ours", on_device([lambda x=x: bmm(x) for x in xs[:4]], 10) / ours)


def cases():
    """In order of priority; marks are those of the issue."""
    f4 = "float32"
    yield chain, (1024, 65536, f4, {"floor": 0.5})
    yield chain, (4096, 4096, f4, {"floor": 0.35, "apart": 4, "tf32": 3.5})
    yield chain, (4096, 512, f4, {"cusparse": 8, "lazylinop": 20})
    yield chain, (4096, 1, f4, {"us": 14, "call": 35, "dense": 1.1})
    yield chain, (4096, 64, f4, {"us": 14, "call": 35})
    yield chain, (1024, 32768, "complex64", {"floor": 0.35})
    yield chain, (4096, 4096, "complex64", {"floor": 0.30, "cufft": 2.5})
    yield chain, (4096, 4096, "bfloat16", {"dense": 3})
    yield chain, (16384, 4096, f4, {"floor": 0.35})
    yield chain, (1 << 20, 64, f4, {"floor": 0.30})
    for radix in (2, 4, 8):
        for dtype, mark in ((f4, 0.8), ("complex64", 0.8), ("float64", 0.8), ("bfloat16", 0.75)):
            yield factor, ((64, radix, radix, 64 // radix), 16384, dtype, True, mark)
        yield factor, ((64, radix, radix, 64 // radix), 16384, f4, False, 0.7)
        yield factor, ((4096 // radix, radix, radix, 1), 16384, f4, False, 0.7)
    for pattern in ((1, 64, 64, 64), (64, 64, 64, 1)):
        for columns in (64, 512, 4096):
            yield factor, (pattern, columns, f4, True, 0.45)
            yield factor, (pattern, columns, "bfloat16", True, 0.55)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--budget", type=float, default=440, help="seconds, 440 by default")
    parser.add_argument("--write", type=pathlib.Path, help="a Markdown file for the table")
    options = parser.parse_args()
    if (why := cuda.missing()) is not None:
        raise SystemExit(f"no device: {why}")
    import cupy
    import torch

    machine = (
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CuPy {cupy.__version__}, "
        f"a copy at {copied() / 1e9:.0f} GB/s"
    )
    print(machine, flush=True)
    for run, arguments in cases():
        if time.perf_counter() - BEGUN > options.budget:
            print(f"skipped, the time is over: {run.__name__}{arguments}")
            continue
        try:
            run(*arguments)
        except (RuntimeError, AssertionError) as error:  # the others still count
            ROWS.append((f"{run.__name__}{arguments[:3]}", str(error)[:80], "-", "", "NO"))
            print(f"failed: {run.__name__}{arguments}: {error}")
        torch.cuda.empty_cache()
    if options.write:
        table = ["| what | compared | figure | mark | met |", "|---|---|---|---|---|"]
        table += ["| " + " | ".join(r) + " |" for r in ROWS]
        options.write.write_text(f"# On a device\n\n`python benchmarks/gpu.py`, {machine}.\n\n"
                                 + "\n".join(table) + "\n", "utf-8")  # fmt: skip


if __name__ == "__main__":
    main()
