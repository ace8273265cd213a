"""The formats of fewest bits that meet a tolerance; every choice is measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from .sweeps import Format

TRIALS = 128  # choices that are measured, at most, after the first good one
TRIED = 1 << 14  # and fewer of larger chains: values that are rounded in all
NEAR = 2  # rungs below and above that of the first good choice that are looked at
LISTED = 1 << 14  # choices that are looked through at most

Rungs = tuple[int, ...]


class Measured(Protocol):
    @property
    def error_at_most(self) -> float: ...


Found = TypeVar("Found", bound=Measured)


def cheapest(
    done_in: Callable[[Sequence[Format]], Found],
    sizes: Sequence[int],
    tol: float,
    ladder: Sequence[Format],
) -> Found:
    """What `done_in` makes of the formats of fewest bits, of those tried, that meet `tol`.

    First one format for all, then the next narrower for as many of the largest factors as it goes
    (by bisection: an error is taken to fall with every bit), then `cheaper` choices.
    """
    count, tried = len(sizes), dict[Rungs, Found]()

    def at(rungs: Rungs) -> Found:
        if rungs not in tried:
            tried[rungs] = done_in([ladder[i] for i in rungs])
        return tried[rungs]

    def meets(rungs: Rungs) -> bool:
        return at(rungs).error_at_most <= tol

    widest = len(ladder) - 1
    if not meets((widest,) * count):
        error = at((widest,) * count).error_at_most
        raise ValueError(
            f"no format meets tol {tol:.3g}: the error in {ladder[-1]} is {error:.3g}; give wider "
            "formats to choose from"
        )
    rung = _first(lambda i: meets((i,) * count), 0, widest)
    if rung == 0:
        return at((0,) * count)
    order = sorted(range(count), key=lambda q: -sizes[q])

    def lowered(k: int) -> Rungs:
        return tuple(rung - (q in order[:k]) for q in range(count))

    good = lowered(count - _first(lambda k: meets(lowered(count - k)), 0, count))
    return at(cheaper(meets, good, rung, sizes, ladder, {r for r in tried if not meets(r)}))


def cheaper(
    meets: Callable[[Rungs], bool],
    good: Rungs,
    rung: int,
    sizes: Sequence[int],
    ladder: Sequence[Format],
    failed: set[Rungs],
) -> Rungs:
    """The cheapest choice found to meet the tolerance; `good` does.

    Where there are few cheaper ones all are tried, the cheapest first.  Else they are tried from
    the dearest downwards, without those that have no factor wider than one that failed.
    """

    def cost(rungs: Rungs) -> int:
        return sum(size * ladder[i].bits for size, i in zip(sizes, rungs, strict=True))

    trials = min(TRIALS, TRIED // sum(sizes))
    every = len(ladder) ** len(sizes) <= LISTED
    near = range(0 if every else max(rung - NEAR, 0), len(ladder) if every else rung + NEAR)
    if trials == 0 or len(near) ** len(sizes) > LISTED:
        return good
    choices = [r for r in itertools.product(near, repeat=len(sizes)) if cost(r) < cost(good)]
    choices.sort(key=lambda r: (cost(r), min(r) - max(r)))
    if len(choices) <= trials:
        return next((r for r in choices if r not in failed and meets(r)), good)
    for r in reversed(choices):
        hopeless = any(all(i <= j for i, j in zip(r, f, strict=True)) for f in failed)
        if trials == 0 or hopeless or cost(r) >= cost(good):
            continue
        trials -= 1
        if meets(r):
            good = r
        else:
            failed.add(r)
    return good


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The first of low .. high for which it holds, if it holds from there on; it does at `high`."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high
