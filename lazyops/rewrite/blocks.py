"""Rules for Kronecker products and blocks: products go inside, where they are smaller."""

from __future__ import annotations

import itertools
from typing import Any

from ..operators import (
    BlockDiag,
    HStack,
    Identity,
    Kron,
    LinearOperator,
    Product,
    Scalar,
    VStack,
    add,
    block_diag,
    compose,
    hstack,
    kron,
    vstack,
)
from .engine import Rules

RULES = Rules()


@RULES.product(Kron, Kron)
def kron_mixed_product(left, right):
    """kron(A, B) kron(C, D) = kron(A C, B D), when the sizes meet, identities split"""
    pairs = _split(left.factors, right.factors)
    return None if pairs is None else kron(*(compose(a, b) for a, b in pairs))


@RULES.product(BlockDiag, BlockDiag)
def block_diag_product(left, right):
    """diag(A, B) diag(C, D) = diag(A C, B D), when the sizes meet"""
    pairs = _meeting(left.blocks, right.blocks)
    return None if pairs is None else block_diag([compose(a, b) for a, b in pairs])


@RULES.product(BlockDiag, VStack)
def block_diag_vstack(left, right):
    """diag(A, B) [C; D] = [A C; B D], when the sizes meet"""
    pairs = _meeting(left.blocks, right.blocks)
    return None if pairs is None else vstack([compose(a, b) for a, b in pairs])


@RULES.product(HStack, BlockDiag)
def hstack_block_diag(left, right):
    """[A, B] diag(C, D) = [A C, B D], when the sizes meet"""
    pairs = _meeting(left.blocks, right.blocks)
    return None if pairs is None else hstack([compose(a, b) for a, b in pairs])


@RULES.product(HStack, VStack)
def hstack_vstack(left, right):
    """[A, B] [C; D] = A C + B D, when the sizes meet"""
    pairs = _meeting(left.blocks, right.blocks)
    return None if pairs is None else add(*(compose(a, b) for a, b in pairs))


@RULES.node(Kron)
def kron_of_identities(op):
    """kron(..., I_p, I_q, ...) = kron(..., I_pq, ...)"""
    kept: list[LinearOperator] = []
    for factor in op.factors:
        last = kept[-1] if kept else None
        if isinstance(factor, Identity) and isinstance(last, Identity):
            kept[-1] = Identity(last.n * factor.n)
        else:
            kept.append(factor)
    if len(kept) > 1:
        kept = [f for f in kept if not (isinstance(f, Identity) and f.n == 1)] or kept[:1]
    return None if len(kept) == len(op.factors) else kron(*kept)


@RULES.node(Kron)
def kron_of_scalars(op):
    """kron(alpha A, B) = alpha kron(A, B)"""
    alpha: Any = 1
    kept: list[LinearOperator] = []
    for factor in op.factors:
        first, *rest = factor.factors if isinstance(factor, Product) else (factor,)
        if isinstance(first, Scalar) and type(first.alpha) in (int, float, complex):
            alpha = alpha * first.alpha
            factor = compose(*rest) if rest else Identity(first.n)
        kept.append(factor)
    if all(new is old for new, old in zip(kept, op.factors, strict=True)):
        return None
    return Scalar(op.shape[0], alpha) @ kron(*kept)


@RULES.node(BlockDiag)
def block_diag_of_identities(op):
    """diag(..., I_p, I_q, ...) = diag(..., I_(p+q), ...)"""
    kept: list[LinearOperator] = []
    for same, group in itertools.groupby(op.blocks, lambda b: isinstance(b, Identity)):
        members = list(group)
        kept += [Identity(sum(b.n for b in members))] if same else members
    return None if len(kept) == len(op.blocks) else block_diag(kept)


def _meeting(left, right):
    """The pairs of blocks, where there are as many of both and every pair can be multiplied."""
    if len(left) != len(right):
        return None
    if any(a.shape[1] != b.shape[0] for a, b in zip(left, right, strict=True)):
        return None
    return list(zip(left, right, strict=True))


def _split(left, right):
    """Pairs of factors that can be multiplied, an identity cut in two where only a part of it
    meets a factor: I_6 (x) A beside B (x) I_2 (x) C, for a B of 3 rows; None where they differ."""
    todo, other, pairs = list(left[::-1]), list(right[::-1]), []
    while todo and other:
        a, b = todo.pop(), other.pop()
        n, m = a.shape[1], b.shape[0]
        if isinstance(a, Identity) and n > m > 0 and n % m == 0:
            todo.append(Identity(n // m))
            a = Identity(m)
        elif isinstance(b, Identity) and m > n > 0 and m % n == 0:
            other.append(Identity(m // n))
            b = Identity(n)
        elif n != m:
            return None
        pairs.append((a, b))
    one = Identity(1)  # what is left on one side has one column, or one row
    return pairs + [(a, one) for a in reversed(todo)] + [(one, b) for b in reversed(other)]
