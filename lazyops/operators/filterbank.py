"""One level of a wavelet transform along an axis, and its transpose, by products of small matrices.

A level is ``[low; high] = T E x``: E continues `x` beyond its ends, T has the two filters in its
rows, two entries further along in each.  Away from the ends all blocks of L rows are alike, so the
level is one small matrix times overlapping windows of `x`, and a small matrix of corners times the
entries at both ends.  So is its transpose, with windows of `low` and `high`.  Both matrices are cut
out of that of a short signal with the same ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._array import Array, array_namespace
from ..kernels import filterbank as compiled
from ..kernels import filterbank_obstacle, memory
from .boundary import extension

CHUNK = 1 << 15  # entries of windows made at once on NumPy: they stay in the cache

Filters = tuple[tuple[float, ...], tuple[float, ...]]  # low pass, high pass
Bank = tuple[tuple[float, ...], ...]  # decomposition low, high; reconstruction low, high
Take = Callable[[str], Array]  # the matrix of that name where the data live


def check_bank(bank: object) -> Bank:
    """Four filters of one even length, as Python floats."""
    try:
        found = tuple(tuple(float(v) for v in f) for f in bank)  # type: ignore[attr-defined]
    except TypeError:
        raise TypeError(
            f"a filter bank is four sequences of real numbers, got {bank!r:.60}"
        ) from None
    lengths = [len(f) for f in found]
    if len(found) != 4 or len(set(lengths)) > 1 or lengths[0] < 2 or lengths[0] % 2:
        raise ValueError(
            f"a filter bank is four filters of one even length (pad with zeros), got lengths "
            f"{lengths}"
        )
    return found


def reconstructs(bank: Bank) -> bool:
    """Whether reconstruction undoes decomposition, up to the rounding of the filters.

    The two conditions of Mallat, "A wavelet tour of signal processing", 3rd ed., theorem 7.7: no
    distortion, no aliasing.
    """
    low, high, low_back, high_back = map(np.array, bank)
    alternating = (-1.0) ** np.arange(len(low))
    through = np.convolve(low, low_back) + np.convolve(high, high_back)
    through[len(low) - 1] -= 2.0
    alias = np.convolve(low * alternating, low_back) + np.convolve(high * alternating, high_back)
    size = sum(np.abs(f).sum() for f in (low, high)) * np.abs([low_back, high_back]).max()
    bound = 4 * np.finfo(float).eps * size
    return bool(max(np.abs(through).max(), np.abs(alias).max()) <= bound)


def is_orthogonal(bank: Bank) -> bool:
    """Whether the bank reconstructs with its own filters, reversed."""
    low, high, low_back, high_back = bank
    reversed_too = low_back == low[::-1] and high_back == high[::-1]
    return reversed_too and reconstructs(bank)


def reach(n: int, taps: int, mode: str) -> tuple[int, int, int]:
    """Outputs of each filter for n entries; entries that E adds before them, and after."""
    if mode.endswith("periodization"):
        k, before = (n + 1) // 2, taps // 2 - 1
    else:
        k, before = (n + taps - 1) // 2, taps - 2
    return k, before, 2 * k + taps - 2 - before - n


def level_matrix(n: int, filters: Filters, mode: str) -> np.ndarray:
    """The matrix of one level, shape (2 k, n): the low pass above the high pass."""
    taps = len(filters[0])
    k, before, after = reach(n, taps, mode)
    T = np.zeros((2, k, 2 * k + taps - 2))
    for row in range(k):
        T[:, row, 2 * row : 2 * row + taps] = np.array(filters)[:, ::-1]
    return T.reshape(2 * k, -1) @ extension(n, before, after, mode)


class Side(NamedTuple):
    """How an array that goes in or comes out is cut: `head` entries, blocks, the rest.

    Blocks are `step` entries apart from `start` on, and windows `width` entries wide.
    """

    length: int
    head: int
    start: int
    step: int
    width: int

    def corners(self, blocks: int) -> list[slice]:
        return [slice(0, self.head), slice(self.start + blocks * self.step, self.length)]


class Step(NamedTuple):
    """One level along one axis: ``outs`` from ``ins``."""

    ins: tuple[Side, ...]
    outs: tuple[Side, ...]
    blocks: int
    matrices: dict[str, np.ndarray]  # "block" and "corner", and the transpose "block.T"
    filters: np.ndarray | None  # of shape (2, 2, taps), as compiled kernels take them


def make_step(n: int, filters: Filters, mode: str, transposed: bool) -> Step:
    """The level of `n` entries, or its transpose."""
    taps = len(filters[0])
    shared = 1 << (taps - 2).bit_length()  # a power of two that what windows share fits in
    size = max(8, shared, min(2 * shared, 32))  # L: small products do work on zeros
    apart = 2 * taps // size + 1  # blocks that keep the corners of a short signal apart
    blocks = (n - 4 * taps) // size - 1
    if blocks <= apart:
        blocks = apart = 0
    short = n - (blocks - apart) * size
    W = level_matrix(short, filters, mode)
    ins, outs = _sides(short, taps, mode, size, apart)
    if transposed:
        W, ins, outs = W.T, *_turned_sides(short, taps, mode, size, apart)
    rows, columns = _positions(outs, apart), _positions(ins, apart)
    matrices, phases = {"corner": W[np.ix_(rows[0], columns[0])]}, None
    if blocks:
        matrices["block"] = W[np.ix_(rows[1], columns[1])]
        matrices["block.T"] = matrices["block"].T.copy()
        phases = _phases(matrices["block"], ins, outs)
    longer = (blocks - apart) * size
    full = lambda sides: tuple(s._replace(length=s.length + longer * s.step // size) for s in sides)
    return Step(full(ins), full(outs), blocks, matrices, phases)


def _phases(block: np.ndarray, ins: Sequence[Side], outs: Sequence[Side]) -> np.ndarray:
    """The filters in a block, by output (or its phase) and input (or its phase): (2, 2, taps)."""
    if len(outs) == 2:  # the first row of each band; even and odd entries of the window
        rows = block[[0, outs[0].step], :]
        phases = np.stack([rows[:, 0::2], rows[:, 1::2]], axis=1)
    else:  # two neighbouring entries of x; windows of both bands
        phases = block[:2].reshape(2, 2, ins[0].width)
    taps = np.flatnonzero(phases.any(axis=(0, 1)))[-1] + 1
    return np.ascontiguousarray(phases[:, :, :taps])


def _sides(n: int, taps: int, mode: str, size: int, blocks: int) -> tuple[tuple, tuple]:
    """Of a level: windows of x, and blocks of both outputs."""
    k, before, _ = reach(n, taps, mode)
    if not blocks:
        return (Side(n, 0, 0, size, size),), (Side(k, 0, 0, size // 2, size // 2),) * 2
    first = (before + 1) // 2  # the first output that needs no entry before x[0]
    window = Side(n, taps, 2 * first - before, size, size + taps - 2)
    return (window,), (Side(k, first, first, size // 2, size // 2),) * 2


def _turned_sides(n: int, taps: int, mode: str, size: int, blocks: int) -> tuple[tuple, tuple]:
    """Of its transpose: windows of both inputs, and blocks of x."""
    k, before, _ = reach(n, taps, mode)
    if not blocks:
        return (Side(k, 0, 0, size // 2, size // 2),) * 2, (Side(n, 0, 0, size, size),)
    first = (before + 2) // 2  # rows that meet x[taps], which E repeats nowhere, begin here
    last = (taps + size - 1 + before) // 2
    window = Side(k, taps, first, size // 2, last - first + 1)
    return (window, window), (Side(n, taps, taps, size, size),)


def _positions(sides: Sequence[Side], blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """In all sides one after the other: the corners; the first window."""
    corners, window, before = [], [], 0
    for s in sides:
        corners += [np.arange(s.length)[part] + before for part in s.corners(blocks)]
        window.append(np.arange(s.start, s.start + s.width) + before)
        before += s.length
    return np.concatenate(corners), np.concatenate(window)


# -- in every library ----------------------------------------------------------------------


def apply_step(step: Step, arrays: Sequence[Array], take: Take) -> list[list[Array]]:
    """The outputs, of shape (p, length, q), from inputs of such shapes; gradients flow.

    Each is in pieces along axis 1: who joins many outputs copies each once.
    """
    xp = array_namespace(arrays[0])
    corners = take("corner") @ _ends(xp, step, arrays)
    if not step.blocks:
        return [[y] for y in _pieces(corners, [out.length for out in step.outs])]
    found, row = [], 0
    edges = iter(_pieces(corners, _corner_counts(step)))
    for out in step.outs:
        middle = _middle(xp, step, arrays, take, slice(row, row + out.step))
        found.append([next(edges), middle, next(edges)])
        row += out.step
    return found


def _middle(xp, step: Step, arrays: Sequence[Array], take: Take, rows: slice) -> Array:
    """Those rows of all blocks, away from the ends: shape (p, entries, q).

    A window is a block of the input and the start of the next.  Both are views: no window is
    copied, and only the last rows of a block meet the start of the next.
    """
    y: Any = None
    at, p, q = 0, arrays[0].shape[0], arrays[0].shape[2]
    for s, x in zip(step.ins, arrays, strict=True):
        here = _times(xp, take, rows, at, _blocks(xp, s, step.blocks, x, s.start, s.step))
        if y is None:
            y = here
        else:
            y += here
        at += s.width
    at = 0
    for s, x in zip(step.ins, arrays, strict=True):
        shared = s.width - s.step
        if shared:
            late = shared * (rows.stop - rows.start) // s.step
            some = slice(rows.stop - late, rows.stop)
            following = _blocks(xp, s, step.blocks, x, s.start + s.step, shared)
            y[:, :, -late:, :] += _times(xp, take, some, at + s.step, following)
        at += s.width
    return xp.reshape(y, (p, -1, q))


def _blocks(xp, side: Side, blocks: int, x: Array, start: int, width: int) -> Array:
    """The first `width` entries of blocks from `start` on: a view, shape (p, blocks, width, q)."""
    p, _, q = x.shape
    x = x[:, start : start + blocks * side.step, :]
    return xp.reshape(x, (p, blocks, side.step, q))[:, :, :width, :]


def _times(xp, take: Take, rows: slice, at: int, parts: Array) -> Array:
    """Those rows of the block, the columns from `at` on, times parts: (p, blocks, rows, q)."""
    p, blocks, width, q = parts.shape
    if q > 1:
        return take("block")[rows, at : at + width] @ parts
    long = xp.reshape(parts, (p * blocks, width))  # many rows, one product
    return xp.reshape(long @ take("block.T")[at : at + width, rows], (p, blocks, -1, 1))


def _corner_counts(step: Step) -> list[int]:
    return [n for out in step.outs for n in (out.head, out.length - _end(out, step.blocks))]


def _end(side: Side, blocks: int) -> int:
    return side.start + blocks * side.step


def _ends(xp, step: Step, arrays: Sequence[Array]) -> Array:
    """The entries that the corners read."""
    if not step.blocks:
        return arrays[0] if len(arrays) == 1 else xp.concat(list(arrays), axis=1)
    parts = [
        x[:, part, :]
        for s, x in zip(step.ins, arrays, strict=True)
        for part in s.corners(step.blocks)
    ]
    return xp.concat(parts, axis=1)


def _pieces(x: Array, counts: Sequence[int]) -> list[Array]:
    """`x` cut along axis 1."""
    found, at = [], 0
    for n in counts:
        found.append(x[:, at : at + n, :])
        at += n
    return found


# -- on NumPy -------------------------------------------------------------------------------


def apply_step_numpy(
    step: Step, arrays: Sequence[np.ndarray], into: Sequence[np.ndarray | None], take: Take
) -> list[np.ndarray]:
    """The same for arrays in C order, by the compiled kernel where that can run.

    Each output is a view of the array in `into` where there is one.
    """
    p, _, q = arrays[0].shape
    outs = []
    for out, y in itertools.zip_longest(step.outs, into):
        shape = p, out.length, q
        outs.append(memory.empty(shape, arrays[0].dtype) if y is None else y.reshape(shape))
    edges = iter(_pieces(take("corner") @ _ends(np, step, arrays), _corner_counts(step)))
    for out, y in zip(step.outs, outs, strict=True):
        y[:, : out.head] = next(edges)
        y[:, _end(out, step.blocks) :] = next(edges)
    if step.filters is None:
        return outs
    rows = step.blocks * min(step.ins[0].step, step.outs[0].step)
    where = step.ins[0].start, step.outs[0].start, rows
    if filterbank_obstacle(step.filters, arrays[0]) is not None:
        _blocks_into(step, arrays, outs, take)
    elif len(outs) == 2:
        compiled.decompose(arrays[0], step.filters, outs, *where)
    else:
        compiled.reconstruct(arrays, step.filters, outs[0], *where)
    return outs


def _blocks_into(step: Step, arrays, outs, take: Take) -> None:
    """By products with windows, a cacheful at a time."""
    p, _, q = arrays[0].shape
    width = sum(s.width for s in step.ins)
    across = max(1, CHUNK // (width * q))  # blocks made at once
    scratch = np.empty((min(across, step.blocks), width, q), arrays[0].dtype)
    parts = np.split(take("block"), np.cumsum([out.step for out in step.outs])[:-1])
    for row in range(p):
        for first in range(0, step.blocks, across):
            windows, at = scratch[: step.blocks - first], 0
            for s, x in zip(step.ins, arrays, strict=True):
                windows[:, at : at + s.width] = _strided(x[row], s, first, len(windows))
                at += s.width
            for out, y, matrix in zip(step.outs, outs, parts, strict=True):
                begin = out.start + first * out.step
                into = y[row, begin : begin + len(windows) * out.step]
                into = into.reshape(len(windows), out.step, q)
                if q == 1:
                    np.matmul(windows[:, :, 0], matrix.T, out=into[:, :, 0])
                else:
                    np.matmul(matrix, windows, out=into)


def _strided(x: np.ndarray, side: Side, first: int, count: int) -> np.ndarray:
    """`count` windows of one row, as a view of shape (count, width, q)."""
    x = x[side.start + first * side.step :]
    n, q = x.strides
    return np.lib.stride_tricks.as_strided(
        x, (count, side.width, x.shape[1]), (side.step * n, n, q), writeable=False
    )
