"""The smallest monotone chain: dynamic programming over divisors.  Integers only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def _divisors(n: int) -> list[int]:
    small = [p for p in range(1, math.isqrt(n) + 1) if n % p == 0]
    return small + [n // p for p in reversed(small) if p * p != n]


def smallest_cores(m: int, n: int, ranks: Sequence[int]) -> list[tuple[int, int]]:
    """Cores of `Chain.smallest`: dynamic programming over (b_1..b_l, c_1..c_l).

    Factor l holds ``(c_1..c_(l-1)) (r_(l-1) b_l) (r_l c_l) (m / b_1..b_l)`` entries; of chains
    with equally many the one whose cores come first.
    """
    weights = [1, *ranks, 1]
    rows, columns = _divisors(m), _divisors(n)
    reached: dict[tuple[int, int], tuple[int, tuple[tuple[int, int], ...]]] = {(1, 1): (0, ())}
    for step, (left, right) in enumerate(itertools.pairwise(weights), 1):
        last = step == len(weights) - 1
        after: dict[tuple[int, int], tuple[int, tuple[tuple[int, int], ...]]] = {}
        for (beta, gamma), (entries, cores) in reached.items():
            for b in [m // beta] if last else _dividing(rows, m // beta):
                for c in [n // gamma] if last else _dividing(columns, n // gamma):
                    if (b < c and m >= n) or (b > c and m <= n):
                        continue  # not monotone
                    cost = entries + gamma * left * b * right * c * (m // (beta * b))
                    new, at = (cost, (*cores, (b, c))), (beta * b, gamma * c)
                    after[at] = min(after.get(at, new), new)
        reached = after
    return list(reached[m, n][1])


def _dividing(divisors: list[int], n: int) -> list[int]:
    return [p for p in divisors if n % p == 0]
