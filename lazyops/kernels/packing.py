"""Values packed once, in the order in which a run reads them; shared by all who need the same.

The packed copy of a run has shape (tiles, numbers, parts, width): for each tile of `width`
blocks, the numbers of each group of stages one after the other, real and imaginary parts as
vectors of their own.  Nothing in it depends on diagonals, scalars, permutations or direction:
``A``, ``A.H``, ``2 * A`` and ``P @ A`` find the same one.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .runs import Class, Run
from .stage import Stage

__all__ = ["Block", "Packed", "aligned", "pack", "packed"]


class Block(NamedTuple):
    """A group of stages that is applied together: where its values lie in a tile."""

    stages: list[Stage]
    offset: int  # numbers before it


class Packed:
    """The packed values of one run; `sources` keeps the arrays it was made of, and their ids."""

    def __init__(self, values: np.ndarray, sources: tuple[np.ndarray, ...]):
        self.values = values
        self.sources = sources

    @property
    def nbytes(self) -> int:
        return self.values.nbytes


TABLE: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def packed(run: Run, blocks: Sequence[Block], kind: Class) -> Packed:
    """The packed copy of these stages: one that exists, or a new one."""
    factors = [s for b in blocks for s in b.stages]
    key = (
        tuple((id(s.values), s.transpose, s.conj, *s.pattern) for s in factors),
        tuple((len(b.stages), b.offset) for b in blocks),
        run.fused,
        run.digits if kind.width > 1 else (),
        *kind.packing,
    )
    found = TABLE.get(key)
    if found is None:
        made = Packed(pack(run, blocks, kind), tuple(s.values for s in factors))
        found = TABLE.setdefault(key, made)
    return found


def pack(run: Run, blocks: Sequence[Block], kind: Class) -> np.ndarray:
    """(tiles, numbers, parts, width) of the real dtype, aligned to a cache line."""
    width = kind.width
    tiles = -(-run.blocks // width)
    sizes = [len_of(b, run) for b in blocks]
    real = np.float32 if kind.size == 4 else np.float64
    shape = (tiles, sum(sizes), kind.parts, width)
    out = aligned(shape, real)
    if run.blocks % width:
        out[-1] = 0
    order = run.order(kind)
    for block, size in zip(blocks, sizes, strict=True):
        at = block.offset
        if len(block.stages) == 1:
            _put(out[:, at : at + size], _in_order(block.stages[0], run, 1, 0), kind, order)
            continue
        s = len(block.stages)
        target = out[:, at : at + size].reshape(tiles, -1, s, size_of_stage(s), kind.parts, width)
        for q, stage in enumerate(block.stages):
            _put(target[:, :, q], _in_order(stage, run, s, q), kind, order)
    return out


def size_of_stage(s: int) -> int:
    """Numbers of one of `s` radix-2 stages in a group of 2^s rows."""
    return 4 << (s - 1)


def len_of(block: Block, run: Run) -> int:
    """Numbers of a block in one of the run's blocks."""
    entries: int = sum(s.pattern.entries for s in block.stages)
    return entries // run.blocks


def _in_order(stage: Stage, run: Run, s: int, q: int) -> np.ndarray:
    """Values as (blocks, groups, ..., numbers): those of stage q of a group of s."""
    values = stage.values.transpose(0, 2, 1, 3) if stage.transpose else stage.values
    values = values.conj() if stage.conj else values
    a, b, c, d = values.shape
    A, D = run.fused.a, run.fused.d
    if s == 1:
        v = values.reshape(A, a // A, b, c, d // D, D)
        return v.transpose(0, 5, 1, 4, 2, 3).reshape(run.blocks, -1)
    high, low = 1 << (s - 1 - q), 1 << q
    v = values.reshape(A, a // A // high, high, b, c, low, d // D // low, D)
    v = v.transpose(0, 7, 1, 6, 2, 5, 3, 4)
    return v.reshape(run.blocks, -1, size_of_stage(s))


def _put(target: np.ndarray, v: np.ndarray, kind: Class, order: np.ndarray | None) -> None:
    """Into (tiles, ..., parts, width) from (blocks, ...), blocks in this order."""
    v = v if order is None else v[order]
    tiles, width, blocks = target.shape[0], target.shape[-1], v.shape[0]
    full = blocks // width
    parts = (v.real, v.imag) if kind.parts == 2 else (v,)
    for p, part in enumerate(parts):
        inner = part.shape[1:]
        view = np.moveaxis(target[..., p, :], -1, 1)  # (tiles, width, ...)
        view[:full] = part[: full * width].reshape(full, width, *inner)
        if full < tiles:
            view[full, : blocks - full * width] = part[full * width :]


def aligned(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An empty array that begins at a cache line."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.empty(count * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
