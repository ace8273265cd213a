"""Choosing an order of rows and columns, splits and ranks, from a survey."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .arrange import Side
from .budget import FLOOR, Budget, Lattice, Node, Plan, fewest_entries, least_error, shares
from .clustering import LARGEST, unknown_orders
from .hierarchical import Cores
from .orders import Order
from .survey import Candidate, Survey, all_nodes, nodes_of

WORTH = 0.9  # of the dense entries: a butterfly that stores more is not worth having
CLEARLY = 0.999  # a later candidate must be better than an earlier one by this factor
EXACT = 1e-13  # a relative error that needs no better order
POOR = 0.3  # a relative E_q from which on an unknown order is looked for


@dataclass(frozen=True)
class Choice:
    """An order, the cores, and where a plan was made its ranks and the weights of its errors."""

    candidate: Candidate
    cores: Cores
    plan: Plan | None = None
    shares: tuple[float, ...] | None = None


Planner = Callable[[Lattice], Plan]
Score = Callable[[Plan], float]


def for_ranks(survey: Survey, cores: Cores, ranks: Sequence[int], permute: bool) -> Choice:
    """The order that suits a chain with its ranks best, by the largest ``E_q``; in doubt none.

    Another order must at least halve the error of the matrix as it stands.
    """
    best, least = Candidate(), math.inf
    if permute and survey.norm > 0:
        for candidate in survey.promising(nodes_of(cores), ranks, 0.0):
            worst = _worst(survey, candidate, cores, ranks)
            if worst < 0.5 * least:
                best, least = candidate, worst
            if least <= EXACT * survey.norm:
                break
        if least > POOR * survey.norm and (found := _unknown(survey)) is not None:
            best = found if _worst(survey, found, cores, ranks) < 0.5 * least else best
    return Choice(best, cores)


def _worst(survey: Survey, candidate: Candidate, cores: Cores, ranks: Sequence[int]) -> float:
    found = survey.energies(candidate, nodes_of(cores))
    survey.record(candidate, found, ranks)
    return max((e.error(r) for e, r in zip(found.values(), ranks, strict=True)), default=0.0)


def for_tolerance(survey: Survey, budget: Budget, permute: bool, cores: Cores | None) -> Choice:
    """The order, splits and ranks of fewest entries at a tolerance; on given cores if any."""
    floor = FLOOR * max(budget.whole(1), budget.rounding(1) * budget.norm)
    nodes = all_nodes(*survey.matrix.array.shape) if cores is None else nodes_of(cores)
    each = budget.each(max(len(nodes), 1))
    candidate, plan = _best(
        survey,
        nodes,
        each if each > 0 else floor,
        permute,
        lambda e: Lattice(survey.matrix.array.shape, e, floor, cores is not None),
        lambda lattice: fewest_entries(lattice, budget),
        lambda plan: plan.entries,
    )
    chosen = cores if cores is not None else plan.cores(survey.matrix.array.shape)
    return Choice(candidate, chosen, plan, shares(plan, budget))


def for_entries(
    survey: Survey, most: int, order: Order, permute: bool, cores: Cores | None
) -> Choice:
    """The order, splits and ranks of least error with at most `most` entries."""
    nodes = all_nodes(*survey.matrix.array.shape) if cores is None else nodes_of(cores)
    candidate, plan = _best(
        survey,
        nodes,
        POOR * survey.norm,
        permute,
        lambda e: Lattice(survey.matrix.array.shape, e, EXACT * survey.norm, cores is not None),
        lambda lattice: least_error(lattice, most, order),
        lambda plan: math.inf if plan.entries > most else math.hypot(*plan.errors),
    )
    if plan.entries > most:
        raise ValueError(
            f"max_entries is {most}, and the smallest chain looked at stores {plan.entries}"
        )
    chosen = cores if cores is not None else plan.cores(survey.matrix.array.shape)
    return Choice(candidate, chosen, plan)


def _best(
    survey: Survey,
    nodes: Sequence[Node],
    error: float,
    permute: bool,
    lattice: Callable[[dict], Lattice],
    planner: Planner,
    score: Score,
) -> tuple[Candidate, Plan]:
    """The candidate whose plan scores least; an unknown order where none is worth storing."""
    found: list[tuple[Candidate, Plan]] = []
    for candidate in survey.promising(nodes, None, error):
        found.append((candidate, planner(lattice(survey.energies(candidate, nodes)))))
        if not permute:
            break
    best = found[0]
    for pair in found[1:]:
        if score(pair[1]) < CLEARLY * score(best[1]):
            best = pair
    size = survey.matrix.array.size
    if permute and best[1].entries >= WORTH * size and (other := _unknown(survey)) is not None:
        plan = planner(lattice(survey.energies(other, nodes)))
        best = (other, plan) if score(plan) < score(best[1]) else best
    return best


def _unknown(survey: Survey) -> Candidate | None:
    """Orders found by clustering, for square matrices of a power of two that are not large."""
    m, n = survey.matrix.array.shape
    if m != n or n & (n - 1) or not 8 <= n <= LARGEST:
        return None
    found = unknown_orders(survey.matrix.prepared(survey.matrix.array))
    if found is None:
        return None
    rows, columns = found
    name = "order found by clustering"
    return Candidate(Side(name, table=rows), Side(name, table=columns))
