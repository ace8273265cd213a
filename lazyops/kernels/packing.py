"""Values packed once, in the order in which a run reads them; shared by all who need the same.

The packed copy of a run has shape (tiles, bytes).  A tile of `width` blocks holds each group of
stages one after the other: (numbers, parts, width), real and imaginary parts as vectors of their
own, or, of codes, (words, width), as src/codes.h says.  Nothing in it depends on diagonals,
scalars, permutations or direction: ``A``, ``A.H``, ``2 * A`` and ``P @ A`` find the same one.

Values that repeat are packed once (kernels/repeats.py): tiles start again after the last one that
differs, and a step walks its numbers by two strides, either of which may be 0.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..pattern import Pattern
from . import cpu
from .memory import aligned
from .repeats import Repeats
from .runs import TOGETHER, Class, Run
from .stage import Stage

__all__ = ["Block", "Packed", "moves", "pack", "packed"]


class Block(NamedTuple):
    """A group of stages that is applied together: where its values lie in a tile."""

    stages: list[Stage]
    offset: int  # bytes before it
    repeats: Repeats  # of all its stages

    def strides(self, run: Run) -> tuple[int, int]:
        """Numbers from one outer and from one inner index to the next, within a tile."""
        _, delta = counts(self.stages, run)
        size = numbers_of(self.stages)
        outer, inner = self.repeats
        return (0 if outer else size * (1 if inner else delta)), (0 if inner else size)


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
        tuple((id(s.held), *_codes(s), s.transpose, s.conj, *s.pattern) for s in factors),
        tuple((len(b.stages), b.offset, b.repeats) for b in blocks),
        run.fused,
        run.digits if kind.width > 1 else (),
        *kind.packing,
        unique(run, blocks, kind),
    )
    found = TABLE.get(key)
    if found is None:
        sources = [s.held for s in factors]
        sources += [s.values.scales for s in factors if s.packed_scales is not None]
        made = Packed(pack(run, blocks, kind), tuple(sources))
        found = TABLE.setdefault(key, made)
    return found


def _codes(stage: Stage) -> tuple:
    """What the packed copy of codes depends on beside the codes."""
    if stage.coding is None:
        return (None,)
    scales = None if stage.packed_scales is None else id(stage.values.scales)
    return stage.values.format.bits, stage.coding[0].half, scales


def pack(run: Run, blocks: Sequence[Block], kind: Class) -> np.ndarray:
    """(tiles, bytes), aligned to a cache line."""
    tiles = -(-unique(run, blocks, kind) // kind.width)
    out = aligned((tiles, sum(bytes_of(b, run, kind) for b in blocks)), np.uint8)
    for move in moves(run, blocks, kind, out):
        move()
    return out


def moves(
    run: Run, blocks: Sequence[Block], kind: Class, out: np.ndarray
) -> Iterator[Callable[[], None]]:
    """The calls that fill `out`, one for each stage; they may be called again when the values,
    C arrays of `kind.dtype`, have changed in place."""
    real = np.float32 if kind.size == 4 else np.float64
    order = run.order(kind)
    count = unique(run, blocks, kind)
    for block in blocks:
        s = len(block.stages)
        coded = block.stages[0].coding
        piece = out[:, block.offset : block.offset + bytes_of(block, run, kind)]
        if coded:
            piece[...] = 0
            words = lambda p: p.view(np.uint32).reshape(len(out), -1, 1, kind.width)
            split = bytes_of_codes(block, run, kind)
            piece, scales = words(piece[:, :split]), words(piece[:, split:])
        else:
            piece = piece.view(real).reshape(len(out), -1, kind.parts, kind.width)
        every = len_of(block, run) if s == 1 else s * size_of_stage(s)
        for q, stage in enumerate(block.stages):
            from_block, from_number = _offsets(stage, run, s, q, block.repeats)
            from_block = (from_block if order is None else from_block[order])[:count]
            at = q * size_of_stage(s) if s > 1 else 0
            where = from_block, from_number, piece, at, every // s, every
            if coded:
                codes, (coding, pair, _) = np.ascontiguousarray(stage.held), coded
                rest = coding.bits, coding.room, pair, kind.parts, coding.half
                yield functools.partial(cpu.pack_codes, codes, *where, *rest)
                if stage.packed_scales is not None:
                    a, b, c, d = stage.pattern
                    one = stage._replace(pattern=Pattern(a, 1, 1, d))
                    from_block, from_number = _offsets(one, run, s, q, block.repeats)
                    from_block = (from_block if order is None else from_block[order])[:count]
                    at, run_of, each = (n // (b * c) for n in where[3:])
                    where = from_block, from_number, scales, at, run_of, each
                    yield functools.partial(
                        cpu.pack_codes, stage.packed_scales, *where, 16, 16, False, 1, True
                    )
            else:  # a real factor among complex ones is complex here
                values = np.ascontiguousarray(stage.values, kind.dtype)
                yield functools.partial(cpu.pack, values, *where, stage.conj)


def size_of_stage(s: int) -> int:
    """Numbers of one of `s` radix-2 stages in a group of 2^s rows."""
    return 4 << (s - 1)


def numbers_of(stages: Sequence[Stage]) -> int:
    """Numbers that these stages read for one outer and one inner index."""
    _, b, c, _ = stages[0].pattern
    return b * c if len(stages) == 1 else len(stages) * size_of_stage(len(stages))


def counts(stages: Sequence[Stage], run: Run) -> tuple[int, int]:
    """Outer and inner indices of these stages within a block of the run."""
    return stages[-1].pattern.a // run.fused.a, stages[0].pattern.d // run.fused.d


def len_of(block: Block, run: Run) -> int:
    """Numbers of a block's stages in one tile, of one lane."""
    (alpha, delta), (outer, inner) = counts(block.stages, run), block.repeats
    return (1 if outer else alpha) * (1 if inner else delta) * numbers_of(block.stages)


def bytes_of(block: Block, run: Run, kind: Class) -> int:
    """Bytes that they take in a tile: whole words, and whole vectors or numbers."""
    if block.stages[0].coding is None:
        return len_of(block, run) * kind.parts * kind.width * kind.size
    least = kind.size * kind.lanes if kind.width > 1 else kind.size
    taken = bytes_of_codes(block, run, kind) + bytes_of_scales(block, run, kind)
    return -(-taken // least) * least


def bytes_of_codes(block: Block, run: Run, kind: Class) -> int:
    """Of them for codes: whole words."""
    coding = block.stages[0].values.coding
    return -(-len_of(block, run) * kind.parts * coding.room // 32) * 4 * kind.width


def bytes_of_scales(block: Block, run: Run, kind: Class) -> int:
    """Of them for scales: whole words, two scales each."""
    stage = block.stages[0]
    if stage.packed_scales is None:
        return 0
    _, b, c, _ = stage.pattern
    return -(-len_of(block, run) // (b * c) // 2) * 4 * kind.width


def unique(run: Run, blocks: Sequence[Block], kind: Class) -> int:
    """Blocks of the run, as lanes come, after which all values start again."""
    if not all(b.repeats.outer for b in blocks):
        return run.blocks
    period = 1 if all(b.repeats.inner for b in blocks) else run.fused.d
    if not kind.batch:
        return min(math.lcm(period, kind.width), run.blocks)  # whole tiles
    side_by_side = max(TOGETHER, kind.lanes)  # at most: what a kernel counts them by starts once
    return min(period * -(-side_by_side // period), run.blocks)


def _offsets(
    stage: Stage, run: Run, s: int, q: int, repeats: Repeats
) -> tuple[np.ndarray, np.ndarray]:
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
        (1 if repeats.outer else outer // high, high * b * c * d),
        (1 if repeats.inner else inner // low, D),
        (high, b * c * d), (low, inner // low * D), (b, row), (c, column),
    )  # fmt: skip
    return block, number


def _sums(*axes: tuple[int, int]) -> np.ndarray:
    """All sums of one multiple of each step, (count, step), the last axis fastest."""
    total = np.zeros(1, np.int64)
    for count, step in axes:
        total = (total[:, None] + np.arange(count, dtype=np.int64) * step).ravel()
    return total
