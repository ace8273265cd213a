"""Cumulative sums."""

from __future__ import annotations

from dataclasses import dataclass

from .._array import Array, array_namespace, is_numpy
from .base import LinearOperator
from .scalar import check_size


@dataclass(eq=False, repr=False)
class Cumulative(LinearOperator):
    """``y[i] = x[0] + ... + x[i]``, or the transpose, ``x[i] + ... + x[n-1]``."""

    n: int
    transposed: bool = False
    kind = "float"

    def _check(self):
        object.__setattr__(self, "n", check_size(self.n, "the size of a cumulative sum"))

    def _shape(self):
        return self.n, self.n

    def _matmat(self, x):
        return self._sums_along(x, 0)

    def _between(self, x):
        return self._sums_along(x, 1)

    def _sums_along(self, x: Array, axis: int) -> Array:
        xp = array_namespace(x)
        if 0 in x.shape:
            return x
        if self.transposed:
            x = xp.flip(x, axis=axis)
        y = x.cumsum(axis=axis) if is_numpy(x) else xp.cumulative_sum(x, axis=axis)
        return xp.flip(y, axis=axis) if self.transposed else y

    def _adjoint(self):
        return Cumulative(self.n, not self.transposed)

    def _conj(self):
        return self

    def _flops(self):
        return self.n

    def _label(self):
        return f"cumsum({self.n}){'.T' if self.transposed else ''}"
