"""Circulant and Toeplitz matrices as chains: F^-1 diag F, the diagonal folded into a factor."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...operators import LinearOperator, restrict
from .values import (
    chain,
    checked_dtype,
    dft_values,
    digits,
    is_smooth,
    real_pairs,
    scale_rows,
    smooth_size,
    spectrum_of,
)

DTYPES = ("float64", "float32", "complex128", "complex64")


def convolved(n: int, spectrum: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """``n F^-1 diag(spectrum) F`` as values: the factors of the inverse, and those of F.

    F is symmetric: F = K P = P.T K.T, so ``n F^-1 = conj(K) P`` and both permutations meet in the
    diagonal, which they reorder.  None is left.
    """
    factors = dft_values(n)
    right = [values.swapaxes(1, 2) for values in reversed(factors)]
    right[0] = scale_rows(right[0], spectrum[digits(n)])
    return [values.conj() for values in factors], right


def circulant(column: Any, *, dtype: str | None = None) -> LinearOperator:
    """The circulant matrix with this first column, as a chain without a permutation.

    ``C[i, j] = column[(i - j) % n]``, as ``scipy.linalg.circulant``.  It is F^-1 diag(F column) F
    (Golub, Van Loan, "Matrix computations", 4th ed., 4.8.2); F^-1 and F are butterflies, and their
    digit reversals cancel.  A real column gives real factors, on pairs of real and imaginary parts.

    Parameters
    ----------
    column : array of shape (n,)
        Any size; one with a prime factor of 128 or more is embedded like a Toeplitz matrix.
    dtype : str
        Of the values; that of `column` if None (float64 for integers).

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> C = lo.butterfly.circulant([1.0, 2.0, 0.0, 0.0])
    >>> C
    K(1,2,4,2) @ K(2,4,4,1) @ K(2,4,4,1) @ K(1,4,2,2)
    >>> np.round(C @ np.array([1.0, 0.0, 0.0, 1.0]), 12)
    array([3., 2., 0., 1.])
    """
    column = _vector(column, "the first column of a circulant matrix")
    if not is_smooth(len(column)):
        return toeplitz(column, np.r_[column[:1], column[:0:-1]], dtype=dtype)
    name = _dtype(dtype, column, "a circulant matrix")
    return chain(_circulant_values(column, name), dtype=name)


def toeplitz(column: Any, row: Any = None, *, dtype: str | None = None) -> LinearOperator:
    """The Toeplitz matrix of a first column and row: a corner of a circulant chain.

    ``T[i, j]`` is ``column[i - j]`` from the diagonal down and ``row[j - i]`` above it, as
    ``scipy.linalg.toeplitz``: ``row[0]`` is not read, and `row` is ``conj(column)`` if None.  The
    circulant is of the cheapest size from m + n - 1 on.

    Parameters
    ----------
    column : array of shape (m,)
    row : array of shape (n,)
    dtype : str
        Of the values; that of column and row if None.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> T = lo.butterfly.toeplitz([1.0, 2.0, 3.0], [1.0, 5.0])
    >>> T.shape, np.round(T @ np.array([1.0, 10.0]), 12)
    ((3, 2), array([51., 12., 23.]))
    """
    column = _vector(column, "the first column of a Toeplitz matrix")
    row = column.conj() if row is None else _vector(row, "the first row of a Toeplitz matrix")
    name = _dtype(dtype, np.concatenate([column[:1], row[:1]]), "a Toeplitz matrix")
    m, n = len(column), len(row)
    N = smooth_size(m + n - 1)
    around = np.zeros(N, np.result_type(column, row))
    around[:m] = column
    around[N - n + 1 :] = row[:0:-1]
    rows = restrict(np.arange(m), N) if m < N else None
    columns = restrict(np.arange(n), N).H if n < N else None
    return chain(rows, _circulant_values(around, name), columns, dtype=name)


def _circulant_values(column: np.ndarray, dtype: str) -> list[np.ndarray]:
    n = len(column)
    left, right = convolved(n, spectrum_of(column) / n)
    if dtype.startswith("complex"):
        return [*left, *right]
    return real_ends(left, right)


def real_ends(left: list[np.ndarray], right: list[np.ndarray]) -> list[np.ndarray]:
    """A product of two such chains on pairs of real numbers, for real x and the real part of y."""
    outer = [real_pairs(values) for values in left]
    inner = [real_pairs(values, inward=False) for values in right]
    outer[0] = outer[0][:, : left[0].shape[1]]
    inner[-1] = inner[-1][:, :, : right[-1].shape[2]]
    return [*outer, *inner]


def _vector(values: Any, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{what} is a vector of one entry or more, got shape {values.shape}")
    return values


def _dtype(dtype: str | None, values: np.ndarray, what: str) -> str:
    if dtype is None:
        inexact = values.dtype.kind in "fc"
        dtype = np.result_type(values, np.float32 if inexact else np.float64).name
    name = checked_dtype(dtype, DTYPES, what)
    if np.iscomplexobj(values) and not name.startswith("complex"):
        raise ValueError(f"{what} of complex numbers takes a complex dtype, got {name}")
    return name
