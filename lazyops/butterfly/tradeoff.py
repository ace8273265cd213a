"""tradeoff(): how many entries which error costs, over all errors at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pattern import Chain, prime_factors
from .certificate import split_tails
from .factorize import Factorization, _checked_chain, factorize
from .form import Form, butterfly_of
from .hierarchical import Cores
from .intake import Intake, known_by_products, take_in
from .rounding import fewest_entries

LEVELS = 4  # errors looked at in each decade
STRUCTURES = (1e-1, 1e-3, 1e-6, 1e-10)  # tolerances at which the structure is looked for


@dataclass(frozen=True)
class Point:
    """A butterfly that can be had: its entries, and bounds of its error.

    Attributes
    ----------
    entries : int
        Stored numbers.
    lower_bound, upper_bound : float
        Of the relative Frobenius error of the best butterfly on `chain`, with the permutations
        found.  ``factorize(A, chain, order="left-to-right")`` is at most 0.5 % above the second.
    chain : Chain or None
        None for the dense matrix.
    """

    entries: int
    lower_bound: float
    upper_bound: float
    chain: Chain | None


@dataclass(frozen=True, repr=False)
class Front(Sequence[Point]):
    """Points of which none has both fewer entries and a smaller error; entries ascend.

    Attributes
    ----------
    points : tuple of Point
    shape : (int, int)
        Of the matrix.
    """

    points: tuple[Point, ...]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, i):
        return Front(self.points[i], self.shape) if isinstance(i, slice) else self.points[i]

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def within(self, error: float) -> Point:
        """The point of fewest entries whose upper bound is at most `error`.

        Raises
        ------
        ValueError
            If none is that near.
        """
        for point in self.points:
            if point.upper_bound <= error:
                return point
        least = min(p.upper_bound for p in self.points)
        raise ValueError(f"no point has an error up to {error:.3g}: the least is {least:.3g}")

    def of_entries(self, most: int) -> Point:
        """The point of smallest error among those of at most `most` entries.

        Raises
        ------
        ValueError
            If none is that small.
        """
        for point in reversed(self.points):
            if point.entries <= most:
                return point
        raise ValueError(
            f"no point has as few as {most} entries: the smallest has {self.points[0].entries}"
        )

    def plot(self, axes: Any = None) -> Any:
        """Draw error over entries, both bounds; needs matplotlib.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            A new figure by default.

        Returns
        -------
        matplotlib Axes
        """
        from .drawing import plot_front

        return plot_front(self, axes)

    def __repr__(self) -> str:
        m, n = self.shape
        few, many = self.points[0], self.points[-1]
        return (
            f"<Front {m}x{n}: {len(self)} points, from error {few.upper_bound:.2g} with "
            f"{few.entries} entries to {many.upper_bound:.2g} with {many.entries}>"
        )


def tradeoff(A: Any, chain: Any = None, *, rng: Any = None) -> Front:
    """The front of entries and error over all butterflies that one look at a matrix shows.

    The singular values of the blocks of every split are computed once: they bound the error of
    every choice of ranks from both sides (``max E_q <= best <= hypot(E_q)``; Le, Zheng, Riccietti,
    Gribonval, arXiv 2411.04506).  For each of many error levels the ranks follow, and by dynamic
    programming the splits of fewest entries.

    Parameters
    ----------
    A : 2-D array of shape (m, n), or an operator
        An operator known by its products is factorized at several tolerances instead; its bounds
        then have the confidence of `factorize`, and the lower ones are 0.
    chain : Chain or iterable of (a, b, c, d), optional
        Where to split, with no permutation; its ranks do not matter.  By default `factorize` looks
        for the structure, at several tolerances.
    rng : int, Generator or None
        As for `factorize`.

    Returns
    -------
    Front
        With the dense matrix as its last point where no butterfly is exact with fewer entries.

    Raises
    ------
    ValueError
        If the chain does not fit, or the matrix is empty or not finite.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> x = np.linspace(0, 1, 64)
    >>> front = lo.tradeoff(1 / (1 + abs(x[:, None] - x)))
    >>> front.within(1e-2).entries < front.within(1e-4).entries < 64 * 64
    True
    """
    if (operator := known_by_products(A)) is not None:
        if 0 in operator.shape:
            raise ValueError("tradeoff takes a matrix with entries, this one is empty")
        tried = [factorize(operator, chain, tol, rng=rng) for tol in STRUCTURES]
        return _front([_point_of(found) for found in tried], operator.shape)
    intake = take_in(A)
    m, n = intake.matrix.array.shape
    if m * n == 0:
        raise ValueError("tradeoff takes a matrix with entries, this one is empty")
    if chain is not None:
        wanted = _checked_chain(chain, (m, n))
        if wanted[0].a * wanted[-1].d > 1:
            raise ValueError(f"tradeoff takes a chain with a = 1 first and d = 1 last: {wanted!r}")
        places = [(Form(()), Cores.of(wanted))]
    else:
        places = _structures(intake.matrix.array, rng)
    points = [p for form, cores in places for p in _points(intake, form, cores)]
    return _front([*points, Point(m * n, 0.0, 0.0, None)], (m, n))


def _point_of(found: Factorization) -> Point:
    return Point(found.entries, found.lower_bound, found.upper_bound, found.chain)


def _front(points: Sequence[Point], shape: tuple[int, ...]) -> Front:
    """Those that no other one beats in both entries and upper bound."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.entries, p.upper_bound)):
        if not kept or point.upper_bound < kept[-1].upper_bound:
            kept.append(point)
    return Front(tuple(kept), (shape[0], shape[1]))


# -- where to split --------------------------------------------------------------------------


def _structures(A: Any, rng: Any) -> list[tuple[Form, Cores]]:
    """Permutations and finest cores of what `factorize` finds at several tolerances, after those
    of the sizes alone.
    """
    m, n = A.shape
    found = [(Form(()), finest(Cores((int(m),), (int(n),))))]
    for tol in STRUCTURES:
        one = factorize(A, tol=tol, rng=rng)
        if one.chain is None:
            continue
        form = butterfly_of(one).form
        cores = finest(form.cores)
        if not any(cores == known and form.same_ends(other) for other, known in found):
            found.append((form, cores))
    return found


def finest(cores: Cores) -> Cores:
    """Cores of primes with all the splits of these.

    >>> finest(Cores((4, 3), (4, 1)))
    Cores(rows=(2, 2, 3), columns=(2, 2, 1), a=1, d=1)
    """
    pairs = [
        pair
        for b, c in zip(cores.rows, cores.columns, strict=True)
        for pair in itertools.zip_longest(prime_factors(b), prime_factors(c), fillvalue=1)
    ]
    pairs = pairs or [(1, 1)]
    return Cores(tuple(b for b, _ in pairs), tuple(c for _, c in pairs), cores.a, cores.d)


# -- what can be had there -------------------------------------------------------------------


def _points(intake: Intake, form: Form, cores: Cores) -> Iterator[Point]:
    """One point for every error level, from one set of spectra."""
    root = form.permuted(intake.matrix)
    spectra = [split_tails(root, cores, q) for q in range(1, len(cores))]
    norm2 = intake.norm**2
    if not spectra or norm2 == 0:
        return
    errors = [np.sqrt(np.maximum(tail2 / norm2, 0.0)) for tail2 in spectra]
    rounding = intake.rounding(len(cores))
    lowest = max(1e-15, rounding / 4)
    count = math.ceil(-math.log10(lowest) * LEVELS)
    for level in np.geomspace(1.0, lowest, count + 1):
        ranks = [max(1, int(np.argmax(e <= level))) for e in errors]
        _, at = fewest_entries(cores, ranks)
        if not at:
            continue  # so many entries as the dense matrix
        yield _point(cores, at, ranks, errors, rounding, 4 * len(cores) * intake.unit)


def _point(
    cores: Cores,
    at: tuple[int, ...],
    ranks: Sequence[int],
    errors: Sequence[np.ndarray],
    rounding: float,
    computing: float,
) -> Point:
    coarse = cores.merged(at)
    pairs = list(zip(coarse.rows, coarse.columns, strict=True))
    chain = Chain.from_cores(pairs, [ranks[q - 1] for q in at])
    made = [float(errors[q - 1][min(ranks[q - 1], len(errors[q - 1]) - 1)]) for q in at]
    lower = max(max(made) - computing, 0.0)
    return Point(chain.entries, lower, math.hypot(*made) + rounding, chain)
