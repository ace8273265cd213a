"""Rules of stencils and cumulative sums: one pass where two are written, or none."""

from __future__ import annotations

import numpy as np

from ..operators import (
    Cumulative,
    Extension,
    Identity,
    Restriction,
    Scalar,
    Stencil,
    stencil_product,
    stencil_sum,
)
from .engine import Rules

RULES = Rules()


@RULES.product(Stencil, Stencil)
def stencil_stencil(left, right):
    """S1 S2 = S: the weights convolve"""
    return stencil_product(left, right)


@RULES.product(Scalar, Stencil)
def scalar_stencil(left, right):
    """alpha S = S', for a Python number"""
    if type(left.alpha) not in (int, float):
        return None
    weights = tuple([left.alpha * w for w in right.weights])
    corners = tuple([(i, j, left.alpha * v) for i, j, v in right.corners])
    return Stencil(right.rows, right.columns, right.first, weights, corners)


@RULES.sum(Stencil, Stencil)
def stencil_plus_stencil(left, right):
    """S1 + S2 = S"""
    return stencil_sum(left, right)


@RULES.product(Stencil, Cumulative)
def difference_cumulative(left, right):
    """D C = I and D.T C.T = I for differences with a zero before; without it D C drops x[0]"""
    n = right.n
    if _is_difference(left, right.transposed):
        return Identity(n)
    if not right.transposed and _is_short_difference(left):
        return Restriction(np.arange(1, n), n)
    return None


@RULES.product(Cumulative, Stencil)
def cumulative_difference(left, right):
    """C D = I and C.T D.T = I for differences with a zero before"""
    if _is_difference(right, left.transposed):
        return Identity(left.n)
    if left.transposed and _is_short_difference(right.H):
        return Extension(np.arange(1, left.n), left.n)
    return None


def _is_difference(S: Stencil, transposed: bool) -> bool:
    first, weights = (0, (1.0, -1.0)) if transposed else (-1, (-1.0, 1.0))
    return S.rows == S.columns and not S.corners and (S.first, S.weights) == (first, weights)


def _is_short_difference(S: Stencil) -> bool:
    short = S.rows == S.columns - 1 and not S.corners
    return short and (S.first, S.weights) == (0, (-1.0, 1.0))
