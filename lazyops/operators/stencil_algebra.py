"""Products and sums of stencils are stencils: weights convolve or add, the ends are corners."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from .stencil import Stencil


def stencil_sum(left: Stencil, right: Stencil) -> Stencil:
    """``left + right`` as one stencil."""
    weights: dict[int, float] = defaultdict(float)
    for o, w in (*left.terms, *right.terms):
        weights[o] += w
    first, last = min(weights, default=0), max(weights, default=0)
    band = tuple([weights[o] for o in range(first, last + 1)])
    return Stencil(left.rows, left.columns, first, band, left.corners + right.corners)


def stencil_product(left: Stencil, right: Stencil) -> Stencil:
    """``left @ right`` as one stencil, its weights and corners in double precision."""
    weights = np.convolve(left.weights, right.weights)
    corners: dict[tuple[int, int], float] = defaultdict(float)
    for i, j, v in _cut_off(left, right):
        corners[i, j] -= v
    for i, l, v in left.corners:  # a corner times the band, and times corners
        for o, w in right.terms:
            corners[i, l + o] += v * w
        for i2, j, w in right.corners:
            if i2 == l:
                corners[i, j] += v * w
    for l, j, v in right.corners:  # the band times a corner
        for o, w in left.terms:
            corners[l - o, j] += w * v
    m, n = left.rows, right.columns
    inside = [(i, j, v) for (i, j), v in corners.items() if 0 <= i < m and 0 <= j < n]
    return Stencil(m, n, left.first + right.first, tuple(weights.tolist()), tuple(inside))


def _cut_off(left: Stencil, right: Stencil) -> Iterator[tuple[int, int, float]]:
    """What convolved weights count, but runs through rows of `right` that do not exist."""
    n = left.columns
    for o, v in left.terms:
        for l in (*range(min(o, 0), 0), *range(n, max(left.rows + o, n))):
            if 0 <= l - o < left.rows:
                for o2, w in right.terms:
                    if 0 <= l + o2 < right.columns:
                        yield l - o, l + o2, v * w
