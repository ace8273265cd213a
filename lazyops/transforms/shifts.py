"""Operators that only move entries: pad, roll, flip, chunks, every q-th entry."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..operators import LinearOperator, Permutation, kron, restrict

MODES = ("constant", "edge", "reflect", "symmetric", "wrap")
Shape = int | Sequence[int]


def pad(shape: Shape, width: Any, mode: str = "constant") -> LinearOperator:
    """Continue a signal beyond its ends: ``pad(n, width, mode) @ x`` equals ``numpy.pad``.

    Parameters
    ----------
    shape : int or sequence of int
        Of the signal; one of several axes is flattened in C order.
    width : int, (before, after), or one such pair for each axis
        As in ``numpy.pad``; wider than the signal too.
    mode : {"constant", "edge", "reflect", "symmetric", "wrap"}
        Those of NumPy that are linear; "constant" pads with zeros.

    Returns
    -------
    operator of shape (product of padded sizes, product of sizes); its adjoint adds the margins
    back to where they came from.  Of several axes it is a Kronecker product.

    Raises
    ------
    ValueError
        For another mode, a negative width, or an empty axis that NumPy cannot continue.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.pad(3, 2, "reflect") @ np.array([1., 2., 3.])
    array([3., 2., 1., 2., 3., 2., 1.])
    >>> lo.pad((2, 3), ((0, 1), (1, 1))).shape
    (15, 6)
    """
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
    sizes = as_shape(shape)
    return kron(*map(_pad_axis, sizes, _pairs(width, len(sizes)), [mode] * len(sizes)))


def _pad_axis(n: int, width: tuple[int, int], mode: str) -> LinearOperator:
    before, after = width
    if mode == "constant":
        return restrict(slice(before, before + n), before + n + after).H
    return restrict(np.pad(np.arange(n), width, mode), n)  # type: ignore[call-overload]


def _pairs(width: Any, axes: int) -> list[tuple[int, int]]:
    """(before, after) for each axis, as numpy.pad reads them."""
    found = np.asarray(width)
    if found.dtype.kind not in "iu":
        raise TypeError(f"width holds integers, got {width!r}")
    if found.size and found.min() < 0:
        raise ValueError(f"width is from 0 on, got {width!r}")
    try:
        return [(int(b), int(a)) for b, a in np.broadcast_to(found, (axes, 2))]
    except ValueError:
        raise ValueError(
            f"width is an integer, a pair, or one pair for each of {axes} axes, got {width!r}"
        ) from None


def roll(shape: Shape, shift: int | Sequence[int], axis: Any = None) -> LinearOperator:
    """Shift, and let come in again what went out: ``roll(n, shift) @ x`` equals ``numpy.roll``.

    Parameters
    ----------
    shape : int or sequence of int
        Of the signal; one of several axes is flattened in C order.
    shift : int, or one for each of several axes
    axis : int or sequence of int, optional
        By default the signal is shifted as it is flattened, as in NumPy.

    Returns
    -------
    Permutation

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.roll(5, 2) @ [1., 2., 3., 4., 5.]
    array([4., 5., 1., 2., 3.])
    """
    return _moved(shape, lambda places: np.roll(places, shift, axis))


def flip(shape: Shape, axis: Any = None) -> LinearOperator:
    """Reverse the order: ``flip(n) @ x`` equals ``numpy.flip``, along all axes or those named.

    Parameters
    ----------
    shape : int or sequence of int
        Of the signal; one of several axes is flattened in C order.
    axis : int or sequence of int, optional

    Returns
    -------
    Permutation

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.flip((2, 2), axis=1) @ [1., 2., 3., 4.]
    array([2., 1., 4., 3.])
    """
    axes = axis if axis is None or np.ndim(axis) == 0 else tuple(axis)
    return _moved(shape, lambda places: np.flip(places, axes))


def _moved(shape: Shape, f: Any) -> Permutation:
    """The permutation that does to a flattened signal what `f` does to an array."""
    sizes = as_shape(shape)
    places = f(np.arange(math.prod(sizes)).reshape(sizes))
    return Permutation(np.ascontiguousarray(places).reshape(-1))


def chunk(n: int, size: int, hop: int | None = None) -> LinearOperator:
    """The windows ``x[0 : size], x[hop : hop + size], ...`` one after the other.

    Parameters
    ----------
    n : int
        Length of the signal.  What stands behind the last whole window is left out.
    size : int
        Of a window, from 1 to n.
    hop : int, optional
        From a window to the next, from 1 on; by default `size`.  Below `size` windows overlap.

    Returns
    -------
    operator of shape (windows * size, n): ``y.reshape(windows, size)`` has a window in each row,
    those of ``numpy.lib.stride_tricks.sliding_window_view(x, size)[::hop]``.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> (lo.chunk(5, 3, 2) @ np.arange(5.)).reshape(-1, 3)
    array([[0., 1., 2.],
           [2., 3., 4.]])
    """
    n, size = operator.index(n), operator.index(size)
    hop = size if hop is None else operator.index(hop)
    if not 1 <= size <= n:
        raise ValueError(f"a window has 1 to {n} entries of a signal of {n}, got {size}")
    if hop < 1:
        raise ValueError(f"the hop from window to window is 1 or more, got {hop}")
    starts = np.arange(0, n - size + 1, hop)
    return restrict((starts[:, None] + np.arange(size)).reshape(-1), n)


def overlap_add(n: int, size: int, hop: int | None = None) -> LinearOperator:
    """Add windows where they came from: the adjoint of `chunk`, onto a signal of length `n`.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.overlap_add(5, 3, 2) @ np.ones(6)
    array([1., 1., 2., 1., 1.])
    """
    return chunk(n, size, hop).H


def downsample(n: int, step: int, start: int = 0) -> LinearOperator:
    """Every `step`-th entry, ``x[start::step]``; the adjoint puts zeros between.

    Nothing is filtered: multiply by a `convolution` first, where aliases would hurt.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> D = lo.downsample(5, 2)
    >>> D @ np.arange(5.), D.H @ np.ones(3)
    (array([0., 2., 4.]), array([1., 0., 1., 0., 1.]))
    """
    if operator.index(step) < 1:
        raise ValueError(f"the step of a downsampling is 1 or more, got {step}")
    return restrict(slice(start, None, step), n)


def as_shape(shape: Shape) -> tuple[int, ...]:
    """The shape of a signal, of one axis or more, as Python integers from 0 on."""
    try:
        sizes = tuple([operator.index(n) for n in _listed(shape)])
    except TypeError:
        raise TypeError(f"the shape of a signal holds integers, got {shape!r}") from None
    if not sizes or min(sizes) < 0:
        raise ValueError(f"the shape of a signal holds integers from 0 on, got {shape!r}")
    return sizes


def _listed(shape: Any) -> Any:
    return shape if np.ndim(shape) else [shape]
