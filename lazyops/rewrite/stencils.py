"""Rules of stencils and cumulative sums: one pass where two are written, or none."""

from __future__ import annotations

import numpy as np

from ..operators import (
    Cumulative,
    Extension,
    Identity,
    LinearOperator,
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
    if alpha := _difference(left, right.transposed):
        return _times(alpha, Identity(n))
    if not right.transposed and (alpha := _short_difference(left)):
        return _times(alpha, Restriction(np.arange(1, n), n))
    return None


@RULES.product(Cumulative, Stencil)
def cumulative_difference(left, right):
    """C D = I and C.T D.T = I for differences with a zero before"""
    if alpha := _difference(right, left.transposed):
        return _times(alpha, Identity(left.n))
    if left.transposed and (alpha := _short_difference(right.H)):
        return _times(alpha, Extension(np.arange(1, left.n), left.n))
    return None


def _difference(S: Stencil, transposed: bool) -> float:
    """alpha of ``alpha D`` or its transpose, D with a zero before; 0 for other stencils."""
    first, sign = (0, 1) if transposed else (-1, -1)
    fits = S.rows == S.columns and not S.corners and S.first == first and len(S.weights) == 2
    return sign * S.weights[0] if fits and S.weights[0] == -S.weights[1] else 0


def _short_difference(S: Stencil) -> float:
    """alpha of ``alpha D``, D of one row less than it has columns; 0 for other stencils."""
    fits = S.rows == S.columns - 1 and not S.corners and S.first == 0 and len(S.weights) == 2
    return S.weights[1] if fits and S.weights[0] == -S.weights[1] else 0


def _times(alpha: float, op: LinearOperator) -> LinearOperator:
    return op if alpha == 1 else Scalar(op.shape[0], alpha) @ op
