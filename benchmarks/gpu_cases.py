"""The cases of benchmarks/gpu.py: what is run, beside what, and the marks.

Each takes the place where it runs, a device or the CPU of a dry run, and hands it rows.  The marks
are (must, good); those without a name in the issue of the kernels are not set.
"""

from __future__ import annotations

import math
import time

import gpu_peers as peers
from gpu_clock import Mark

import lazyops as lo
from lazyops.kernels.cuda import DeviceChain
from lazyops.kernels.integers import ScaledInteger

ITEM = {"float32": 4, "float64": 8, "complex64": 8, "bfloat16": 2}


def at_most(must, good=None):
    return Mark(must, good, least=False)


def random(place, shape, dtype, scale=1.0):
    import torch

    wide = {"bfloat16": "float32", "float16": "float32"}.get(dtype, dtype)
    x = torch.randn(*shape, device=place.device, dtype=getattr(torch, wide)) * scale
    return x.to(getattr(torch, dtype))


def check(A, values, x):
    """Largest error of some columns, of what float64 gives."""
    import torch

    few = x[:, :4]
    z = few.to(torch.complex128 if few.is_complex() else torch.float64)
    for v in reversed(values):
        z = peers.einsum(v.to(z.dtype), z)
    got = (A @ x)[:, :4].to(z.dtype)
    error = float((got - z).abs().max() / z.abs().max())
    most = 2e-2 if x.dtype.itemsize == 2 else 1e-4 if x.dtype.itemsize <= 8 else 1e-11
    if not error < most:
        raise RuntimeError(f"the product is wrong by {error:.2g} of its largest entry")


class Chain:
    """A square dyadic chain with its arrays, and what its rows are called."""

    def __init__(self, place, n, columns, dtype, along=True):
        self.place, self.n, self.columns, self.dtype, self.along = place, n, columns, dtype, along
        self.what = f"{dtype} N={n}, {columns} {'columns' if along else 'rows'}"
        patterns = list(lo.Chain.square_dyadic(place.size(n)))
        self.values = [random(place, p, dtype, 2**-0.5) for p in patterns]
        self.A = product(self.values)
        entries = sum(p.entries for p in patterns)
        self.bytes = ITEM[dtype] * (2 * n * columns + entries)
        shape = (place.size(n), place.columns(columns))
        arrays = (random(place, shape if along else shape[::-1], dtype)
                  for _ in range(place.ring(ITEM[dtype] * 2 * n * columns)))  # fmt: skip
        self.xs = [x if along else x.mT for x in arrays]
        check(self.A, self.values, self.xs[0])

    def row(self, compared, figure, mark=None):
        self.place.row(self.what, compared, figure, mark)

    def kernels(self):
        """The whole chain as what a device runs in one piece."""
        return DeviceChain([lo.KroneckerSparse(v, copy=False)._stage() for v in self.values])

    def seconds(self, call, count=4, replays=10):
        """Of a peer."""
        return self.place.seconds([lambda x=x: call(x) for x in self.xs[:count]], replays)


def product(values):
    return lo.Product([lo.KroneckerSparse(v, copy=False) for v in values])


def chain(place, n, columns, dtype, marks, along=True):
    """Of the floor (x, y and values once), of the model, and beside torch."""
    case = Chain(place, n, columns, dtype, along)
    ours = place.seconds([lambda x=x: case.A @ x for x in case.xs])
    case.row("of the floor", case.bytes / place.copied / ours, marks.get("floor"))
    case.row("us on the device", ours * 1e6, marks.get("us"))
    case.row("time and model, the larger / the smaller", off_by(case, ours), at_most(2, 1.4))
    alone = [lo.KroneckerSparse(v, copy=False) for v in case.values]
    apart = case.seconds(lambda x: one_by_one(alone, x))
    case.row("factor by factor / fused", apart / ours, marks.get("apart"))
    if columns <= 64:
        host_times(case, marks)
    if n * columns <= 1 << 25 and dtype != "bfloat16":
        peer = case.seconds(lambda x: peers.einsum_chain(case.values, x), 2, 5)
        case.row("torch einsum / ours", peer / ours)
    if n <= 4096:
        beside_dense(case, ours, marks)
    if dtype == "complex64":
        import torch

        case.row("ours / cuFFT", ours / case.seconds(lambda x: torch.fft.fft(x, dim=0)),
                 marks.get("cufft"))  # fmt: skip
    waiting_peers(case, marks)


def one_by_one(alone, x):
    for K in reversed(alone):
        x = K @ x
    return x


def off_by(case, seconds):
    """How far the model is from a measurement, either way."""
    with case.place.plans():
        told = case.kernels().plan_for(case.xs[0]).seconds
    return max(told / seconds, seconds / told)


def host_times(case, marks):
    """A call by torch and by CuPy, and a graph of one: with the wait for the result."""
    place, x = case.place, case.xs[0]
    case.row("us of a call, torch", place.waited(lambda: case.A @ x) * 1e6)
    z = place.cupy.from_dlpack(x)
    B = product([place.cupy.from_dlpack(v) for v in case.values])
    case.row("us of a call, CuPy", place.waited(lambda: B @ z) * 1e6, marks.get("call"))
    case.row("us of a replayed graph", place.replayed(lambda: case.A @ x) * 1e6, marks.get("graph"))


def beside_dense(case, ours, marks):
    import torch

    n = case.place.size(case.n)
    dense = random(case.place, (n, n), case.dtype)
    for tf32 in (False, True) if case.dtype == "float32" else (False,):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        try:
            peer = case.seconds(lambda x: dense @ x, 4, 5)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False
        case.row(f"dense{' tf32' if tf32 else ''} / ours", peer / ours,
                 marks.get("tf32" if tf32 else "dense"))  # fmt: skip


def waiting_peers(case, marks):
    """Peers that take no graph: both sides by calls with the wait for the result."""
    named = {"cusparse": ("cuSPARSE / ours", peers.cusparse),
             "lazylinop": ("lazylinop / ours", peers.lazylinop)}  # fmt: skip
    for name, (compared, make) in named.items():
        if name in marks:
            call = make(case.place, case.values, case.xs[0])
            ours = case.place.waited(lambda: case.A @ case.xs[0], 10)
            theirs = None if call is None else case.place.waited(call, 5)
            case.row(compared, None if theirs is None else theirs / ours, marks[name])


def planner(place, n, columns, dtype):
    """The plan of the model beside the best of those that `lo.tune` measures."""
    case = Chain(place, n, columns, dtype)
    with place.plans():
        found = list(case.kernels().measure(case.xs[0], time.monotonic() + 2.0, time.monotonic))
    best = min(f.seconds for f in found)
    case.row("the model's plan / the best plan", found[0].seconds / best, at_most(1.3, 1.1))


def gradients(place, n, columns, dtype):
    """Forward with gradients of x, and of x and values, beside the forward."""
    import torch

    case = Chain(place, n, columns, dtype)
    forward = place.waited(lambda: case.A @ case.xs[0], 20)
    x = case.xs[0].clone().requires_grad_()
    g = torch.ones_like(x)

    def of_x():
        (case.A @ x).backward(g)

    case.row("forward, backward of x / forward", place.waited(of_x, 20) / forward, at_most(2.2))
    B = product([v.clone().requires_grad_() for v in case.values])

    def of_all():
        (B @ x).backward(g)

    case.row("forward, backward / forward", place.waited(of_all, 20) / forward, at_most(4.5))


def factor(place, pattern, columns, dtype, along, mark, bmm=None, warm=False):
    """One factor: of a copy of the same bytes, beside bmm with the copies that it needs."""
    a, b, c, d = pattern
    small = place.pattern(pattern)
    v = random(place, small, dtype)
    K = lo.KroneckerSparse(v, copy=False)
    bytes_ = ITEM[dtype] * (columns * a * d * (b + c) + a * b * c * d)
    few = place.columns(columns)
    shape = (small[0] * c * small[3], few)
    count = 1 if warm else place.ring(ITEM[dtype] * columns * a * d * (b + c))
    xs = [random(place, shape if along else shape[::-1], dtype) for _ in range(count)]
    xs = xs if along else [x.mT for x in xs]
    check(K, [v], xs[0])
    what = f"{dtype} {pattern}, {columns} {'columns' if along else 'rows'}"
    calls = [lambda x=x: K @ x for x in xs] * (4 if warm else 1)
    ours = place.seconds(calls)
    place.row(what, "of a copy, in L2" if warm else "of a copy", bytes_ / place.copied / ours, mark)
    if warm:
        return
    call = peers.bmm_and_copies(v)
    peer = place.seconds([lambda x=x: call(x) for x in xs[:4]], 10)
    place.row(what, "bmm and copies / ours", peer / ours, bmm)
    if along and 1 in (a, d) and min(b, c) >= 32:
        call = peers.bmm_on_views(v)
        peer = place.seconds([lambda x=x: call(x) for x in xs[:4]], 10)
        place.row(what, "bmm on views / ours", peer / ours)


FEW_BITS = {"int8": ScaledInteger(8), "int4": ScaledInteger(4), "e4m3": lo.FloatFormat(4, 3)}


def few_bits(place, pattern, marks):
    """One column, values of few bits beside float32; each ring of values is larger than L2."""
    import torch

    K = lo.KroneckerSparse(torch.randn(place.pattern(pattern)))
    x = random(place, (K.shape[1], 1), "float32")
    entries = math.prod(pattern)

    def seconds(A, bytes_):
        ring = [A.to(like=x) for _ in range(place.ring(bytes_))]
        return place.seconds([lambda B=B: B @ x for B in ring])

    wide = seconds(K, 4 * entries)
    for name, form in FEW_BITS.items():
        Q = lo.butterfly.quantize(K, form, method="nearest").operator
        figure = wide / seconds(Q, entries * form.bits / 8)
        place.row(f"{name} {pattern}, 1 columns", "float32 values / ours", figure, marks[name])


def compiling(place, n, columns):
    """NVRTC through CuPy, nothing from a cache."""
    seconds, spilled = [], 0
    for dtype in ("float32", "complex64", "bfloat16"):
        case = Chain(place, n, columns, dtype)
        with place.plans():
            for step in case.kernels().plan_for(case.xs[0]).steps:
                if hasattr(step.launch, "variant"):
                    took, more = place.compiled(step.launch.variant)
                    seconds.append(took)
                    spilled += more > 0
    what = f"kernels of N={n}, {columns} columns"
    place.row(what, "ms to compile, mean", 1e3 * sum(seconds) / max(1, len(seconds)),
              at_most(400, 200))  # fmt: skip
    place.row(what, "that spill registers", spilled, at_most(0))


def cases():
    """(function, arguments) in order of priority."""
    f4, c8, bf = "float32", "complex64", "bfloat16"
    few = {"us": at_most(14, 9), "call": at_most(35, 20), "graph": at_most(16, 11)}
    yield chain, (1024, 65536, f4, {"floor": Mark(0.5, 0.7)})
    yield chain, (4096, 4096, f4, {"floor": Mark(0.35, 0.45), "apart": Mark(4, 5.5),
                                   "tf32": Mark(3.5, 5), "cusparse": Mark(8, 15)})  # fmt: skip
    yield chain, (4096, 512, f4, {"cusparse": Mark(8, 15), "lazylinop": Mark(20, 60)})
    yield chain, (4096, 1, f4, {**few, "dense": Mark(1.1, 1.8)})
    yield chain, (4096, 64, f4, few)
    yield chain, (1024, 32768, c8, {"floor": Mark(0.35, 0.55)})
    yield chain, (4096, 4096, c8, {"floor": Mark(0.30, 0.45), "cufft": at_most(2.5, 1.8)})
    yield chain, (4096, 4096, bf, {"dense": Mark(3, 4.8)})
    yield chain, (16384, 4096, f4, {"floor": Mark(0.35, 0.45)})
    yield chain, (1 << 20, 64, f4, {"floor": Mark(0.30, 0.45)})
    yield gradients, (4096, 4096, f4)
    yield gradients, (1024, 512, f4)
    yield few_bits, ((64, 256, 256, 16), {"int8": Mark(2.5, 3.6), "int4": Mark(4, 6.5),
                                          "e4m3": Mark(2.3, 3.5)})  # fmt: skip
    for pattern in ((1, 64, 64, 64), (64, 64, 64, 1)):
        for columns in (64, 512, 4096):
            copies = Mark(1.8, 2.7)
            yield factor, (pattern, columns, f4, True, Mark(0.45, 0.65), copies)
            yield factor, (pattern, columns, bf, True, Mark(0.55, 0.75), copies)
    for n, columns in ((1024, 65536), (4096, 4096), (4096, 64)):
        yield planner, (n, columns, f4)
    for radix in (2, 4, 8, 16):
        yield from radices(radix)
    yield chain, (4096, 512, f4, {}, False)
    yield compiling, (4096, 512)


def radices(radix):
    """One factor of small blocks: dtypes, layouts, and in L2."""
    for dtype in ("float32", "complex64", "float64", "bfloat16"):
        mark = Mark(0.75, 0.90) if dtype == "bfloat16" else Mark(0.80, 0.92)
        yield factor, ((64, radix, radix, 64 // radix), 16384, dtype, True, mark)
    rows = Mark(0.70, 0.85)
    d = max(8, 64 // radix)  # lanes run along k
    yield factor, ((4096 // (radix * d), radix, radix, d), 16384, "float32", False, rows)
    yield factor, ((4096 // radix, radix, radix, 1), 16384, "float32", False, rows)
    warm = (64, radix, radix, 64 // radix), 512, "float32", True, Mark(1.0, 1.3), None, True
    yield factor, warm
