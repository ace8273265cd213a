"""A product of stages on a device: runs of factors as kernels, permutations in their gathers.

Nothing here touches a device but through a `Machine`: CuPy's (cuda/machine.py), or the emulator of
the tests, which runs the same text and the same plan on a CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..._array import array_namespace, cast, dtype_name, is_complex_name, real_dtype
from ...pattern import Pattern
from ..codes import TABLE, Codes
from ..reference import ks_fuse
from ..stage import Stage, with_scales_apart
from . import launches
from .cost import Choice, Device, plan_runs
from .launches import Held, Launch, Layout, kind_of
from .text import ITEMSIZE, SUMS, TYPES


class Machine(Protocol):
    """What runs kernels: a device, or what stands for one."""

    device: Device

    def empty(self, shape: tuple[int, ...], dtype: str, fortran: bool) -> Any: ...

    def array(self, values: np.ndarray) -> Any:
        """Integers and tables, where the kernels read them."""

    def launch(self, launch: Launch, inputs: Sequence, outputs: Sequence, hidden: Sequence = ()):
        """Run a kernel on the caller's stream; `hidden`: results that its arguments point to."""


class Segment(NamedTuple):
    """Factors between two permutations, in the order in which they are applied."""

    before: np.ndarray | None  # y = x[before], applied first
    factors: tuple[Held, ...]
    after: np.ndarray | None  # applied last, of the last segment only


def obstacle(stages: Sequence[Stage], dtype: str) -> str | None:
    """Why kernels of a device cannot run this product on arrays of a dtype; None if they can."""
    if dtype not in TYPES:
        return f"it takes {', '.join(TYPES)}, got {dtype}"
    if not any(s.pattern is not None for s in stages):
        return "there is no factor to multiply with"
    for s in stages:
        if s.values is not None and not isinstance(s.values, Codes):
            name = dtype_name(s.values.dtype)
            if name not in TYPES:
                return f"it takes values among {', '.join(TYPES)}, got {name}"
        if s.scale is not None and not isinstance(s.scale, (int, float, complex, np.generic)):
            return "it takes scalars of Python and NumPy"
    return None


def segments(
    stages: Sequence[Stage], dtype: str, machine: Machine
) -> tuple[list[Segment], int | float | complex]:
    """The product in the order of its application, and the scalar that is left of it."""
    found: list[Segment] = []
    index: np.ndarray | None = None
    factors: list[Held] = []
    scale: Any = 1
    for stage in reversed(with_scales_apart(stages)):
        if stage.index is not None:
            if factors:
                found.append(Segment(index, tuple(factors), None))
                index, factors = None, []
            here = np.asarray(stage.index)
            index = here if index is None else index[here]
        elif stage.scale is not None:
            value = stage.scale
            scale = scale * (np.conj(value) if stage.conj else value)
        elif stage.values is not None:
            factors.append(hold(stage, dtype, machine))
    if factors:
        found.append(Segment(index, tuple(factors), None))
    elif index is not None and found:
        found[-1] = found[-1]._replace(after=index)
    return found, scale


def hold(stage: Stage, dtype: str, machine: Machine) -> Held:
    """A factor's values as kernels read them: real values stay real beside complex x."""
    values = stage.values
    if isinstance(values, Codes):
        table = (
            machine.array(np.asarray(values.format.table, np.float32))
            if kind_of(values) == TABLE
            else None
        )
        name = "complex64" if values.pair else "float32"
        conjugated = stage.conj and values.pair
        return Held(
            values.array, name, stage.pattern, stage.transpose, conjugated, False, values, table
        )
    name = dtype_name(values.dtype)
    wanted = dtype if is_complex_name(name) or not is_complex_name(dtype) else real_dtype(dtype)
    if dtype not in ("float16", "bfloat16") or name not in TYPES:
        values = cast(values, wanted)
        name = wanted
    xp = array_namespace(values)
    conjugated = stage.conj and is_complex_name(name)
    if stage.pattern is None:  # a diagonal is a factor with b = c = 1
        n = values.shape[0]
        return Held(xp.reshape(values, (1, 1, 1, n)), name, Pattern(1, 1, 1, n), False, conjugated)
    return Held(contiguous(values), name, stage.pattern, stage.transpose, conjugated)


def contiguous(array: Any) -> Any:
    """In C order: kernels address values by the strides of that."""
    if hasattr(array, "contiguous"):
        return array.contiguous()
    flags = getattr(array, "flags", None)
    if flags is not None and not flags.c_contiguous:
        return array.copy(order="C")
    return array


def merged(factors: Sequence[Held]) -> Held:
    """Neighbours that chain as one factor, in the order in which they are applied."""

    def two(first: Held, then: Held) -> Held:
        if then.pattern.chains_with(first.pattern):
            values = ks_fuse(acting(then), acting(first))
            return Held(values, first.dtype, then.pattern.fused_with(first.pattern))
        values = ks_fuse(transposed(acting(first)), transposed(acting(then)))
        values = transposed(values)
        pattern = first.pattern.T.fused_with(then.pattern.T).T
        return Held(values, first.dtype, pattern)

    one = functools.reduce(two, factors)
    return one if len(factors) == 1 else Held(contiguous(one.array), one.dtype, one.pattern)


def acting(held: Held) -> Any:
    values = transposed(held.array) if held.transposed else held.array
    return array_namespace(values).conj(values) if held.conjugated else values


def transposed(values: Any) -> Any:
    return array_namespace(values).permute_dims(values, (0, 2, 1, 3))


def packed(held: Held) -> Held:
    """Values (a, d, b, c), rows in one piece."""
    if held.codes is not None or held.packed:
        return held
    values = array_namespace(held.array).permute_dims(acting(held), (0, 3, 1, 2))
    return Held(contiguous(values), held.dtype, held.pattern, packed=True)


class Step(NamedTuple):
    """One kernel of a plan."""

    launch: Launch
    rows: int
    moved: int  # bytes of x and y, each passed once
    keep: tuple[Any, ...]  # arrays that the arguments point to
    choice: Choice | None


@dataclass
class DevicePlan:
    """Kernels for x of shape (n, columns), of one dtype and one order; call it with such an x."""

    steps: list[Step]
    dtype: str
    columns: int
    fortran: bool
    scale: Any
    machine: Machine
    rows: int
    keep: list[Any] = field(default_factory=list)

    def __call__(self, x: Any) -> Any:
        for step in self.steps:
            y = self.machine.empty((step.rows, self.columns), self.dtype, self.fortran)
            self.machine.launch(step.launch, [x], [y])
            x = y
        return x if isinstance(self.scale, int) and self.scale == 1 else self.scale * x

    def __str__(self) -> str:
        lines = []
        for step in self.steps:
            variant = step.launch.variant
            stages = " ".join(f"({s.a},{s.b},{s.c},{s.d})" for s in variant.stages)
            bound = f", bound by {step.choice.bound}" if step.choice else ""
            lines.append(
                f"{variant.kernel} {stages}: {step.launch.grid} blocks of "
                f"{step.launch.threads} threads, {variant.shared} bytes shared{bound}"
            )
        return "\n".join(lines)


def make_plan(
    stages: Sequence[Stage],
    rows: int,
    columns: int,
    dtype: str,
    along_columns: bool,
    aligned: int,
    machine: Machine,
    *,
    frozen: bool = False,
) -> DevicePlan:
    """The plan of ``stages[0] @ stages[1] @ ...`` for x of shape (rows, columns).

    Parameters
    ----------
    dtype : of x and the result
    along_columns : whether columns lie side by side (C order)
    aligned : bytes that the rows of x and y are aligned to
    frozen : values are read where they are: none is merged or packed (they change, or want
        gradients)
    """
    layout = Layout(columns, along_columns, aligned)
    found, scale = segments(stages, dtype, machine)
    steps: list[Step] = []
    for segment in found:
        steps += _steps(segment, layout, dtype, machine, frozen)
    last = steps[-1].rows if steps else rows
    return DevicePlan(steps, dtype, columns, not along_columns, scale, machine, last)


def _steps(segment: Segment, layout, dtype, machine, frozen) -> list[Step]:
    factors = list(segment.factors)
    coded = {n for n, f in enumerate(factors) if f.codes is not None}
    fixed = frozenset(range(len(factors)) if frozen else coded)
    found: list[Step] = []
    for choice, run in _runs(factors, fixed, layout, dtype, machine):
        first, last = not found, run[-1] is factors[-1]
        index = None
        if first and segment.before is not None:
            index = machine.array(segment.before.astype(np.int32))
        after = segment.after if last else None
        held = _merged(run, choice.merged)
        rows = held[-1].pattern.shape[0]
        keep: tuple[Any, ...] = (held, index)
        if choice.tile_n:
            scatter = None
            if after is not None:
                inverse = np.empty(len(after), np.int32)
                inverse[after] = np.arange(len(after), dtype=np.int32)
                scatter = machine.array(inverse)
            if not frozen and not any(f.codes for f in held):
                held = [packed(f) for f in held]
            launch = launches.chain_launch(
                held, layout, dtype, choice.tile_n, choice.tile_k, index, scatter
            )
            keep = (held, index, scatter)
        else:
            launch = launches.one_factor(held[0], layout, dtype, index)
        moved = (rows + held[0].pattern.shape[1]) * layout.columns * ITEMSIZE[dtype]
        found.append(Step(launch, rows, moved, keep, choice))
        if after is not None and not choice.tile_n:
            found += _gather(after, layout, dtype, machine)
    return found


def _runs(factors, fixed, layout, dtype, machine):
    """Each run with the choice made for it; runs read one storage type."""
    start = 0
    while start < len(factors):
        end = start + 1
        while end < len(factors) and factors[end].storage == factors[start].storage:
            end += 1
        piece = factors[start:end]
        held = frozenset(f - start for f in fixed if start <= f < end)
        bits = piece[0].codes.format.bits if piece[0].codes is not None else None
        at = start
        for choice in plan_runs(
            [f.pattern for f in piece],
            layout.columns,
            dtype,
            along_columns=layout.along_columns,
            value_bytes=None if bits is None else bits / 8,
            device=machine.device,
            fixed=held,
        ):
            count = sum(choice.merged)
            yield choice, factors[at : at + count]
            at += count
        start = end


def _merged(run: list[Held], counts: tuple[int, ...]) -> list[Held]:
    found, at = [], 0
    for count in counts:
        found.append(merged(run[at : at + count]))
        at += count
    return found


def _gather(index: np.ndarray, layout, dtype, machine) -> list[Step]:
    """A permutation by itself: a factor of ones behind it."""
    n = len(index)
    name = SUMS[dtype]
    real = real_dtype(name) if is_complex_name(name) else name
    held = Held(machine.array(np.ones((1, 1, 1, n), real)), real, Pattern(1, 1, 1, n))
    perm = machine.array(index.astype(np.int32))
    launch = launches.one_factor(held, layout, dtype, perm)
    return [Step(launch, n, 2 * n * layout.columns * ITEMSIZE[dtype], (held, perm), None)]
