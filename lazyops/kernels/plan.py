"""plan(stages, like): how a product of stages is computed on NumPy arrays.

A plan is a list of steps: programs of the compiled chain kernel (one or several runs each), and,
where that cannot run, single stages.  Each says why it is there; `explain` prints them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _array
from . import cpu
from .memory import LARGE, result
from .program import Part, Program, parts_of
from .runs import TOGETHER, Class
from .stage import Group, Stage, groups, is_complex, result_dtype, with_scales_apart

__all__ = ["Plan", "Step", "obstacle", "plan", "shape_class"]

FEW = 8  # columns up to which lanes are blocks; beyond, they are columns
WASTE = 4.0  # padding of lanes from which a lone factor is left to the single-factor kernel
PIECE = 512  # bytes side by side in memory that are worth having
DTYPES = cpu.DTYPES.split(", ")
TAKEN = "fdFD"  # their characters, in either order of bytes
ndarray, empty = np.ndarray, np.empty


def packing_allowed() -> bool:
    """``LAZYOPS_PACK=0`` refuses packed copies: every factor runs by itself."""
    return os.environ.get("LAZYOPS_PACK", "1") != "0"


def obstacle(stages: Sequence[Stage], like: Any) -> str | None:
    """Why the chain kernel cannot run this product; None if it can."""
    if not isinstance(like, ndarray):
        return "it takes NumPy arrays"
    if (why := cpu.missing()) is not None:
        return why
    if not packing_allowed():
        return "LAZYOPS_PACK=0 refuses packed copies"
    for s in stages:
        for array in (s.held, s.index):
            if array is not None and not isinstance(array, ndarray):
                return "it takes NumPy arrays"
        if s.values is not None and s.values.dtype.char not in TAKEN:
            return f"it takes values among {cpu.DTYPES}, got {s.values.dtype}"
        if s.values is not None and not s.values.size:
            return "there is nothing to multiply"
        if s.scale is not None and not isinstance(s.scale, (int, float, complex, np.generic)):
            return "it takes scalars of Python and NumPy"
        if isinstance(s.scale, int) and abs(s.scale) >> 1000:
            return f"{s.scale.bit_length()} bits are too many for a float"
    name = result_dtype(stages, like.dtype.name)
    return None if name in DTYPES else f"it computes in {cpu.DTYPES}, not in {name}"


def shape_class(columns: int, strides: tuple[int, ...], itemsize: int) -> tuple[int, bool]:
    """What a plan depends on, for an `x` of shape (n, columns): (together, turned).

    together : 0 where lanes are blocks, else how many blocks lie side by side between two runs
    turned : whether columns lie one after the other, in `x` and in the result (Fortran order)
    """
    if columns <= 1:
        return 0, False
    turned = strides[0] == itemsize and strides[1] != itemsize
    if columns <= FEW:
        return 0, turned
    together = TOGETHER
    while together > 1 and columns * itemsize * together > 2 * PIECE:
        together //= 2
    return together, turned


class Step(NamedTuple):
    """One step: a program of the chain kernel, or stages that run one by one; and why."""

    program: Program | None
    stages: tuple[Stage, ...]
    why: str


class Plan:
    """Steps for one shape class: call it with a 2-D NumPy array of dtype `dtype`."""

    def __init__(self, steps: list[Step], dtype: str, rows: int, fortran: bool):
        self.steps, self.dtype, self.rows, self.fortran = steps, np.dtype(dtype), rows, fortran
        only = steps[0].program if len(steps) == 1 else None
        self._address = only.address if only is not None else 0
        self._small = rows * self.dtype.itemsize <= LARGE
        found = cpu.library()
        self._chain = None if isinstance(found, str) else found.chain

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The product, fresh, of shape (rows, x.shape[1])."""
        dtype = self.dtype
        if x.dtype != dtype:
            x = x.astype(dtype)
        if self._address:
            if x.shape[1] == 1 and self._small:
                y = empty((self.rows, 1), dtype)
                if self._chain(self._address, x, y) == 0:  # type: ignore[misc]
                    return y
            return self._run(self._address, self.rows, x)
        for step in self.steps:
            if step.program is not None:
                x = self._run(step.program.address, step.program.rows, x)
            else:
                for stage in reversed(step.stages):
                    x = one(stage, x, dtype)
        return x

    def _run(self, address: int, rows: int, x: np.ndarray) -> np.ndarray:
        shape = (rows, x.shape[1])
        if rows * x.shape[1] * x.itemsize > LARGE:
            y = result(shape, x.dtype, self.fortran)
        else:
            y = empty(shape, x.dtype, "F" if self.fortran else "C")
        outcome = self._chain(address, x, y)  # type: ignore[misc]
        if outcome == 0:
            return y
        return self._again(outcome, address, x, y)

    def _again(self, outcome: int, address: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if outcome == cpu.BAD_ORDER:
            x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
            outcome = self._chain(address, x, y)  # type: ignore[misc]
        if outcome == cpu.NO_MEMORY:
            raise MemoryError("no memory for the intermediate results of a product")
        if outcome:
            raise RuntimeError(f"the chain kernel refused {x.dtype} {x.shape}: outcome {outcome}")
        return y

    @property
    def packed(self) -> list[Any]:
        """The packed copies that the programs read."""
        return [p for s in self.steps if s.program is not None for p in s.program.packed]

    @property
    def nbytes(self) -> int:
        """Bytes of tables and diagonals; packed copies are counted apart, each once."""
        return sum(s.program.nbytes for s in self.steps if s.program is not None)


def one(stage: Stage, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A single stage, by the single-factor kernel or by NumPy."""
    if stage.index is not None:
        return x[stage.index]
    if stage.pattern is not None:
        from . import ks_matmat

        values = stage.values.decoded() if stage.coding else stage.values
        values = _array.cast(values, dtype.name)
        return ks_matmat(values, x, stage.transpose, stage.conj)
    if stage.values is not None:
        values = stage.values.conj() if stage.conj else stage.values
        return (values[:, None] * x).astype(dtype, copy=False)
    return x if stage.scale is None else (stage.scale * x).astype(dtype, copy=False)


def plan(stages: Sequence[Stage], like: np.ndarray, changing: bool = False) -> Plan:
    """A plan of ``stages[0] @ stages[1] @ ...`` for arrays of the dtype, width and order of `like`.

    For stages without an `obstacle`, which the caller has asked about.  `changing`: values that
    repeat now may be others when the plan runs.
    """
    stages = with_scales_apart(stages, packed=True)
    name = result_dtype(stages, like.dtype.name)
    together, turned = shape_class(like.shape[1], like.strides, like.itemsize)
    kind = class_of(name if is_complex(stages) else _array.real_dtype(name), together, turned)
    rows = _rows(stages, like.shape[0])
    steps: list[Step] = []
    waiting: list[Part] = []
    for group in groups(stages):
        why = _alone(group, kind)
        if why is None:
            waiting += parts_of(group, kind, changing)
            continue
        _flush(waiting, steps, kind)
        steps.append(Step(None, _as_stages(group), why))
    _flush(waiting, steps, kind)
    return Plan(steps, name, rows, turned)


def _flush(waiting: list[Part], steps: list[Step], kind: Class) -> None:
    if waiting:
        form = "lanes are columns" if kind.batch else "lanes are blocks"
        steps.append(Step(Program(waiting, kind), (), f"{len(waiting)} runs, {form}"))
        waiting.clear()


def class_of(dtype: str, together: int, turned: bool) -> Class:
    found = cpu.library()
    assert not isinstance(found, str)
    size = np.dtype(_array.real_dtype(dtype)).itemsize
    parts = 2 if _array.is_complex_name(dtype) else 1
    return Class(dtype, together, found.vector_bytes // size, parts, size, turned and together > 0)


def _alone(group: Group, kind: Class) -> str | None:
    """Why a group is not for the chain kernel, or None."""
    factors = group.factors
    if not factors:
        return "no factor: diagonals, scalars and permutations only"
    if len(factors) == 1 and not kind.batch:
        a, b, c, d = factors[0].pattern
        if -(-a * d // kind.lanes) * kind.lanes > WASTE * a * d and b * c > 256:
            return f"a lone factor with {a * d} blocks for {kind.lanes} lanes"
    return None


def _as_stages(group: Group) -> tuple[Stage, ...]:
    """Back to the order of a product."""
    found = list(reversed(group.stages))
    if group.index is not None:
        found.append(Stage(index=group.index))
    if group.after is not None:
        found.insert(0, Stage(index=group.after))
    return tuple(found)


def _rows(stages: Sequence[Stage], columns: int) -> int:
    return next((s.pattern.shape[0] for s in stages if s.pattern is not None), columns)
