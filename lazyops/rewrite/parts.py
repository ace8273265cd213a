"""Rules of real and imaginary parts, and of an operator beside its conjugate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    return _pairs_joined(terms, _named_part, lambda name: (name[0], not name[1]), _whole)


def _named_part(term: LinearOperator) -> tuple | None:
    """What A it is a part of, and whether it is ``real(A)``, of a multiple of ``real(-+1j A)``."""
    A = _multiple_of_part(term)[1]
    if A is None:
        return None
    turn, factors = _coefficient(A)
    return (tuple(map(id, factors)), turn == 1) if turn in (1, 1j, -1j) else None


def _whole(one: LinearOperator, other: LinearOperator) -> LinearOperator | None:
    (alpha, A), (beta, B) = _multiple_of_part(one), _multiple_of_part(other)
    turn = _coefficient(B)[0]
    if turn == 1:
        return None  # the other way round, that is
    beta = beta * (1j * turn)  # of imag(A), which is written real(-1j A)
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
    return _pairs_joined(terms, _named_pair, lambda name: name[::-1], _twice_a_part)


def _named_pair(term: LinearOperator) -> tuple | None:
    """What factors it has, and what their conjugates are, where these are there already."""
    factors = _coefficient(term)[1]
    partners = [known_partner(f, "conj") for f in factors]
    if None in partners or all(f is p for f, p in zip(factors, partners, strict=True)):
        return None
    return tuple(map(id, factors)), tuple(map(id, partners))


def _twice_a_part(one: LinearOperator, other: LinearOperator) -> LinearOperator | None:
    (alpha, factors), (beta, _) = _coefficient(one), _coefficient(other)
    A = compose(*factors)
    if beta == alpha:
        return 2 * alpha * A.real
    return 2j * alpha * A.imag if beta == -alpha else None


def _pairs_joined(terms: list, named: Callable, partner: Callable, joined: Callable) -> list | None:
    """The terms, with what two of them make in the place of the first; None where none do.

    `named` gives a term a name, or None, and `partner` the name of what it may be joined with.
    """
    kept: list[LinearOperator] = []
    waiting: dict[Any, int] = {}
    for term in terms:
        name = named(term)
        at = None if name is None else waiting.pop(partner(name), None)
        if at is not None:
            both = kept[at], term
            new = joined(*both)
            if (new := joined(*both[::-1]) if new is None else new) is not None:
                kept[at] = new
                continue
        if name is not None:
            waiting[name] = len(kept)
        kept.append(term)
    return kept if len(kept) < len(terms) else None
