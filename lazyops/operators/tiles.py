"""Sums of shifted copies of an array, piece by piece, so that what they share stays in cache."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..kernels import memory, shifts, shifts_obstacle

TILE = 1 << 15  # entries of y in a tile: it, what it reads of x, and a buffer stay in cache

Tile = tuple[tuple[int, int], ...]  # (start, stop) along each axis


class Term(NamedTuple):
    """``y[i] += weight * x[i + offset]`` along one axis, where both are inside."""

    axis: int
    offset: int
    weight: float


def add_terms(x: np.ndarray, shape: Sequence[int], terms: Sequence[Term]) -> np.ndarray:
    """The sum of `terms`: a fresh array of this shape, in the dtype of `x`.

    Where x and y have one shape, or the axis shifted is the first, a shift along an axis is one
    of the flattened array, but for the edges of the other axes: these are summed again.
    """
    y = memory.empty(tuple(shape), x.dtype)
    scale = min([abs(t.weight) for t in terms], default=1.0)
    if not all((t.weight / scale).is_integer() for t in terms):
        scale = 1.0  # else 1, -2, 1 and the like: added as they are, and scaled once
    terms = [Term(t.axis, t.offset, t.weight / scale) for t in terms]
    terms.sort(key=lambda t: (abs(t.weight) == 1, -t.weight))  # those that need a product first
    buffer = np.empty(min(TILE, y.size), x.dtype)
    if x.shape[1:] == y.shape[1:] and (x.shape == y.shape or all(t.axis == 0 for t in terms)):
        x = np.ascontiguousarray(x)
        steps = [math.prod(x.shape[axis + 1 :]) for axis in range(x.ndim)]
        flat = [Term(0, t.offset * steps[t.axis], t.weight) for t in terms]
        _sum_flat(y.reshape(-1), x.reshape(-1), flat, scale, buffer)
        for axis in range(1, y.ndim):
            _sum_edges(y, x, axis, terms, scale, buffer)
    else:
        _sum_into(y, x, terms, scale, tuple([(0, n) for n in shape]), buffer)
    return y


def _sum_flat(y, x, terms: Sequence[Term], scale: float, buffer: np.ndarray) -> None:
    """The same of vectors: in the middle every term has all it reads, and little is asked."""
    offsets = [t.offset for t in terms]
    start = min(max([0, *(-o for o in offsets)]), len(y))
    stop = max(min([len(y), *(len(x) - o for o in offsets)]), start)
    for region in ((0, start), (stop, len(y))):
        _sum_into(y, x, terms, scale, (region,), buffer)
    if shifts_obstacle(x, len(terms)) is None:
        shifts.add_shifted(x, y, offsets, [t.weight for t in terms], scale, start, stop)
        return
    for a in range(start, stop, TILE):
        b = min(a + TILE, stop)
        out = y[a:b]
        _add_up(out, [(t.weight, x[a + t.offset : b + t.offset]) for t in terms], buffer)
        if scale != 1.0:
            np.multiply(out, scale, out=out)


def _sum_edges(y, x, axis: int, terms: Sequence[Term], scale: float, buffer: np.ndarray) -> None:
    """The ends of an axis but the first, as far as terms reach along it: summed in a copy that
    has this axis first, since what lies far apart is slow to read again and again."""
    n, offsets = x.shape[axis], [t.offset for t in terms if t.axis == axis]
    below, above = -min([0, *offsets]), max([0, *offsets])
    turned = [t._replace(axis=0 if t.axis == axis else t.axis + (t.axis < axis)) for t in terms]
    x, y = np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0)
    for a, b in ((0, min(below, n)), (max(n - above, min(below, n)), n)):
        if a < b:
            first = max(a - below, 0)
            near = np.ascontiguousarray(x[first : b + above])
            region = ((a - first, b - first), *((0, m) for m in near.shape[1:]))
            out = np.empty_like(near)
            _sum_into(out, near, turned, scale, region, buffer)
            y[a:b] = out[a - first : b - first]


def _sum_into(y, x, terms: Sequence[Term], scale: float, region: Tile, buffer: np.ndarray) -> None:
    """The terms, `scale` times, into a region of `y`."""
    for tile in _tiles(region, TILE):
        out = y[tuple([slice(a, b) for a, b in tile])]
        _fill(out, x, tile, terms, buffer)
        if scale != 1.0:
            np.multiply(out, scale, out=out)


def _tiles(region: Tile, entries: int) -> Iterator[Tile]:
    """The region in parts, long in the last axes, at most so many entries each."""
    ranges = []
    for a, b in reversed(region):
        size = max(min(b - a, entries), 1)
        entries //= size
        ranges.append(range(a, b, size))
    ranges.reverse()
    for starts in itertools.product(*ranges):
        yield tuple([(a, min(a + r.step, r.stop)) for a, r in zip(starts, ranges, strict=True)])


def _fill(out: np.ndarray, x: np.ndarray, tile: Tile, terms: Sequence[Term], buffer: np.ndarray):
    whole, partial = [], []  # (weight, part of x[, part of out]) by whether it covers the tile
    for axis, offset, weight in terms:
        a, b = tile[axis]
        start, stop = max(a, -offset), min(b, x.shape[axis] - offset)
        if start >= stop:
            continue
        source = [slice(*t) for t in tile]
        source[axis] = slice(start + offset, stop + offset)
        piece = x[tuple(source)]
        if stop - start == b - a:
            whole.append((weight, piece))
        else:
            into = (*(slice(None),) * axis, slice(start - a, stop - a))
            partial.append((weight, piece, out[into]))
    _add_up(out, whole, buffer)
    for weight, piece, place in partial:
        _add(place, weight, piece, buffer)


def _add_up(out: np.ndarray, terms: Sequence[tuple[float, np.ndarray]], buffer: np.ndarray) -> None:
    """``out = sum of weight * piece``, in as few passes as the weights allow."""
    if not terms:
        out[...] = 0
        return
    weight, piece = terms[0]
    done = 1
    if weight == 1 and len(terms) > 1:  # then the others are 1 or -1
        f = np.add if terms[1][0] == 1 else np.subtract
        f(piece, terms[1][1], out=out)
        done = 2
    else:
        np.multiply(piece, weight, out=out)
    for weight, piece in terms[done:]:
        _add(out, weight, piece, buffer)


def _add(out: np.ndarray, weight: float, piece: np.ndarray, buffer: np.ndarray) -> None:
    if weight == 1:
        np.add(out, piece, out=out)
    elif weight == -1:
        np.subtract(out, piece, out=out)
    else:
        space = buffer[: piece.size].reshape(piece.shape)
        np.add(out, np.multiply(piece, weight, out=space), out=out)
