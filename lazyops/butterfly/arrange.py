"""In which order the rows, or the columns, of a matrix may stand: what discovery tries."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..pattern import prime_factors
from .splits import digit_reversal

SHUFFLES = 12  # at most, of one side


@dataclass(frozen=True, eq=False)
class Side:
    """An order of the rows or of the columns: as they stand, by an index, reversed by digits.

    With both an index and a reversal the index comes first: ``x[table][reverse]``.
    """

    name: str = ""
    reversal: bool = False
    table: np.ndarray | None = None

    def index(self, radices: Sequence[int]) -> np.ndarray | None:
        """Where the entries come from, for a chain with these cores; None as they stand."""
        if not self.reversal:
            return self.table
        reverse = digit_reversal(radices)
        return reverse if self.table is None else self.table[reverse]


PLAIN, REVERSED = Side(), Side("digit reversal", reversal=True)


def bit_class(levels: int, a: bool, b: bool, c: bool) -> np.ndarray:
    """One of the eight permutations of the bit-reversal class, of size ``2**levels``.

    At every level each half is built from the even and the odd positions (`a`), the first half
    backwards (`b`), the second half backwards (`c`).  None of them: the identity; `a` alone: the
    bit reversal.  (Le, Zheng, Riccietti, Gribonval, ICASSP 2022, section 4.)

    >>> bit_class(3, True, False, False)
    array([0, 4, 2, 6, 1, 5, 3, 7])
    >>> bit_class(3, False, False, True)
    array([0, 1, 3, 2, 7, 6, 4, 5])
    """
    index = np.arange(2**levels)
    for level in range(levels, 1, -1):
        blocks = index.reshape(-1, 2**level)
        halves = [blocks[:, ::2], blocks[:, 1::2]] if a else np.split(blocks, 2, axis=1)
        first, second = halves
        halves = [first[:, ::-1] if b else first, second[:, ::-1] if c else second]
        index = np.concatenate(halves, axis=1).reshape(-1)
    return index


def sides(size: int, of_rows: bool) -> list[Side]:
    """The orders tried for one side, no two of which mean the same classes at every split."""
    return list(_sides(size, of_rows))


def reversed_shuffles(size: int, of_rows: bool) -> list[Side]:
    """Shuffles and then a digit reversal, of a size that is no power of two."""
    if size & (size - 1) == 0:
        return []  # among the sides already
    return [
        Side(f"{side.name} and digit reversal", True, side.table)
        for side in sides(size, of_rows)
        if side.table is not None
    ]


@functools.lru_cache(maxsize=8)
def _sides(size: int, of_rows: bool) -> tuple[Side, ...]:
    radices = prime_factors(size) or [1]
    found, seen = [], set()
    for side in (PLAIN, REVERSED, *_tables(size)):
        index = side.index(radices)
        mark = _classes(np.arange(size) if index is None else index, radices, of_rows)
        if mark not in seen:
            seen.add(mark)
            found.append(side)
    return tuple(found)


def _tables(size: int) -> Iterator[Side]:
    if size & (size - 1) == 0:
        levels = size.bit_length() - 1
        reverse = digit_reversal([2] * levels)
        for bits in range(8):
            a, b, c = bool(bits & 1), bool(bits & 2), bool(bits & 4)
            name, table = f"bit-reversal class {c:d}{b:d}{a:d}", bit_class(levels, a, b, c)
            for what, index in ((name, table), (f"inverse of {name}", np.argsort(table))):
                yield Side(what, table=index)
                yield Side(f"{what} and digit reversal", table=index[reverse])
        return
    divisors = [p for p in range(2, math.isqrt(size) + 1) if size % p == 0]
    for p in divisors[:: max(1, 2 * len(divisors) // SHUFFLES)]:
        for one in dict.fromkeys((p, size // p)):
            table = np.arange(size).reshape(one, size // one).T.reshape(-1)
            yield Side(f"perfect shuffle {one} x {size // one}", table=table)


def _classes(index: np.ndarray, radices: Sequence[int], of_rows: bool) -> bytes:
    """The partitions of the entries at every split, in a form that can be compared."""
    marks, part = [], 1
    for p in radices[:-1]:
        part *= p
        if of_rows:  # classes: positions equal modulo size / part
            groups = index.reshape(part, -1)
            label = np.broadcast_to(groups.min(axis=0), groups.shape)
        else:  # classes: contiguous blocks
            groups = index.reshape(part, -1)
            label = np.broadcast_to(groups.min(axis=1)[:, None], groups.shape)
        mark = np.empty_like(index)
        mark[index] = label.reshape(-1)
        marks.append(mark.tobytes())
    return b"".join(marks)
