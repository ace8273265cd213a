"""Index arrays as a few slices: what is long and even is copied at the speed of memory."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

LEAST = 32  # positions in a slice, on the average, from which slices beat a gather


class Stretch(NamedTuple):
    """``index[start : stop]`` selects what `source` selects; a step of 0 repeats one position."""

    start: int
    stop: int
    source: slice
    step: int


def stretches(index: np.ndarray, cache: dict[Any, Any]) -> list[Stretch] | None:
    """`index` in stretches of one step each; None where they are short.  Kept in `cache`."""
    if "stretches" not in cache:
        cache["stretches"] = _found(index)
    return cache["stretches"]


def _found(index: np.ndarray) -> list[Stretch] | None:
    n = len(index)
    steps = np.diff(index)
    ends = np.flatnonzero(np.diff(steps)) + 2  # the next stretch begins behind the last even step
    if n == 0 or len(ends) * LEAST > n:
        return None
    bounds = [0, *ends.tolist(), n]
    found = []
    for a, b in itertools.pairwise(bounds):
        first, last = int(index[a]), int(index[b - 1])
        step = int(steps[a]) if b - a > 1 else 1
        stop = last + 1 if step >= 0 else last - 1
        source = slice(first, None if stop < 0 else stop, step or 1)
        found.append(Stretch(a, b, source, step))
    return found


def take(x: np.ndarray, found: list[Stretch], axis: int) -> np.ndarray:
    """``x[index]`` along an axis; a view of `x` where one slice does it."""
    here = (slice(None),) * axis
    if len(found) == 1 and found[0].step:
        return x[(*here, found[0].source)]
    y = np.empty((*x.shape[:axis], found[-1].stop, *x.shape[axis + 1 :]), x.dtype)
    for start, stop, source, _ in found:
        y[(*here, slice(start, stop))] = x[(*here, source)]
    return y


def put(x: np.ndarray, found: list[Stretch], n: int, axis: int) -> np.ndarray:
    """Zeros of length `n` along an axis, to which `x` is added at the positions of the index."""
    here = (slice(None),) * axis
    y = np.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype)
    for start, stop, source, step in found:
        piece = x[(*here, slice(start, stop))]
        y[(*here, source)] += piece if step else piece.sum(axis=axis, keepdims=True)
    return y
