"""A product of stages on a device: runs of factors as kernels, permutations in their gathers.

Nothing here touches a device but through a `Machine`: CuPy's (cuda/machine.py), or the emulator of
the tests, which runs the same text and the same plan on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..._array import dtype_name, is_complex_name, real_dtype
from ...pattern import Pattern
from ..codes import Codes
from ..stage import Stage
from . import launches
from .cost import FREE, Bias, Case, Choice, Device, by_dense, plan_runs
from .launches import Held, Launch, Layout
from .products import Multiplication, dense_is_faster, dense_of
from .segments import Segment, merged, on_device, packed, resident, segments
from .text import ITEMSIZE, SUMS, TYPES


class Machine(Protocol):
    """What runs kernels: a device, or what stands for one."""

    device: Device

    def empty(self, shape: tuple[int, ...], dtype: str, fortran: bool) -> Any: ...

    def array(self, values: np.ndarray) -> Any:
        """Integers and tables, where the kernels read them."""

    def settle(self) -> None:
        """Wait for what the caller's stream has to do."""

    def launch(self, launch: Launch, inputs: Sequence, outputs: Sequence, hidden: Sequence = ()):
        """Run a kernel on the caller's stream; `hidden`: results that its arguments point to."""

    def seconds(self, call: Callable[[], Any], until: float, clock: Callable[[], float]) -> float:
        """The median time of a call on the device."""

    def multiply(self, left: Any, right: Any, out: Any) -> None:
        """``out[g] = left[g] @ right[g]`` by the array library, on the caller's stream."""


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


class Step(NamedTuple):
    """One kernel of a plan, or one factor by matmul of the array library."""

    launch: Launch | Multiplication
    rows: int
    moved: int  # bytes of x and y, each passed once
    keep: tuple[Any, ...]  # arrays that the arguments point to
    choice: Choice | None
    values: int = 0  # bytes
    flops: int = 0

    def run(self, machine: Machine, x: Any, y: Any) -> None:
        if isinstance(self.launch, Multiplication):
            self.launch.run(machine, x, y)
        else:
            machine.launch(self.launch, [x], [y])

    @property
    def seconds(self) -> float:
        return self.choice.seconds if self.choice is not None else 0.0


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

    def __call__(self, x: Any) -> Any:
        for step in self.steps:
            y = self.machine.empty((step.rows, self.columns), self.dtype, self.fortran)
            step.run(self.machine, x, y)
            x = y
        return x if isinstance(self.scale, int) and self.scale == 1 else self.scale * x

    @property
    def seconds(self) -> float:
        """What the model says that it takes."""
        return sum(step.seconds for step in self.steps)

    def __str__(self) -> str:
        from .report import lines

        return "\n".join(lines(self))


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
    bias: Bias = FREE,
    copies: dict[tuple, Any] | None = None,
) -> DevicePlan:
    """The plan of ``stages[0] @ stages[1] @ ...`` for x of shape (rows, columns).

    Parameters
    ----------
    dtype : of x and the result
    along_columns : whether columns lie side by side (C order)
    aligned : bytes that the rows of x and y are aligned to
    frozen : values are read where they are: none is merged or packed (they change, or want
        gradients)
    bias : what the plan may do
    copies : of merged and packed values; plans of the same stages for other widths share them
    """
    copies = {} if copies is None else copies
    layout = Layout(columns, along_columns, aligned)
    found, scale = segments(stages, dtype, machine)
    case = Case(columns, dtype, along_columns, device=machine.device, bias=bias)
    planned = [(segment, list(_runs(segment, case, frozen))) for segment in found]
    seconds = sum(choice.seconds for _, runs in planned for choice, _ in runs)
    last = found[-1].rows if found else rows
    coded = any(f.codes is not None for segment in found for f in segment.factors)
    if found and not (frozen or coded) and dense_is_faster(seconds, (last, rows), case):
        steps = [_dense(found, rows, last, case, machine, copies)]
    else:
        steps = [
            s
            for number, p in enumerate(planned)
            for s in _steps(*p, layout, dtype, machine, frozen, _Copies(copies, (number, dtype)))
        ]
    return DevicePlan(steps, dtype, columns, not along_columns, scale, machine, last)


class _Copies(NamedTuple):
    """Copies of the values of one segment."""

    kept: dict[tuple, Any]
    segment: tuple

    def of(self, start: int, run: list[Held], choice: Choice, pack: bool) -> list[Held]:
        """Factors from `start` on, merged as the choice says; rows in one piece where `pack`."""
        key = (*self.segment, start, choice.merged, pack)
        if key not in self.kept:
            held = _merged(run, choice.merged)
            self.kept[key] = [packed(f) for f in held] if pack else held
        return self.kept[key]


def _dense(
    found: list[Segment], rows: int, last: int, case: Case, machine: Machine, copies: dict
) -> Step:
    """The whole product as one matrix."""
    p = Pattern(1, last, rows, 1)
    seconds, bound = by_dense((last, rows), case)
    choice = Choice(seconds, (p,), (sum(len(s.factors) for s in found),), 0, 0, bound, "dense")
    key = "dense", case.dtype
    if key not in copies:
        copies[key] = dense_of(found, rows, case.dtype, machine)
    work = Multiplication(copies[key])
    moved = (rows + last) * case.columns * case.item
    return Step(work, last, moved, (), choice, p.entries * case.item, case.flops([p]))


def _runs(segment: Segment, case: Case, frozen: bool) -> Iterator[tuple[Choice, list[Held]]]:
    """Each run with the choice made for it; runs read one storage type."""
    factors, start = segment.factors, 0
    while start < len(factors):
        end = start + 1
        while end < len(factors) and factors[end].storage == factors[start].storage:
            end += 1
        piece = list(factors[start:end])
        coded = piece[0].codes
        fixed = frozen or coded is not None
        at = 0
        for choice in plan_runs(
            [f.pattern for f in piece],
            **case._replace(
                value_bytes=None if coded is None else coded.format.bits / 8,
                matmul=not fixed and piece[0].dtype == case.dtype,
            )._asdict(),
            fixed=frozenset(range(len(piece)) if fixed else ()),
            gathered=start == 0 and segment.before is not None,
        ):
            count = sum(choice.merged)
            yield choice, piece[at : at + count]
            at += count
        start = end


def _steps(
    segment: Segment,
    runs: Sequence[tuple[Choice, list[Held]]],
    layout: Layout,
    dtype: str,
    machine: Machine,
    frozen: bool,
    copies: _Copies,
) -> Iterator[Step]:
    start = 0
    for number, (choice, run) in enumerate(runs):
        index = scatter = None
        if number == 0 and segment.before is not None:
            index = on_device(machine, segment.before)
        after = segment.after if number == len(runs) - 1 else None
        apart = launches.reads_apart(choice.patterns[0], layout)
        pack = not frozen and (choice.how != "factor" or apart)
        held = copies.of(start, run, choice, pack)
        start += len(run)
        work: Launch | Multiplication
        if choice.how == "run":
            if after is not None:
                scatter = on_device(machine, inverse(after))
            work = launches.chain_launch(
                held, layout, dtype, choice.tile_n, choice.tile_k, index, scatter
            )
        elif choice.how == "matmul":
            work = Multiplication(held[0].array)
        else:
            work = launches.one_factor(held[0], layout, dtype, index)
        yield _step(work, held, (held, index, scatter), choice, layout, dtype)
        if after is not None and choice.how != "run":
            yield _gather(after, layout, dtype, machine)


def _step(work, held: list[Held], keep: tuple, choice: Choice, layout, dtype: str) -> Step:
    patterns = [f.pattern for f in held]
    rows, item = patterns[-1].shape[0], ITEMSIZE[dtype]
    moved = (rows + patterns[0].shape[1]) * layout.columns * item
    bits = [f.codes.format.bits * (1 + f.codes.pair) if f.codes else 8 * item for f in held]
    values = sum(p.entries * b for p, b in zip(patterns, bits, strict=True)) // 8
    flops = Case(layout.columns, dtype).flops(patterns)
    return Step(work, rows, moved, keep, choice, values, flops)


def inverse(index: np.ndarray) -> np.ndarray:
    found = np.empty(len(index), np.int32)
    found[index] = np.arange(len(index), dtype=np.int32)
    return found


def _merged(run: list[Held], counts: tuple[int, ...]) -> list[Held]:
    found, at = [], 0
    for count in counts:
        found.append(merged(run[at : at + count]))
        at += count
    return found


def _gather(index: np.ndarray, layout, dtype, machine) -> Step:
    """A permutation by itself: a factor of ones behind it."""
    n = len(index)
    name = SUMS[dtype]
    real = real_dtype(name) if is_complex_name(name) else name
    held = Held(resident(machine, np.ones((1, 1, 1, n), real)), real, Pattern(1, 1, 1, n))
    perm = on_device(machine, index)
    launch = launches.one_factor(held, layout, dtype, perm)
    return Step(launch, n, 2 * n * layout.columns * ITEMSIZE[dtype], (held, perm), None)
