"""factorize(): a matrix in, a butterfly with its certificate out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import is_array, is_numpy
from ..operators import Dense, KroneckerSparse, LinearOperator, Permutation, Product
from ..pattern import Chain
from .hierarchical import ORDERS, Cores
from .intake import Intake, known_by_products, reads_by_panels, take_in, unread
from .run import (
    Outcome,
    Progress,
    Split,
    Step,
    Task,
    has_split_of_the_matrix,
    padded_to,
    run,
)
from .survey import Candidate, Plan, best_permutation, best_plan, smallest_permutation
from .svd import NoStructure

WORTH = 0.9  # of the dense entries: a butterfly that stores more is not worth having


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
        Measured against the matrix, exactly; estimated from ten Gaussian columns where it is read
        by panels (and kept within the bounds) or known by its products; NaN with
        ``measure=False``.
    lower_bound, upper_bound : float
        From the truncation errors of the splits.
    splits : tuple of Split
        (position, rank, error) in the order done.
    reason : str
        What was found, or why nothing was.
    confidence : float
        Of the bounds: 1 where they are proven; below 1 for an operator known by its products,
        where `relative_error` is estimated and `lower_bound` is 0.
    """

    operator: LinearOperator
    chain: Chain | None
    relative_error: float
    lower_bound: float
    upper_bound: float
    splits: tuple[Split, ...] = ()
    reason: str = ""
    confidence: float = 1.0

    @property
    def entries(self) -> int:
        """Stored numbers."""
        return math.prod(self.operator.shape) if self.chain is None else self.chain.entries

    def __repr__(self) -> str:
        m, n = self.operator.shape
        share = self.entries / (m * n) if m * n else 1.0
        kind = self.operator.kind_name if self.chain is None else f"{len(self.chain)} factors"
        sure = "" if self.confidence == 1 else f", confidence {self.confidence:g}"
        return (
            f"<Factorization {m}x{n}: {kind}, {share:.3g} of the entries, error "
            f"{self.lower_bound:.2g} <= {self.relative_error:.2g} <= {self.upper_bound:.2g}{sure}>"
        )


def factorize(
    A: Any,
    chain: Chain | Iterable[Iterable[int]] | None = None,
    tol: float | None = None,
    *,
    order: str | None = None,
    permutation: str | None = "search",
    progress: bool = False,
    callback: Callable[[Step], object] | None = None,
    oversampling: int = 1,
    checkpoint: Any = None,
    rng: Any = None,
    measure: bool = True,
) -> Factorization:
    """Approximate a matrix by a product of Kronecker-sparse factors, with an error certificate.

    Parameters
    ----------
    A : 2-D array, shape (m, n), or an operator
        An array of any library, or a memory map; real, complex, integer or bool; never modified.
        An operator (ours, SciPy's, any with ``matvec`` and ``rmatvec``) is known by its products.
    chain : Chain or iterable of (a, b, c, d), optional
        Shape of the butterfly.  Without `tol` its ranks are used, whatever the error.  By default
        the chain of fewest stored entries is looked for.
    tol : float, optional
        Relative Frobenius error allowed: the ranks follow from it, and `upper_bound <= tol`
        (unless `tol` is below what rounding allows to certify).  Without a chain it is 1e-6 for
        single precision and 1e-10 otherwise.
    order : {"balanced", "left-to-right", "right-to-left"}, optional
        Order of the splits.
    permutation : {"search", None}
        Whether digit reversals of rows and columns are tried.
    progress : bool
        One line on stderr while it works.
    callback : callable, optional
        Called with a `Step` after each split; returning True stops there.
    oversampling : int
        Gaussian vectors beyond the rank, for each class of an operator known by its products.
    checkpoint : path, optional
        A folder: the array is read once, panel by panel, each finished panel is kept there, and
        a second call with the same arguments goes on where the first one was interrupted.  Arrays
        of zarr and dask, and memory maps larger than half the free memory, are read so anyway.
    rng : int, Generator or None
        For the random samples and sketches; None is a fixed seed.
    measure : bool
        False leaves out `relative_error` (it is NaN) and saves one more read of the matrix; both
        bounds are there all the same.

    Returns
    -------
    Factorization

    Examples
    --------
    >>> import numpy as np
    >>> f = factorize(np.fft.fft(np.eye(64), axis=0))
    >>> f.chain.entries, f.upper_bound < 1e-10
    (768, True)
    """
    order = _checked_order(order)
    tol = _checked_tol(tol)
    if permutation not in ("search", None):
        raise ValueError(f"permutation is 'search' or None, got {permutation!r}")
    generator = np.random.default_rng(0 if rng is None else rng)
    line = Progress(progress)
    try:
        if (operator := known_by_products(A)) is not None:
            from .matrix_free import factorize_operator

            shaped = None if chain is None else _checked_chain(chain, operator.shape)
            return factorize_operator(
                operator, shaped, tol,
                permutation=permutation, oversampling=oversampling,
                rng=generator, line=line, callback=callback,
            )  # fmt: skip
        if reads_by_panels(A, checkpoint):
            from .panels import factorize_panels

            shaped = (
                None if chain is None else _checked_chain(chain, (int(A.shape[0]), int(A.shape[1])))
            )
            return factorize_panels(
                A, shaped, tol,
                permutation=permutation, checkpoint=checkpoint,
                rng=generator, line=line, callback=callback,
            )  # fmt: skip
        line.say("factorize: reading the matrix")
        if chain is not None:
            intake = unread(A) if tol is None and permutation is None else take_in(A)
            wanted = _checked_chain(chain, intake.matrix.array.shape)
            if not has_split_of_the_matrix(Cores.of(wanted)) and not intake.measured:
                intake = take_in(A)
            result = _on_chain(
                intake, wanted, tol, order, permutation, generator, line, callback, measure
            )
        else:
            intake = take_in(A)
            result = _searched(
                A, intake, tol, order, permutation, generator, line, callback, measure
            )
    finally:
        line.clear()
    return _in_library_of(A, result)


# -- a chain is given ----------------------------------------------------------------------


def _on_chain(
    intake: Intake, chain: Chain, tol, order, permutation, generator, line, callback, measure
) -> Factorization:
    cores = Cores.of(chain)
    candidate = Candidate(cores)
    if permutation is not None and cores.a * cores.d == 1 and len(cores) > 1:
        line.say("factorize: looking for a permutation")
        if tol is None:
            candidate = best_permutation(intake.matrix, cores, chain.ranks, intake.norm, generator)
        else:
            error = _allowed_by(intake, tol, order)(len(cores) - 1)
            candidate = smallest_permutation(intake.matrix, cores, error, generator)
    task = Task(
        intake,
        candidate.matrix(intake.matrix),
        cores,
        order,
        ranks=chain.ranks if tol is None else None,
        tol=tol,
        guesses=chain.ranks,
        measure=measure,
    )
    outcome = run(task, generator, line, callback)
    values = outcome.values if tol is not None else padded_to(outcome, chain, cores)
    return _result(values, candidate, outcome, intake, tol)


# -- nothing is given ----------------------------------------------------------------------


def _searched(
    A: Any, intake: Intake, tol, order, permutation, generator, line, callback, measure
) -> Factorization:
    if intake.matrix.array.size == 0:
        return _dense(A, intake, "the matrix is empty")
    if tol is None:
        tol = 1e-6 if intake.dtype in (np.float32, np.complex64) else 1e-10
    line.say("factorize: looking for structure")
    best, tried = best_plan(
        intake.matrix, _allowed_by(intake, tol, order), permutation is not None, generator
    )
    size = intake.matrix.array.size
    if best is None or best.entries >= WORTH * size:
        return _dense(A, intake, _why_none(best, tried, intake, tol))
    task = Task(
        intake,
        best.candidate.matrix(intake.matrix),
        best.candidate.cores.merged(best.at),
        order,
        tol=tol,
        guesses=best.ranks,
        searching=True,
        measure=measure,
    )
    try:
        outcome = run(task, generator, line, callback)
    except NoStructure as error:
        return _dense(A, intake, f"no structure at tol {tol:.3g}: {error}")
    entries = sum(v.size for v in outcome.values)
    if entries >= WORTH * size and not outcome.stopped:
        why = f"the best chain found stores {entries / size:.3g} of the dense entries"
        return _dense(A, intake, f"no structure at tol {tol:.3g}: {why}")
    return _result(outcome.values, best.candidate, outcome, intake, tol)


def _allowed_by(intake: Intake, tol: float, order: str) -> Callable[[int], float]:
    """Error that each of `count` splits may make, absolute."""

    def allowed(count: int) -> float:
        whole = max(tol - intake.rounding(count + 1), 0.0) * intake.norm
        nested = count <= 2 or order != "balanced"
        return whole / (math.sqrt(count) if nested else count)

    return allowed


def _why_none(best: Plan | None, tried: list[Plan], intake: Intake, tol: float) -> str:
    m, n = intake.matrix.array.shape
    if best is None:
        return f"no structure to look for: {m}x{n} has no split into smaller blocks"
    names = list(dict.fromkeys(plan.candidate.name for plan in tried))
    share = best.entries / (m * n)
    return (
        f"no structure at tol {tol:.3g}: tried {', '.join(names)}; the smallest chain "
        f"({best.candidate.name}, ranks {best.ranks}) would store {share:.3g} of the dense entries"
    )


# -- results -------------------------------------------------------------------------------


def _result(
    values: list[np.ndarray], candidate: Candidate, outcome: Outcome, intake: Intake, tol
) -> Factorization:
    factors: list[LinearOperator] = [KroneckerSparse(v, copy=False) for v in values]
    columns = candidate.matrix(intake.matrix).columns
    rows = candidate.matrix(intake.matrix).rows
    if rows is not None:
        factors.insert(0, Permutation(np.argsort(rows)))  # W = A[rows], so A = W[inverse]
    if columns is not None:
        factors.append(Permutation(columns))  # A[:, columns] = W, so A x = W x[columns]
    return Factorization(
        factors[0] if len(factors) == 1 else Product(factors),
        Chain(v.shape for v in values),
        outcome.relative_error,
        outcome.lower_bound,
        outcome.upper_bound,
        outcome.splits,
        _what_was_found(values, candidate, outcome, tol),
    )


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
    return Factorization(
        result.operator.to(like=A),
        result.chain,
        result.relative_error,
        result.lower_bound,
        result.upper_bound,
        result.splits,
        result.reason,
    )


# -- what may be asked ---------------------------------------------------------------------


def _checked_order(order: str | None) -> str:
    if order is None:
        return "balanced"
    if order not in ORDERS:
        raise ValueError(f"order is one of {', '.join(ORDERS)}, got {order!r}")
    return order


def _checked_tol(tol: Any) -> float | None:
    if tol is None:
        return None
    value = float(tol)
    if not 0 <= value < math.inf:
        raise ValueError(f"tol is a relative error from 0 on, got {tol}")
    return value


def _checked_chain(chain: Any, shape: tuple[int, int]) -> Chain:
    wanted = chain if isinstance(chain, Chain) else Chain(chain)
    if wanted.shape != shape:
        m, n = wanted.shape
        raise ValueError(f"the chain is {m}x{n}, the matrix is {shape[0]}x{shape[1]}")
    if (why := wanted.obstacle) is not None:
        raise ValueError(f"the chain is not chainable: {why}")
    return wanted
