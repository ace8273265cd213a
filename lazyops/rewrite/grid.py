"""Rules of convolutions over several axes."""

from __future__ import annotations

from ..operators import GridConvolution, Scalar
from .engine import Rules
from .fusion import _scaled, one_place

RULES = Rules()


@RULES.product(GridConvolution, GridConvolution)
def grid_convolution_product(left, right):
    """(rows of h1 *) (h2 *) = rows of (h1 * h2) *, where no axis misses a row between them"""
    taps = left._taps, right._taps
    if left.sizes != right.rows or not one_place(left, right):
        return None  # the same number of entries on another grid
    full = [a == 0 and r == n + m - 1 for a, r, n, m in _axes(right)]
    valid = [a == m - 1 and r == n - m + 1 for a, r, n, m in _axes(left)]
    if not all(f or v for f, v in zip(full, valid, strict=True)):
        return None
    sizes = tuple([a + b - 1 for a, b in zip(*taps, strict=True)])
    both = GridConvolution(left.kernel, taps[1], (0,) * len(sizes), sizes)
    kernel = (both @ right.kernel.reshape(-1)).reshape(sizes)
    start = tuple([a + b for a, b in zip(left.start, right.start, strict=True)])
    method = left.method if left.method == right.method else "auto"
    return GridConvolution(kernel, right.sizes, start, left.rows, method, copy=False)


def _axes(op: GridConvolution):
    return zip(op.start, op.rows, op.sizes, op._taps, strict=True)


@RULES.product(Scalar, GridConvolution)
def scalar_grid_convolution(left, right):
    """(alpha I) (h *) = (alpha h) *, over several axes"""
    kernel = _scaled(left, right, right.kernel)
    return None if kernel is None else _like(right, kernel)


@RULES.sum(GridConvolution, GridConvolution)
def grid_convolution_sum(left, right):
    """(h1 *) + (h2 *) = (h1 + h2) *, over several axes, of one size and window"""
    same = left._taps == right._taps and left.sizes == right.sizes
    if not same or left.start != right.start or left.rows != right.rows:
        return None
    return _like(left, left.kernel + right.kernel) if one_place(left, right) else None


def _like(op: GridConvolution, kernel) -> GridConvolution:
    return GridConvolution(kernel, op.sizes, op.start, op.rows, op.method, copy=False)
