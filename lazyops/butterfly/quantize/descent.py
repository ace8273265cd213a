"""Rounded factors made better, two neighbours at a time, the others as they are.

An entry of a chain of rank one is one path: for a junction of factors X and Y with the product P on
the left and Q on the right it is ``p x y q``, and what has been rounded has ``p^ x^ y^ q^``.  Over
the rows and columns of one block, and up to what x^ and y^ do not change,

    ``sum |p_b x_b y_c q_c - p^_b x^_b y^_c q^_c|^2
        = sum |p^_b|^2 |q^_c|^2 |(m_b x_b) (y_c n_c) - x^_b y^_c|^2 + ...``,

``m_b = <p^_b, p_b> / |p^_b|^2`` and likewise n_c: a rank-one pair with weights, of which the best
rounding is known.  It is taken where it is better than the pair that is there: the error never
grows, and ends where no junction has a better pair.  One turn costs what a sweep costs, twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...kernels.formats import FloatFormat
from .chains import Values, ranks_of
from .sweeps import (
    Blocks,
    Factors,
    Format,
    Junction,
    columns,
    handed_left,
    handed_right,
    rows,
    scale_of,
)


class Side(NamedTuple):
    """What stands on one side of a factor, for each of its rows or columns: the squared norm of
    that column or row of the rounded product, and its inner product with the one in full."""

    norm2: np.ndarray
    inner: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        return self.inner / np.where(self.norm2 > 0, self.norm2, 1.0)

    def of_size_one(self) -> Side:
        """Both times one power of two: no ratio changes, and long chains do not overflow."""
        scale = 2.0 ** -int(np.frexp(self.norm2.max())[1])
        return Side(self.norm2 * scale, self.inner * scale)


def improved(
    values: Values, found: Values, formats: Sequence[Format], most: int, turns: int
) -> Factors:
    """`found` after so many turns over all junctions, there and back, or when nothing changes.

    Scales of factors stay where they are, so that new pairs and old ones fit one format.  A chain
    with ranks above one, or with integers, comes back as it is.
    """
    result = list(found)
    if len(result) == 1 or any(r > 1 for r in ranks_of(values)):
        return result
    floats = [f for f in formats if isinstance(f, FloatFormat)]
    if len(floats) < len(result):
        return result
    scales = [scale_of(v, f) for v, f in zip(found, floats, strict=True)]
    task = Descent(values, result, floats, scales, most)
    for turn in range(turns):
        if not task.turn(backwards=turn % 2 == 1):
            break
    return result


class Descent(NamedTuple):
    """`found` is changed in place."""

    values: Values
    found: Factors
    formats: Sequence[FloatFormat]
    scales: Sequence[np.ndarray]
    most: int

    def turn(self, backwards: bool) -> bool:
        """Every junction once; whether anything changed."""
        last = len(self.values) - 1
        first = np.ones(rows(self.values[0])), np.ones(columns(self.values[-1]))
        lefts, rights = [Side(first[0], first[0])], [Side(first[1], first[1])]
        if backwards:
            for q in range(last - 1):
                lefts.append(self.beyond(lefts[-1], q, q + 1))
        else:
            for q in range(last, 1, -1):
                rights.append(self.beyond(rights[-1], q, q - 1))
        changed = False
        for q in reversed(range(last)) if backwards else range(last):
            changed |= self.junction(q, lefts[-1], rights[-1], backwards)
            if backwards:
                lefts.pop()
                rights.append(self.beyond(rights[-1], q + 1, q))
            else:
                rights.pop()
                lefts.append(self.beyond(lefts[-1], q, q + 1))
        return changed

    def beyond(self, side: Side, q: int, to: int) -> Side:
        """The side of factor `to` from that of its neighbour q."""
        handed = handed_right if to > q else handed_left
        square, mixed = np.abs(self.found[q]) ** 2, self.found[q].conj() * self.values[q]
        next_ = self.values[to]
        return Side(
            *(handed(s, z, next_) for s, z in zip(side, (square, mixed), strict=True))
        ).of_size_one()

    def junction(self, q: int, left: Side, right: Side, backwards: bool) -> bool:
        """Of each block the pair that is there, or the best for the rest where that is better."""
        both = slice(q, q + 2)
        X, Y = self.values[both]
        X, Y = X * left.ratio[:, :, None, :], Y * right.ratio[:, None, :, :]
        at = Junction(X, Y, left.norm2, right.norm2)
        if backwards:
            new = at.right_rounded(self.formats[q + 1], self.most, self.formats[q])
        else:
            new = at.left_rounded(self.formats[q], self.most, self.formats[q + 1])
        old = at.blocks(*self.found[both])
        new = self.in_place(q, new, old)
        better = _lost(at, new) < _lost(at, old)
        self.found[both] = at.joined(
            *(np.where(better, n, o) for n, o in zip(new, old, strict=True))
        )
        return bool(better.any())

    def in_place(self, q: int, new: Blocks, old: Blocks) -> Blocks:
        """The new pair with the left part scaled like the old one's, in the formats of the two."""
        shift = _exponent(old[0]) - _exponent(new[0])
        scaled = np.ldexp(1.0, shift) * new[0], np.ldexp(1.0, -shift) * new[1]
        U, V = (
            f.round(z / s, saturate=True) * s
            for z, f, s in zip(scaled, self.formats[q : q + 2], self.scales[q : q + 2], strict=True)
        )
        return U, V


def _exponent(U: np.ndarray) -> np.ndarray:
    """Of the largest entry of each block (..., b, 1), as (..., 1, 1)."""
    return np.frexp(np.abs(U).max(axis=-2, keepdims=True))[1]


def _lost(at: Junction, pair: Blocks) -> np.ndarray:
    """Squared error of each block, (..., 1, 1); sums of squares, so nothing cancels."""
    U, V = pair

    def total(z: np.ndarray, axis: int) -> np.ndarray:
        return z.sum(axis=axis, keepdims=True)

    kept = total(at.wu * np.abs(U) ** 2, -2)
    c = total(at.wu * U.conj() * at.U, -2) / np.where(kept > 0, kept, 1.0)
    missed = total(at.wu * np.abs(at.U - c * U) ** 2, -2) * total(at.wv * np.abs(at.V) ** 2, -1)
    return missed + kept * total(at.wv * np.abs(c * at.V - V) ** 2, -1)
