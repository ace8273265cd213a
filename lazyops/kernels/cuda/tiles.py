"""The geometry of a run in shared memory: what its tile is, and where rows lie in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...pattern import Pattern

# By how many low bits of a row's number lie in one line of banks: what each of the next four bits
# is to change of them. Pascal's triangle mod 2, the one solution of the conditions of independence
# over GF(2) for radices 2, 4, 8 and 16 at every stride that is a power of two.
MASKS = {
    0: (0, 0, 0, 0),
    1: (1, 1, 1, 1),
    2: (3, 2, 3, 2),
    3: (7, 5, 6, 4),
    4: (15, 10, 12, 8),
    5: (31, 21, 25, 17),
    6: (63, 42, 51, 34),
}
LINE = 128  # bytes of shared memory read at once


class Geometry(NamedTuple):
    """A run is I_outer (x) inner (x) I_inner: P inputs to Q outputs for each tile.

    stages : inner patterns (a, b, c, d) in the order in which they are applied
    """

    outer: int
    inner: int
    stages: tuple[tuple[int, int, int, int], ...]

    @property
    def first_rows(self) -> int:
        a, _, c, d = self.stages[0]
        return a * c * d

    @property
    def last_rows(self) -> int:
        a, b, _, d = self.stages[-1]
        return a * b * d

    @property
    def most_rows(self) -> int:
        return max(self.first_rows, *(a * b * d for a, b, _, d in self.stages))

    @property
    def in_place(self) -> bool:
        return all(b == c for _, b, c, _ in self.stages)


def geometry(patterns: Sequence[Pattern]) -> Geometry:
    """Of factors in the order in which they are applied.  Neighbours need not chain.

    >>> from lazyops.pattern import Pattern
    >>> geometry([Pattern(2, 2, 2, 2), Pattern(4, 2, 2, 1)])
    Geometry(outer=2, inner=1, stages=((1, 2, 2, 2), (2, 2, 2, 1)))
    """
    outer = math.gcd(*(p.a for p in patterns))
    inner = math.gcd(*(p.d for p in patterns))
    return Geometry(outer, inner, tuple((p.a // outer, p.b, p.c, p.d // inner) for p in patterns))


def swizzle(layout: int, columns: int, itemsize: int) -> int:
    """How many low bits of a row's number lie in one line of banks.

    columns : numbers of a row that lie side by side
    """
    if layout == 2:
        return {2: 6, 4: 5, 8: 4, 16: 3}[itemsize]
    return max(0, (LINE // min(LINE, columns * itemsize)).bit_length() - 1)
