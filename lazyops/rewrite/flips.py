"""Rules of flips and circular moves beside transforms and filters: they pass through, or vanish."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .._array import array_namespace
from ..operators import (
    Circulant,
    Convolution,
    Cosine,
    Diagonal,
    Fourier,
    Hartley,
    Modulation,
    Permutation,
)
from ..operators.fourier import SWAPPED
from .engine import Rules

RULES = Rules()


def mirror(P: Permutation) -> int | None:
    """s where ``(P x)[i] = x[(s - i) mod n]``: 0 a reversal, -1 a flip; else None."""
    return _steps(P, -1)


def _steps(P: Permutation, b: int) -> int | None:
    """s where ``(P x)[i] = x[(s + b i) mod n]``; else None."""
    n = P.shape[0]
    if not n or not isinstance(P.index, np.ndarray):
        return None
    s = int(P.index[0])
    return s if np.array_equal(P.index, (s + b * np.arange(n)) % n) else None


def _is_flip(P: Permutation) -> bool:
    return mirror(P) == P.shape[0] - 1


def _turned(F: Fourier) -> Fourier:
    """F R = R F, with (R x)[i] = x[-i]: the transform of the other sign, with the same factor."""
    return Fourier(F.n, not F.inverse, SWAPPED[F.norm])


@RULES.product(Fourier, Permutation)
def fourier_mirror(left, right):
    """F P = W F^-1 up to the factor, with (P x)[i] = x[s - i], W the phases of a shift by s"""
    n, s = left.n, mirror(right)
    if s is None:
        return None
    W = [Modulation(n, -s if left.inverse else s)] if s else []
    return (*W, _turned(left))


@RULES.product(Permutation, Fourier)
def mirror_fourier(left, right):
    """P F = P' F^-1 up to the factor, with (P x)[i] = x[s - i], P' the shift by s"""
    n, s = right.n, mirror(left)
    if s is None or (s and _steps(left, 1) is not None):
        return None  # that of two entries is a shift itself
    shift = [Permutation((np.arange(n) - s) % n, copy=False)] if s else []
    return (*shift, _turned(right))


@RULES.product(Hartley, Permutation)
def hartley_mirror(left, right):
    """H R = R H, with (R x)[i] = x[-i]"""
    reverses = mirror(right) == 0 and _steps(right, 1) is None
    return (right, left) if reverses else None


def _signs(n: int) -> Diagonal:
    """diag(1, -1, 1, ...), in numbers that join no precision to that of x."""
    return Diagonal((1 - 2 * (np.arange(n) % 2)).astype(np.int8), copy=False)


@RULES.product(Cosine, Permutation)
def cosine_flip(left, right):
    """C J = diag(1, -1, ...) C' for the flip J: C' = C of types I, II, the other of III, IV"""
    if not _is_flip(right):
        return None
    other = left.type in ((2, 4) if left.transposed else (3, 4))
    return _signs(left.n), replace(left, sine=left.sine != other, copy=False)


@RULES.product(Permutation, Cosine)
def flip_cosine(left, right):
    """J C = C' diag(1, -1, ...) for the flip J: C' = C of types I, III, the other of II, IV"""
    if not _is_flip(left):
        return None
    other = right.type in ((3, 4) if right.transposed else (2, 4))
    return replace(right, sine=right.sine != other, copy=False), _signs(right.n)


@RULES.product(Permutation, Circulant)
def roll_circulant(left, right):
    """P C = C', its column moved, for a P that moves circularly"""
    s = _steps(left, 1)
    if s is None:
        return None
    return Circulant(array_namespace(right.column).roll(right.column, -s), copy=False)


@RULES.product(Circulant, Permutation)
def circulant_roll(left, right):
    """C P = C', its column moved, for a P that moves circularly"""
    return roll_circulant(right, left)


@RULES.product(Permutation, Circulant, Permutation)
def flip_circulant_flip(left, middle, right):
    """J C J = C.T for the flip J"""
    return middle.T if _is_flip(left) and _is_flip(right) else None


@RULES.product(Permutation, Convolution, Permutation)
def flip_convolution_flip(left, middle, right):
    """J (h *) J = (reversed h) * for the flips J"""
    if not (_is_flip(left) and _is_flip(right)):
        return None
    m = middle.kernel.shape[0]
    kernel = array_namespace(middle.kernel).flip(middle.kernel)
    start = m - 1 + middle.n - middle.rows - middle.start
    return Convolution(kernel, middle.n, start, middle.rows, middle.method, copy=False)
