"""Transforms of real vectors by real butterflies: half a complex chain, and one gather.

The entries of a real vector of even length 2m are the real and imaginary parts of one of length m,
so that its DFT V follows from Z, that of size m: with w = exp(-2 pi i / 2m),
``V[k] = (Z[k] + conj(Z[-k])) / 2 - i w^k (Z[k] - conj(Z[-k])) / 2`` (Sorensen, Jones, Heideman,
Burrus, "Real-valued fast Fourier transform algorithms", IEEE Trans. ASSP 35, 1987).  Each entry
wanted is a sum of four numbers: of real and imaginary parts of Z[k] and Z[-k].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...operators import LinearOperator, Permutation, restrict
from .convolution import real_ends
from .fourier import dft
from .prime import bluestein_values, first_rows
from .values import (
    chain,
    checked,
    checked_dtype,
    dft_values,
    digits,
    exact_roots,
    is_smooth,
    real_pairs,
    scale_columns,
    scale_rows,
    share,
)

REAL = ("float64", "float32")


def rdft(n: int, norm: str | None = None, *, dtype: str = "complex128") -> LinearOperator:
    """The first ``n // 2 + 1`` rows of the DFT, by real butterflies: ``scipy.fft.rfft``.

    For even n all factors but the leftmost are real.  A linear operator, so a complex `x` is
    transformed too, where SciPy refuses it.

    Parameters
    ----------
    n : int
        Any size from 1 on.
    norm : {"backward", "ortho", "forward"}
        As in SciPy.
    dtype : "complex128" or "complex64"

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.butterfly.rdft(8)
    K(1,1,4,5) @ R20x8 @ K(1,4,4,2) @ K(2,4,4,1) @ P8
    """
    n, norm = checked(n, norm, "a Fourier transform of real numbers")
    dtype = checked_dtype(dtype, ("complex128", "complex64"), "a Fourier transform")
    if n % 2 or not is_smooth(n // 2):
        rows = n // 2 + 1
        F = dft(n, norm, dtype=dtype)
        return F if rows == n else restrict(np.arange(rows), n) @ F
    weights = np.full(n // 2 + 1, share(n, norm), np.clongdouble)
    return _halved(n, read_all(n), np.arange(n // 2 + 1), weights, dtype)


def hartley(n: int, norm: str | None = None, *, dtype: str = "float64") -> LinearOperator:
    """The Hartley transform ``y[q] = s sum_k (cos + sin)(2 pi q k / n) x[k]``, by real butterflies.

    Bracewell, "Discrete Hartley transform", J. Opt. Soc. Am. 73 (1983).  Its own inverse but for a
    factor n.

    Parameters
    ----------
    n : int
        Any size from 1 on.
    norm : {"backward", "ortho", "forward"}
        s is 1, ``n**-0.5`` or 1/n.
    dtype : "float64" or "float32"

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> np.round(lo.butterfly.hartley(4) @ np.array([0.0, 1.0, 0.0, 0.0]), 12)
    array([ 1.,  1., -1., -1.])
    """
    n, norm = checked(n, norm, "a Hartley transform")
    dtype = checked_dtype(dtype, REAL, "a Hartley transform")
    weights = np.full(n, share(n, norm) * np.clongdouble(1 + 1j))
    return real_dft(n, read_all(n), np.arange(n), weights, dtype)


class Read(NamedTuple):
    """``v = signs * x[places]``, x of this size."""

    places: np.ndarray
    signs: np.ndarray
    size: int


def read_all(n: int) -> Read:
    return Read(np.arange(n), np.ones(n), n)


def real_dft(
    n: int, read: Read, rows: np.ndarray, weights: np.ndarray, dtype: str
) -> LinearOperator:
    """``y[i] = Re(weights[i] V[rows[i]])``, V the DFT of size n of the real vector v.

    For an even n from the DFT of half the size.
    """
    if n % 2 == 0 and is_smooth(n // 2):
        return _halved(n, read, rows, weights, dtype)
    post = np.zeros(n, np.clongdouble)
    post[rows] = weights
    members = real_part(n, read.signs, post)
    return chain(take(rows, n), *members, take(read.places, read.size), dtype=dtype)


def _halved(
    n: int, read: Read, rows: np.ndarray, weights: np.ndarray, dtype: str
) -> LinearOperator:
    """Entries of V from those of Z: see the head of this file."""
    m = n // 2
    source = (2 * digits(m)[:, None] + np.arange(2)).reshape(-1)
    factors = [real_pairs(values) for values in dft_values(m)]
    factors[-1] = scale_columns(factors[-1], read.signs[source])
    turn = 1j * exact_roots(rows, n)
    near, far = weights * (1 - turn) / 2, weights * (1 + turn) / 2  # of Z[k] and conj(Z[-k])
    four = np.stack([near, 1j * near, far, -1j * far])[None, None]
    k, back = rows % m, -rows % m
    return chain(
        [four if dtype.startswith("complex") else four.real],
        take(np.concatenate([k, m + k, back, m + back]), n),
        factors,
        take(read.places[source], read.size),
        dtype=dtype,
    )


def real_part(n: int, pre: np.ndarray, post: np.ndarray) -> list[Any]:
    """``Re diag(post) F diag(pre)`` of a real vector: values, and what places entries."""
    if is_smooth(n):
        factors = dft_values(n)
        factors[-1] = scale_columns(factors[-1], pre[digits(n)])
        factors[0] = scale_rows(factors[0], post)
        real = [real_pairs(values) for values in factors]
        real[-1] = real[-1][:, :, ::2]  # columns (c, part): the imaginary part of x is zero
        real[0] = real[0][:, : factors[0].shape[1]]  # rows (part, b): that of y is not wanted
        return [real, take(digits(n), n)]
    left, right = bluestein_values(n, pre, post)
    first = first_rows(n, left)
    return [first, real_ends(left, right), first.H]


def take(index: np.ndarray, n: int) -> LinearOperator:
    """``x[index]``, as the permutation that it may be."""
    if len(index) == n and len(np.unique(index)) == n:
        return Permutation(index)
    return restrict(index, n)
