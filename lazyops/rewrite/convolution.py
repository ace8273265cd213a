"""Rules of circulant matrices and convolutions: products of filters are filters."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._array import array_namespace, to_numpy
from ..operators import Circulant, Convolution, Extension, LinearOperator, Restriction, Scalar
from .engine import Rules
from .fusion import _scaled, one_place

RULES = Rules()


@RULES.product(Circulant, Circulant)
def circulant_circulant(left, right):
    """C1 C2 = C, its column the circular convolution of both"""
    if not one_place(left, right):
        return None
    column = right.column
    return Circulant(left._matmat(column[:, None])[:, 0], copy=False)


@RULES.product(Convolution, Convolution)
def convolution_convolution(left, right):
    """(rows of h1 *) (h2 *) = rows of (h1 * h2) *, where no row is missing between them"""
    m = left.kernel.shape[0]
    full = right.start == 0 and right.rows == right.n + right.kernel.shape[0] - 1
    valid = left.start == m - 1 and left.rows == left.n - m + 1
    if not (full or valid) or not one_place(left, right):
        return None
    both = Convolution(left.kernel, right.kernel.shape[0], 0, m + right.kernel.shape[0] - 1)
    kernel = both._matmat(right.kernel[:, None])[:, 0]
    method = left.method if left.method == right.method else "auto"
    return Convolution(kernel, right.n, left.start + right.start, left.rows, method, copy=False)


@RULES.product(Scalar, Circulant)
def scalar_circulant(left, right):
    """(alpha I) C = alpha C"""
    column = _scaled(left, right, right.column)
    return None if column is None else Circulant(column, copy=False)


@RULES.product(Scalar, Convolution)
def scalar_convolution(left, right):
    """(alpha I) (h *) = (alpha h) *"""
    kernel = _scaled(left, right, right.kernel)
    return None if kernel is None else _like(right, kernel)


@RULES.sum(Circulant, Circulant)
def circulant_plus_circulant(left, right):
    """C1 + C2 = C, its column the sum of both"""
    if not one_place(left, right):
        return None
    return Circulant(left.column + right.column, copy=False)


@RULES.sum(Convolution, Convolution)
def convolution_plus_convolution(left, right):
    """(h1 *) + (h2 *) = (h1 + h2) *, with zeros around the shorter, where it starts"""
    if left.rows != right.rows or not one_place(left, right):
        return None
    start = max(left.start, right.start)
    before = start - left.start, start - right.start
    m, k = left.kernel.shape[0], right.kernel.shape[0]
    size = max(before[0] + m, before[1] + k)
    if size > m + k:
        return None  # two short ones far apart are faster by themselves
    kernels = [_padded(op.kernel, b, size) for op, b in zip((left, right), before, strict=True)]
    method = left.method if left.method == right.method else "auto"
    return Convolution(kernels[0] + kernels[1], left.n, start, left.rows, method, copy=False)


def _padded(kernel: Any, before: int, size: int) -> Any:
    after = size - before - kernel.shape[0]
    if not before and not after:
        return kernel
    xp = array_namespace(kernel)
    zeros = [xp.zeros(n, dtype=kernel.dtype, device=kernel.device) for n in (before, after)]
    return xp.concat([zeros[0], kernel, zeros[1]])


@RULES.product(Restriction, Convolution)
def restriction_convolution(left, right):
    """R (h *) = fewer rows of h *, for rows next to each other that see all of x and h"""
    first, rows = _run(left), left.shape[0]
    if first is None:
        return None
    start = right.start + first
    if start > right.kernel.shape[0] - 1 or start + rows < right.n:
        return None
    return Convolution(right.kernel, right.n, start, rows, right.method, copy=False)


@RULES.product(Convolution, Extension)
def convolution_extension(left, right):
    """(h *) E = h * of what zeros lie around, where each row and each weight still meets it"""
    first, n = _run(right), right.shape[1]
    if first is None:
        return None
    start, m = left.start - first, left.kernel.shape[0]
    if n < 1 or not 0 <= start <= m - 1 or not n <= start + left.rows <= n + m - 1:
        return None
    return Convolution(left.kernel, n, start, left.rows, left.method, copy=False)


def _run(op: Restriction | Extension) -> int | None:
    """The first of positions next to each other; else None."""
    index = to_numpy(op.index)
    if not len(index) or not np.array_equal(index, index[0] + np.arange(len(index))):
        return None
    return int(index[0])


def _like(op: Convolution, kernel: Any) -> LinearOperator:
    return Convolution(kernel, op.n, op.start, op.rows, op.method, copy=False)
