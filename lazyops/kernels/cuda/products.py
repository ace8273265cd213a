"""Products by matmul of the array library: large blocks on views of x, small products whole."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._array import array_namespace, cast, is_complex_name
from ...pattern import Pattern
from ..reference import ks_matmat
from .cost import Case, by_dense
from .launches import Held

DENSE = {2: 512}  # rows and columns up to which a product may become one matrix, by itemsize ...
DENSE_ELSE = 128  # ... beyond, no dtype gains at any width by the roofline of an H200


class Multiplication(NamedTuple):
    """Blocks (a, d, b, c), in one piece, times x: those of a factor, or one matrix."""

    blocks: Any

    def run(self, machine: Any, x: Any, y: Any) -> None:
        for left, right, out in self.calls(x, y):
            machine.multiply(left, right, out)

    def calls(self, x: Any, y: Any) -> Iterator[tuple[Any, Any, Any]]:
        """(g, b, c), (g, c, columns) and (g, b, columns) of each call: views, none is a copy."""
        a, d, b, c = self.blocks.shape
        right, out = grouped(x, a, c, d), grouped(y, a, b, d)
        if a <= d:
            yield from ((self.blocks[i], right[i], out[i]) for i in range(a))
        else:
            yield from ((self.blocks[:, k], right[:, k], out[:, k]) for k in range(d))

    @property
    def pattern(self) -> Pattern:
        a, d, b, c = self.blocks.shape
        return Pattern(a, b, c, d)


def grouped(x: Any, a: int, c: int, d: int) -> Any:
    """Columns of n = a c d rows as a view of shape (a, d, c, columns)."""
    xp = array_namespace(x)
    columns = x.shape[1]
    strides = x.stride() if hasattr(x, "stride") else x.strides
    if columns > 1 and strides[0] < strides[1]:
        return xp.permute_dims(xp.reshape(x.T, (columns, a, c, d)), (1, 3, 2, 0))
    return xp.permute_dims(xp.reshape(x, (a, c, d, columns)), (0, 2, 1, 3))


def dense_is_faster(seconds: float, shape: tuple[int, int], case: Case) -> bool:
    """Whether one matrix costs less than the kernels of a plan, and is small."""
    if not case.bias.dense or max(shape) > DENSE.get(case.item, DENSE_ELSE):
        return False
    return case.bias.dense > 1 or by_dense(shape, case)[0] < seconds


def dense_of(segments: Sequence[Any], rows: int, dtype: str, machine: Any) -> Any:
    """The product of segments as a matrix (1, 1, m, n), in double precision and then rounded."""
    wide = "complex128" if is_complex_name(dtype) else "float64"
    z = machine.array(np.eye(rows, dtype=wide))
    for segment in segments:
        if segment.before is not None:
            z = z[machine.array(segment.before)]
        z = functools.reduce(lambda z, f: _applied(f, z, wide), segment.factors, z)
        if segment.after is not None:
            z = z[machine.array(segment.after)]
    return cast(z, dtype)[None, None, :, :]


def _applied(held: Held, z: Any, wide: str) -> Any:
    return ks_matmat(cast(held.array, wide), z, held.transposed, held.conjugated)
