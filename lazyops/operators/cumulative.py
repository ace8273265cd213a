"""Cumulative sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
        if is_numpy(x):
            if not self.transposed:
                return np.cumsum(x, axis=axis)
            y = np.empty(x.shape, x.dtype)
            np.cumsum(np.flip(x, axis), axis=axis, out=np.flip(y, axis))
            return y
        if not self.transposed:
            return xp.cumulative_sum(x, axis=axis)
        return xp.flip(xp.cumulative_sum(xp.flip(x, axis=axis), axis=axis), axis=axis)

    def _adjoint(self):
        return Cumulative(self.n, not self.transposed)

    def _conj(self):
        return self

    def _flops(self):
        return self.n

    def _label(self):
        return f"cumsum({self.n}){'.T' if self.transposed else ''}"
