"""Rules of transforms: which products of them are scalars and permutations."""

from __future__ import annotations

import numpy as np

from ..operators import Cosine, Fourier, Hadamard, Identity, LinearOperator, Permutation, Scalar
from .engine import Rules

RULES = Rules()


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


@RULES.product(Permutation, Fourier)
def reversal_fourier(left, right):
    """R F = F^-1 up to the factor, with (R x)[i] = x[-i]"""
    if not _is_reversal(left):
        return None
    other = {"backward": "forward", "forward": "backward", "ortho": "ortho"}[right.norm]
    return Fourier(right.n, not right.inverse, other)


@RULES.product(Fourier, Permutation)
def fourier_reversal(left, right):
    """F R = F^-1 up to the factor, with (R x)[i] = x[-i]"""
    return reversal_fourier(right, left)


def _is_reversal(P: Permutation) -> bool:
    n = P.shape[0]
    return isinstance(P.index, np.ndarray) and bool(np.array_equal(P.index, -np.arange(n) % n))


@RULES.product(Hadamard, Hadamard)
def hadamard_hadamard(left, right):
    """H H = n I, by the factors of both"""
    powers = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}
    return _scaled(left.n, 1.0 - powers[left.norm] - powers[right.norm], Identity(left.n))


@RULES.product(Cosine, Cosine)
def cosine_cosine(left, right):
    """C^-1 C = I: types II and III, I and I, IV and IV undo each other, by the factors of both"""
    partners = {1: 1, 2: 3, 3: 2, 4: 4}
    if left.sine != right.sine or left.transposed or right.transposed:
        return None
    if left.type != partners[right.type]:
        return None
    if (left.norm == "ortho") != (right.norm == "ortho"):
        return None  # their edges do not meet
    period = 2 * (left.n + (0 if left.type > 1 else 1 if left.sine else -1))
    powers = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}
    power = 1.0 - powers[left.norm] - powers[right.norm]
    return Identity(left.n) if power == 0 else Scalar(left.n, float(period) ** power)
