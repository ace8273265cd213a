"""Cosine and sine transforms of types I to IV as real chains.

Type II by one DFT of the same size, with the even entries first (Makhoul, "A fast cosine transform
in one and two dimensions", IEEE Trans. ASSP 28, 1980), type III as its transpose, type I by the DFT
of the even or odd extension.  Type IV of even size n is one complex chain of size n / 2 on
``x[2j] + i x[n-1-2j]``: with a = 4j + 1, b = 4k + 1 the angle is that of a b / 8n, and
``y[2k] - i y[n-1-2k]`` the sum (Britanak, Yip, Rao, "Discrete cosine and sine transforms", 2007,
4.3); of odd size it is the real part of a DFT, y[2k] for all k below n, where y[2n-1-i] = -y[i].
A sine transform is a cosine one with alternating signs and its rows reversed.
"""

from __future__ import annotations

import numpy as np

from ...operators import Cosine, LinearOperator, Permutation
from .real import REAL, Read, real_dft, real_part, take
from .values import (
    chain,
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


def dct(
    n: int, type: int = 2, norm: str | None = None, *, dtype: str = "float64"
) -> LinearOperator:
    """The cosine transform as a chain of real factors: the same as `lazyops.dct`.

    Parameters
    ----------
    n : int
        Any size from 1 on, from 2 on for type 1.
    type : {1, 2, 3, 4}
    norm : {"backward", "ortho", "forward"}
        As in SciPy.
    dtype : "float64" or "float32"
        Of the values, which are rounded once.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> C = lo.butterfly.dct(8, 4)
    >>> C
    P8 @ K(1,4,4,2) @ K(2,4,4,1) @ P8
    >>> x = np.arange(8.0)
    >>> bool(np.abs(C @ x - lo.dct(8, 4) @ x).max() < 1e-13)
    True
    """
    return _transform(Cosine(n, False, type, "backward" if norm is None else norm), dtype)


def dst(
    n: int, type: int = 2, norm: str | None = None, *, dtype: str = "float64"
) -> LinearOperator:
    """The sine transform as a chain of real factors: the same as `lazyops.dst`.

    Parameters are those of `dct`; every size from 1 on is allowed.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> x = np.arange(6.0)
    >>> bool(np.abs(lo.butterfly.dst(6, 1) @ x - lo.dst(6, 1) @ x).max() < 1e-13)
    True
    """
    return _transform(Cosine(n, True, type, "backward" if norm is None else norm), dtype)


def _transform(leaf: Cosine, dtype: str) -> LinearOperator:
    what = "a sine transform" if leaf.sine else "a cosine transform"
    dtype = checked_dtype(dtype, REAL, what)
    columns, rows = _weights(leaf)
    if leaf.type == 1:
        return (_first_sine if leaf.sine else _first_cosine)(rows, columns, dtype)
    if leaf.type == 2:
        return _second(leaf.sine, rows, columns, dtype)
    if leaf.type == 3:
        return _second(leaf.sine, columns, rows, dtype).T
    return _fourth(leaf.sine, rows, dtype)


def _weights(leaf: Cosine) -> tuple[np.ndarray, np.ndarray]:
    """Of the columns and of the rows of the cosines or sines alone, in long double.

    Those at the edge are 1, 1/2 or the square root of 1/2, whose square is made exact.
    """
    columns, rows = np.ones(leaf.n, np.longdouble), np.ones(leaf.n, np.longdouble)
    edges, before, after = leaf.edge_weights
    for weights, edge in ((columns, before), (rows, after)):
        weights[edges] = np.sqrt(np.longdouble(round(4 * edge * edge)) / 4)
    return columns, rows * 2 * share(leaf.period, leaf.norm)


def _first_cosine(rows: np.ndarray, columns: np.ndarray, dtype: str) -> LinearOperator:
    n = len(rows)
    inner = columns.copy()
    inner[1:-1] /= 2  # they stand twice in the extension
    places = np.r_[0:n, n - 2 : 0 : -1]
    return real_dft(len(places), Read(places, inner[places], n), np.arange(n), rows, dtype)


def _first_sine(rows: np.ndarray, columns: np.ndarray, dtype: str) -> LinearOperator:
    n = len(rows)
    places = np.r_[0, 0:n, 0, n - 1 : -1 : -1] if n > 1 else np.zeros(4, int)
    half = columns[0] / 2
    signs = np.r_[0, np.full(n, half), 0, np.full(n, -half)]
    return real_dft(2 * n + 2, Read(places, signs, n), np.arange(1, n + 1), rows * 1j, dtype)


def _second(sine: bool, rows: np.ndarray, columns: np.ndarray, dtype: str) -> LinearOperator:
    """``diag(rows) K diag(columns)``, K the cosines or sines of type II."""
    n = len(rows)
    places = np.r_[0:n:2, n - 1 - n % 2 : 0 : -2]
    k = np.arange(n)
    if sine:
        columns, k = columns * (-1.0) ** k, k[::-1]
    read = Read(places, columns[places], n)
    return real_dft(n, read, k, rows * exact_roots(k, 4 * n), dtype)


def _fourth(sine: bool, rows: np.ndarray, dtype: str) -> LinearOperator:
    n, scale = len(rows), rows[0]
    signs = (-1.0) ** np.arange(n) if sine else np.ones(n)
    if n % 2 == 0 and is_smooth(n // 2):
        members, out = _fourth_even(n, signs, scale)
    else:
        members, out = _fourth_odd(n, signs, scale)
    turned = np.argsort(n - 1 - out if sine else out)
    return chain(Permutation(turned), *members, dtype=dtype)


def _fourth_even(n: int, signs: np.ndarray, scale: np.longdouble):
    """What is multiplied, and the entry of y that each row gives."""
    m = n // 2
    j, k = digits(m), np.arange(m)
    factors = dft_values(m)
    factors[-1] = scale_columns(factors[-1], exact_roots(j, 2 * n))
    factors[0] = scale_rows(factors[0], exact_roots(4 * k + 1, 8 * n) * scale)
    first = factors[0].shape[1]
    real = [real_pairs(values) for values in factors]
    real[0][:, first:] *= -1
    places = np.stack([2 * j, n - 1 - 2 * j], axis=1).reshape(-1)
    real[-1] = scale_columns(real[-1], signs[places])
    return [real, take(places, n)], np.concatenate([2 * k, n - 1 - 2 * k])


def _fourth_odd(n: int, signs: np.ndarray, scale: np.longdouble):
    """The same of a DFT of size n; n may be even too."""
    k = np.arange(n)
    low = 2 * k < n
    pre = exact_roots(k, 4 * n) * signs
    post = exact_roots(4 * k + 1, 8 * n) * scale * np.where(low, 1, -1)
    out = np.where(low, 2 * k, 2 * n - 1 - 2 * k)
    return real_part(n, pre, post), out
