"""Sparse rows times a matrix, in the array API: for libraries without SciPy's sparse arrays.

Rows are put in buckets by their number of entries, padded to the next power of two: a bucket is
one gather of rows of `x` and one batched product.  What depends on the structure only is made
once, on the host; the transpose is the same code with other index arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .. import _array
from .._array import Array, array_namespace
from .reference import joined

__all__ = ["Buckets", "csr_buckets", "csr_matmat"]

CHUNK = 1 << 24  # numbers gathered at a time: bounds the memory of a wide x


class Buckets(NamedTuple):
    """Where a sparse matrix finds its numbers; integer arrays of any one library and device."""

    columns: tuple[Array, ...]  # per bucket, flat (rows * width): a row of x, or ncols: a zero
    entries: tuple[Array, ...]  # the same for data, or nnz: a zero
    widths: tuple[int, ...]
    order: Array  # (nrows,): its place among the rows of all buckets; last: a zero row

    def map(self, move: Callable[[Array], Array]) -> Buckets:
        """The same with each array moved: ``buckets.map(lambda i: convert(i, xp, device))``."""
        return Buckets(
            tuple(map(move, self.columns)),
            tuple(map(move, self.entries)),
            self.widths,
            move(self.order),
        )


def csr_buckets(
    indices: np.ndarray, indptr: np.ndarray, ncols: int, transpose: bool = False
) -> Buckets:
    """Buckets of a CSR matrix, or of its transpose; `data` is the same for both.

    Parameters
    ----------
    indices : integer array of shape (nnz,)
    indptr : integer array of shape (nrows + 1,)
    ncols : int
    transpose : bool
        ``csr_matmat(data, x, csr_buckets(..., transpose=True))`` is the transposed product.

    Returns
    -------
    Buckets of NumPy int64 arrays
    """
    indices, indptr = np.asarray(indices, np.int64), np.asarray(indptr, np.int64)
    entries = np.arange(indices.size)
    if transpose:
        entries = np.argsort(indices, kind="stable")
        rows = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
        counts = np.bincount(indices, minlength=ncols)
        indices, ncols = rows[entries], indptr.size - 1
        indptr = np.concatenate([[0], np.cumsum(counts)])
    counts = np.diff(indptr)
    widths = _next_power_of_two(counts)
    found = [int(w) for w in np.unique(widths) if w]
    columns, places = [], []
    order = np.full(counts.size, np.count_nonzero(counts))
    done = 0
    for width in found:
        rows = np.flatnonzero(widths == width)
        order[rows] = np.arange(done, done + rows.size)
        done += rows.size
        real = np.arange(width) < counts[rows, None]
        at = np.where(real, indptr[rows, None] + np.arange(width), 0)
        columns.append(np.where(real, indices[at], ncols).ravel())
        places.append(np.where(real, entries[at], indices.size).ravel())
    return Buckets(tuple(columns), tuple(places), tuple(found), order)


def _next_power_of_two(counts: np.ndarray) -> np.ndarray:
    """0 -> 0, 1 -> 1, 2 -> 2, 3 and 4 -> 4 ..."""
    powers = np.concatenate([[0], 1 << np.arange(62)])
    return powers[np.searchsorted(powers, counts)]


def csr_matmat(data: Array, x: Array, buckets: Buckets, conj: bool = False) -> Array:
    """The sparse matrix with these entries times `x`.

    Parameters
    ----------
    data : array of shape (nnz,)
    x : array of shape (ncols, k)
    buckets : Buckets
        From `csr_buckets`, in the library and on the device of `x`.
    conj : bool
        Use the conjugate of `data`.

    Returns
    -------
    array of shape (nrows, k), of the joint dtype
    """
    xp = array_namespace(data, x)
    data, x = joined(data, x)
    data = _array.conj(data) if conj else data
    # padding meets a zero of data in a zero of x: 0 * inf would be NaN
    data = xp.concat([data, _zeros_like(data, (1,))])
    x = xp.concat([x, _zeros_like(x, (1, x.shape[1]))])
    parts: list[Array] = []
    for bucket in zip(buckets.columns, buckets.entries, buckets.widths, strict=True):
        parts += _rows_of_one_width(data, x, *bucket)
    parts.append(_zeros_like(x, (1, x.shape[1])))
    return xp.take(xp.concat(parts), buckets.order, axis=0)


def _rows_of_one_width(
    data: Array, x: Array, columns: Array, entries: Array, width: int
) -> Iterator[Array]:
    """Products of the rows of a bucket, in pieces of a bounded size."""
    xp, k = array_namespace(x), x.shape[1]
    rows = columns.shape[0] // width
    step = max(1, CHUNK // (width * max(k, 1)))
    for start in range(0, rows, step):
        piece = slice(start * width, min(start + step, rows) * width)
        size = (piece.stop - piece.start) // width
        row = xp.reshape(xp.take(data, entries[piece], axis=0), (size, 1, width))
        gathered = xp.reshape(xp.take(x, columns[piece], axis=0), (size, width, k))
        yield xp.reshape(xp.matmul(row, gathered), (size, k))


def _zeros_like(x: Array, shape: tuple[int, ...]) -> Array:
    return array_namespace(x).zeros(shape, dtype=x.dtype, device=x.device)
