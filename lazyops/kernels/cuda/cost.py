"""Which factors run together on a device: a cost model, and the cheapest cuts.

A kernel costs what binds it: device memory, L2 (which the values of every tile pass), shared
memory, arithmetic, or latency where there are too few tiles.  Neighbours that chain are merged into
denser factors where that is cheaper: up to radix 4 merging costs no arithmetic, and it saves a
stage.  Large blocks may go to the matmul of the array library, on views of x that need no copy.

Constants are those of an H200: a copy was measured at 4.3 TB/s, peaks are NVIDIA's, the sustained
rates are the part of them that libraries reach; what a block and a launch take are estimates.
`lo.tune` measures instead.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...pattern import Pattern
from .text import ITEMSIZE, SUMS
from .tiles import Geometry, geometry

SMALL = 16  # b and c that factor_small takes
FEW = 8  # columns up to which values are what costs
RADICES = (2, 4, 8, 16)  # up to which neighbours are merged, to try
WIDE = 64  # bytes side by side from which device memory is read at full speed
LARGE = 32  # b and c from which matmul is tried
TILED = 0.68  # of the sustained arithmetic that a tiled kernel of large blocks gets: what the tuned
# kernels of ksmm, tiled in the same way, reach of their roofline, median of 600 patterns
STRIDED = 0.65  # of a copy that a batched matmul of small blocks gets, an estimate
LEAST = 1.5e-6  # seconds of the shortest kernel


class Device(NamedTuple):
    """What the model knows of a device, in bytes and seconds; of an H200 by default."""

    processors: int = 132
    memory: float = 4.3e12  # copy bandwidth
    l2: float = 5.5e12
    l2_bytes: float = 40e6
    l2_of_one: float = 112e9  # of one processor
    shared: float = 29.6e12
    shared_block: int = 227 * 1024
    shared_processor: int = 228 * 1024
    flops: float = 55e12  # sustained, float32
    launch: float = 2.0e-6
    begin: float = 1.8e-6  # of a wave of blocks
    stage: float = 0.25e-6
    matmul: float = 55e12  # sustained by matmul of the library, float32
    matmul_double: float = 60e12
    matmul_half: float = 800e12
    strided: bool = True  # whether matmul of the library takes views without a copy
    name: str = "H200"


H200 = Device()
DEVICES = {"H200": H200}


class Bias(NamedTuple):
    """What a plan may do; by default all that the model finds cheapest.

    radix : up to which neighbours are merged, 0 for what suits the dtype
    tile : bytes of shared memory that the tile of a run may have, 0 for all there are
    runs : whether factors are fused to runs
    matmul : whether large blocks go to matmul
    dense : whether a small product becomes one matrix: 0 never, 1 where that is faster, 2 always
    """

    radix: int = 0
    tile: int = 0
    runs: bool = True
    matmul: bool = True
    dense: int = 1


FREE = Bias()


class Choice(NamedTuple):
    """How one run is computed.

    how : "factor", a kernel of one factor; "run"; or "matmul" of the array library
    """

    seconds: float
    patterns: tuple[Pattern, ...]  # after merging, in the order in which they are applied
    merged: tuple[int, ...]  # how many factors went into each
    tile_n: int
    tile_k: int
    bound: str
    how: str


class Case(NamedTuple):
    """What all factors of a plan have in common.

    value_bytes : of a value, where that is not the size of a number
    matmul : whether values are numbers of `dtype`, as matmul takes them
    """

    columns: int
    dtype: str
    along_columns: bool = True
    value_bytes: float | None = None
    matmul: bool = False
    device: Device = H200
    bias: Bias = FREE

    @property
    def item(self) -> int:
        return ITEMSIZE[self.dtype]

    def bytes_of_values(self, patterns: Sequence[Pattern]) -> float:
        return (self.value_bytes or self.item) * sum(p.entries for p in patterns)

    def flops(self, patterns: Sequence[Pattern]) -> int:
        per = 8 if self.dtype.startswith("complex") else 2
        return per * self.columns * sum(p.entries for p in patterns)

    @property
    def rate(self) -> float:
        return self.device.flops / (2 if self.dtype in ("float64", "complex128") else 1)

    @property
    def matmul_rate(self) -> float:
        if self.dtype in ("float64", "complex128"):
            return self.device.matmul_double
        return self.device.matmul_half if self.item == 2 else self.device.matmul


def plan_runs(
    patterns: Sequence[Pattern],
    columns: int,
    dtype: str,
    *,
    fixed: frozenset[int] = frozenset(),
    gathered: bool = False,
    **more: Any,
) -> list[Choice]:
    """The cheapest runs of factors in the order in which they are applied.

    Factors in `fixed` are never merged: codes, and values that want a gradient.  `gathered`: the
    first factor reads x through an index.  For what else there is see `Case`.
    """
    return list(_planned(tuple(patterns), Case(columns, dtype, **more), fixed, gathered))


@functools.lru_cache(1024)
def _planned(patterns, case: Case, fixed: frozenset[int], gathered: bool) -> tuple[Choice, ...]:
    best: list[tuple[float, tuple[Choice, ...]]] = [(0.0, ())]
    for end in range(1, len(patterns) + 1):
        found: tuple[float, tuple[Choice, ...]] | None = None
        for start in range(end):
            run = patterns[start:end]
            held = frozenset(f - start for f in fixed)
            for choice in choices(run, held, case, gathered and start == 0):
                total = best[start][0] + choice.seconds
                if found is None or total < found[0]:
                    found = total, (*best[start][1], choice)
        assert found is not None  # one factor alone always runs
        best.append(found)
    return best[-1][1]


def choices(run: Sequence[Pattern], fixed: frozenset[int], case: Case, gathered: bool):
    """All ways to run these factors in one piece."""
    bias = case.bias
    most = bias.radix or (4 if case.dtype.startswith("complex") or case.dtype == "float64" else 8)
    seen = set()
    for radix in RADICES:
        merged, counts = merge_up_to(run, radix, fixed)
        if radix > most or merged in seen:
            continue
        seen.add(merged)
        if len(merged) == 1:
            seconds, bound = one_factor(merged[0], case)
            yield Choice(seconds, merged, counts, 0, 0, bound, "factor")
            if bias.matmul and not gathered and (calls := calls_of(merged[0], case)):
                seconds, bound = by_matmul(merged[0], case, calls)
                yield Choice(seconds, merged, counts, 0, 0, bound, "matmul")
        if len(run) > 1 and bias.runs and max(max(p.b, p.c) for p in merged) <= SMALL:
            fused = one_run(merged, case)
            if fused is not None:
                seconds, tile_n, tile_k, bound = fused
                yield Choice(seconds, merged, counts, tile_n, tile_k, bound, "run")


def merge_up_to(run, radix: int, fixed=frozenset()) -> tuple[tuple[Pattern, ...], tuple[int, ...]]:
    """Neighbours that chain become one while its b and c are at most `radix`."""
    found: list[Pattern] = [run[0]]
    counts = [1]
    for at, p in enumerate(run[1:], 1):
        free = at not in fixed and at - 1 not in fixed
        one = fused(p, found[-1]) if free else None
        if one is not None and max(one.b, one.c) <= radix:
            found[-1] = one
            counts[-1] += 1
            continue
        found.append(p)
        counts.append(1)
    return tuple(found), tuple(counts)


def fused(then: Pattern, first: Pattern) -> Pattern | None:
    """The pattern of ``then @ first`` where that is Kronecker-sparse, as it is or transposed."""
    if then.chains_with(first):
        return then.fused_with(first)
    if first.T.chains_with(then.T):
        return first.T.fused_with(then.T).T
    return None


def one_factor(p: Pattern, case: Case) -> tuple[float, str]:
    """(seconds, bound) of a kernel that streams x and y once."""
    data = case.item * p.a * p.d * (p.b + p.c) * case.columns
    tiled = max(p.b, p.c) > SMALL and case.columns > FEW
    work = case.flops([p]) / (case.rate * (TILED if tiled else 1))
    return _streamed(data + case.bytes_of_values([p]), work, case.device, 1, 1.0)


def calls_of(p: Pattern, case: Case) -> int:
    """How many calls of the library's matmul a factor takes without a copy of x; 0: none do."""
    if not case.matmul or min(p.b, p.c) < LARGE or case.columns <= FEW:
        return 0
    if p.d > 1 and not (case.along_columns and case.device.strided):
        return 0
    return 1 if 1 in (p.a, p.d) else min(p.a, p.d)


def by_matmul(p: Pattern, case: Case, calls: int) -> tuple[float, str]:
    """(seconds, bound) of a factor by batched matmul."""
    data = case.item * p.a * p.d * (p.b + p.c) * case.columns
    work = case.flops([p]) / case.matmul_rate
    return _streamed(data + case.bytes_of_values([p]), work, case.device, calls, STRIDED)


def by_dense(shape: tuple[int, int], case: Case) -> tuple[float, str]:
    """(seconds, bound) of the whole product as one matrix."""
    whole = Pattern(1, *shape, 1)
    moved = case.item * ((shape[0] + shape[1]) * case.columns + whole.entries)
    return _streamed(moved, case.flops([whole]) / case.matmul_rate, case.device, 1, 1.0)


def _streamed(moved: float, work: float, device: Device, launches: int, part: float):
    speed = (device.l2 if moved < device.l2_bytes else device.memory) * part
    times = {"memory": moved / speed, "arithmetic": work, "latency": launches * LEAST}
    bound = max(times, key=lambda k: times[k])
    return times[bound] + launches * device.launch, bound


def flat_seconds(moved: float, flops: float, case: Case, kernels: int) -> float:
    """Of kernels that stream their bytes and do their arithmetic, without more."""
    return _streamed(moved, flops / case.rate, case.device, kernels, 1.0)[0]


def one_run(patterns: Sequence[Pattern], case: Case):
    """(seconds, tile_n, tile_k, bound) of the best tile, or None where none fits.

    Of those that are as fast the one that asks least of memory and L2, which others share.
    """
    shape, columns = geometry(patterns), case.columns
    best = None
    for tile_n, tile_k in itertools.product((1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8, 16, 32)):
        if (tile_n > 1 and tile_n >= 2 * columns) or (tile_k > 1 and tile_k >= 2 * shape.inner):
            continue
        if case.along_columns and tile_k > 1 and tile_n < columns:
            continue  # all columns first, then several k
        found = _tile_cost(shape, patterns, tile_n, tile_k, case)
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    return None if best is None else (best[0][0], *best[1:])


def _tile_cost(shape: Geometry, patterns: Sequence[Pattern], tile_n: int, tile_k: int, case: Case):
    device, columns, held = case.device, case.columns, ITEMSIZE[SUMS[case.dtype]]
    tile = (1 if shape.in_place else 2) * shape.most_rows * tile_n * tile_k * held
    if tile > min(device.shared_block, case.bias.tile or device.shared_block):
        return None
    whole = shape.outer * shape.inner * columns
    data = (
        case.item
        * (shape.first_rows + shape.last_rows)
        * whole
        / sectors_of(shape, tile_n, tile_k, case)
    )
    values = case.bytes_of_values(patterns)
    tiles = shape.outer * -(-shape.inner // tile_k) * -(-columns // tile_n)
    together = max(1, min(8, device.shared_processor // (tile + 1024)))
    used = min(1.0, tiles / device.processors)
    per_tile = values / (shape.outer * shape.inner) * tile_k
    moved = shape.first_rows + shape.last_rows
    moved += sum(a * d * (b + c) for a, b, c, d in shape.stages)
    times = {
        "memory": (data + values) / device.memory,
        "L2": (data + tiles * per_tile) / device.l2,
        "shared": held * whole * moved / device.shared / used,
        "arithmetic": case.flops(patterns) / case.rate / used,
    }
    waves = -(-tiles // (device.processors * together))
    latency = waves * (device.begin + device.stage * len(patterns))
    latency += -(-tiles // device.processors) * per_tile / device.l2_of_one
    bound = max(times, key=lambda k: times[k])
    seconds = times[bound]
    if together == 1:  # the phases of a lone block do not overlap
        seconds = max(times["memory"], times["L2"]) + max(times["shared"], times["arithmetic"])
    if latency > seconds:
        seconds, bound = latency, "latency"
    outside = times["memory"] + times["L2"]
    return (seconds + device.launch, outside), tile_n, tile_k, bound


def sectors_of(shape: Geometry, tile_n: int, tile_k: int, case: Case) -> float:
    """How much of what memory moves is asked for: rows of a tile may be short."""
    if case.along_columns:
        side = min(tile_n, case.columns) * (tile_k if tile_n >= case.columns else 1) * case.item
    else:
        side = (tile_k if shape.inner > 1 else shape.first_rows) * case.item
    return 1.0 if side >= WIDE else 0.8 if side >= 32 else side / 32 * 0.8
