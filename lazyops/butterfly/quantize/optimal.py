"""The best of several roundings, each made better by descent; how many depends on the size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ...kernels.formats import FloatFormat, ScaledInteger
from .bounds import sweep_bound
from .chains import Values, ranks_of, relative_distance
from .descent import improved
from .rank_one import EVEN, FIXED
from .sweeps import (
    Factors,
    Format,
    columns,
    keeps_one_scale,
    left_to_right,
    met_at,
    nearest,
    pairwise,
    right_to_left,
    rows,
)

EFFORT = 1 << 26  # scaled numbers that are looked at, in all
TURNS = 12  # of a descent, at most: after so many there is little left to gain
KICKS = 16  # descents from a disturbed optimum
SHARE = 0.3  # of the scales of a junction that a kick draws anew


class Rounded(NamedTuple):
    """Factors of few bits, and what theory says of their error; infinite where that is nothing."""

    values: Factors
    bound: float


def swept(values: Values, formats: Sequence[Format], found: Factors) -> Rounded:
    """The result of a sweep, with its bound where the ranks are one."""
    known = len(values) > 1 and all(r == 1 for r in ranks_of(values))
    return Rounded(found, sweep_bound(found, formats) if known else math.inf)


def optimal(values: Values, formats: Sequence[Format], most: int) -> Rounded:
    """The best that comes of `starts` by descent, and then of `KICKS` away from it.

    Never worse than a start.  Small chains get all starts and kicks, until nothing changes; the
    largest get one start and one turn.
    """
    plain = nearest(values, formats)
    exact = all(np.array_equal(v, w) for v, w in zip(values, plain, strict=True))
    if exact or len(values) == 1 or any(isinstance(f, ScaledInteger) for f in formats):
        return Rounded(plain, math.inf)
    rounds = EFFORT // sum(_work(v, f, most) for v, f in zip(values, formats, strict=True))
    turns = min(max(rounds // 2, 1), TURNS)
    begun, tries = starts(len(values), formats), max(rounds // turns, 1)
    found = [start(values, formats, most) for start in begun[:tries]]
    results = [improved(values, one.values, formats, most, turns) for one in found]
    errors = [relative_distance(values, one) for one in results]
    best, least = results[int(np.argmin(errors))], min(errors)
    rng = np.random.default_rng(FIXED)
    kicks = (tries - len(found)) // 4 if all(r == 1 for r in ranks_of(values)) else 0
    for _ in range(min(kicks, KICKS)):
        result = improved(values, kicked(best, formats, rng), formats, most, turns)
        error = relative_distance(values, result)
        if error < least:
            best, least = result, error
    return Rounded(best, min(one.bound for one in found))


def kicked(found: Factors, formats: Sequence[Format], rng: np.random.Generator) -> Factors:
    """With other scales, drawn for some columns and rows of one junction, and rounded again."""
    result, q = list(found), int(rng.integers(len(found) - 1))
    X, Y = result[q : q + 2]
    scales = np.where(rng.random(columns(X)) < SHARE, np.exp2(rng.random(columns(X)) - 0.5), 1.0)
    result[q], result[q + 1] = X * scales[:, None], Y / scales.reshape(rows(Y))[:, :, None, :]
    return nearest(result, formats)


Method = Callable[[Values, Sequence[Format], int], Rounded]


def starts(count: int, formats: Sequence[Format]) -> list[Method]:
    """What a descent begins with, the best first.

    Sweeps that meet in the middle leave errors of few factors to either side.  Of formats of few
    exponents, whose one scale descent keeps and a sweep does not, rounding to nearest is better.
    """

    def meeting(place: int) -> Method:
        return lambda v, f, most: swept(v, f, met_at(v, f, most, place))

    middle = (count - 2) // 2
    found = [meeting(q) for q in sorted(range(count - 1), key=lambda q: abs(q - middle))]
    narrow = any(keeps_one_scale(f) for f in formats)
    found.insert(0 if narrow else 1, METHODS["nearest"])
    return found


METHODS: dict[str, Method] = {
    "optimal": optimal,
    "left-to-right": lambda v, f, most: swept(v, f, left_to_right(v, f, most)),
    "right-to-left": lambda v, f, most: swept(v, f, right_to_left(v, f, most)),
    "pairwise": lambda v, f, most: Rounded(_best_pairs(v, f, most), math.inf),
    "nearest": lambda v, f, most: Rounded(nearest(v, f), math.inf),
}


def _best_pairs(values: Values, formats: Sequence[Format], most: int) -> Factors:
    found = [pairwise(values, formats, most, first) for first in (0, 1)]
    return min(found, key=lambda one: relative_distance(values, one))


def _work(values: np.ndarray, form: Format, most: int) -> int:
    """Scaled numbers that one sweep looks at in a factor."""
    if np.iscomplexobj(values) or not isinstance(form, FloatFormat):
        return 2 * values.size * most
    return values.size * (min(values.shape[1] << (form.significand - 1), most) + EVEN)
