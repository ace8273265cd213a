"""Rounding the factors of a butterfly, using that scales may move across every junction.

Across a junction of rank one, column i of the left factor and row i of the right one are a
rank-one matrix, and those have disjoint supports.  From left to right each factor is rounded as
well as scales allow while all that follows is still exact and takes up the scales (Gribonval,
Mary, Riccietti, hal-04125381, Algorithm 7.3).  Two things are ours.  What follows does not
influence the choice, so it is never formed.  What has been rounded does: entry i of a column stands
for a whole column of the product so far, so its error counts with that column's norm.  With these
weights the steps' errors are orthogonal, and for formats of unit roundoffs u_l

    ``||A - B|| <= sqrt(sum (u_l / (1 + u_l))^2) ||A||``    (rounding to nearest: ``~ sum u_l``)

because scaling by 1 is among what each step looks at.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ...kernels.formats import FloatFormat, ScaledInteger
from ..splits import from_left_blocks, from_right_blocks, left_blocks, right_blocks
from .rank_one import FIXED, nearest_pairs, to_bits, to_format

Format = FloatFormat | ScaledInteger
Factors = list[np.ndarray]
NARROW = 3  # exponent bits up to which one scale for all columns is better than the same size


def nearest(values: Sequence[np.ndarray], formats: Sequence[Format]) -> Factors:
    """Every entry to the nearest number."""
    return [snapped(v, f) for v, f in zip(values, formats, strict=True)]


def pairwise(
    values: Sequence[np.ndarray], formats: Sequence[Format], most: int, first: int = 0
) -> Factors:
    """Factors in pairs, each pair on its own (Algorithm 7.2), from factor `first` on."""
    cuts = sorted({0, first, *range(first, len(values), 2), len(values)})
    found: Factors = []
    for start, stop in itertools.pairwise(cuts):
        found += left_to_right(values[start:stop], formats[start:stop], most)
    return found


def left_to_right(values: Sequence[np.ndarray], formats: Sequence[Format], most: int) -> Factors:
    """One factor after the other; the last two together.

    `most` scalars are looked at for a pair where the exact optimum would take more.
    """
    return met_at(values, formats, most, len(values) - 2)


def right_to_left(values: Sequence[np.ndarray], formats: Sequence[Format], most: int) -> Factors:
    """The same from the other end."""
    return met_at(values, formats, most, 0)


def met_at(
    values: Sequence[np.ndarray], formats: Sequence[Format], most: int, junction: int
) -> Factors:
    """From both ends, until the two factors at `junction` (from 0) are left; those together."""
    if any(isinstance(f, ScaledInteger) for f in formats):
        return nearest(values, formats)
    found = list(values)
    if len(found) == 1:
        return nearest(values, formats)
    left, right = np.ones(found[0][:, :, 0, :].shape), np.ones(found[-1][:, 0, :, :].shape)
    for q in range(junction):
        U, V, w, _ = _blocks(found[q], found[q + 1], left, None)
        U, V = _rounded_left(U, V, w, formats[q], most)
        found[q], found[q + 1] = snapped(from_left_blocks(U), formats[q]), from_right_blocks(V)
        left = (left[:, :, None, :] * np.abs(found[q]) ** 2).sum(axis=1)
        left = left.reshape(found[q + 1][:, :, 0, :].shape)
    for q in range(len(found) - 1, junction + 1, -1):
        U, V, _, w = _blocks(found[q - 1], found[q], None, right)
        V, U = (z.mT for z in _rounded_left(V.mT, U.mT, w.mT, formats[q], most))
        found[q - 1], found[q] = from_left_blocks(U), snapped(from_right_blocks(V), formats[q])
        right = (right[:, None, :, :] * np.abs(found[q]) ** 2).sum(axis=2)
        right = right.reshape(found[q - 1][:, 0, :, :].shape)
    pair = slice(junction, junction + 2)
    U, V, w, w2 = _blocks(*found[pair], left, right)
    U, V = _rounded_left(U, V, w, formats[junction], most, formats[junction + 1], w2)
    halves = from_left_blocks(U), from_right_blocks(V)
    found[pair] = [snapped(v, f) for v, f in zip(halves, formats[pair], strict=True)]
    return found


def _blocks(
    X: np.ndarray, Y: np.ndarray, left: np.ndarray | None, right: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    """Blocks of a junction, and the weights of their entries: of rows of X, of columns of Y."""
    A, D = Y.shape[0] // X.shape[0], X.shape[3] // Y.shape[3]
    ones = np.ones(())
    wx = ones if left is None else left[:, :, None, :]
    wy = ones if right is None else right[:, None, :, :]
    return (
        left_blocks(X, A, D),
        right_blocks(Y, A, D),
        left_blocks(np.broadcast_to(wx, X.shape), A, D),
        right_blocks(np.broadcast_to(wy, Y.shape), A, D),
    )


def _rounded_left(
    U: np.ndarray,
    V: np.ndarray,
    w: np.ndarray,
    form: Format,
    most: int,
    other: Format | None = None,
    w2: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Blocks (..., b, r) of the left factor rounded, those of the right one (..., r, c) with the
    scales taken up, and rounded too where `other` is given and the rank is one."""
    b, r = U.shape[-2:]
    assert isinstance(form, FloatFormat)
    joint = other if r == 1 and isinstance(other, FloatFormat) else None
    found = nearest_pairs(
        U.mT.reshape(-1, b),
        None if joint is None else V.reshape(-1, V.shape[-1]),
        w.mT.reshape(-1, b),
        to_format(form),
        None if joint is None else to_bits(joint.significand),
        form.significand,
        FIXED,
        most,
        one_scale=form.exponent_bits is not None and form.exponent_bits <= NARROW,
        weights_y=None if joint is None or w2 is None else w2.reshape(-1, w2.shape[-1]),
    )
    left = found.left.reshape(*U.shape[:-2], r, b).mT
    if found.right is not None:
        return left, found.right.reshape(V.shape)
    return left, _taken_up(U, left, found.factor.reshape(*U.shape[:-2], r), w) @ V


def _taken_up(U: np.ndarray, left: np.ndarray, factor: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The G nearest to ``diag(factor)`` of those with ``||U - left G||`` least; (..., r, r).

    Of rank one it is the factor.  Else the columns of a block overlap, and what one of them lost
    the others can make up for.
    """
    scaled = factor[..., :, None] * np.eye(factor.shape[-1])
    if factor.shape[-1] == 1:
        return scaled
    root = np.sqrt(w[..., :1])
    return scaled + np.linalg.pinv(root * left, rcond=1e-6) @ (root * (U - left @ scaled))


def snapped(values: np.ndarray, form: Format) -> np.ndarray:
    """Every entry to the nearest number of the format, times `scale_of`."""
    scale = scale_of(values, form)
    if isinstance(form, ScaledInteger):
        rounded = form.round(_parts(values), scale[:, None, None, :, None])
        return (
            rounded[..., 0] + 1j * rounded[..., 1] if np.iscomplexobj(values) else rounded[..., 0]
        )
    return form.round(values / scale, saturate=True) * scale


def scale_of(values: np.ndarray, form: Format) -> np.ndarray:
    """What a factor (a, b, c, d) is divided by to fit the format.

    Of floats a power of two for all of it: the largest entry comes to the upper end of the range,
    so that nothing overflows, and as little as can be underflows.  Of integers float32 scales
    (a, d), one for each block.
    """
    if isinstance(form, ScaledInteger):
        return form.scale(np.abs(_parts(values)).max(axis=(1, 2, 4)))
    largest = np.abs(_parts(values)).max()
    if largest == 0 or form.exponent_bits is None:
        return np.ones(())
    exponent = int(np.frexp(largest)[1] - np.frexp(form.max)[1])
    if np.ldexp(largest, -exponent) > form.max:
        exponent += 1
    return np.asarray(np.ldexp(1.0, exponent))


def _parts(values: np.ndarray) -> np.ndarray:
    """Real and imaginary parts on a last axis."""
    return np.stack([values.real, values.imag] if np.iscomplexobj(values) else [values], axis=-1)


def sweep_bound(found: Sequence[np.ndarray], formats: Sequence[Format]) -> float:
    """Relative error of a sweep over a chain of rank one, at most; infinite with underflow.

    `found` is what was rounded to: where no part of it is below the normal numbers of its format,
    each step's error is at most ``u / (1 + u)`` of what is left of ``||A||``.
    """
    total = 0.0
    for values, form in zip(found, formats, strict=True):
        if isinstance(form, ScaledInteger):
            return math.inf
        if np.abs(_parts(values)).min() < form.tiny * scale_of(values, form):
            return math.inf
        unit = 2.0**-form.significand
        total += (unit / (1 + unit)) ** 2
    return math.sqrt(total) * (1 + 2.0**-40)
