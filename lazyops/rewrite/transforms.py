"""Rules of transforms: which products of them are scalars and permutations."""

from __future__ import annotations

import math

import numpy as np

from ..operators import (
    Cosine,
    Fourier,
    Hadamard,
    HalfFourier,
    Hartley,
    Identity,
    Kron,
    LinearOperator,
    Modulation,
    Permutation,
    RealFourier,
    Restriction,
    Scalar,
    kron,
)
from ..operators.cosine import PARTNER
from ..operators.roots import roots_of_unity
from .engine import Rules

RULES = Rules()
POWERS = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}  # of n, that a norm divides by


def _scaled(n: int, power: float, operator: LinearOperator) -> LinearOperator:
    """``n**power`` times the operator; nothing where that is 1."""
    if power == 0 or n <= 1:
        return operator
    scalar = Scalar(n, float(n) ** power)
    return scalar if isinstance(operator, Identity) else scalar @ operator


@RULES.product(Fourier, Fourier)
def fourier_fourier(left, right):
    """F.H F = n I and F F = n R with (R x)[i] = x[-i], by the factors of both"""
    n, power = left.n, 1.0 - left.divides - right.divides
    if left.inverse != right.inverse:
        return _scaled(n, power, Identity(n))
    return _scaled(n, power, Permutation(-np.arange(n) % max(n, 1)))


@RULES.product(Fourier, Permutation, Fourier)
def fourier_permutation_fourier(left, middle, right):
    """F P F^-1 = W P' for (P x)[i] = x[b i + s], W the phases of a shift, by the factors of both

    Shifts (b = 1) give a diagonal; flips (b = -1) have passed through by then.
    """
    found = _affine(middle)
    if found is None:
        return None
    (b, s), n = found, left.n
    c = pow(b, -1, n) * (1 if left.inverse else -1)  # with F, W holds exp(2 pi i q s / b / n)
    q = np.arange(n)
    index = q * pow(b, -1, n) % n
    if left.inverse == right.inverse:
        index = -index % n
    W: LinearOperator = Modulation(n, c * s % n) if s else Identity(n)
    P: LinearOperator = Identity(n) if np.array_equal(index, q) else Permutation(index, copy=False)
    return _scaled(n, 1.0 - left.divides - right.divides, W @ P)


def _affine(P: Permutation) -> tuple[int, int] | None:
    """(b, s) where ``index[i] = (b i + s) mod n``; None for all other permutations."""
    n = P.shape[0]
    if n < 2 or not isinstance(P.index, np.ndarray):
        return None
    s, b = int(P.index[0]), int(P.index[1] - P.index[0]) % n
    return (b, s) if np.array_equal(P.index, (b * np.arange(n) + s) % n) else None


@RULES.product(Modulation, Modulation)
def modulation_modulation(left, right):
    """W^a W^b = W^(a + b)"""
    step = (left.step + right.step) % left.n
    return Modulation(left.n, step) if step else Identity(left.n)


@RULES.product(Fourier, Modulation)
def fourier_modulation(left, right):
    """F W = P F: a multiple of the frequency moves the spectrum"""
    n, step = left.n, right.step
    moved = np.arange(n) - step if left.inverse else np.arange(n) + step
    return (Permutation(moved % n, copy=False), left) if step else left


@RULES.product(Permutation, Modulation)
def permutation_modulation(left, right):
    """P W^a = alpha W^(a b) P for (P x)[i] = x[b i + s], alpha a root of unity"""
    found = _affine(left)
    if found is None:
        return None
    (b, s), n, a = found, left.shape[0], right.step
    if a * s % n:
        alpha = complex(roots_of_unity(np.array(a * s % n), n))
        return Scalar(n, alpha), Modulation(n, a * b), left
    return Modulation(n, a * b), left


@RULES.product(Restriction, Fourier)
def half_fourier(left, right):
    """the rows 0 .. n/2 of F are the transform of real signals: half the work for a real x"""
    half = right.n // 2 + 1
    if right.n < 1 or left.shape[0] != half or not isinstance(left.index, np.ndarray):
        return None
    if not np.array_equal(left.index, np.arange(half)):
        return None
    return HalfFourier(right.n, right.inverse, right.norm)


@RULES.product(RealFourier, RealFourier)
def real_fourier_pairs(left, right):
    """irfft rfft = I on pairs (re, im), and the same for the transposes, by the factors of both"""
    if left.transposed != right.transposed or left.inverse == right.inverse:
        return None
    if left.inverse == left.transposed:
        return None  # from pairs to pairs: the imaginary parts of the ends are lost
    inverse, forward = (right, left) if left.transposed else (left, right)
    return _scaled(left.n, POWERS[inverse.norm] - POWERS[forward.norm], Identity(left.n))


@RULES.product(Hartley, Hartley)
def hartley_hartley(left, right):
    """H H = n I, by the factors of both"""
    return _scaled(left.n, 1.0 - POWERS[left.norm] - POWERS[right.norm], Identity(left.n))


@RULES.node(Kron)
def kron_of_hadamards(op):
    """kron(..., H_p, H_q, ...) = kron(..., H_pq, ...)"""
    kept: list[LinearOperator] = []
    for factor in op.factors:
        last = kept[-1] if kept else None
        if isinstance(factor, Hadamard) and isinstance(last, Hadamard) and last.norm == factor.norm:
            kept[-1] = Hadamard(last.n * factor.n, last.norm)
        else:
            kept.append(factor)
    return None if len(kept) == len(op.factors) else kron(*kept)


@RULES.product(Hadamard, Hadamard)
def hadamard_hadamard(left, right):
    """H H = n I, by the factors of both"""
    return _scaled(left.n, 1.0 - POWERS[left.norm] - POWERS[right.norm], Identity(left.n))


@RULES.product(Cosine, Cosine)
def cosine_cosine(left, right):
    """C^-1 C = I: types II and III, I and I, IV and IV undo each other, by the factors of both

    With K the cosines alone, ``K' diag(w) K = period/4 diag(u)``, where w is 1/2 at the edges of
    the rows of K, and u is 2 at those of its columns.
    """
    types = [PARTNER[C.type] if C.transposed else C.type for C in (left, right)]
    if left.sine != right.sine or types[0] != PARTNER[types[1]]:
        return None
    (_, before_left, after_left), (edges, before, after) = left.edge_weights, right.edge_weights
    inner = before_left * after * (2.0 if types[1] in (1, 2) else 1.0)
    outer = after_left * before * (2.0 if types[1] in (1, 3) else 1.0)
    if edges and not (math.isclose(inner, 1.0) and math.isclose(outer, 1.0)):
        return None  # their weights do not meet there
    power = 1.0 - POWERS[left.norm] - POWERS[right.norm]
    return Identity(left.n) if power == 0 else Scalar(left.n, float(left.period) ** power)
