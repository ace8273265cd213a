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
    if any(isinstance(f, ScaledInteger) for f in formats):
        return nearest(values, formats)
    found = list(values)
    weights = np.ones(values[0][:, :, 0, :].shape)
    for q in range(len(found) - 1):
        X, Y = found[q : q + 2]
        A, D = Y.shape[0] // X.shape[0], X.shape[3] // Y.shape[3]
        U, V = left_blocks(X, A, D), right_blocks(Y, A, D)
        w = left_blocks(np.broadcast_to(weights[:, :, None, :], X.shape), A, D)
        other = formats[q + 1] if q + 2 == len(found) else None
        U, V = _junction(U, V, w, formats[q], other, most)
        found[q], found[q + 1] = snapped(from_left_blocks(U), formats[q]), from_right_blocks(V)
        weights = (weights[:, :, None, :] * np.abs(found[q]) ** 2).sum(axis=1)
        weights = weights.reshape(Y[:, :, 0, :].shape)
    return [*found[:-1], snapped(found[-1], formats[-1])]


def right_to_left(values: Sequence[np.ndarray], formats: Sequence[Format], most: int) -> Factors:
    """`left_to_right` of the transpose, on the same blocks."""
    if any(isinstance(f, ScaledInteger) for f in formats):
        return nearest(values, formats)
    found = list(values)
    weights = np.ones(values[-1][:, 0, :, :].shape)
    for q in range(len(found) - 1, 0, -1):
        X, Y = found[q - 1 : q + 1]
        A, D = Y.shape[0] // X.shape[0], X.shape[3] // Y.shape[3]
        U, V = left_blocks(X, A, D), right_blocks(Y, A, D)
        w = right_blocks(np.broadcast_to(weights[:, None, :, :], Y.shape), A, D)
        other = formats[q - 1] if q == 1 else None
        V, U = (z.mT for z in _junction(V.mT, U.mT, w.mT, formats[q], other, most))
        found[q - 1], found[q] = from_left_blocks(U), snapped(from_right_blocks(V), formats[q])
        weights = (weights[:, None, :, :] * np.abs(found[q]) ** 2).sum(axis=2)
        weights = weights.reshape(X[:, 0, :, :].shape)
    return [snapped(found[0], formats[0]), *found[1:]]


def _junction(
    U: np.ndarray,
    V: np.ndarray,
    w: np.ndarray,
    form: Format,
    other: Format | None,
    most: int,
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

    Of floats a power of two for all of it, as near to one as the range allows: nothing overflows,
    and as little as can be is below the normal numbers.  Of integers float32 scales (a, d), one
    for each block.
    """
    sizes = np.abs(_parts(values))
    if isinstance(form, ScaledInteger):
        return form.scale(sizes.max(axis=(1, 2, 4)))
    largest = sizes.max()
    if largest == 0 or form.exponent_bits is None:
        return np.ones(())
    least = int(np.frexp(largest)[1] - np.frexp(form.max)[1])  # the largest fits from here on
    if np.ldexp(largest, -least) > form.max:
        least += 1
    smallest = sizes.min(where=sizes > 0, initial=largest)
    most = int(np.frexp(smallest)[1] - np.frexp(form.tiny)[1])  # the smallest is normal up to here
    return np.asarray(np.ldexp(1.0, min(max(0, least), max(most, least))))


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
