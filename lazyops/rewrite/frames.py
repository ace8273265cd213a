"""Rules of windowed frames and lapped blocks: synthesis undoes analysis."""

from __future__ import annotations

import numpy as np

from ..operators import Diagonal, Frames, Identity, Lapped, LinearOperator, Weak
from .engine import Rules

RULES = Rules()


@RULES.product(Weak, Weak)
def synthesis_analysis(left, right):
    """F' F = diag(sum of the products of both windows over all frames); I where these are dual"""
    one, other = left.operator, right.operator
    if not (isinstance(one, Frames) and isinstance(other, Frames)):
        return None
    if not one.transposed or other.transposed or _layout(one) != _layout(other):
        return None
    products = one.window * other.window
    sums, sizes = (_added_up(one, v) for v in (products, np.abs(products)))
    # of the dual: the sum over frames, a quotient, a factor; then the sum here
    bound = (one.overlap + 4) * np.finfo(float).eps * sizes
    if (np.abs(sums - 1) <= bound).all():
        return Identity(one.n)
    return Weak(Diagonal(sums, copy=False))


def _layout(op: Frames) -> tuple:
    return len(op.window), op.n, op.hop, op.first, op.count, op.size, op.shift, op.periodic


def _added_up(op: Frames, window: np.ndarray) -> np.ndarray:
    """What each sample gets of all frames that see it."""
    _, *layout = _layout(op)
    added = Frames(window, *layout, transposed=True, copy=False)
    return added._matmat(np.ones((op.size * op.count, 1)))[:, 0]


@RULES.product(Weak, Weak)
def lapped_lapped(left, right) -> LinearOperator | None:
    """L.H L = L L.H = I, for the rotations of one window"""
    one, other = left.operator, right.operator
    if not (isinstance(one, Lapped) and isinstance(other, Lapped)):
        return None
    if one.transposed == other.transposed or one.count != other.count:
        return None
    return Identity(one.shape[0]) if np.array_equal(one.window, other.window) else None
