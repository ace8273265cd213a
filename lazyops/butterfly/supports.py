"""Supports of two factors: where their product may be nonzero, and whether the best one is known.

A hidden index k of ``X @ Y`` (a column of X, a row of Y) reaches the rectangle of the rows where
column k of X may be nonzero and the columns where row k of Y may be.  Indices with the same
rectangle form a class of rank p, their number.  Booleans only; no numbers here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .._array import is_array, to_numpy
from ..pattern import Chain, Pattern
from .splits import embedded


@dataclass(frozen=True)
class Rectangle:
    """Hidden indices `inner` on ``rows x columns``, all of them index arrays."""

    inner: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @property
    def at(self) -> tuple[np.ndarray, ...]:
        """The index of the rectangle in a matrix."""
        return np.ix_(self.rows, self.columns)

    @property
    def complete(self) -> bool:
        """Whether every matrix on the rectangle is a product of the hidden indices."""
        return len(self.inner) >= min(len(self.rows), len(self.columns))


@dataclass(frozen=True)
class Piece:
    """A part of a class that nothing else of the class shares a row or a column with."""

    whole: Rectangle
    part: Rectangle


@dataclass(frozen=True)
class Layout:
    """The pieces of supports in the order in which they are found.

    `absorbed`: pieces that can take any values whatever the rest does.
    `fitted`: the others.  `tractable`: these are disjoint rectangles, so that a truncated SVD of
    each is the best there is.
    """

    absorbed: tuple[Piece, ...]
    fitted: tuple[Piece, ...]
    tractable: bool


def classes(left: np.ndarray, right: np.ndarray) -> list[Rectangle]:
    """Hidden indices by equal rectangles; those with an empty one are left out."""
    packed = np.hstack([np.packbits(left.T, axis=1), np.packbits(right, axis=1)])
    groups: dict[bytes, list[int]] = {}
    for k in np.flatnonzero(left.any(axis=0) & right.any(axis=1)):
        groups.setdefault(packed[k].tobytes(), []).append(int(k))
    return [
        Rectangle(
            np.array(inner), np.flatnonzero(left[:, inner[0]]), np.flatnonzero(right[inner[0]])
        )
        for inner in groups.values()
    ]


def pieces(whole: Rectangle, open_entries: np.ndarray) -> list[Piece]:
    """The connected parts of the entries of a rectangle that are open, rows joined to columns.

    open_entries : bool (rows, columns) of the rectangle
    """
    if open_entries.all():
        return [Piece(whole, whole)]
    i, j = np.nonzero(open_entries)
    m, n = open_entries.shape
    graph = coo_array((np.ones(len(i), bool), (i, m + j)), shape=(m + n, m + n))
    _, label = connected_components(graph, directed=False)
    found = []
    for one in np.unique(label[i]):
        rows, columns = whole.rows[label[:m] == one], whole.columns[label[m:] == one]
        found.append(Piece(whole, Rectangle(whole.inner, rows, columns)))
    return found


def layout(left: np.ndarray, right: np.ndarray) -> Layout:
    """Which pieces can be absorbed, and whether the best fit of the others is known.

    The general tractable case of Le, Riccietti, Gribonval, "Spurious valleys, NP-hardness, and
    tractability of sparse matrix factorization with fixed support" (arXiv 2112.00386), carried
    on: a complete class can take any values on its rectangle, so that what the others do there
    costs nothing.  Outside, a class falls into pieces that share no row and no column; those of
    full rank can take any values as well, and so on until nothing changes.
    """
    remaining = classes(left, right)
    taken = np.zeros((left.shape[0], right.shape[1]), bool)
    absorbed: list[Piece] = []
    while True:
        parts = [p for whole in remaining for p in pieces(whole, ~taken[whole.at])]
        new = [p for p in parts if p.part.complete]
        if not new:
            return Layout(tuple(absorbed), tuple(parts), _disjoint_rectangles(parts, taken))
        absorbed += new
        for p in new:
            taken[p.part.at] = True
        remaining = [whole for whole in remaining if not taken[whole.at].all()]


def _disjoint_rectangles(parts: Sequence[Piece], taken: np.ndarray) -> bool:
    """Whether each piece fills its rectangle, and no two share an entry."""
    owners = taken.astype(np.intp)
    for p in parts:
        owners[p.part.at] += 1  # an entry taken before, or of two pieces, shows as 2
    return bool((owners <= 1).all())


def covered(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Where the product may be nonzero.  bool (m, r), (r, n) -> (m, n)"""
    return left.astype(np.float32) @ right.astype(np.float32) > 0


# -- is there a best one at all? -----------------------------------------------------------


def may_lack_optimum(left: Any, right: Any) -> bool:
    """Whether some matrix has no best approximation ``X @ Y`` with these supports.

    True is a proof: a matrix with a sequence of products that comes as near as one likes, with
    entries that grow without bound, and none that is equal.  False proves nothing (deciding it
    takes a quantifier elimination), but no such supports are known for 2 x 2 x 2.

    Let an entry be covered once if a single hidden index k reaches it.  If the entries that k
    covers alone, rows joined to columns, have a connected part that is no full rectangle, then
    that part holds (i, j), (i, j'), (i', j) and not (i', j'), which k covers together with others:
    ``e_i e_j'^T + e_i' e_j^T`` is the limit of products, and is none.  Polynomial test for the
    question of Le, Riccietti, Gribonval, "Does a sparse ReLU network training problem always
    admit an optimum?" (arXiv 2306.02666, section 3).

    Parameters
    ----------
    left, right : bool arrays of shape (m, r) and (r, n), or patterns (a, b, c, d)

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If the supports do not meet.
    TypeError
        If they are neither boolean arrays nor patterns.

    Examples
    --------
    >>> import numpy as np
    >>> lower, upper = np.tri(2, dtype=bool), np.tri(2, dtype=bool).T
    >>> may_lack_optimum(lower, upper), may_lack_optimum((1, 2, 2, 2), (2, 2, 2, 1))
    (True, False)
    """
    return lacking_entries(*checked_supports(left, right)) is not None


def lacking_entries(left: np.ndarray, right: np.ndarray) -> tuple[int, int, int, int] | None:
    """``(i, i', j, j')`` of `may_lack_optimum`; None where there are none."""
    cover = left.astype(np.float32) @ right.astype(np.float32)
    for k in range(left.shape[1]):
        rows, columns = np.flatnonzero(left[:, k]), np.flatnonzero(right[k])
        alone = (cover[np.ix_(rows, columns)] == 1).astype(np.float32)
        steps = alone @ alone.T
        missing = np.argwhere((steps @ alone > 0) & (alone == 0))  # three steps away, not one
        if len(missing):
            last, other = missing[0]
            first = int(np.argmax(steps[last] * alone[:, other]))
            common = int(np.argmax(alone[last] * alone[first]))
            return int(rows[first]), int(rows[last]), int(columns[common]), int(columns[other])
    return None


# -- what may be asked ---------------------------------------------------------------------


def checked_supports(left: Any, right: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both supports as boolean NumPy arrays that meet."""
    one, two = _mask(left, "left"), _mask(right, "right")
    if one.shape[1] != two.shape[0]:
        raise ValueError(
            f"the supports do not meet: left is {one.shape[0]}x{one.shape[1]}, right is "
            f"{two.shape[0]}x{two.shape[1]}: {one.shape[1]} columns meet {two.shape[0]} rows"
        )
    return one, two


def as_pattern(support: Any) -> Pattern | None:
    """`support` as a pattern, if it is one: four integers."""
    if is_array(support) or not isinstance(support, Sequence) or len(support) != 4:
        return None
    if not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in support):
        return None
    return Chain([support])[0]


def _mask(support: Any, name: str) -> np.ndarray:
    if (pattern := as_pattern(support)) is not None:
        return embedded(np.ones(pattern, bool), *pattern.shape)
    found = np.asarray(to_numpy(support) if is_array(support) else support)
    if found.dtype != bool:
        raise TypeError(
            f"{name} is a boolean array or a pattern (a, b, c, d), got {found.dtype} of shape "
            f"{found.shape}: pass {name} != 0"
        )
    if found.ndim != 2:
        raise ValueError(f"{name} is a 2-D array, got {found.ndim}-D of shape {found.shape}")
    return found
