"""Convolutions and the matrices that are constant along their diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._array import Array, array_namespace, is_array
from ..operators import Circulant, Convolution, LinearOperator, Permutation, compose
from ..operators.convolution import METHODS, check_kernel
from ..operators.scalar import check_size

MODES = ("full", "same", "valid", "circular")


def convolution(
    kernel: Any, n: int, mode: str = "full", method: str = "auto", *, copy: bool = True
) -> LinearOperator:
    """Convolution of a signal of length `n` with a filter.

    ``convolution(h, n, mode) @ x`` equals ``scipy.signal.convolve(x, h, mode)``.

    Parameters
    ----------
    kernel : array of shape (m,), m from 1 on
        Real or complex; a tensor of torch receives gradients.
    n : int
        From 1 on; shorter than the kernel is allowed.
    mode : {"full", "same", "valid", "circular"}
        "full" has n + m - 1 rows; "same" the n in their middle, as SciPy cuts them; "valid" the
        ``abs(n - m) + 1`` where nothing is filled up with zeros; "circular" goes around: n rows.
    method : {"auto", "direct", "fft", "overlap-add"}
        "auto" takes the one that is estimated to be fastest.
    copy : bool
        As for all operators that hold arrays.

    Returns
    -------
    operator of shape (rows, n); its adjoint is the correlation with the filter

    Raises
    ------
    ValueError
        For an empty kernel, an unknown mode or method, or a method with mode "circular".

    References
    ----------
    T. G. Stockham, "High-speed convolution and correlation", AFIPS 28 (1966): by FFTs, and
    overlap-add.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.convolution([1., 2., 3.], 4) @ [1., 0., 0., 1.]
    array([1., 2., 3., 1., 2., 3.])
    >>> lo.convolution([1., 2., 3.], 4, "circular") @ [1., 0., 0., 1.]
    array([3., 5., 3., 1.])
    """
    kernel = _vector(kernel)
    check_kernel(kernel)
    n, m = check_size(n, "the length of the signal"), kernel.shape[0]
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, got {method!r}")
    if n < 1:
        raise ValueError(f"a convolution takes signals of length 1 or more, got n = {n}")
    if mode == "circular":
        if method != "auto":
            raise ValueError(f"mode 'circular' has no methods to choose from, got {method!r}")
        return Circulant(wrapped(kernel, n), copy=copy)
    start, rows = {
        "full": (0, n + m - 1),
        "same": ((m - 1) // 2, n),
        "valid": (min(m, n) - 1, abs(m - n) + 1),
    }[mode]
    return Convolution(kernel, n, start, rows, method, copy=copy)


def circulant(column: Any) -> LinearOperator:
    """The circulant matrix with this first column, equal to ``scipy.linalg.circulant(column)``.

    Products take two FFTs; ``fft(n) @ circulant(c) @ ifft(n)`` simplifies to a diagonal.

    Parameters
    ----------
    column : array of shape (n,), n from 1 on

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.circulant([1., 2., 3.]).to_dense()
    array([[1., 3., 2.],
           [2., 1., 3.],
           [3., 2., 1.]])
    """
    return Circulant(_vector(column))


def toeplitz(column: Any, row: Any = None) -> LinearOperator:
    """The Toeplitz matrix, equal to ``scipy.linalg.toeplitz(column, row)``.

    A Toeplitz matrix is a part of a convolution, and is run as one.

    Parameters
    ----------
    column : array of shape (m,)
        The first column.
    row : array of shape (n,), optional
        The first row, of which ``row[0]`` does not count; the conjugate of `column` by default.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.toeplitz([1., 2., 3.], [1., 4.]).to_dense()
    array([[1., 4.],
           [2., 1.],
           [3., 2.]])
    """
    column = _vector(column)
    check_kernel(column)
    xp = array_namespace(column)
    if row is None:
        row = xp.conj(column) if xp.isdtype(column.dtype, "complex floating") else column
    row = _vector(row)
    check_kernel(row)
    kernel = _joined(xp.flip(row[1:]), column)
    n = row.shape[0]
    return Convolution(kernel, n, n - 1, column.shape[0])


def hankel(column: Any, row: Any = None) -> LinearOperator:
    """The Hankel matrix, equal to ``scipy.linalg.hankel(column, row)``.

    A Toeplitz matrix times the flip of `x`, and written so.

    Parameters
    ----------
    column : array of shape (m,)
        The first column.
    row : array of shape (n,), optional
        The last row, of which ``row[0]`` does not count; zeros by default.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.hankel([1., 2., 3.]).to_dense()
    array([[1., 2., 3.],
           [2., 3., 0.],
           [3., 0., 0.]])
    """
    column = _vector(column)
    check_kernel(column)
    row = array_namespace(column).zeros_like(column) if row is None else _vector(row)
    check_kernel(row)
    m, n = column.shape[0], row.shape[0]
    flip = Permutation(np.arange(n)[::-1].copy(), copy=False)
    kernel = _joined(column, row[1:])
    return compose(Convolution(kernel, n, n - 1, m), flip)


def wrapped(kernel: Array, n: int) -> Array:
    """The kernel of a circular convolution of length n: longer ones go around."""
    xp, m = array_namespace(kernel), kernel.shape[0]
    missing = -m % n
    if missing:
        zeros = xp.zeros(missing, dtype=kernel.dtype, device=kernel.device)
        kernel = xp.concat([kernel, zeros], axis=0)
    return kernel if m <= n else xp.sum(xp.reshape(kernel, (-1, n)), axis=0)


def _vector(values: Any) -> Array:
    return values if is_array(values) else np.asarray(values)


def _joined(first: Array, second: Array) -> Array:
    xp = array_namespace(first, second)
    dtype = xp.result_type(first, second)
    return xp.concat([xp.astype(first, dtype), xp.astype(second, dtype)], axis=0)
