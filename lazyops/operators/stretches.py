"""Index arrays as a few slices: what is long and even is copied at the speed of memory."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

LEAST = 1024  # positions in a slice, on the average, from which slices beat a gather
WINDOW = 8  # the same for windows at even distances, all of which are one view


class Stretch(NamedTuple):
    """``index[start : stop]`` selects what `source` selects; a step of 0 repeats one position."""

    start: int
    stop: int
    source: slice
    step: int


class Windows(NamedTuple):
    """The index is ``first + hop * w + i``, for `number` windows w, and i below `size`."""

    first: int
    hop: int
    number: int
    size: int


Found = list[Stretch] | Windows


def stretches(index: np.ndarray, cache: dict[Any, Any]) -> Found | None:
    """`index` as windows, or in stretches of one step each; None where they are short.  Kept in
    `cache`."""
    if "stretches" not in cache:
        cache["stretches"] = _windows(index) or _stretches(index)
    return cache["stretches"]


def _windows(index: np.ndarray) -> Windows | None:
    breaks = np.flatnonzero(np.diff(index[: len(index) // 2 + 1]) != 1)
    if breaks.size == 0 or (size := int(breaks[0]) + 1) < WINDOW or len(index) % size:
        return None
    grid = index.reshape(-1, size)
    first, hop = int(grid[0, 0]), int(grid[1, 0] - grid[0, 0])
    even = first + hop * np.arange(len(grid))[:, None] + np.arange(size)
    return Windows(first, hop, len(grid), size) if hop > 0 and (grid == even).all() else None


def _stretches(index: np.ndarray) -> list[Stretch] | None:
    n = len(index)
    steps = np.diff(index)
    ends = np.flatnonzero(np.diff(steps)) + 2  # the next stretch begins behind the last even step
    if n == 0 or len(ends) * LEAST > n:
        return None
    found = []
    for a, b in itertools.pairwise([0, *ends.tolist(), n]):
        first, last = int(index[a]), int(index[b - 1])
        step = int(steps[a]) if b - a > 1 else 1
        stop = last + 1 if step >= 0 else last - 1
        source = slice(first, None if stop < 0 else stop, step or 1)
        found.append(Stretch(a, b, source, step))
    return found


def take(x: np.ndarray, found: Found, axis: int) -> np.ndarray:
    """``x[index]`` along an axis; a view of `x` where one slice does it."""
    here = (slice(None),) * axis
    if isinstance(found, Windows):
        view = np.lib.stride_tricks.sliding_window_view(x, found.size, axis)
        starts = slice(found.first, found.first + found.hop * found.number, found.hop)
        view = np.moveaxis(view[(*here, starts)], -1, axis + 1)
        return view.reshape(*x.shape[:axis], found.number * found.size, *x.shape[axis + 1 :])
    if len(found) == 1 and found[0].step:
        return x[(*here, found[0].source)]
    y = np.empty((*x.shape[:axis], found[-1].stop, *x.shape[axis + 1 :]), x.dtype)
    for start, stop, source, _ in found:
        y[(*here, slice(start, stop))] = x[(*here, source)]
    return y


def put(x: np.ndarray, found: Found, n: int, axis: int) -> np.ndarray:
    """Zeros of length `n` along an axis, to which `x` is added at the positions of the index."""
    here = (slice(None),) * axis
    y = np.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype)
    if isinstance(found, Windows):
        _add_windows(x, found, y, axis)
        return y
    for start, stop, source, step in found:
        piece = x[(*here, slice(start, stop))]
        y[(*here, source)] += piece if step else piece.sum(axis=axis, keepdims=True)
    return y


def _add_windows(x: np.ndarray, found: Windows, y: np.ndarray, axis: int) -> None:
    """The parts of all windows that lie one hop apart meet nowhere: they are added at once."""
    first, hop, number, size = found
    here = (slice(None),) * axis
    x = x.reshape(*x.shape[:axis], number, size, *x.shape[axis + 1 :])
    for i in range(0, size, hop):
        part = min(hop, size - i)
        view = np.lib.stride_tricks.sliding_window_view(y, part, axis, writeable=True)
        starts = slice(first + i, first + i + hop * number, hop)
        view = np.moveaxis(view[(*here, starts)], -1, axis + 1)
        view += x[(*here, slice(None), slice(i, i + part))]
