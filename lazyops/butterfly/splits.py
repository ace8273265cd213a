"""Index maps of one split, and the chunks of blocks that everything below works on.

A factor is held as its values ``F`` of shape ``(a, b, c, d)``.  A split with ``A`` column classes
and ``D`` row classes sees it as ``a*A*D*d`` independent blocks of shape ``(b/D, c/A)``; a best
two-factor approximation is a truncated SVD of each (reference: arXiv 2411.04506, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

CHUNK = 1 << 20  # entries gathered at a time: 8 or 16 MiB

Index = tuple[slice, slice, slice]


def spread(F: np.ndarray, A: int, D: int) -> np.ndarray:
    """Blocks of a split, as a view where `F` allows.  (a, b, c, d) -> (a, A, D, d, b/D, c/A)"""
    a, b, c, d = F.shape
    return F.reshape(a, b // D, D, A, c // A, d).transpose(0, 3, 2, 5, 1, 4)


def left_blocks(X: np.ndarray, A: int, D: int) -> np.ndarray:
    """Left factor of a junction, by blocks.  (a, b1, A*r, D*d) -> (a, A, D, d, b1, r)"""
    a, b1, ar, dd = X.shape
    return X.reshape(a, b1, A, ar // A, D, dd // D).transpose(0, 2, 4, 5, 1, 3)


def right_blocks(Y: np.ndarray, A: int, D: int) -> np.ndarray:
    """Right factor of a junction, by blocks.  (a*A, r*D, c2, d) -> (a, A, D, d, r, c2)"""
    aa, rd, c2, d = Y.shape
    return Y.reshape(aa // A, A, rd // D, D, c2, d).transpose(0, 1, 3, 5, 2, 4)


def from_left_blocks(U: np.ndarray) -> np.ndarray:
    """Inverse of `left_blocks`.  (a, A, D, d, b1, r) -> (a, b1, A*r, D*d)"""
    a, A, D, d, b1, r = U.shape
    return U.transpose(0, 4, 1, 5, 2, 3).reshape(a, b1, A * r, D * d)


def from_right_blocks(V: np.ndarray) -> np.ndarray:
    """Inverse of `right_blocks`.  (a, A, D, d, r, c2) -> (a*A, r*D, c2, d)"""
    a, A, D, d, r, c2 = V.shape
    return V.transpose(0, 1, 4, 2, 5, 3).reshape(a * A, r * D, c2, d)


def fuse(X: np.ndarray, Y: np.ndarray, A: int, D: int) -> np.ndarray:
    """Product of two neighbours.  (a,b1,A*r,D*d), (a*A,r*D,c2,d) -> (a,b1*D,A*c2,d)"""
    U, V = left_blocks(X, A, D), right_blocks(Y, A, D)
    a, _, _, d, b1, _ = U.shape
    c2 = V.shape[-1]
    out = np.empty((a, b1, D, A, c2, d), np.result_type(U, V))
    blocks = out.transpose(0, 3, 2, 5, 1, 4)
    for at in chunks(a, A, D, d * b1 * c2):
        blocks[at] = U[at] @ V[at]
    return out.reshape(a, b1 * D, A * c2, d)


def chunks(a: int, A: int, D: int, block: int, budget: int = CHUNK) -> Iterator[Index]:
    """Slices over the first three axes of `spread`, at most `budget` entries each where possible.

    `block` counts the entries at one index of the three axes.
    """
    if A * D * block <= budget:
        step = budget // (A * D * block)
        for i in range(0, a, step):
            yield slice(i, min(i + step, a)), slice(0, A), slice(0, D)
        return
    wide = max(1, budget // (D * block))
    deep = D if D * block <= budget else max(1, budget // block)
    for i in range(a):
        for j in range(0, A, wide):
            for k in range(0, D, deep):
                yield slice(i, i + 1), slice(j, min(j + wide, A)), slice(k, min(k + deep, D))


@dataclass(frozen=True)
class Values:
    """A factor in memory, as a source of blocks.   values : (a, b, c, d)"""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    def blocks(self, A: int, D: int) -> tuple[np.ndarray, int]:
        """All blocks as a view, and the power of two that they are to be divided by."""
        return spread(self.values, A, D), 0

    def block_chunks(self, A: int, D: int) -> Iterator[tuple[Index, np.ndarray]]:
        """Pairs of an index and a fresh array of blocks (.., .., .., d, b/D, c/A)."""
        T = spread(self.values, A, D)
        a, _, _, *block = T.shape
        for at in chunks(a, A, D, math.prod(block)):
            yield at, np.ascontiguousarray(T[at])


@dataclass(frozen=True)
class Blocks:
    """Blocks that lie apart already, of one split only.   T : (a, A, D, d, b/D, c/A)"""

    T: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        a, A, D, d, b1, c2 = self.T.shape
        return a, b1 * D, A * c2, d

    @property
    def dtype(self) -> np.dtype:
        return self.T.dtype

    def blocks(self, A: int, D: int) -> tuple[np.ndarray, int]:
        return self.T, 0

    def block_chunks(self, A: int, D: int) -> Iterator[tuple[Index, np.ndarray]]:
        """All of them at once."""
        yield (slice(0, self.T.shape[0]), slice(0, A), slice(0, D)), self.T


@dataclass(frozen=True)
class Matrix:
    """The user's matrix as a source of blocks: never copied whole, permuted and scaled on the way.

    Stands for ``array[rows][:, columns] * 2**-exponent`` in `dtype`; None means no permutation.
    """

    array: np.ndarray
    dtype: np.dtype
    exponent: int = 0
    rows: np.ndarray | None = None
    columns: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (1, *self.array.shape, 1)

    def permuted(self, rows: np.ndarray | None, columns: np.ndarray | None) -> Matrix:
        return replace(self, rows=rows, columns=columns)

    def prepared(self, x: np.ndarray) -> np.ndarray:
        """A fresh array of the working dtype and scale."""
        x = _copied(x, self.dtype)
        if self.exponent:
            half = self.exponent // 2  # in two halves: 2**-exponent itself may overflow
            x *= math.ldexp(1.0, -half)
            x *= math.ldexp(1.0, half - self.exponent)
        return x

    def blocks(self, A: int, D: int) -> tuple[np.ndarray, int] | None:
        """All blocks as a view, and the exponent; None where a permutation keeps them apart."""
        if self.rows is not None or self.columns is not None:
            return None
        return spread(self.array[None, :, :, None], A, D), self.exponent

    def block_chunks(self, A: int, D: int) -> Iterator[tuple[Index, np.ndarray]]:
        """Pairs of an index and a fresh array of blocks (1, .., .., 1, m/D, n/A)."""
        m, n = self.array.shape
        b1, c2 = m // D, n // A
        rows = None if self.rows is None else self.rows.reshape(b1, D).T
        for at in chunks(1, A, D, b1 * c2):
            _, some, deltas = at
            panel = self._columns(some.start * c2, some.stop * c2)
            if rows is not None:
                picked = panel[rows[deltas].reshape(-1)]
                T = picked.reshape(deltas.stop - deltas.start, b1, -1, c2).transpose(2, 0, 1, 3)
            else:
                T = panel.reshape(b1, D, -1, c2)[:, deltas].transpose(2, 1, 0, 3)
            yield at, self.prepared(T[None, :, :, None])

    def _columns(self, start: int, stop: int) -> np.ndarray:
        if self.columns is None:
            return self.array[:, start:stop]
        return self.array[:, self.columns[start:stop]]

    def entries(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Entries at broadcast row and column numbers of the permuted matrix."""
        rows = rows if self.rows is None else self.rows[rows]
        columns = columns if self.columns is None else self.columns[columns]
        return self.prepared(self.array[rows, columns])


Source = Values | Matrix | Blocks


def _copied(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A fresh array in C order, and of exactly this dtype (zarr says ``<`` where others say ``=``).

    A huge one is copied some at a time, so that Ctrl-C is seen between.
    """
    out = np.empty(x.shape, dtype)
    if x.size <= 4 * CHUNK:
        out[...] = x
        return out
    axis = int(np.argmax(x.shape))
    step = max(1, CHUNK * x.shape[axis] // x.size)
    for i in range(0, x.shape[axis], step):
        some = (*(slice(None),) * axis, slice(i, i + step))
        out[some] = x[some]
    return out


def embedded(values: np.ndarray, m: int, n: int) -> np.ndarray:
    """The matrix with a Kronecker-sparse support.  (a, b, c, d) -> (m, n); for tests and figures"""
    a, b, c, d = values.shape
    out = np.zeros((a, b, d, a, c, d), values.dtype)
    i, k = np.arange(a)[:, None], np.arange(d)[None, :]
    out[i, :, k, i, :, k] = values.transpose(0, 3, 1, 2)
    return out.reshape(m, n)


def block_diagonal_part(A: np.ndarray, a: int, d: int) -> np.ndarray:
    """Values of ``A`` on the support ``I_a (x) 1 (x) I_d``.  (m, n) -> (a, m/(ad), n/(ad), d)"""
    m, n = A.shape
    T = A.reshape(a, m // (a * d), d, a, n // (a * d), d)
    i, k = np.arange(a)[:, None], np.arange(d)[None, :]
    return T[i, :, k, i, :, k].transpose(0, 2, 3, 1)


def digit_reversal(radices: Sequence[int]) -> np.ndarray:
    """Index with the mixed-radix digits in reverse order: radices ``b``, first digit slowest.

    Entry ``i_1 + b_1 (i_2 + b_2 (i_3 + ...))`` stands at position ``(i_1, i_2, i_3, ...)``.

    >>> digit_reversal([2, 2, 2])
    array([0, 4, 2, 6, 1, 5, 3, 7])
    """
    n = math.prod(radices)
    return np.arange(n).reshape(tuple(radices)[::-1]).transpose().reshape(-1)
