"""Which factors run together on a device: a cost model, and the cheapest cuts.

A kernel costs what binds it: device memory, L2 (which the values of every tile pass), shared
memory, arithmetic, or latency where there are too few tiles.  Neighbours that chain are merged into
denser factors where that is cheaper: up to radix 4 merging costs no arithmetic, and it saves a
stage.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from ...pattern import Pattern
from .text import ITEMSIZE, SUMS
from .tiles import Geometry, geometry

SMALL = 16  # b and c that factor_small takes
RADICES = (2, 4, 8, 16)  # up to which neighbours are merged, to try
WIDE = 64  # bytes side by side from which device memory is read at full speed


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


H200 = Device()


class Choice(NamedTuple):
    """How one run is computed."""

    seconds: float
    patterns: tuple[Pattern, ...]  # after merging, in the order in which they are applied
    merged: tuple[int, ...]  # how many factors went into each
    tile_n: int  # 0: a kernel of one factor
    tile_k: int
    bound: str


def plan_runs(
    patterns: Sequence[Pattern],
    columns: int,
    dtype: str,
    *,
    along_columns: bool = True,
    value_bytes: float | None = None,
    device: Device = H200,
    fixed: frozenset[int] = frozenset(),
) -> list[Choice]:
    """The cheapest runs of factors in the order in which they are applied.

    Factors in `fixed` are never merged: codes, and values that want a gradient.
    """
    count = len(patterns)
    best: list[tuple[float, list[Choice]]] = [(0.0, [])]
    for end in range(1, count + 1):
        found: tuple[float, list[Choice]] | None = None
        for start in range(end):
            run = patterns[start:end]
            held = frozenset(f - start for f in fixed)
            for choice in _choices(run, held, columns, dtype, along_columns, value_bytes, device):
                total = best[start][0] + choice.seconds
                if found is None or total < found[0]:
                    found = total, [*best[start][1], choice]
        assert found is not None  # one factor alone always runs
        best.append(found)
    return best[count][1]


def _choices(run, fixed, columns, dtype, along_columns, value_bytes, device):
    most = 4 if dtype.startswith("complex") or dtype == "float64" else 8
    seen = set()
    for radix in RADICES:
        if radix > most:
            continue
        merged, counts = merge_up_to(run, radix, fixed)
        if merged in seen:
            continue
        seen.add(merged)
        if len(merged) == 1:
            seconds = one_factor(merged[0], columns, dtype, value_bytes, device)
            yield Choice(seconds, merged, counts, 0, 0, "stream")
        if len(run) > 1:
            fused = one_run(merged, columns, dtype, along_columns, value_bytes, device)
            if fused is not None:
                yield Choice(fused[0], merged, counts, *fused[1:])


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


def one_factor(p: Pattern, columns: int, dtype: str, value_bytes, device: Device) -> float:
    """Seconds of a kernel that streams x and y once."""
    item = ITEMSIZE[dtype]
    data = item * p.a * p.d * (p.b + p.c) * columns
    values = (value_bytes or item) * p.a * p.b * p.c * p.d
    speed = device.l2 if data < device.l2_bytes else device.memory
    work = _flops([p], dtype) * columns / _rate(dtype, device)
    return max((data + values) / speed, work, 1.5e-6) + device.launch


def one_run(patterns, columns, dtype, along_columns, value_bytes, device: Device):
    """(seconds, tile_n, tile_k, bound) of the best tile, or None where none fits."""
    shape = geometry(patterns)
    best = None
    for tile_n, tile_k in itertools.product((1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8, 16, 32)):
        if (tile_n > 1 and tile_n >= 2 * columns) or (tile_k > 1 and tile_k >= 2 * shape.inner):
            continue
        if along_columns and tile_k > 1 and tile_n < columns:
            continue  # all columns first, then several k
        found = _tile_cost(
            shape, patterns, tile_n, tile_k, columns, dtype, along_columns, value_bytes, device
        )
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    return best


def _tile_cost(
    shape: Geometry, patterns, tile_n, tile_k, columns, dtype, along_columns, value_bytes, device
):
    item, held = ITEMSIZE[dtype], ITEMSIZE[SUMS[dtype]]
    tile = (1 if shape.in_place else 2) * shape.most_rows * tile_n * tile_k * held
    if tile > device.shared_block:
        return None
    whole = shape.outer * shape.inner * columns
    data = item * (shape.first_rows + shape.last_rows) * whole
    values = (value_bytes or item) * sum(p.a * p.b * p.c * p.d for p in patterns)
    if along_columns:
        side = min(tile_n, columns) * (tile_k if tile_n >= columns else 1) * item
    else:
        side = (tile_k if shape.inner > 1 else shape.first_rows) * item
    sectors = 1.0 if side >= WIDE else 0.8 if side >= 32 else side / 32 * 0.8
    tiles = shape.outer * -(-shape.inner // tile_k) * -(-columns // tile_n)
    together = max(1, min(8, device.shared_processor // (tile + 1024)))
    used = min(1.0, tiles / device.processors)
    per_tile = values / (shape.outer * shape.inner) * tile_k
    moved = shape.first_rows + shape.last_rows
    moved += sum(a * d * (b + c) for a, b, c, d in shape.stages)
    times = {
        "memory": (data / sectors + values) / device.memory,
        "L2": (data / sectors + tiles * per_tile) / device.l2,
        "shared": held * whole * moved / device.shared / used,
        "arithmetic": _flops(patterns, dtype) * columns / _rate(dtype, device) / used,
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
    return seconds + device.launch, tile_n, tile_k, bound


def _flops(patterns, dtype: str) -> int:
    per = 8 if dtype.startswith("complex") else 2
    return per * sum(p.a * p.b * p.c * p.d for p in patterns)


def _rate(dtype: str, device: Device) -> float:
    return device.flops / (2 if dtype in ("float64", "complex128") else 1)
