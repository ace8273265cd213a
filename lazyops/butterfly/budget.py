"""Spending an error, or a number of entries, over the splits of a chain.

The splits that may be made are nodes ``(beta, gamma)``, the products of the row and column cores
on their left; a chain is a path from (1, 1) to (m, n) along which both divide.  The factor between
two nodes of ranks r and r' holds ``r r' (m / beta) gamma'`` entries.  What a split costs in error
is its ``E_q``: as squares where the order is nested, as it is otherwise.  Both are sums over the
nodes of the path, so that for every price of an error the cheapest chain with its ranks comes out
of one dynamic program; the price is found by bisection.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .hierarchical import Cores
from .orders import Order, is_nested, splits_in_order

Node = tuple[int, int]

STEPS = 24  # of the bisection
EVERY = 12  # ranks up to this one are all looked at, above in steps of GROWTH
GROWTH = 1.2
LEAST = 1e-12  # part of the whole that every split gets
FLOOR = 0.02  # an error below this part of the whole is not worth a higher rank


@dataclass(frozen=True)
class SplitEnergy:
    """``tail2[r]`` is (or estimates) ``E_q(A)^2`` at rank r; full rank is `full`."""

    tail2: np.ndarray
    full: int

    def error(self, rank: int) -> float:
        """``E_q`` at this rank; beyond what was sampled that of the last rank that was."""
        if rank >= self.full:
            return 0.0
        return math.sqrt(self.tail2[min(rank, max(len(self.tail2) - 2, 0))])

    def ranks(self, floor: float) -> list[int]:
        """The ranks worth looking at, up to the first with an error of at most `floor`."""
        reach = len(self.tail2) - 1 if len(self.tail2) > self.full else len(self.tail2) - 2
        found, rank = [], 1
        while rank <= reach:
            found.append(rank)
            if self.tail2[rank] <= floor**2:
                return found
            rank = max(rank + 1, int(rank * GROWTH) if rank >= EVERY else 0)
        return found if found and found[-1] == self.full else [*found, self.full]


@dataclass(frozen=True)
class Plan:
    """Nodes to split at, with the rank and the expected error of each, and the entries."""

    nodes: tuple[Node, ...]
    ranks: tuple[int, ...]
    errors: tuple[float, ...]
    entries: int

    def cores(self, shape: tuple[int, int]) -> Cores:
        ends = [(1, 1), *self.nodes, shape]
        pairs = [(q[0] // p[0], q[1] // p[1]) for p, q in itertools.pairwise(ends)]
        return Cores(tuple(b for b, _ in pairs), tuple(c for _, c in pairs))


@dataclass(frozen=True)
class Budget:
    """A relative error to keep, after rounding, by splits in an order."""

    tol: float
    norm: float
    rounding: Callable[[int], float]
    order: Order

    def whole(self, splits: int) -> float:
        """What the splits may err together, absolute."""
        return max(self.tol - self.rounding(splits + 1), 0.0) * self.norm

    def nested(self, splits: int) -> bool:
        return is_nested(splits_in_order(self.order, splits))

    def total(self, errors: Sequence[float]) -> float:
        return math.hypot(*errors) if self.nested(len(errors)) else math.fsum(errors)

    def fits(self, plan: Plan) -> bool:
        return self.total(plan.errors) <= self.whole(len(plan.errors))

    def each(self, splits: int) -> float:
        """An equal part of the whole."""
        return self.whole(splits) / (math.sqrt(splits) if self.nested(splits) else splits)


class Lattice:
    """The nodes with their energies; `required`: every node is on the path, in this order."""

    def __init__(
        self,
        shape: tuple[int, int],
        energies: dict[Node, SplitEnergy],
        floor: float = 0.0,
        required: bool = False,
    ):
        self.shape = shape
        self.energies = energies
        self.required = required
        self.nodes = (
            list(energies) if required else sorted(energies, key=lambda p: (p[0] * p[1], p))
        )
        ranks = [energies[p].ranks(floor) for p in self.nodes]
        ends = np.cumsum([0, *map(len, ranks)])
        self.slices = [slice(i, j) for i, j in itertools.pairwise(ends)]
        self.rank = np.array([r for some in ranks for r in some], dtype=float)
        node = np.repeat(np.arange(len(ranks)), [len(some) for some in ranks])
        self.node = node
        self.below = self.rank * np.array([shape[0] // p[0] for p in self.nodes])[node]
        self.above = self.rank * np.array([p[1] for p in self.nodes])[node]
        self.error = np.array(
            [energies[p].error(r) for p, some in zip(self.nodes, ranks, strict=True) for r in some]
        )
        self.before = [self._before(k) for k in range(len(self.nodes))]

    def _before(self, k: int) -> np.ndarray:
        """The states that may come right before node k."""
        if self.required:
            near = self.slices[k - 1] if k else slice(0, 0)
            return np.arange(near.start, near.stop)
        beta, gamma = self.nodes[k]
        below = [i for i, (b, c) in enumerate(self.nodes[:k]) if beta % b == 0 and gamma % c == 0]
        return np.flatnonzero(np.isin(self.node, below))

    def path(self, price: np.ndarray) -> Plan:
        """The chain of least entries plus prices, a price for every (node, rank)."""
        m, n = self.shape
        cost, back = np.full(len(self.rank), math.inf), np.full(len(self.rank), -1)
        for k, at in enumerate(self.slices):
            if not self.required or k == 0:
                cost[at] = m * self.above[at]
            before = self.before[k]
            if len(before):
                through = cost[before, None] + self.below[before, None] * self.above[None, at]
                least = through.argmin(axis=0)
                value = through[least, np.arange(through.shape[1])]
                better = value < cost[at]
                cost[at] = np.where(better, value, cost[at])
                back[at] = np.where(better, before[least], back[at])
            cost[at] += price[at]
        total = cost + self.below * n
        if self.required:
            total[: self.slices[-1].start] = math.inf
        state, found = int(total.argmin()), []
        while state >= 0:
            found.append(state)
            state = int(back[state])
        return self.plan([(self.nodes[self.node[s]], int(self.rank[s])) for s in reversed(found)])

    def plan(self, steps: Sequence[tuple[Node, int]]) -> Plan:
        """The plan with these nodes and ranks."""
        m, n = self.shape
        ends = [((1, 1), 1), *steps, ((m, n), 1)]
        entries = sum(r * s * (m // p[0]) * q[1] for (p, r), (q, s) in itertools.pairwise(ends))
        errors = tuple(self.energies[p].error(r) for p, r in steps)
        return Plan(tuple(p for p, _ in steps), tuple(r for _, r in steps), errors, entries)

    # -- prices ----------------------------------------------------------------------------

    def priced(self, price: float, nested: bool, extra: float) -> Plan:
        """The path for a price of one unit of error; `extra` error is added for every split."""
        errors = self.error**2 + extra**2 if nested else self.error + extra
        return self.path(price * errors)

    def prices(self, nested: bool) -> tuple[float, float]:
        """Prices below which errors, and above which entries, do not matter."""
        size, seen = math.prod(self.shape), self.error[self.error > 0]
        if not len(seen):
            return 1.0, 1.0
        power = 2 if nested else 1
        return 1e-3 / float(seen.max()) ** power, 1e3 * size / float(seen.min()) ** power


def fewest_entries(lattice: Lattice, budget: Budget) -> Plan:
    """The plan of fewest entries within a budget; where none fits, the one of least error."""
    nested, extra = budget.nested(3), budget.rounding(1) * budget.norm
    found = [plan for plan in _equal_shares(lattice, budget) if budget.fits(plan)]
    low, high = map(math.log, lattice.prices(nested))
    last = lattice.priced(math.exp(high), nested, extra)
    for _ in range(STEPS if budget.fits(last) else 0):
        middle = (low + high) / 2
        plan = lattice.priced(math.exp(middle), nested, extra)
        if budget.fits(plan):
            high, last = middle, plan
        else:
            low = middle
    found.append(last)
    return min((lowered(lattice, plan, budget) for plan in found), key=lambda p: p.entries)


def _equal_shares(lattice: Lattice, budget: Budget) -> Iterator[Plan]:
    """The best paths whose splits each keep an equal part of the budget."""
    counts = [len(lattice.nodes)] if lattice.required else range(1, len(lattice.nodes) + 1)
    for count in counts:
        each = budget.each(count)
        plan = lattice.path(np.where(lattice.error <= each, 0.0, math.inf))
        if all(e <= each for e in plan.errors):
            yield plan


def lowered(lattice: Lattice, plan: Plan, budget: Budget) -> Plan:
    """Ranks one less, most entries for least error first, as long as the budget is kept."""
    if not budget.fits(plan):
        return plan
    while True:
        less = [p for p in _neighbours(lattice, plan, -1) if budget.fits(p)]
        if not less:
            return plan
        spent = budget.total(plan.errors)
        before = plan
        plan = max(
            less,
            key=lambda p: (
                (before.entries - p.entries) / max(budget.total(p.errors) - spent, 1e-300)
            ),
        )


def least_error(lattice: Lattice, most: int, order: Order) -> Plan:
    """The plan of least error with at most `most` entries; the smallest one where none has."""
    nested = is_nested(splits_in_order(order, 3))
    low, high = map(math.log, lattice.prices(nested))
    best = lattice.path(np.zeros_like(lattice.error))
    for _ in range(STEPS if best.entries <= most else 0):
        middle = (low + high) / 2
        plan = lattice.priced(math.exp(middle), nested, 0.0)
        if plan.entries <= most:
            low, best = middle, plan
        else:
            high = middle
    while True:
        more = [p for p in _neighbours(lattice, best, 1) if p.entries <= most]
        better = [p for p in more if math.fsum(p.errors) < math.fsum(best.errors)]
        if not better:
            return best
        start = best
        best = max(
            better,
            key=lambda p: (
                (math.fsum(start.errors) - math.fsum(p.errors)) / max(p.entries - start.entries, 1)
            ),
        )


def _neighbours(lattice: Lattice, plan: Plan, step: int) -> Iterator[Plan]:
    """Plans with the rank of one split changed by `step`."""
    for i, (node, rank) in enumerate(zip(plan.nodes, plan.ranks, strict=True)):
        if 1 <= rank + step <= lattice.energies[node].full:
            steps = list(zip(plan.nodes, plan.ranks, strict=True))
            steps[i] = (node, rank + step)
            yield lattice.plan(steps)


class Ledger:
    """Spends an error over the steps of a run, and keeps the certificate.

    Nested orders: the steps' errors are orthogonal and add as squares; otherwise they add.
    What a step leaves over is shared by the later ones, by their weights.  A step whose vectors are
    not quite singular ones may raise ``E_q`` of later steps by its `turn` (`svd.Halves`): their
    lower bounds are reduced by that.
    """

    def __init__(self, allowed: float | None, weights: Sequence[float], nested: bool):
        self.allowed = allowed
        self.weights = list(weights)
        self.nested = nested
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.turned = 0.0

    def next(self) -> float | None:
        """What the next step may spend: its part of what is left."""
        if self.allowed is None:
            return None
        own, *later = self.weights[len(self.upper) :]
        if self.nested:
            left2 = max(self.allowed**2 - self.total**2, 0.0)
            return math.sqrt(left2) * own / math.hypot(own, *later)
        return max(self.allowed - self.total, 0.0) * own / math.fsum([own, *later])

    def enter(self, lower: float, upper: float, turn: float = 0.0) -> None:
        self.lower.append(max(lower - self.turned, 0.0))
        self.upper.append(upper)
        self.turned += turn

    @property
    def total(self) -> float:
        return math.hypot(*self.upper) if self.nested else math.fsum(self.upper)


def shares(plan: Plan, budget: Budget) -> tuple[float, ...]:
    """Weights of the splits for a `Ledger`: what each needs, and equal parts of what is left."""
    count = len(plan.errors)
    whole, spent = budget.whole(count), budget.total(plan.errors)
    if budget.nested(count):
        slack2 = max(whole**2 - spent**2, (LEAST * whole) ** 2) / count
        return tuple(math.sqrt(e**2 + slack2) or 1.0 for e in plan.errors)
    slack = max(whole - spent, LEAST * whole) / count
    return tuple((e + slack) or 1.0 for e in plan.errors)
