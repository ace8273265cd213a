"""How a group of chaining factors is cut into runs: the cost model of the CPU engine.

A run is applied to one tile after the other: gather, all its factors in cache, scatter.  Costs are
in numbers streamed.  MOVE and SPILL were chosen by timing the cuts that six pairs of them make of
square dyadic chains from 2^10 to 2^20 in four dtypes (two cores with AVX-512, 48 KB of L1, 1 MB of
L2): the cuts differ for complex numbers at 2^20 only, where two runs were faster than three.

* one vector: time is bytes of values over bandwidth, so lanes left empty (fewer than W blocks)
  count as the bytes they pad; a number gathered and scattered counts as MOVE numbers streamed;
* many columns: a tile is rows x some columns, in L2; each run reads and writes x once.  How many
  columns and blocks a tile has is decided in chain.cpp, where their number is known.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..pattern import Pattern

__all__ = ["Class", "Run", "cut", "radix_groups"]


TOGETHER = 4  # blocks side by side in an intermediate result of the batch form, at most


class Class(NamedTuple):
    """The shape class of a product: what a plan and its packed values are made for."""

    dtype: str  # that the kernel computes in
    together: int  # 0: lanes are blocks; else lanes are columns, blocks side by side between runs
    lanes: int  # numbers of a vector
    parts: int  # real numbers of a number
    size: int  # bytes of a real number
    turned: bool = False  # whether the columns of x lie one after the other (Fortran order)

    @property
    def batch(self) -> bool:
        return self.together > 0

    @property
    def packing(self) -> tuple:
        """What packed values depend on."""
        return self.dtype, self.batch, self.lanes

    @property
    def width(self) -> int:
        """Blocks of a packed tile."""
        return 1 if self.batch else self.lanes


class Run(NamedTuple):
    """Factors start .. stop - 1 of a chain (applied in that order), and their product."""

    start: int
    stop: int
    fused: Pattern
    rows: int  # of the largest tile on the way
    digits: tuple[int, ...] = ()  # radices of i in the number (i, l) of a block, the highest first

    @property
    def blocks(self) -> int:
        return self.fused.a * self.fused.d

    def order(self, kind: Class) -> np.ndarray | None:
        """The order in which blocks are lanes; None: as they come.

        Neighbouring lanes are blocks whose numbers differ in the first digit: a digit reversal of
        the vector makes neighbours in memory of them.  Without one their rows are as good a piece
        of memory as any others.
        """
        A, D = self.fused.a, self.fused.d
        if kind.batch or kind.lanes <= D or A == 1 or math.prod(self.digits) != A:
            return None
        i = np.arange(A).reshape(self.digits)
        i = i.transpose(*reversed(range(i.ndim))).reshape(A, 1)
        return (i * D + np.arange(D)).ravel()


MOVE = 8.0  # one vector: cost of a number gathered or scattered, in numbers streamed
L1, L2 = 32 << 10, 512 << 10  # bytes: a tile in L1; a tile and its values' stream in L2
SPILL = 0.05  # part by which each doubling of a tile beyond half of L1 slows its stages
BATCH_TILE = 32 << 10  # bytes of one block and one vector of columns, from which stages slow down


@functools.lru_cache(1024)
def cut(patterns: tuple[Pattern, ...], kind: Class) -> list[Run]:
    """The cheapest cut, by dynamic programming over all runs; what is applied first in front."""
    n = len(patterns)
    best: list[tuple[float, list[Run]]] = [(0.0, [])]
    for stop in range(1, n + 1):
        choices = []
        for start in range(stop):
            run = make_run(tuple(patterns[start:stop]), start)
            cost = best[start][0] + run_cost(run, patterns, kind)
            choices.append((cost, start, run))
        cost, start, run = min(choices)
        best.append((cost, [*best[start][1], run]))
    return [run._replace(digits=digits(patterns, run)) for run in best[n][1]]


def digits(patterns: Sequence[Pattern], run: Run) -> tuple[int, ...]:
    """Digits of the numbers of the blocks of a run: how often later factors split each block."""
    counts = [1, *(p.a for p in reversed(patterns[run.stop - 1 :]))]
    pairs = [(a, b) for a, b in itertools.pairwise(counts) if a != b]
    return () if any(b % a for a, b in pairs) else tuple(b // a for a, b in pairs)


@functools.lru_cache(4096)
def make_run(patterns: tuple[Pattern, ...], start: int) -> Run:
    fused = patterns[0]
    for p in patterns[1:]:
        fused = p.fused_with(fused)
    blocks = fused.a * fused.d
    rows = max(max(p.shape) // blocks for p in patterns)
    return Run(start, start + len(patterns), fused, rows)


def run_cost(run: Run, patterns: Sequence[Pattern], kind: Class) -> float:
    """In numbers streamed."""
    m, n = run.fused.shape
    number = kind.parts * kind.size
    entries = sum(p.entries for p in patterns[run.start : run.stop])
    if kind.batch:
        tile = run.rows * kind.lanes * number
        stages = sum(max(p.b, p.c) * max(p.shape) for p in patterns[run.start : run.stop])
        slow = 1 + SPILL * max(0, (tile // BATCH_TILE).bit_length())
        far = 4 * stages if tile > L2 else 0
        return 3.0 * (m + n) + 0.25 * stages * slow + far
    tiles = -(-run.blocks // kind.lanes)
    padding = tiles * kind.lanes / run.blocks
    tile = run.rows * kind.lanes * number
    slow = 1 + SPILL * (tile // (L1 // 2)).bit_length() + (4 if tile > L2 else 0)
    return entries * padding * slow + MOVE * (m + n) * padding + 64 * kind.lanes


def radix_groups(run: Run, stages: Sequence, kind: Class) -> list[list]:
    """The stages of a run in groups that are applied together: radix-2 ones by two or three.

    Anything else is a group of its own.
    """
    found: list[list] = []
    streak: list = []
    for stage in [*stages, None]:
        if _is_dyadic(stage) and (not streak or _follows(streak[-1], stage)):
            streak.append(stage)
            continue
        found += _by_size(streak, 3 if kind.batch and kind.lanes * kind.size == 64 else 2)
        streak = []
        if stage is not None:
            if _is_dyadic(stage):
                streak = [stage]
            else:
                found.append([stage])
    return found


def _is_dyadic(stage) -> bool:
    return stage is not None and stage.pattern is not None and stage.pattern[1:3] == (2, 2)


def _follows(first, then) -> bool:
    p, q = first.pattern, then.pattern
    alike = first.coding == then.coding
    scaled = (first.packed_scales is None) == (then.packed_scales is None)
    return p.a == 2 * q.a and q.d == 2 * p.d and alike and scaled


def _by_size(streak: list, most: int) -> list[list]:
    """By 2: 2 2 2 1 of 7.  By 3: 3 2 2 of 7, 3 2 3 of 8: what two groups span is to fit L1."""
    n = len(streak)
    if most == 2 or n < 3:
        sizes = [2] * (n // 2) + [1] * (n % 2)
    else:
        twos = -n % 3
        threes = (n - 2 * twos) // 3
        sizes = [3] * min(threes, 1) + [2] * twos + [3] * (threes - 1)
    ends = list(itertools.accumulate(sizes, initial=0))
    return [streak[i:j] for i, j in itertools.pairwise(ends)]
