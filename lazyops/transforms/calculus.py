"""Differences, sums, gradients, Laplacians on grids."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from .._array import is_array, to_numpy
from ..operators import (
    Cumulative,
    Identity,
    LinearOperator,
    Sparse,
    Stencil,
    StencilSum,
    stencil_product,
    vstack,
)
from .axes import along_axis
from .shifts import Shape, as_shape

BOUNDARIES = ("dirichlet", "neumann", "periodic")


def diff(n: int, order: int = 1, boundary: str | None = None) -> LinearOperator:
    """Differences of neighbours: ``diff(n, order) @ x`` equals ``numpy.diff(x, order)``.

    Parameters
    ----------
    n : int
    order : int
        How many times differences are taken.
    boundary : {None, "zero", "periodic"}
        What stands before the first entry.  None: nothing, each difference is shorter by one.
        "zero": ``x[-1] = 0``, the inverse of `cumsum`.  "periodic": ``x[-1] = x[n-1]``.

    Returns
    -------
    operator of shape (n - order, n), not below 0 rows; (n, n) with a boundary

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.diff(4) @ [1., 3., 6., 10.]
    array([2., 3., 4.])
    >>> lo.diff(3, boundary="periodic").to_dense()
    array([[ 1.,  0., -1.],
           [-1.,  1.,  0.],
           [ 0., -1.,  1.]])
    """
    [n] = as_shape(n)
    if (order := operator.index(order)) < 0:
        raise ValueError(f"the order of a difference is from 0 on, got {order}")
    if boundary not in (None, "zero", "periodic"):
        raise ValueError(f"boundary is None, 'zero' or 'periodic', got {boundary!r}")
    found: LinearOperator = Identity(n)
    for _ in range(order):
        rows = found.shape[0]
        if boundary is None:
            step = Stencil(max(rows - 1, 0), rows, 0, (-1.0, 1.0))
        else:
            corners = ((0, n - 1, -1.0),) if boundary == "periodic" and n else ()
            step = Stencil(rows, rows, -1, (-1.0, 1.0), corners)
        found = stencil_product(step, found) if isinstance(found, Stencil) else step
    return found


def cumsum(n: int) -> LinearOperator:
    """The sum of all entries so far: ``cumsum(n) @ x`` equals ``numpy.cumsum(x)``.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.cumsum(3) @ [1., 2., 3.]
    array([1., 3., 6.])
    >>> lo.simplify(lo.diff(3, boundary="zero") @ lo.cumsum(3))
    I3
    """
    return Cumulative(n)


def gradient(shape: Shape, spacing: Any = 1.0, edge_order: int = 1) -> LinearOperator:
    """Central differences, one-sided at the ends: equal to ``numpy.gradient``.

    Parameters
    ----------
    shape : int or sequence of int
        Of the signal; one of several axes is flattened in C order.
    spacing : number or coordinates, or a sequence of one of them for each axis
        The distance of neighbours, or a vector of as many coordinates as the axis has entries.
        Coordinates are values of the operator: their dtype joins that of `x`.
    edge_order : {1, 2}
        Of accuracy at the ends.

    Returns
    -------
    operator of shape (axes * n, n), n the entries of the signal: derivatives along the first
    axis, then along the second ...; ``y.reshape(axes, *shape)`` has them apart.

    Raises
    ------
    ValueError
        If an axis has fewer than ``edge_order + 1`` entries, or the spacing does not fit.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.gradient(4) @ np.array([0., 1., 4., 9.])
    array([1., 2., 4., 5.])
    >>> lo.gradient((3, 4), (1.0, [0., 1., 3., 4.])).shape
    (24, 12)
    """
    sizes = as_shape(shape)
    if edge_order not in (1, 2):
        raise ValueError(f"edge_order is 1 or 2, got {edge_order!r}")
    steps = list(spacing) if np.ndim(shape) and not _is_one(spacing) else [spacing] * len(sizes)
    if len(steps) != len(sizes):
        raise ValueError(f"{len(steps)} spacings are given for {len(sizes)} axes")
    parts = [_gradient_axis(n, h, edge_order) for n, h in zip(sizes, steps, strict=True)]
    along = [along_axis(A, sizes, axis) for axis, A in enumerate(parts)]
    return along[0] if len(along) == 1 else vstack(along)


def _is_one(spacing: Any) -> bool:
    return isinstance(spacing, (int, float, np.generic)) or (
        is_array(spacing) and spacing.ndim == 0
    )


def _gradient_axis(n: int, spacing: Any, edge_order: int) -> LinearOperator:
    if n <= edge_order:
        raise ValueError(f"a gradient of edge order {edge_order} takes {edge_order + 1} entries "
                         f"or more along an axis, got {n}")  # fmt: skip
    if not _is_one(spacing):
        return Sparse(_gradient_matrix(n, spacing, edge_order))
    h = float(spacing)
    ends = (-1.0, 0.5) if edge_order == 1 else (-1.5, 1.5, -0.5)  # beside the band's own entries
    corners = [(0, j, w / h) for j, w in enumerate(ends)]
    corners += [(n - 1, n - 1 - j, -w / h) for j, w in enumerate(ends)]
    return Stencil(n, n, -1, (-0.5 / h, 0.0, 0.5 / h), tuple(corners))


def _gradient_matrix(n: int, coordinates: Any, edge_order: int) -> scipy.sparse.csr_array:
    """Weighted means of the slopes on both sides; at the ends one slope, or its continuation."""
    x = np.asarray(to_numpy(coordinates) if is_array(coordinates) else coordinates)
    x = x if x.dtype.kind == "f" else x.astype(float)
    if x.shape != (n,):
        raise ValueError(f"an axis of {n} entries takes as many coordinates, got shape {x.shape}")
    h = np.diff(x)
    if (h == 0).any():
        raise ValueError(f"coordinates {int(np.flatnonzero(h == 0)[0])} and the next are equal")
    near = h[1:] / (h[:-1] + h[1:])  # the weight of the slope on the left
    first, last = (1.0, 1.0) if edge_order == 1 else (1 + h[0] / (h[0] + h[1]),
                                                      1 + h[-1] / (h[-2] + h[-1]))  # fmt: skip
    slopes = scipy.sparse.diags_array([-1 / h, 1 / h], offsets=[0, 1], shape=(n - 1, n))
    left, right = np.append(near, last), np.append(first, 1 - near)
    means = scipy.sparse.diags_array([left, right], offsets=[-1, 0], shape=(n, n - 1)).tolil()
    if edge_order == 2:
        means[0, 1], means[n - 1, n - 3] = 1 - first, 1 - last
    return scipy.sparse.csr_array((means.tocsr() @ slopes).astype(x.dtype))


def laplacian(
    shape: Shape, boundary: str = "neumann", spacing: float | Sequence[float] = 1.0
) -> LinearOperator:
    """The sum of second differences along every axis, on a grid flattened in C order.

    Parameters
    ----------
    shape : int or sequence of int
        Of the grid.
    boundary : {"neumann", "dirichlet", "periodic"}
        Beyond the grid stand the entry at its edge again, zeros, or the other end.
    spacing : number, or one for each axis
        Differences are divided by its square.

    Returns
    -------
    operator of shape (n, n), symmetric, without positive eigenvalues; it equals
    ``scipy.sparse.linalg.LaplacianNd(shape, boundary_conditions=boundary)``.  Of several axes it
    is the Kronecker sum of those along each.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.laplacian(4, "dirichlet") @ np.array([1., 1., 2., 5.])
    array([-1.,  1.,  2., -8.])
    >>> lo.laplacian((512, 512)).shape
    (262144, 262144)
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary is one of {', '.join(BOUNDARIES)}, got {boundary!r}")
    sizes = as_shape(shape)
    steps = [spacing] * len(sizes) if _is_one(spacing) else list(spacing)  # type: ignore[arg-type]
    if len(steps) != len(sizes):
        raise ValueError(f"{len(steps)} spacings are given for {len(sizes)} axes")
    make = functools.partial(_laplacian_axis, boundary=boundary)
    stencils = tuple(map(make, sizes, steps))
    return stencils[0] if len(stencils) == 1 else StencilSum(stencils)


def _laplacian_axis(n: int, spacing: Any, boundary: str) -> Stencil:
    w = 1.0 / float(spacing) ** 2
    corners = {
        "dirichlet": [],
        "neumann": [(0, 0, w), (n - 1, n - 1, w)],
        "periodic": [(0, n - 1, w), (n - 1, 0, w)],
    }[boundary]
    return Stencil(n, n, -1, (w, -2 * w, w), tuple(corners) if n else ())
