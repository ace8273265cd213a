"""How far an operator is from another, from a few products, with a proven confidence."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

COLUMNS = 10
CONFIDENCE = 0.99


def gaussian_tails(columns: int, failure: float) -> tuple[float, float]:
    """Shares ``t < 1 < T`` of its mean below and above which the estimate seldom falls.

    For a fixed `M` and Gaussian `G` with `columns` columns, ``S = ||M G||^2 / columns`` has the
    mean ``||M||_F^2`` and is a sum of ``sigma_i^2 chi^2 / columns``.  Since ``prod (1 + 2 s
    lambda_i) >= 1 + 2 s sum lambda_i`` for non-negative lambda (and likewise with minus signs,
    where all factors are positive), Chernoff's bound of a single chi^2 holds for every spectrum:
    ``P(S <= t ||M||^2) <= (t e^(1-t))^(columns/2)`` for t < 1, the same for ``S >= t`` where t > 1.

    >>> t, T = gaussian_tails(10, 0.005)
    >>> round(t, 3), round(T, 3)
    (0.148, 3.233)
    """

    def bound(t: float) -> float:
        return columns / 2 * (math.log(t) + 1 - t)

    level = math.log(failure)
    return _root(bound, level, 1.0, 0.0), _root(bound, level, 1.0, 1e3)


def _root(f: Callable[[float], float], level: float, inside: float, outside: float) -> float:
    """Where f, above `level` at `inside`, meets it on the way to `outside`: the outer side."""
    for _ in range(100):
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            break
        if f(middle) > level:
            inside = middle
        else:
            outside = middle
    return outside


def error_factor(columns: int = COLUMNS, confidence: float = CONFIDENCE) -> float:
    """``||M|| / ||N||`` is at most that times ``||M G|| / ||N G||``, with this confidence."""
    low, high = gaussian_tails(columns, (1 - confidence) / 2)
    return math.sqrt(high / low)


def gaussian(n: int, rng: np.random.Generator, columns: int = COLUMNS) -> np.ndarray:
    """Standard normal columns, real: those serve complex operators as well."""
    return rng.standard_normal((n, columns))
