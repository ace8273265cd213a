"""Circulant matrices: circular convolution with their first column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._array import (
    Array,
    array_namespace,
    cast,
    conj,
    dtype_name,
    is_complex_name,
    is_numpy,
    namespace_of,
    needs_grad,
)
from .base import LinearOperator
from .convolution import Convolution, check_kernel, filtered_columns
from .spectrum import fast_length, in_precision

SMALL = 48  # up to here a product with the dense matrix is faster than two FFTs


@dataclass(eq=False, repr=False)
class Circulant(LinearOperator):
    """``y[i] = sum_j column[(i - j) mod n] x[j]``; see `lazyops.circulant`.

    Parameters
    ----------
    column : array of shape (n,)
    """

    column: Array
    kind = "float"
    makes_new = True

    def _check(self):
        check_kernel(self.column)

    def _shape(self):
        return self.column.shape[0], self.column.shape[0]

    def _matmat(self, x):
        n, (name, column) = self.shape[0], self._prepared(x)
        x = in_precision(x, name)
        if x.shape[1] == 0:
            xp = array_namespace(x)
            return xp.zeros((n, 0), dtype=getattr(xp, name), device=x.device)
        if n <= SMALL:
            return self._matrix(cast(column, name)) @ cast(x, name)
        if self._has_fast_size(name):
            return filtered_columns(x, column, n, self._cache)
        return self._extension(column)._matmat(x)

    def _prepared(self, x: Array) -> tuple[str, Array]:
        """The dtype of the result and the column in its precision; kept for NumPy."""
        known = self._cache.get(("column", x.dtype)) if is_numpy(x) else None
        if known is None:
            name = self._law.result(dtype_name(x.dtype))
            known = name, in_precision(self.column, name)
            if is_numpy(x):
                self._cache["column", x.dtype] = known
        return known

    def _has_fast_size(self, name: str) -> bool:
        """Whether an FFT of size n costs no more than one of twice the size, freely chosen."""
        key = ("fast", is_complex_name(name))
        if key not in self._cache:
            n = self.shape[0]
            self._cache[key] = _cost(n) <= _cost(fast_length(2 * n - 1, not key[1]))
        return self._cache[key]

    def _matrix(self, column: Array) -> Array:
        """The dense matrix, kept while no gradient is asked for."""
        key = ("matrix", column.dtype)
        version = getattr(self.column, "_version", 0)
        if key in self._cache and self._cache[key][0] == version:
            return self._cache[key][1]
        xp, i = array_namespace(column), np.arange(column.shape[0])
        index = ((i[:, None] - i) % len(i)).reshape(-1)
        where = index if is_numpy(column) else namespace_of(xp).asarray(index, device=column.device)
        matrix = xp.reshape(xp.take(column, where, axis=0), (len(i), len(i)))
        if not needs_grad(column):
            self._cache[key] = version, matrix
        return matrix

    def _extension(self, column: Array) -> Convolution:
        """Two periods of the column: the same by a longer FFT, where n has large prime factors."""
        found = self._cache.get("extension")
        if found is None or needs_grad(column) or found[:2] != self._state(column):
            xp, n = array_namespace(column), column.shape[0]
            twice = xp.concat([column[1:], column], axis=0)
            found = (*self._state(column), Convolution(twice, n, n - 1, n, "fft", copy=False))
            self._cache["extension"] = found
        return found[2]

    def _state(self, column: Array) -> tuple:
        return dtype_name(column.dtype), getattr(self.column, "_version", 0)

    def _adjoint(self):
        xp = array_namespace(self.column)
        first, rest = self.column[:1], self.column[1:]
        return Circulant(conj(xp.concat([first, xp.flip(rest)], axis=0)), copy=False)

    def _flops(self):
        n = self.shape[0]
        return 10 * n * max(n - 1, 1).bit_length()

    def _label(self):
        return f"circulant({self.shape[0]})"


def _cost(n: int) -> float:
    """Of an FFT of size n by its prime factors, as pocketfft guesses it."""
    total, left, p = 0.0, n, 2
    while left > 1:
        if p * p > left:
            p = left
        while left % p == 0:
            total += p if p <= 5 else 1.1 * p
            left //= p
        p += 1
    return total * n
