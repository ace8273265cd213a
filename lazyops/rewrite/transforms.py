"""Rules of transforms: which products of them are scalars and permutations."""

from __future__ import annotations

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
    powers = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}
    return _scaled(left.n, powers[inverse.norm] - powers[forward.norm], Identity(left.n))


@RULES.product(Hartley, Hartley)
def hartley_hartley(left, right):
    """H H = n I, by the factors of both"""
    powers = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}
    return _scaled(left.n, 1.0 - powers[left.norm] - powers[right.norm], Identity(left.n))


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
