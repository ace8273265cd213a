"""Products of Kronecker-sparse factors compared through their factors: no matrix is formed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...pattern import Chain, Pattern
from ..splits import from_right_blocks, left_blocks, right_blocks

Values = Sequence[np.ndarray]


def junction(X: np.ndarray, Y: np.ndarray) -> tuple[int, int]:
    """Column and row classes (A, D) of the junction of two neighbours."""
    return Y.shape[0] // X.shape[0], X.shape[3] // Y.shape[3]


def ranks_of(values: Values) -> tuple[int, ...]:
    return Chain(Pattern(*v.shape) for v in values).ranks


def inner(left: Values, right: Values) -> complex:
    """Frobenius inner product of the products of two chains of the same patterns.

    Columns of a product so far have the same support where they belong to one block of the next
    junction, and no entry in common otherwise.  So the Gram matrices of these blocks, r x r for a
    junction of rank r, are all there is to hand on.
    """
    carried = right[0]
    for q in range(len(left) - 1):
        A, D = junction(left[q], left[q + 1])
        gram = left_blocks(left[q].conj(), A, D).mT @ left_blocks(carried, A, D)
        carried = from_right_blocks(gram @ right_blocks(right[q + 1], A, D))
    return complex((left[-1].conj() * carried).sum())


def norm2(values: Values) -> float:
    """Squared Frobenius norm of the product."""
    return max(inner(values, values).real, 0.0)


def relative_distance(values: Values, found: Values) -> float:
    """``||A - B|| / ||A||`` of the products (Frobenius), to about 1e-8: squares are subtracted."""
    exponents = [int(np.frexp(np.abs(v).max(initial=0.0))[1]) for v in values]
    one, two = (
        [v * 2.0**-e for v, e in zip(chain, exponents, strict=True)] for chain in (values, found)
    )
    whole = norm2(one)
    error = whole - 2 * inner(one, two).real + norm2(two)
    return math.sqrt(max(error, 0.0) / whole) if whole else math.sqrt(norm2(two))
