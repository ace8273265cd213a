"""factorize(): a matrix in, a butterfly with its certificate out."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._array import is_array, is_numpy
from ..operators import Dense, KroneckerSparse, LinearOperator, Permutation, Product
from ..pattern import Chain
from .budget import Budget
from .choose import WORTH, Choice, for_entries, for_ranks, for_tolerance
from .hierarchical import Cores
from .intake import Intake, take_in
from .orders import Order, checked_order
from .redundancy import reexpanded
from .run import Outcome, Progress, Split, Step, Task, padded_to, run
from .survey import Candidate, Survey, Tried, all_nodes
from .svd import NoStructure


@dataclass(frozen=True, repr=False)
class Factorization:
    """A butterfly (or the dense matrix where none was found) with its certificate.

    The three errors are relative to the Frobenius norm of the matrix:
    ``lower_bound <= best error on this chain <= relative_error <= upper_bound``.

    Attributes
    ----------
    operator : LinearOperator
        Product of Kronecker-sparse factors, permutations at its ends where they help.
    chain : Chain or None
        Patterns of the factors; None where `operator` is dense.
    relative_error : float
        Measured against the matrix, exactly.
    lower_bound, upper_bound : float
        From the truncation errors of the splits.
    splits : tuple of Split
        (position, rank, error) in the order done.
    reason : str
        What was found, or why nothing was.
    tried : tuple of Tried
        The orders of rows and columns that were looked at, with estimates of ``E_q / ||A||``;
        not kept in files.
    """

    operator: LinearOperator
    chain: Chain | None
    relative_error: float
    lower_bound: float
    upper_bound: float
    splits: tuple[Split, ...] = ()
    reason: str = ""
    tried: tuple[Tried, ...] = ()

    @property
    def entries(self) -> int:
        """Stored numbers."""
        return math.prod(self.operator.shape) if self.chain is None else self.chain.entries

    def __repr__(self) -> str:
        m, n = self.operator.shape
        share = self.entries / (m * n) if m * n else 1.0
        what = "Dense" if self.chain is None else f"{len(self.chain)} factors"
        return (
            f"<Factorization {m}x{n}: {what}, {share:.3g} of the entries, error "
            f"{self.lower_bound:.2g} <= {self.relative_error:.2g} <= {self.upper_bound:.2g}>"
        )


def factorize(
    A: Any,
    chain: Chain | Iterable[Iterable[int]] | None = None,
    tol: float | None = None,
    *,
    max_entries: int | None = None,
    order: str | Iterable[Any] | None = None,
    permutation: str | None = "search",
    progress: bool = False,
    callback: Callable[[Step], object] | None = None,
    rng: Any = None,
) -> Factorization:
    """Approximate a matrix by a product of Kronecker-sparse factors, with an error certificate.

    The splits are those of Le, Zheng, Riccietti, Gribonval, "Butterfly factorization with error
    guarantees" (arXiv 2411.04506, Algorithms 4.1 and 6.2).

    Parameters
    ----------
    A : 2-D array, shape (m, n)
        Of any library, or a memory map; real, complex, integer or bool.  Never modified.
    chain : Chain or iterable of (a, b, c, d), optional
        Shape of the butterfly.  Without `tol` its ranks are used, whatever the error.  By default
        the chain of fewest stored entries is looked for.
    tol : float, optional
        Relative Frobenius error allowed: the ranks follow from it, the error is spent where it
        saves most entries, and `upper_bound <= tol` (unless `tol` is below what rounding allows
        to certify).  Without a chain it is 1e-6 for single precision and 1e-10 otherwise.
    max_entries : int, optional
        Instead of `tol`: the smallest error with at most so many stored numbers.
    order : {"balanced", "left-to-right", "right-to-left"}, list or tree, optional
        Order of the splits.  With a chain of L factors also the junctions 1 .. L-1 one after the
        other, ``[2, 1, 3]``, or a tree of the factors 1 .. L, ``((1, 2), (3, 4))``, split from the
        root on.
    permutation : {"search", None}
        Whether other orders of rows and columns are tried: digit reversals, the bit-reversal
        class, perfect shuffles, and where these fail clustering (square powers of two up to 512).
    progress : bool
        One line on stderr while it works.
    callback : callable, optional
        Called with a `Step` after each split; returning True stops there.
    rng : int, Generator or None
        For the random samples and sketches; None is a fixed seed.

    Returns
    -------
    Factorization

    Raises
    ------
    ValueError
        If `A` is not finite or not 2-D, `chain` has another size or is not chainable, `order`
        does not fit the chain, both `tol` and `max_entries` are given, or `max_entries` is less
        than the smallest chain stores.
    TypeError
        If `A` does not hold real or complex numbers.

    Examples
    --------
    >>> import numpy as np
    >>> f = factorize(np.fft.fft(np.eye(64), axis=0))
    >>> f.chain.entries, f.upper_bound < 1e-10
    (768, True)
    """
    tol, max_entries = _checked_tol(tol), _checked_entries(max_entries, tol)
    if permutation not in ("search", None):
        raise ValueError(f"permutation is 'search' or None, got {permutation!r}")
    if chain is not None and not isinstance(chain, Chain):
        chain = Chain(chain)
    order = checked_order(order, None if chain is None else len(chain))
    line = Progress(progress)
    try:
        line.say("factorize: reading the matrix")
        intake = take_in(A)
        job = _Job(
            intake,
            Survey(intake.matrix, intake.norm, np.random.default_rng(0 if rng is None else rng)),
            order,
            permutation is not None,
            line,
            callback,
        )
        if chain is not None:
            result = job.on_chain(
                _checked_chain(chain, intake.matrix.array.shape), tol, max_entries
            )
        else:
            result = job.searched(A, tol, max_entries)
    finally:
        line.clear()
    return _in_library_of(A, replace(result, tried=job.survey.tried))


@dataclass(frozen=True)
class _Job:
    """One call of `factorize`: the matrix, what is known of it, and how to work."""

    intake: Intake
    survey: Survey
    order: Order
    permute: bool
    line: Progress
    callback: Callable[[Step], object] | None

    def run(self, choice: Choice, cores: Cores, order: Order, **wanted) -> Outcome:
        matrix = choice.candidate.matrix(self.intake.matrix, choice.cores)
        task = Task(self.intake, matrix, cores, order, **wanted)
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


def _in_library_of(A: Any, result: Factorization) -> Factorization:
    if not is_array(A) or is_numpy(A):
        return result
    return replace(result, operator=result.operator.to(like=A))


# -- what may be asked ---------------------------------------------------------------------


def _checked_tol(tol: Any) -> float | None:
    if tol is None:
        return None
    value = float(tol)
    if not 0 <= value < math.inf:
        raise ValueError(f"tol is a relative error from 0 on, got {tol}")
    return value


def _checked_entries(most: Any, tol: float | None) -> int | None:
    if most is None:
        return None
    if tol is not None:
        raise ValueError("tol and max_entries exclude each other: pass one of them")
    value = operator.index(most)
    if value < 1:
        raise ValueError(f"max_entries is a number of stored entries from 1 on, got {most}")
    return value


def _checked_chain(wanted: Chain, shape: tuple[int, int]) -> Chain:
    if wanted.shape != shape:
        m, n = wanted.shape
        raise ValueError(f"the chain is {m}x{n}, the matrix is {shape[0]}x{shape[1]}")
    if (why := wanted.obstacle) is not None:
        raise ValueError(f"the chain is not chainable: {why}")
    return wanted
