"""Rules of real and imaginary parts, and of an operator beside its conjugate."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from ..operators import LinearOperator, RealPart, compose, known_partner
from .engine import Rules
from .structural import _coefficient

RULES = Rules()


@RULES.node(RealPart)
def real_of_real(op):
    """real(A) = A for a real A"""
    return None if op.operator._is_complex else op.operator


@RULES.node(RealPart)
def real_of_multiple(op):
    """real(alpha A) = alpha real(A) for a real alpha"""
    alpha, factors = _coefficient(op.operator)
    if type(alpha) not in (int, float) or alpha == 1:
        return None
    return alpha * RealPart(compose(*factors))


@RULES.terms
def parts_of_one(terms):
    """alpha real(A) + 1j alpha imag(A) = alpha A, and with -1j alpha conj(A)"""
    return _pairs_joined(terms, _joined_parts)


def _joined_parts(one: LinearOperator, other: LinearOperator) -> LinearOperator | None:
    (alpha, A), (beta, B) = _multiple_of_part(one), _multiple_of_part(other)
    if A is None or B is None:
        return None
    turn, factors = _coefficient(B)  # imag(A) is written real(-1j A)
    same = tuple(map(id, factors)) == tuple(map(id, _coefficient(A)[1]))
    if not same or _coefficient(A)[0] != 1 or turn not in (1j, -1j):
        return None
    beta = beta * (1j * turn)  # of imag(A)
    if beta == 1j * alpha:
        return A if alpha == 1 else alpha * A
    return alpha * A.conj() if beta == -1j * alpha else None


def _multiple_of_part(term: LinearOperator) -> tuple:
    """(alpha, A) of a term ``alpha real(A)``."""
    alpha, factors = _coefficient(term)
    found = len(factors) == 1 and isinstance(factors[0], RealPart)
    return alpha, factors[0].operator if found else None


@RULES.terms
def conjugates_together(terms):
    """alpha A + alpha conj(A) = 2 alpha real(A), alpha A - alpha conj(A) = 2j alpha imag(A)"""
    return _pairs_joined(terms, _joined_conjugates)


def _joined_conjugates(one: LinearOperator, other: LinearOperator) -> LinearOperator | None:
    (alpha, factors), (beta, others) = _coefficient(one), _coefficient(other)
    A = compose(*factors)
    if not A._is_complex or len(factors) != len(others) or beta not in (alpha, -alpha):
        return None
    if any(known_partner(f, "conj") is not g for f, g in zip(factors, others, strict=True)):
        return None
    return 2 * alpha * A.real if beta == alpha else 2j * alpha * A.imag


def _pairs_joined(terms: list, joined: Callable) -> list | None:
    """The terms, with what two of them make in the place of the first; None where none do."""
    terms, found = list(terms), False
    for i, j in itertools.permutations(range(len(terms)), 2):
        if terms[i] is None or terms[j] is None:
            continue
        if (new := joined(terms[i], terms[j])) is not None:
            terms[i], terms[j], found = new, None, True
    return [t for t in terms if t is not None] if found else None
