"""The factors of a product between its permutations, and their values as kernels read them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._array import array_namespace, cast, dtype_name, is_complex_name, real_dtype
from ...pattern import Pattern
from ..codes import TABLE, Codes
from ..reference import ks_fuse
from ..stage import Stage, with_scales_apart
from .launches import Held, kind_of
from .text import TYPES

MOST_ROWS = (1 << 31) - 1  # of a permutation


class Segment(NamedTuple):
    """Factors between two permutations, in the order in which they are applied."""

    before: np.ndarray | None  # y = x[before], applied first
    factors: tuple[Held, ...]
    after: np.ndarray | None  # applied last, of the last segment only

    @property
    def rows(self) -> int:
        """Of the result."""
        return self.factors[-1].pattern.shape[0] if self.after is None else len(self.after)


def segments(
    stages: Sequence[Stage], dtype: str, machine: Any
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
    return found, scale.item() if isinstance(scale, np.generic) else scale


def on_device(machine: Any, index: np.ndarray) -> Any:
    """A permutation as kernels read it; the same one goes to a device once."""
    if len(index) > MOST_ROWS:
        raise ValueError(
            f"a permutation of {len(index)} rows: kernels of a device read 32-bit indices, at most "
            f"{MOST_ROWS}; set LAZYOPS_KERNEL=reference to multiply without kernels"
        )
    return resident(machine, np.ascontiguousarray(index, np.int32))


def resident(machine: Any, array: np.ndarray) -> Any:
    """A constant on a device: no product copies it there again, not even in place of values."""
    return _resident(machine, array.tobytes(), array.dtype.str, array.shape)


@functools.lru_cache(64)
def _resident(machine: Any, data: bytes, dtype: str, shape: tuple[int, ...]) -> Any:
    return machine.array(np.frombuffer(data, dtype).reshape(shape).copy())


def hold(stage: Stage, dtype: str, machine: Any) -> Held:
    """A factor's values as kernels read them: real values stay real beside complex x."""
    values = stage.values
    if isinstance(values, Codes):
        table = (
            resident(machine, np.asarray(values.format.table, np.float32))
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
        return resolved(array).contiguous()
    flags = getattr(array, "flags", None)
    if flags is not None and not flags.c_contiguous:
        return array.copy(order="C")
    return array


def resolved(x: Any) -> Any:
    """A tensor whose memory holds its numbers: torch conjugates and negates when it has to."""
    return x.resolve_conj().resolve_neg() if x.is_conj() or x.is_neg() else x


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
