"""Rules that multiply stored values together, so that fewer passes over `x` are made.

Results agree with the operator as written to rounding, not to the bit.
"""

from __future__ import annotations

import numpy as np

from .._array import array_namespace, is_array, is_numpy, to_numpy
from ..kernels import ks_fuse
from ..operators import (
    Diagonal,
    Identity,
    KroneckerSparse,
    LinearOperator,
    Permutation,
    Restriction,
    Scalar,
)
from .engine import Rules

RULES = Rules()


@RULES.product(Diagonal, Diagonal)
def diagonal_diagonal(left, right):
    """D1 D2 = diag(d1 * d2)"""
    if not one_place(left, right):
        return None
    return Diagonal(left.values * right.values, copy=False)


@RULES.product(Permutation, Permutation)
def permutation_permutation(left, right):
    """P1 P2 = P, index = index2[index1]"""
    index = to_numpy(right.index)[to_numpy(left.index)]
    if np.array_equal(index, np.arange(len(index))):
        return Identity(len(index))
    return Permutation(index, copy=False)


@RULES.product(Restriction, Permutation)
def restriction_permutation(left, right):
    """R P = R', index' = indexP[indexR]"""
    return Restriction(to_numpy(right.index)[to_numpy(left.index)], left.n, copy=False)


@RULES.product(Restriction, Restriction)
def restriction_restriction(left, right):
    """R1 R2 = R, index = index2[index1]"""
    return Restriction(to_numpy(right.index)[to_numpy(left.index)], right.n, copy=False)


@RULES.product(Permutation, Diagonal)
def permutation_diagonal(left, right):
    """P D = D' P, d' = d[index]"""
    return _gathered(right, left.index), left


@RULES.product(Restriction, Diagonal)
def restriction_diagonal(left, right):
    """R D = D' R, d' = d[index]"""
    return _gathered(right, left.index), left


@RULES.product(Scalar, Diagonal)
def scalar_diagonal(left, right):
    """(alpha I) D = alpha D"""
    values = _scaled(left, right, right.values)
    return None if values is None else Diagonal(values, copy=False)


@RULES.product(Scalar, KroneckerSparse)
def scalar_factor(left, right):
    """(alpha I) K = alpha K"""
    values = _scaled(left, right, right.values)
    return None if values is None else KroneckerSparse(values, copy=False)


@RULES.product(Diagonal, KroneckerSparse)
def diagonal_factor(left, right):
    """D K = K with its rows scaled"""
    if not one_place(left, right):
        return None
    a, b, _, d = right.pattern
    xp = array_namespace(left.values)
    return KroneckerSparse(xp.reshape(left.values, (a, b, 1, d)) * right.values, copy=False)


@RULES.product(KroneckerSparse, Diagonal)
def factor_diagonal(left, right):
    """K D = K with its columns scaled"""
    if not one_place(left, right):
        return None
    a, _, c, d = left.pattern
    xp = array_namespace(right.values)
    return KroneckerSparse(left.values * xp.reshape(right.values, (a, 1, c, d)), copy=False)


@RULES.product(KroneckerSparse, KroneckerSparse)
def factor_factor(left, right):
    """K1 K2 = K, when the patterns chain and K holds no more entries than both together"""
    p, q = left.pattern, right.pattern
    if not p.chains_with(q) or p.fused_with(q).entries > p.entries + q.entries:
        return None
    if not one_place(left, right):
        return None
    return KroneckerSparse(ks_fuse(left.values, right.values), copy=False)


@RULES.sum(Diagonal, Diagonal)
def diagonal_plus_diagonal(left, right):
    """D1 + D2 = diag(d1 + d2)"""
    if not one_place(left, right):
        return None
    return Diagonal(left.values + right.values, copy=False)


@RULES.sum(KroneckerSparse, KroneckerSparse)
def factor_plus_factor(left, right):
    """K1 + K2 = K, of one pattern"""
    if left.pattern != right.pattern or not one_place(left, right):
        return None
    return KroneckerSparse(left.values + right.values, copy=False)


def one_place(left: LinearOperator, right: LinearOperator) -> bool:
    """Whether the values may be combined here and now, each library's own way."""
    return left._places == right._places


def _gathered(diagonal: Diagonal, index) -> Diagonal:
    values = diagonal.values
    host = to_numpy(index)
    if is_numpy(values):
        return Diagonal(values[host], copy=False)
    xp = array_namespace(values)
    where = xp.asarray(host.copy(), device=values.device)
    return Diagonal(xp.take(values, where), copy=False)


def _scaled(scalar: Scalar, op: LinearOperator, values):
    """alpha * values in the dtype that both promote to; None where they live apart."""
    alpha = scalar.alpha
    if is_array(alpha):
        return alpha * values if scalar._places == op._places else None
    if is_numpy(values):
        return alpha * values
    if isinstance(alpha, np.generic):
        return None  # its dtype is strong: another library would take it for a Python number
    xp = array_namespace(values)
    if isinstance(alpha, complex) and not xp.isdtype(values.dtype, "complex floating"):
        return None
    return alpha * values
