"""Convolutions and the matrices that are constant along their diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._array import Array, array_namespace, is_array
from ..operators import (
    Circulant,
    Convolution,
    GridConvolution,
    LinearOperator,
    Permutation,
    compose,
)
from ..operators.convolution import METHODS, check_kernel
from ..operators.scalar import check_size
from .shifts import pad

MODES = ("full", "same", "valid", "circular")


def convolution(
    kernel: Any,
    n: int | tuple[int, ...],
    mode: str = "full",
    method: str = "auto",
    *,
    copy: bool = True,
) -> LinearOperator:
    """Convolution of a signal of length `n`, or of a grid of shape `n`, with a filter.

    ``convolution(h, n, mode) @ x`` equals ``scipy.signal.convolve(x, h, mode)``, grids flattened
    in C order.  A filter that is a product of filters of one axis is faster as `kron` of theirs.

    Parameters
    ----------
    kernel : array of shape (m,), m from 1 on, or with as many axes as the grid
        Real or complex; a tensor of torch receives gradients.
    n : int, or tuple of int
        From 1 on; shorter than the kernel is allowed.
    mode : {"full", "same", "valid", "circular"}
        "full" has n + m - 1 rows; "same" the n in their middle, as SciPy cuts them; "valid" the
        ``abs(n - m) + 1`` where nothing is filled up with zeros; "circular" goes around: n rows.
        The same along each axis of a grid.
    method : {"auto", "direct", "fft", "overlap-add"}
        "auto" takes the one that is estimated to be fastest.  Grids have no "overlap-add".
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
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
    if isinstance(n, (tuple, list)):
        return _of_grid(kernel, tuple(n), mode, method, copy)
    check_kernel(kernel)
    n, m = check_size(n, "the length of the signal"), kernel.shape[0]
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, got {method!r}")
    if n < 1:
        raise ValueError(f"a convolution takes signals of length 1 or more, got n = {n}")
    if mode == "circular":
        if method != "auto":
            raise ValueError(f"mode 'circular' has no methods to choose from, got {method!r}")
        return Circulant(wrapped(kernel, n), copy=copy)
    return Convolution(kernel, n, *_window(n, m, mode), method, copy=copy)


def _window(n: int, m: int, mode: str) -> tuple[int, int]:
    """The first row of the full convolution, and how many."""
    if mode == "valid":
        return min(m, n) - 1, abs(m - n) + 1
    return (0, n + m - 1) if mode == "full" else ((m - 1) // 2, n)


def _of_grid(kernel: Array, sizes: tuple, mode: str, method: str, copy: bool) -> LinearOperator:
    """Circular: what is "valid" in the grid continued periodically."""
    sizes = tuple([check_size(n, "an axis of the grid") for n in sizes])
    taps = tuple(kernel.shape)
    if len(taps) != len(sizes) or 0 in taps or 0 in sizes:
        raise ValueError(
            f"a filter of a grid of shape {sizes} has as many axes, and none is empty, got shape "
            f"{taps}"
        )
    if mode == "circular":
        for axis, n in enumerate(sizes):
            kernel = _folded(kernel, n, axis)
        before = [(m - 1, 0) for m in kernel.shape]
        padded = tuple([n + m - 1 for n, m in zip(sizes, kernel.shape, strict=True)])
        inner = _of_grid(kernel, padded, "valid", method, copy)
        return compose(inner, pad(sizes, before, "wrap"))
    pairs = list(zip(sizes, taps, strict=True))
    if mode == "valid" and any(n < m for n, m in pairs) and any(n > m for n, m in pairs):
        raise ValueError(
            f"mode 'valid' takes a grid that covers the filter along every axis, or the other way "
            f"round, got shapes {sizes} and {taps}"
        )
    start, rows = zip(*(_window(n, m, mode) for n, m in pairs), strict=True)
    return GridConvolution(kernel, sizes, start, rows, method, copy=copy)


def _folded(kernel: Array, n: int, axis: int) -> Array:
    """Of a kernel longer than n, what goes around is added to what it meets."""
    xp, m = array_namespace(kernel), kernel.shape[axis]
    if m <= n:
        return kernel
    kernel = xp.moveaxis(kernel, axis, 0)
    zeros = xp.zeros((-m % n, *kernel.shape[1:]), dtype=kernel.dtype, device=kernel.device)
    kernel = xp.reshape(xp.concat([kernel, zeros], axis=0), (-1, n, *kernel.shape[1:]))
    return xp.moveaxis(xp.sum(kernel, axis=0), 0, axis)


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
    xp, kernel = array_namespace(kernel), _folded(kernel, n, 0)
    missing = n - kernel.shape[0]
    if not missing:
        return kernel
    zeros = xp.zeros(missing, dtype=kernel.dtype, device=kernel.device)
    return xp.concat([kernel, zeros], axis=0)


def _vector(values: Any) -> Array:
    return values if is_array(values) else np.asarray(values)


def _joined(first: Array, second: Array) -> Array:
    xp = array_namespace(first, second)
    dtype = xp.result_type(first, second)
    return xp.concat([xp.astype(first, dtype), xp.astype(second, dtype)], axis=0)
