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
from .chains import Values, junction
from .rank_one import FIXED, nearest_pairs, to_bits, to_format

Format = FloatFormat | ScaledInteger
Factors = list[np.ndarray]
Blocks = tuple[np.ndarray, np.ndarray]
NARROW = 3  # exponent bits up to which one scale for all columns is better than the same size


def nearest(values: Values, formats: Sequence[Format]) -> Factors:
    """Every entry to the nearest number."""
    return [snapped(v, f) for v, f in zip(values, formats, strict=True)]


def pairwise(values: Values, formats: Sequence[Format], most: int, first: int = 0) -> Factors:
    """Factors in pairs, each pair on its own (Algorithm 7.2), from factor `first` on."""
    cuts = sorted({0, first, *range(first, len(values), 2), len(values)})
    found: Factors = []
    for start, stop in itertools.pairwise(cuts):
        found += left_to_right(values[start:stop], formats[start:stop], most)
    return found


def left_to_right(values: Values, formats: Sequence[Format], most: int) -> Factors:
    """One factor after the other; the last two together."""
    return met_at(values, formats, most, len(values) - 2)


def right_to_left(values: Values, formats: Sequence[Format], most: int) -> Factors:
    """The same from the other end."""
    return met_at(values, formats, most, 0)


def met_at(values: Values, formats: Sequence[Format], most: int, place: int) -> Factors:
    """From both ends, until factors `place` and `place + 1` (from 0) are left; those together.

    `most` scalars are looked at for a pair where the exact optimum would take more.
    """
    if len(values) == 1 or any(isinstance(f, ScaledInteger) for f in formats):
        return nearest(values, formats)
    found = list(values)
    left, right = np.ones(rows(found[0])), np.ones(columns(found[-1]))
    for q in range(place):
        at = Junction(found[q], found[q + 1], left, np.ones(columns(found[q + 1])))
        X, Y = at.joined(*at.left_rounded(formats[q], most))
        found[q], found[q + 1] = snapped(X, formats[q]), Y
        left = handed_right(left, np.abs(found[q]) ** 2, Y)
    for q in range(len(found) - 1, place + 1, -1):
        at = Junction(found[q - 1], found[q], np.ones(rows(found[q - 1])), right)
        X, Y = at.joined(*at.right_rounded(formats[q], most))
        found[q - 1], found[q] = X, snapped(Y, formats[q])
        right = handed_left(right, np.abs(found[q]) ** 2, X)
    both = slice(place, place + 2)
    at = Junction(found[place], found[place + 1], left, right)
    halves = at.joined(*at.left_rounded(formats[place], most, formats[place + 1]))
    found[both] = [snapped(v, f) for v, f in zip(halves, formats[both], strict=True)]
    return found


# -- one junction ------------------------------------------------------------------------------


def rows(X: np.ndarray) -> tuple[int, int, int]:
    """Shape of what there is one of for each row of a factor (a, b, c, d)."""
    return X.shape[0], X.shape[1], X.shape[3]


def columns(X: np.ndarray) -> tuple[int, int, int]:
    """The same for its columns."""
    return X.shape[0], X.shape[2], X.shape[3]


def handed_right(weights: np.ndarray, entries: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Sums of the entries of each column by weights of the rows; for the rows of `to`."""
    return (weights[:, :, None, :] * entries).sum(axis=1).reshape(rows(to))


def handed_left(weights: np.ndarray, entries: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Sums of each row by weights of the columns; for the columns of `to`."""
    return (weights[:, None, :, :] * entries).sum(axis=2).reshape(columns(to))


class Junction:
    """Two neighbours as blocks ``U V``, (..., b, r) and (..., r, c), with weights of errors.

    `left` weighs the rows of the first (a, b, d), `right` the columns of the second (a, c, d).
    """

    def __init__(self, X: np.ndarray, Y: np.ndarray, left: np.ndarray, right: np.ndarray):
        self.classes = junction(X, Y)
        self.U, self.V = self.blocks(X, Y)
        self.wu, self.wv = self.blocks(
            np.broadcast_to(left[:, :, None, :], X.shape),
            np.broadcast_to(right[:, None, :, :], Y.shape),
        )

    def blocks(self, X: np.ndarray, Y: np.ndarray) -> Blocks:
        return left_blocks(X, *self.classes), right_blocks(Y, *self.classes)

    def joined(self, U: np.ndarray, V: np.ndarray) -> Blocks:
        return from_left_blocks(U), from_right_blocks(V)

    def left_rounded(self, form: Format, most: int, other: Format | None = None) -> Blocks:
        """U rounded and V with the scales taken up; rounded too where there is an `other` format
        and the rank is one."""
        return _rounded((self.U, self.V), (self.wu, self.wv), (form, other), most)

    def right_rounded(self, form: Format, most: int, other: Format | None = None) -> Blocks:
        """The same with the two exchanged."""
        blocks, weights = (self.V.mT, self.U.mT), (self.wv.mT, self.wu.mT)
        V, U = _rounded(blocks, weights, (form, other), most)
        return U.mT, V.mT


def _rounded(
    blocks: Blocks, weights: Blocks, formats: tuple[Format, Format | None], most: int
) -> Blocks:
    (U, V), (w, w2), (form, other) = blocks, weights, formats
    b, r = U.shape[-2:]
    assert isinstance(form, FloatFormat)
    joint = other if r == 1 and isinstance(other, FloatFormat) else None
    found = nearest_pairs(
        U.mT.reshape(-1, b),
        None if joint is None else V.reshape(-1, V.shape[-1]),
        w.mT.reshape(-1, b),
        None if joint is None else w2.reshape(-1, V.shape[-1]),
        to_format(form),
        None if joint is None else to_bits(joint.significand),
        form.significand,
        FIXED,
        most,
        one_scale=keeps_one_scale(form),
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


def keeps_one_scale(form: Format) -> bool:
    """Whether its exponents are too few for columns to be brought to one size each."""
    return isinstance(form, FloatFormat) and (form.exponent_bits or math.inf) <= NARROW


def snapped(values: np.ndarray, form: Format) -> np.ndarray:
    """Every entry to the nearest number of the format, times `scale_of`."""
    scale = scale_of(values, form)
    if isinstance(form, ScaledInteger):
        rounded = form.round(parts(values), scale[:, None, None, :, None])
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
    if isinstance(form, ScaledInteger):
        return form.scale_for(parts(values), (1, 2, 4))
    sizes = np.abs(parts(values))
    if sizes.max() == 0 or form.exponent_bits is None:
        return np.ones(())
    least, most = exponents_of(sizes, form)
    return np.asarray(np.ldexp(1.0, min(max(0, least), max(most, least))))


def exponents_of(sizes: np.ndarray, form: FloatFormat) -> tuple[int, int]:
    """Of the scales that fit: from the first on the largest of `sizes` does, up to the second the
    smallest is a normal number."""
    largest = sizes.max()
    least = int(np.frexp(largest)[1] - np.frexp(form.max)[1])
    if np.ldexp(largest, -least) > form.max:
        least += 1
    smallest = sizes.min(where=sizes > 0, initial=largest)
    return least, int(np.frexp(smallest)[1] - np.frexp(form.tiny)[1])


def parts(values: np.ndarray) -> np.ndarray:
    """Real and imaginary parts on a last axis."""
    return np.stack([values.real, values.imag] if np.iscomplexobj(values) else [values], axis=-1)
