"""Gradients of a product of stages on a device, a run in one kernel (src/cuda/gradient.cuh).

With ``y = K_1 ... K_L x`` and a gradient g of y, the runs are applied forward, what enters each is
kept, and back: one kernel takes what enters a run and the gradient of what leaves it, recomputes
what is between in shared memory, and gives the gradient of what enters and of all values.  Partial
sums over columns are added up afterwards, in a fixed order: bits do not depend on how blocks are
scheduled.  Factors with large blocks go one by one, their values by matmul of the library.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..._array import Array, array_namespace, cast, conj, dtype_name, is_complex_name
from ...pattern import Pattern
from ..stage import Stage
from . import launches
from .chain import aligned, in_fortran_order, ready_rows
from .cost import Case, flat_seconds, sectors_of
from .launches import Held, Layout
from .plan import inverse
from .segments import on_device, segments
from .text import ITEMSIZE, SUMS
from .tiles import Geometry, geometry

BLOCK = 8  # b and c up to which the sums of values are kept in registers
KEPT = 64  # registers of a thread for them
THREADS = 512


class Cut(NamedTuple):
    """A run of a backward pass: factors start .. stop - 1; tile_n is 0 for a factor by itself."""

    start: int
    stop: int
    tile_n: int
    tile_k: int


@functools.lru_cache(256)
def cuts(patterns: tuple[Pattern, ...], case: Case) -> tuple[Cut, ...]:
    """The cheapest runs, in the order in which they are applied."""
    best: list[tuple[float, tuple[Cut, ...]]] = [(0.0, ())]
    for stop in range(1, len(patterns) + 1):
        found = []
        for start in range(stop):
            seconds, tile_n, tile_k = _cost(patterns[start:stop], case)
            before, known = best[start]
            found.append((before + seconds, (*known, Cut(start, stop, tile_n, tile_k))))
        best.append(min(found))
    return best[-1][1]


def _cost(patterns: tuple[Pattern, ...], case: Case) -> tuple[float, int, int]:
    """(seconds, tile_n, tile_k) of the best tile; else of one factor by itself, or infinity."""
    shape = geometry(patterns)
    found: list[tuple[float, int, int]] = []
    small = max(max(p.b, p.c) for p in patterns) <= BLOCK
    for tile_n, tile_k in itertools.product((1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32)):
        if small and _fits(shape, tile_n, tile_k, case):
            moved: float = case.item * (2 * shape.first_rows + shape.last_rows)
            moved *= shape.outer * shape.inner * case.columns
            moved /= sectors_of(shape, tile_n, tile_k, case)
            moved += 3 * case.bytes_of_values(patterns)
            seconds = flat_seconds(moved, 3 * case.flops(patterns), case, 1)
            tiles = shape.outer * -(-shape.inner // tile_k) * -(-case.columns // tile_n)
            waves = -(-tiles // case.device.processors)
            late = waves * (case.device.begin + 3 * len(patterns) * case.device.stage)
            found.append((max(seconds, late + case.device.launch), tile_n, tile_k))
    if found:
        return min(found)
    if len(patterns) > 1:
        return np.inf, 0, 0
    # x and g are read twice, y and the gradients written
    alone: float = 3 * case.item * sum(patterns[0].shape) * case.columns
    alone += 3 * case.bytes_of_values(patterns)
    return flat_seconds(alone, 2 * case.flops(patterns), case, 3), 0, 0


def _fits(shape: Geometry, tile_n: int, tile_k: int, case: Case) -> bool:
    """Whether the inputs of all stages fit in shared memory, and sums of values in registers."""
    if (tile_n > 1 and tile_n >= 2 * case.columns) or (tile_k > 1 and tile_k >= 2 * shape.inner):
        return False
    if tile_k > 1 and not case.along_columns and shape.inner == 1:
        return False
    held = ITEMSIZE[SUMS[case.dtype]]
    buffers = len(shape.stages) + (1 if shape.in_place else 2)
    rows = -(-shape.most_rows // 64) * 64  # what the order of rows in banks may add
    if buffers * rows * tile_n * tile_k * held > case.device.shared_block:
        return False
    sums = sum(-(-a * d * tile_k // THREADS) * b * c for a, b, c, d in shape.stages)
    return sums * held // 4 <= KEPT


class Task(NamedTuple):
    """What the runs of a backward pass have in common."""

    layout: Layout
    dtype: str
    machine: Any

    @property
    def fortran(self) -> bool:
        return not self.layout.along_columns

    def empty(self, rows: int) -> Any:
        return self.machine.empty((rows, self.layout.columns), self.dtype, self.fortran)


class Part(NamedTuple):
    """A run with the permutations at its ends, on the device.

    index, back : in front of it, and its inverse
    after, scatter : behind it, and its inverse
    """

    factors: tuple[Held, ...]
    cut: Cut
    index: Any = None
    back: Any = None
    after: Any = None
    scatter: Any = None

    @property
    def rows(self) -> int:
        return self.factors[-1].pattern.shape[0]

    @property
    def columns(self) -> int:
        return self.factors[0].pattern.shape[1]


def gradients(
    stages: Sequence[Stage], g: Array, x: Array, wanted: Sequence[bool], machine: Any
) -> list[Array]:
    """Those wanted of the gradients of x and of each stage that holds values, in this order.

    Parameters
    ----------
    g : gradient of ``stages[0] @ stages[1] @ ... @ x``, of the dtype of that
    wanted : of x, and of each stage that holds an array (never of an index)
    """
    dtype = dtype_name(g.dtype)
    fortran = in_fortran_order(x)
    layout = Layout(x.shape[1], not fortran, aligned(x, dtype))
    task = Task(layout, dtype, machine)
    found, scale = segments(stages, dtype, machine)
    if not (isinstance(scale, int) and scale == 1):
        g = g * (scale.conjugate() if isinstance(scale, complex) else scale)
    g = in_order(cast(g, dtype), fortran)
    parts = [p for s in found for p in _parts(s, task)]
    entering = [in_order(cast(x, dtype), fortran)]
    for part in parts[:-1]:
        entering.append(_forward(part, entering[-1], task))
    asked = [w for s, w in zip(_holders(stages), wanted[1:], strict=True) if s.index is None]
    sums: list[Any] = []
    wants = list(asked)  # of the factors, the one applied last in front
    for number in range(len(parts) - 1, -1, -1):
        part = parts[number]
        count = len(part.factors)
        mine, wants = wants[:count], wants[count:]
        further = number > 0 or wanted[0]
        g, of_values = _back(part, entering[number], g, mine, further, task)
        sums += of_values
    holders = [s for s in _holders(stages) if s.index is None]
    result = [_stored(v, s) for v, s, w in zip(sums, holders, asked, strict=True) if w]
    return [as_kind(g, dtype_name(x.dtype)), *result] if wanted[0] else result


def _holders(stages: Sequence[Stage]) -> list[Stage]:
    return [s for s in stages if s.values is not None or s.index is not None]


def in_order(x: Array, fortran: bool) -> Array:
    """In one piece, rows or columns side by side."""
    return ready_rows(x.T).T if fortran else ready_rows(x)


def _parts(segment: Any, task: Task) -> list[Part]:
    factors = segment.factors
    case = Case(task.layout.columns, task.dtype, task.layout.along_columns,
                device=task.machine.device)  # fmt: skip
    found, start = [], 0
    while start < len(factors):  # a kernel reads one storage type
        stop = start + 1
        while stop < len(factors) and factors[stop].storage == factors[start].storage:
            stop += 1
        piece = factors[start:stop]
        for cut in cuts(tuple(f.pattern for f in piece), case):
            found.append(Part(piece[cut.start : cut.stop], cut))
        start = stop
    if segment.before is not None:
        index, back = (on_device(task.machine, i) for i in both_ways(segment.before))
        found[0] = found[0]._replace(index=index, back=back)
    if segment.after is not None:
        after, scatter = (on_device(task.machine, i) for i in both_ways(segment.after))
        found[-1] = found[-1]._replace(after=after, scatter=scatter)
    return found


def both_ways(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return index, inverse(index)


def _forward(part: Part, x: Array, task: Task) -> Array:
    y = task.empty(part.rows)
    if part.cut.tile_n:
        launch = launches.chain_launch(
            part.factors, task.layout, task.dtype, part.cut.tile_n, part.cut.tile_k,
            part.index, part.scatter,
        )  # fmt: skip
        task.machine.launch(launch, [x], [y])
        return y
    launch = launches.one_factor(part.factors[0], task.layout, task.dtype, part.index)
    task.machine.launch(launch, [x], [y])
    return y if part.after is None else in_order(y[part.after], task.fortran)


def _back(
    part: Part, x: Array, g: Array, wanted: Sequence[bool], further: bool, task: Task
) -> tuple[Array, list[Array | None]]:
    """The gradient of what enters a run, and of the values, the factor applied last in front."""
    if not part.cut.tile_n:
        return _back_alone(part, x, g, wanted[0], further, task)
    shape = geometry([f.pattern for f in part.factors])
    tiles = shape.outer * -(-shape.inner // part.cut.tile_k)
    of_columns = -(-task.layout.columns // part.cut.tile_n)
    parts = max(1, min(of_columns, -(-2 * task.machine.device.processors // tiles)))
    forward = list(wanted)[::-1]
    sums = [
        task.machine.empty((parts, *f.pattern), SUMS[task.dtype], False) if w else None
        for f, w in zip(part.factors, forward, strict=True)
    ]
    gx = task.empty(part.columns) if further else None
    launch = launches.gradient_launch(
        part.factors, task.layout, task.dtype, part.cut.tile_n, part.cut.tile_k, sums, parts,
        part.index, part.scatter,
    )  # fmt: skip
    task.machine.launch(launch, [x, g], [gx], [s for s in sums if s is not None])
    return gx, [None if s is None else s.sum(0) for s in sums][::-1]


def _back_alone(
    part: Part, x: Array, g: Array, wanted: bool, further: bool, task: Task
) -> tuple[Array, list[Array | None]]:
    (held,) = part.factors
    g = g if part.scatter is None else in_order(g[part.scatter], task.fortran)
    of_values = None
    if wanted:
        z = x if part.index is None else x[part.index]
        of_values = outer(held.pattern, g, z)
    if not further:
        return g, [of_values]
    adjoint = held_adjoint(held)
    gx = task.empty(part.columns)
    task.machine.launch(launches.one_factor(adjoint, task.layout, task.dtype), [g], [gx])
    if part.back is not None:
        gx = in_order(gx[part.back], task.fortran)
    return gx, [of_values]


def held_adjoint(held: Held) -> Held:
    """The adjoint of a factor, by the same array."""
    conjugated = not held.conjugated and is_complex_name(held.dtype)
    return replace(
        held, pattern=held.pattern.T, transposed=not held.transposed, conjugated=conjugated
    )


def outer(p: Pattern, g: Array, z: Array) -> Array:
    """``sum_n g[(i, r, k), n] conj(z[(i, s, k), n])``, of shape (a, b, c, d)."""
    xp = array_namespace(g)
    a, b, c, d = p
    left = xp.permute_dims(xp.reshape(g, (a, b, d, -1)), (0, 2, 1, 3))
    right = xp.permute_dims(xp.reshape(conj(z), (a, c, d, -1)), (0, 2, 3, 1))
    return xp.permute_dims(left @ right, (0, 2, 3, 1))


def _stored(gradient: Array, stage: Stage) -> Array:
    """Of the values as they are stored: transposed and conjugated back, real where they are."""
    xp = array_namespace(gradient)
    if stage.pattern is None:
        gradient = xp.reshape(gradient, (-1,))
    elif stage.transpose:
        gradient = xp.permute_dims(gradient, (0, 2, 1, 3))
    name = dtype_name(stage.values.dtype)
    if stage.conj and is_complex_name(name):
        gradient = conj(gradient)
    return as_kind(gradient, name)


def as_kind(gradient: Array, name: str) -> Array:
    """In the dtype of what it belongs to: of a real array, the real part."""
    if is_complex_name(dtype_name(gradient.dtype)) and not is_complex_name(name):
        gradient = array_namespace(gradient).real(gradient)
    return cast(gradient, name)
