"""Rules that look at types, shapes and identity only.  They never touch a stored value."""

from __future__ import annotations

from .._array import is_array
from ..operators import (
    Identity,
    LinearOperator,
    Product,
    Scalar,
    Zero,
    compose,
    is_one,
    known_partner,
)
from .engine import Rules

RULES = Rules()


@RULES.product(Identity, LinearOperator)
def identity_left(left, right):
    """I A = A"""
    return right


@RULES.product(LinearOperator, Identity)
def identity_right(left, right):
    """A I = A"""
    return left


@RULES.product(Zero, LinearOperator)
def zero_left(left, right):
    """0 A = 0, whatever A holds (NaN and Inf too)"""
    return Zero((left.shape[0], right.shape[1]))


@RULES.product(LinearOperator, Zero)
def zero_right(left, right):
    """A 0 = 0, whatever A holds (NaN and Inf too)"""
    return Zero((left.shape[0], right.shape[1]))


@RULES.product(Scalar, Scalar)
def scalar_scalar(left, right):
    """(alpha I)(beta I) = (alpha beta) I"""
    return Scalar(left.n, left.alpha * right.alpha)


@RULES.product(Scalar, LinearOperator)
def scalar_one(left, right):
    """1 A = A"""
    return right if is_one(left) and _is_weak_real(left) else None


@RULES.product(Scalar, LinearOperator)
def scalar_zero(left, right):
    """0 A = 0, whatever A holds (NaN and Inf too)"""
    vanishes = _is_weak_real(left) and left.alpha == 0
    return Zero(right.shape) if vanishes else None


@RULES.product(LinearOperator, Scalar)
def scalar_first(left, right):
    """A (alpha I) = (alpha I) A"""
    return Scalar(left.shape[0], right.alpha), left


@RULES.product(LinearOperator, LinearOperator)
def adjoint_pair(left, right):
    """U.H U = I for a unitary U"""
    if known_partner(right, "H") is not left or not right.is_unitary:
        return None
    return Identity(right.shape[1])


@RULES.sum(Zero, LinearOperator)
def zero_plus(left, right):
    """0 + A = A"""
    return right


@RULES.sum(LinearOperator, Zero)
def plus_zero(left, right):
    """A + 0 = A"""
    return left


@RULES.sum(Identity, Identity)
def identity_plus_identity(left, right):
    """I + I = 2 I"""
    return Scalar(left.n, 2)


@RULES.sum(Scalar, Scalar)
def scalar_plus_scalar(left, right):
    """alpha I + beta I = (alpha + beta) I"""
    return Scalar(left.n, left.alpha + right.alpha)


@RULES.sum(Identity, Scalar)
def identity_plus_scalar(left, right):
    """I + alpha I = (1 + alpha) I"""
    return Scalar(left.n, 1 + right.alpha)


@RULES.sum(Scalar, Identity)
def scalar_plus_identity(left, right):
    """alpha I + I = (alpha + 1) I"""
    return Scalar(left.n, left.alpha + 1)


@RULES.terms
def like_terms(terms):
    """alpha A + beta A = (alpha + beta) A"""
    groups: dict[tuple[int, ...], list] = {}
    for term in terms:
        alpha, factors = _coefficient(term)
        groups.setdefault(tuple(map(id, factors)), []).append((alpha, factors, term))
    if len(groups) == len(terms):
        return None
    found = [_collected(group) for group in groups.values()]
    kept = [term for term in found if term is not None]
    return kept or [Zero(terms[0].shape)]


def _coefficient(term: LinearOperator) -> tuple:
    """(alpha, factors) of a term written ``alpha * product of factors``."""
    if isinstance(term, Product):
        first = term.factors[0]
        if isinstance(first, Scalar) and not is_array(first.alpha):
            return first.alpha, term.factors[1:]
        return 1, term.factors
    return 1, (term,)


def _collected(group: list) -> LinearOperator | None:
    if len(group) == 1:
        return group[0][2]
    alpha = sum(alpha for alpha, _, _ in group)
    operator = compose(*group[0][1])
    if alpha == 0:
        return None
    return operator if type(alpha) in (int, float) and alpha == 1 else alpha * operator


def _is_weak_real(scalar: Scalar) -> bool:
    """A Python int or float: leaving it out changes no dtype."""
    return type(scalar.alpha) in (int, float, bool)
