"""tradeoff(): how many entries which error costs, over all errors at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pattern import Chain
from .budget import Budget, Lattice, Node, Plan, SplitEnergy
from .choose import for_tolerance
from .factorization import Factorization
from .factorize import factorize
from .hierarchical import Cores
from .intake import Intake, fitting, known_by_products, take_in
from .survey import Candidate, Survey, all_nodes, exact_energy, nodes_of

PRICES = 100  # of an error: from so low that entries do not matter, to so high that errors do not
LEVELS = 50  # of the error of every split
STRUCTURES = (1e-1, 1e-4, 1e-10)  # tolerances at which an order of rows and columns is chosen


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
    permutation : str
        Which order of rows and columns the errors are for, as `factorize` names it.
    """

    entries: int
    lower_bound: float
    upper_bound: float
    chain: Chain | None
    permutation: str = "no permutation"


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
    Gribonval, arXiv 2411.04506).  For many prices of an error and many errors of a split, the chain
    with its ranks follows by dynamic programming.

    Parameters
    ----------
    A : 2-D array of shape (m, n), or an operator
        An operator known by its products is factorized at several tolerances instead; its bounds
        then have the confidence of `factorize`, and the lower ones are 0.
    chain : Chain or iterable of (a, b, c, d), optional
        Where to split, with no permutation; its ranks do not matter.  By default all sizes of
        cores, and the orders of rows and columns that `factorize` would choose.
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
        wanted = fitting(chain if isinstance(chain, Chain) else Chain(chain), (m, n))
        if wanted[0].a * wanted[-1].d > 1:
            raise ValueError(f"tradeoff takes a chain with a = 1 first and d = 1 last: {wanted!r}")
        orders, nodes = [Candidate()], list(dict.fromkeys(nodes_of(Cores.of(wanted))))
    else:
        nodes = all_nodes(m, n)
        orders = _orders(intake, rng) if nodes else []
    known: dict[Node, SplitEnergy] = {}
    points = [p for order in orders for p in _points(intake, order, nodes, known)]
    return _front([*points, Point(m * n, 0.0, 0.0, None)], (m, n))


def _point_of(found: Factorization) -> Point:
    name = found.reason.partition(";")[0] if found.chain is not None else "no permutation"
    return Point(found.entries, found.lower_bound, found.upper_bound, found.chain, name)


def _front(points: Sequence[Point], shape: tuple[int, ...]) -> Front:
    """Those that no other one beats in both entries and upper bound."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.entries, p.upper_bound)):
        if point.upper_bound < (kept[-1].upper_bound if kept else 1.0):  # zero has the error 1
            kept.append(point)
    return Front(tuple(kept), (shape[0], shape[1]))


# -- where to split --------------------------------------------------------------------------


def _orders(intake: Intake, rng: Any) -> list[Candidate]:
    """The matrix as it stands, and the orders that `factorize` would choose at some tolerances."""
    survey = Survey(intake.matrix, intake.norm, np.random.default_rng(0 if rng is None else rng))
    found = [Candidate()]
    for tol in STRUCTURES if intake.norm else ():
        budget = Budget(tol, intake.norm, intake.rounding, "left-to-right")
        found.append(for_tolerance(survey, budget, True, None).candidate)
    return list(dict.fromkeys(found))


# -- what can be had there -------------------------------------------------------------------


def _points(
    intake: Intake, order: Candidate, nodes: Sequence[Node], known: dict[Node, SplitEnergy]
) -> Iterator[Point]:
    """One point for every price and for every error level, from one set of spectra.

    `known` keeps those that no order changes: of low rank as a whole.
    """
    if not nodes or intake.norm == 0:
        return
    shape, norm = intake.matrix.array.shape, intake.norm
    energies = dict(known)
    for node in nodes:
        if node not in energies:
            energies[node] = exact_energy(order.at(intake.matrix, node), node)
    known.update({node: e for node, e in energies.items() if node == (shape[0], 1)})
    rounding = intake.rounding(1)
    lattice = Lattice(shape, energies, rounding * norm)
    for price in np.geomspace(*lattice.prices(True), PRICES):
        yield _point(intake, order, lattice.priced(price, True, rounding * norm))
    for level in np.geomspace(1.0, rounding, LEVELS):
        plan = lattice.path(np.where(lattice.error <= level * norm, 0.0, math.inf))
        yield _point(intake, order, plan)


def _point(intake: Intake, order: Candidate, plan: Plan) -> Point:
    cores, (m, n) = plan.cores(intake.matrix.array.shape), intake.matrix.array.shape
    chain = Chain.from_cores(list(zip(cores.rows, cores.columns, strict=True)), plan.ranks)
    if not plan.nodes or plan.entries >= m * n:
        return Point(m * n, 0.0, 0.0, None)
    rounding = intake.rounding(len(chain))
    made = [error / intake.norm for error in plan.errors]
    lower = max(max(made) - 4 * len(chain) * intake.unit, 0.0)
    return Point(chain.entries, lower, math.hypot(*made) + rounding, chain, order.name)
