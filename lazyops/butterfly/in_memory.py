"""factorize() of a matrix in memory: look for an order and a chain, then split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._array import is_array, is_numpy
from ..operators import Dense, KroneckerSparse, LinearOperator, Permutation, Product
from ..pattern import Chain
from .budget import Budget
from .choose import WORTH, Choice, for_entries, for_ranks, for_tolerance
from .factorization import Factorization
from .hierarchical import Cores
from .intake import Intake, fitting, take_in, unread
from .orders import Order
from .redundancy import reexpanded
from .run import Outcome, Progress, Step, Task, padded_to, run
from .survey import Candidate, Survey, all_nodes
from .svd import NoStructure


def factorize_array(
    A: Any,
    chain: Chain | None,
    tol: float | None,
    max_entries: int | None,
    order: Order,
    *,
    permute: bool,
    rng: np.random.Generator,
    line: Progress,
    callback: Callable[[Step], object] | None,
    measure: bool,
) -> Factorization:
    """See `factorize`; `A` is a 2-D array."""
    line.say("factorize: reading the matrix")
    only_split = chain is not None and tol is None and max_entries is None and not permute
    intake = unread(A) if only_split else take_in(A)
    survey = Survey(intake.matrix, intake.norm, rng)
    job = _Job(intake, survey, order, permute, line, callback, measure)
    if chain is not None:
        found = job.on_chain(fitting(chain, intake.matrix.array.shape), tol, max_entries)
    else:
        found = job.searched(A, tol, max_entries)
    return replace(found, tried=survey.tried)


@dataclass(frozen=True)
class _Job:
    """One call of `factorize`: the matrix, what is known of it, and how to work."""

    intake: Intake
    survey: Survey
    order: Order
    permute: bool
    line: Progress
    callback: Callable[[Step], object] | None
    measure: bool

    def run(self, choice: Choice, cores: Cores, order: Order, **wanted) -> Outcome:
        matrix = choice.candidate.matrix(self.intake.matrix, choice.cores)
        task = Task(self.intake, matrix, cores, order, measure=self.measure, **wanted)
        return run(task, self.survey.rng, self.line, self.callback)

    def budget(self, tol: float) -> Budget:
        return Budget(tol, self.intake.norm, self.intake.rounding, self.order)

    # -- a chain is given ------------------------------------------------------------------

    def on_chain(self, chain: Chain, tol: float | None, most: int | None) -> Factorization:
        if tol is None and most is None:
            return self.with_ranks(chain)
        cores = Cores.of(chain)
        plain = Choice(Candidate(), cores)
        whole = cores.a * cores.d == 1 and len(cores) > 1
        if most is not None:
            if not whole:
                raise ValueError(f"max_entries needs a chain of a whole matrix, got {chain}")
            choice = for_entries(self.survey, most, self.order, self.permute, cores)
            assert choice.plan is not None
            outcome = self.run(choice, cores, self.order, ranks=choice.plan.ranks)
            return self.result(outcome.values, choice, outcome, None)
        self.look()
        choice = (
            for_tolerance(self.survey, self.budget(tol or 0.0), self.permute, cores)
            if whole
            else plain
        )
        guesses = chain.ranks if choice.plan is None else choice.plan.ranks
        outcome = self.run(
            choice, cores, self.order, tol=tol, guesses=guesses, shares=choice.shares
        )
        return self.result(outcome.values, choice, outcome, tol)

    def with_ranks(self, chain: Chain) -> Factorization:
        """The best on this chain: on the one without redundant junctions, then expanded."""
        cores, reduced = Cores.of(chain), chain.reduced
        whole = cores.a * cores.d == 1 and len(cores) > 1
        choice = Choice(Candidate(), cores)
        if whole and self.permute:
            self.look()
            choice = for_ranks(self.survey, cores, chain.ranks, True)
        coarse = cores.merged(chain.kept)
        order = self.order
        if not isinstance(order, str):
            order = tuple(chain.kept.index(q) + 1 for q in order if q in chain.kept)
        outcome = self.run(choice, coarse, order, ranks=reduced.ranks, guesses=reduced.ranks)
        values = padded_to(outcome, reduced, coarse)
        if not outcome.stopped:
            values = reexpanded(values, chain)
        kept = tuple(s._replace(position=chain.kept[s.position - 1]) for s in outcome.splits)
        outcome = outcome if outcome.stopped else replace(outcome, splits=kept)
        return self.result(values, choice, outcome, None)

    # -- nothing is given ------------------------------------------------------------------

    def searched(self, A: Any, tol: float | None, most: int | None) -> Factorization:
        intake, size = self.intake, self.intake.matrix.array.size
        if size == 0:
            return _dense(A, intake, "the matrix is empty")
        m, n = intake.matrix.array.shape
        if not all_nodes(m, n):
            why = f"{m}x{n} has no split into smaller blocks"
            return _dense(A, intake, f"no structure to look for: {why}")
        self.look()
        if most is not None:
            if most >= size:
                return _dense(A, intake, f"max_entries {most} holds the whole matrix")
            choice = for_entries(self.survey, most, self.order, self.permute, None)
            assert choice.plan is not None
            outcome = self.run(choice, choice.cores, self.order, ranks=choice.plan.ranks)
            return self.result(outcome.values, choice, outcome, None)
        if tol is None:
            tol = 1e-6 if intake.dtype in (np.float32, np.complex64) else 1e-10
        return self.within(A, tol)

    def within(self, A: Any, tol: float) -> Factorization:
        """The chain of fewest entries at a tolerance, or the dense matrix."""
        intake, size = self.intake, self.intake.matrix.array.size
        choice = for_tolerance(self.survey, self.budget(tol), self.permute, None)
        plan = choice.plan
        assert plan is not None
        if plan.entries >= WORTH * size:
            return _dense(A, intake, self.why_none(choice, tol))
        wanted = {"tol": tol, "guesses": plan.ranks, "shares": choice.shares, "searching": True}
        try:
            outcome = self.run(choice, choice.cores, self.order, **wanted)
        except NoStructure as error:
            return _dense(A, intake, f"no structure at tol {tol:.3g}: {error}")
        entries = sum(v.size for v in outcome.values)
        if entries >= WORTH * size and not outcome.stopped:
            why = f"the best chain found stores {entries / size:.3g} of the dense entries"
            return _dense(A, intake, f"no structure at tol {tol:.3g}: {why}")
        return self.result(outcome.values, choice, outcome, tol)

    def look(self) -> None:
        self.line.say("factorize: looking for structure")

    def why_none(self, choice: Choice, tol: float) -> str:
        assert choice.plan is not None
        share = choice.plan.entries / self.intake.matrix.array.size
        return (
            f"no structure at tol {tol:.3g}: tried {len(self.survey.tried)} orders of rows and "
            f"columns; the smallest chain "
            f"({choice.candidate.name}, ranks {choice.plan.ranks}) would store {share:.3g} of the "
            "dense entries"
        )

    def result(
        self, values: list[np.ndarray], choice: Choice, outcome: Outcome, tol: float | None
    ) -> Factorization:
        factors: list[LinearOperator] = [KroneckerSparse(v, copy=False) for v in values]
        matrix = choice.candidate.matrix(self.intake.matrix, choice.cores)
        if matrix.rows is not None:
            factors.insert(0, Permutation(np.argsort(matrix.rows)))  # W = A[rows], A = W[inverse]
        if matrix.columns is not None:
            factors.append(Permutation(matrix.columns))  # A[:, columns] = W, A x = W x[columns]
        return Factorization(
            factors[0] if len(factors) == 1 else Product(factors),
            Chain(v.shape for v in values),
            outcome.relative_error,
            outcome.lower_bound,
            outcome.upper_bound,
            outcome.splits,
            _what_was_found(values, choice.candidate, outcome, tol),
        )


# -- results -------------------------------------------------------------------------------


def _what_was_found(values, candidate: Candidate, outcome: Outcome, tol: float | None) -> str:
    ranks = Chain(v.shape for v in values).ranks
    found = f"{candidate.name}; {len(values)} factors of ranks {ranks}"
    if outcome.stopped:
        return f"stopped by the callback after {len(outcome.splits)} splits: {found}"
    if tol is not None and outcome.upper_bound > tol:
        return f"{found}; the bound {outcome.upper_bound:.2g} stays above tol {tol:.2g}"
    return found


def _dense(A: Any, intake: Intake, reason: str) -> Factorization:
    array = intake.matrix.array
    if array.dtype == intake.dtype:
        held = A if is_array(A) and not is_numpy(A) else array
        operator = Dense(held)
    else:
        operator = Dense(array.astype(intake.dtype), copy=False)
    return Factorization(operator, None, 0.0, 0.0, 0.0, (), reason)
