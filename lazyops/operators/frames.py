"""Overlapping windows of a signal, and their sum: what short-time transforms are made of."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .._array import Array, array_namespace, conj, is_numpy
from .base import LinearOperator
from .diagonal import in_one_dtype, require_array
from .fourier import columns_of
from .scalar import check_size


@dataclass(eq=False, repr=False)
class Frames(LinearOperator):
    """Windowed pieces of a signal, ``y[j, p] = window[j] x[first + p hop + j]``, or the transpose.

    `y` is stored by rows: one row for each entry of the window, one column for each frame, as a
    transform along the frames wants it.  The transpose adds the frames up where they overlap.

    Parameters
    ----------
    window : array of shape (m,)
    n : int
        Length of the signal; beyond its ends it is zero, or goes round where `periodic` is set.
    hop : int
        Entries between the starts of two frames.
    first : int
        Where frame 0 starts, counted in `x`; may be negative.
    count : int
        Number of frames.
    size : int
        Rows of `y`, at least m; those from m on are zero.
    shift : int
        Rows are rotated: row 0 is that of ``j = shift``.
    periodic, transposed : bool
    """

    window: Array
    n: int
    hop: int
    first: int
    count: int
    size: int
    shift: int = 0
    periodic: bool = False
    transposed: bool = False
    makes_new = True

    def _check(self):
        require_array(self.window, 1, "Frames takes its window as a vector")
        for name in ("n", "hop", "count", "size"):
            object.__setattr__(self, name, check_size(getattr(self, name), f"{name} of Frames"))
        m = self.window.shape[0]
        if m < 1 or self.hop < 1 or self.size < m:
            raise ValueError(
                f"Frames takes a window of 1 entry or more, hop >= 1 and size >= the window, got "
                f"{m} entries, hop = {self.hop}, size = {self.size}"
            )

    def _shape(self):
        rows = self.size * self.count
        return (self.n, rows) if self.transposed else (rows, self.n)

    def _matmat(self, x):
        window, x = in_one_dtype(self.window, x)
        xp = array_namespace(x)
        if 0 in (*x.shape, self.shape[0]):
            y = xp.zeros((self.shape[0], x.shape[1]), dtype=x.dtype, device=x.device)
            return y * window[:1] if 0 not in y.shape else y + xp.sum(window[:0])
        window = xp.reshape(window, (-1, 1, 1))
        if self.transposed:
            y = xp.reshape(x, (self.size, self.count, -1))
            add = _add_in_place if is_numpy(x) else _add
            return self._signal(add(y, window, self))
        cut = _cut_in_place if is_numpy(x) else _cut
        y = cut(self._steps_of(x), window, self)
        return xp.reshape(y, (self.size * self.count, -1))

    # -- the signal as a grid: entry r of step q is x[first + q * hop + r] ----------------------

    @property
    def overlap(self) -> int:
        """Steps of `hop` entries that a window reaches over."""
        return -(-self.window.shape[0] // self.hop)

    @property
    def _length(self) -> int:
        return (self.count - 1 + self.overlap) * self.hop

    def _steps_of(self, x: Array) -> Array:
        """x of shape (n, k) as (hop, steps, k)."""
        xp, k = array_namespace(x), x.shape[1]
        if self.periodic:
            x = xp.roll(x, -self.first, axis=0)
            times = -(-self._length // self.n)
            x = xp.concat([x] * times, axis=0) if times > 1 else x
            x = x[: self._length, :]
        else:
            start, stop = self._inside
            before = max(-self.first, 0)
            x = columns_of(x[start:stop, :], 0, before, self._length - before - (stop - start))
        x = xp.permute_dims(xp.reshape(x, (-1, self.hop, k)), (1, 0, 2))
        return np.ascontiguousarray(x) if is_numpy(x) else x

    def _signal(self, grid: Array) -> Array:
        """(hop, steps, k) as a signal of shape (n, k): the transpose of `_steps_of`."""
        xp, k = array_namespace(grid), grid.shape[2]
        x = xp.reshape(xp.permute_dims(grid, (1, 0, 2)), (self._length, k))
        if self.periodic:
            times = -(-self._length // self.n)
            x = columns_of(x, 0, 0, times * self.n - self._length)
            x = xp.sum(xp.reshape(x, (times, self.n, k)), axis=0)
            return xp.roll(x, self.first, axis=0)
        start, stop = self._inside
        before = max(-self.first, 0)
        x = x[before : before + stop - start, :]
        return columns_of(x, 0, start, self.n - stop)

    @property
    def _inside(self) -> tuple[int, int]:
        """The part of `x` that the grid covers."""
        start = min(max(self.first, 0), self.n)
        return start, max(min(self.first + self._length, self.n), start)

    # -- partners ----------------------------------------------------------------------------

    def _adjoint(self):
        fields = self.n, self.hop, self.first, self.count, self.size, self.shift, self.periodic
        return Frames(conj(self.window), *fields, not self.transposed, copy=False)

    def _flops(self):
        return 2 * self.window.shape[0] * self.count

    def _label(self):
        text = f"frames({self.n}, {self.window.shape[0]}, hop={self.hop})"
        return f"{text}.T" if self.transposed else text


def _cut(grid: Array, window: Array, op: Frames) -> Array:
    """(size, count, k) windowed frames of the grid."""
    xp, hop, count = array_namespace(grid), op.hop, op.count
    m = window.shape[0]
    rows = []
    for a in range(op.overlap):
        w = window[a * hop : min((a + 1) * hop, window.shape[0]), :, :]
        rows.append(w * grid[: w.shape[0], a : a + count, :])
    if op.size > m:
        shape = (op.size - m, count, grid.shape[2])
        rows.append(xp.zeros(shape, dtype=rows[0].dtype, device=grid.device))
    y = xp.concat(rows, axis=0) if len(rows) > 1 else rows[0]
    return xp.roll(y, -op.shift, axis=0) if op.shift % op.size else y


def _add(y: Array, window: Array, op: Frames) -> Array:
    """The transpose of `_cut`: (hop, steps, k), a sum of frames."""
    xp, hop, total = array_namespace(y), op.hop, None
    y = xp.roll(y, op.shift, axis=0) if op.shift % op.size else y
    for a in range(op.overlap):
        w = window[a * hop : min((a + 1) * hop, window.shape[0]), :, :]
        piece = w * y[a * hop : a * hop + w.shape[0], :, :]
        if total is None:
            total = _continued(piece, hop - w.shape[0], op.overlap - 1)
        else:
            total[: w.shape[0], a : a + op.count, :] += piece
    return total


def _continued(piece: Array, below: int, behind: int) -> Array:
    """Zeros below the first axis, and behind the second."""
    xp, (h, p, k) = array_namespace(piece), piece.shape
    zeros = lambda *shape: xp.zeros(shape, dtype=piece.dtype, device=piece.device)
    if below:
        piece = xp.concat([piece, zeros(below, p, k)], axis=0)
    return xp.concat([piece, zeros(h + below, behind, k)], axis=1) if behind else piece


def _segments(m: int, op: Frames):
    """(row of y, entry of the window, length, step) of pieces that lie in one step."""
    shift = op.shift % op.size
    bounds = sorted({*range(0, m, op.hop), m, *([shift] if shift < m else [])})
    for j, end in itertools.pairwise(bounds):
        yield (j - shift) % op.size, j, end - j, j // op.hop


def _cut_in_place(grid: np.ndarray, window: np.ndarray, op: Frames) -> np.ndarray:
    shape, m = (op.size, op.count, grid.shape[2]), len(window)
    name = np.result_type(grid, window)
    y = np.zeros(shape, name) if op.size > m else np.empty(shape, name)
    for row, j, length, a in _segments(m, op):
        r = j - a * op.hop
        piece = grid[r : r + length, a : a + op.count]
        np.multiply(window[j : j + length], piece, out=y[row : row + length])
    return y


def _add_in_place(y: np.ndarray, window: np.ndarray, op: Frames) -> np.ndarray:
    steps = op.count - 1 + op.overlap
    grid = np.zeros((op.hop, steps, y.shape[2]), np.result_type(y, window))
    for row, j, length, a in _segments(len(window), op):
        r = j - a * op.hop
        grid[r : r + length, a : a + op.count] += window[j : j + length] * y[row : row + length]
    return grid
