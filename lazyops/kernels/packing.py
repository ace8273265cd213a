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

from . import cpu
from .memory import aligned
from .runs import Class, Run
from .stage import Stage

__all__ = ["Block", "Packed", "pack", "packed"]


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
    tiles = -(-run.blocks // kind.width)
    numbers = sum(len_of(b, run) for b in blocks)
    out = aligned(
        (tiles, numbers, kind.parts, kind.width), np.float32 if kind.size == 4 else np.float64
    )
    order = run.order(kind)
    for block in blocks:
        s = len(block.stages)
        every = len_of(block, run) if s == 1 else s * size_of_stage(s)
        for q, stage in enumerate(block.stages):
            # a real factor among complex ones is complex here
            values = np.ascontiguousarray(stage.values, kind.dtype)
            from_block, from_number = _offsets(stage, run, s, q)
            cpu.pack(
                values, from_block if order is None else from_block[order], from_number, out,
                block.offset + (q * size_of_stage(s) if s > 1 else 0),
                every // s, every, stage.conj,
            )  # fmt: skip
    return out


def size_of_stage(s: int) -> int:
    """Numbers of one of `s` radix-2 stages in a group of 2^s rows."""
    return 4 << (s - 1)


def len_of(block: Block, run: Run) -> int:
    """Numbers of a block in one of the run's blocks."""
    entries: int = sum(s.pattern.entries for s in block.stages)
    return entries // run.blocks


def _offsets(stage: Stage, run: Run, s: int, q: int) -> tuple[np.ndarray, np.ndarray]:
    """Where in a C array of values each block begins, and each number of a block in the order in
    which it is read: that of stage q of a group of s."""
    a, b, c, d = stage.pattern
    A, D = run.fused.a, run.fused.d
    # steps of the indices of the factor as it acts
    row, column = (d, b * d) if stage.transpose else (c * d, d)
    high, low = 1 << (s - 1 - q), 1 << q
    outer, inner = a // A, d // D
    block = _sums((A, outer * b * c * d), (D, 1))
    number = _sums(
        (outer // high, high * b * c * d), (inner // low, D),
        (high, b * c * d), (low, inner // low * D), (b, row), (c, column),
    )  # fmt: skip
    return block, number


def _sums(*axes: tuple[int, int]) -> np.ndarray:
    """All sums of one multiple of each step, (count, step), the last axis fastest."""
    total = np.zeros(1, np.int64)
    for count, step in axes:
        total = (total[:, None] + np.arange(count, dtype=np.int64) * step).ravel()
    return total
