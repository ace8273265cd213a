"""The best product of two factors with given supports: in closed form where that is known."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_array

from .._array import is_array, is_numpy
from ..operators import KroneckerSparse, LinearOperator, Product, Sparse
from .alternating import Guard, Sweep, alternate, balanced, started
from .intake import Intake, take_in
from .splits import block_diagonal_part
from .supports import Layout, as_pattern, checked_supports, covered, lacking_entries, layout
from .svd import energy

METHODS = CLOSED, ALTERNATING = "closed form", "alternating least squares"


@dataclass(frozen=True, repr=False)
class FixedSupport:
    """Two factors ``A ~= left @ right`` of given supports, and how sure it is that they are best.

    Attributes
    ----------
    left, right : LinearOperator
        Kronecker-sparse where the support was a pattern, sparse otherwise.
    relative_error : float
        ``||A - left @ right|| / ||A||`` in the Frobenius norm, measured.
    lower_bound : float
        No factors of these supports come nearer; in closed form this is the error itself.
    method : str
        "closed form": a global optimum; "alternating least squares": what one start led to.
    status : str
        "optimal" in closed form; else "converged", "diverging" (entries grow without bound while
        the error falls: there may be no best one) or "undecided" (the sweeps are used up).
    reason : str
        The same in words, with what is known about these supports.
    trace : tuple of Sweep
        (sweep, error, norms) after 1, 2, 4, ... sweeps of the alternation.
    """

    left: LinearOperator
    right: LinearOperator
    relative_error: float
    lower_bound: float
    method: str
    status: str
    reason: str
    trace: tuple[Sweep, ...] = ()

    @property
    def operator(self) -> LinearOperator:
        """``left @ right``."""
        return Product((self.left, self.right))

    def __repr__(self) -> str:
        m, n = self.operator.shape
        return (
            f"<FixedSupport {m}x{n}: {self.method}, {self.status}, error "
            f"{self.lower_bound:.2g} <= {self.relative_error:.2g}>"
        )


class Solution(NamedTuple):
    """Factors of the scaled matrix, a lower bound of their error (absolute), and what to say."""

    X: np.ndarray
    Y: np.ndarray
    lower: float
    method: str
    status: str
    reason: str
    trace: tuple[Sweep, ...] = ()


def fixed_support(
    A: Any,
    left: Any,
    right: Any,
    *,
    method: str | None = None,
    weight_decay: float = 0.0,
    max_sweeps: int = 1000,
    max_norms: float = 1e4,
    rng: Any = None,
) -> FixedSupport:
    """The factors of given supports whose product is nearest to a matrix.

    In general this is NP-hard, and there may be no best one.  Where the hidden indices, grouped by
    equal supports, reach disjoint rectangles (or overlap only where others can take any values),
    a truncated SVD of each is best: Le, Zheng, Riccietti, Gribonval, "Fast learning of fast
    transforms, with guarantees" (ICASSP 2022, Algorithm 1, Theorem 1), and Le, Riccietti,
    Gribonval, "Spurious valleys, NP-hardness, and tractability of sparse matrix factorization with
    fixed support" (arXiv 2112.00386).  All else is left to alternating least squares.

    Parameters
    ----------
    A : 2-D array, shape (m, n)
        Of any library; real, complex, integer or bool; never modified.
    left, right : bool arrays of shape (m, r) and (r, n), or patterns (a, b, c, d)
        Where the factors may be nonzero.
    method : {"closed form", "alternating least squares"}, optional
        By default the closed form where one is known and no `weight_decay` is wanted.
    weight_decay : float
        Adds ``weight_decay (||X||^2 + ||Y||^2)`` to the squared error: then a best one exists.
    max_sweeps : int
        Of the alternation.
    max_norms : float
        ``||X|| ||Y|| / ||A||`` from which the alternation counts as diverging.
    rng : int, Generator or None
        For the start of the alternation; None is a fixed seed.

    Returns
    -------
    FixedSupport

    Raises
    ------
    ValueError
        If the shapes do not fit, `A` is not finite, or the closed form is asked for where none is
        known.
    TypeError
        If `A` holds no numbers, or a support is neither a boolean array nor a pattern.

    Examples
    --------
    >>> import numpy as np
    >>> A = np.arange(16.0).reshape(4, 4) ** 2
    >>> fixed_support(A, (1, 2, 2, 2), (2, 2, 2, 1))
    <FixedSupport 4x4: closed form, optimal, error 0.016 <= 0.016>
    >>> lower, swap = np.tri(2, dtype=bool), np.eye(2)[::-1]
    >>> fixed_support(swap, lower, lower.T).status
    'diverging'
    """
    guard = _checked_guard(weight_decay, max_sweeps, max_norms)
    if method not in (None, *METHODS):
        raise ValueError(f"method is one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if method == CLOSED and guard.decay:
        raise ValueError(
            f"there is no closed form with weight_decay={weight_decay:g}: "
            f"pass method={ALTERNATING!r}"
        )
    supports = checked_supports(left, right)
    intake = _taken_in(A, *supports)
    array = intake.matrix.prepared(intake.matrix.array)
    found = None if method == ALTERNATING or guard.decay else layout(*supports)
    if found is not None and found.tractable:
        solution = closed_form(array, *supports, found)
    elif method == CLOSED:
        raise ValueError(
            "no closed form is known for these supports, the hidden indices reach rectangles that "
            f"overlap: pass method={ALTERNATING!r}"
        )
    else:
        generator = np.random.default_rng(0 if rng is None else rng)
        solution = _alternating(intake, array, *supports, guard, generator)
    return _result(A, intake, array, solution, supports, (as_pattern(left), as_pattern(right)))


def closed_form(A: np.ndarray, left: np.ndarray, right: np.ndarray, found: Layout) -> Solution:
    """Truncated SVDs of the fitted pieces; the absorbed ones then make up for what they left.

    An absorbed piece is met after those that were found later: what it changes outside itself lies
    where only pieces found earlier are.
    """
    X = np.zeros(left.shape, A.dtype)
    Y = np.zeros(right.shape, A.dtype)
    E = A.copy()  # what is left of A
    lost = [energy(np.where(covered(left, right), 0, A))]

    for piece in (*found.fitted, *reversed(found.absorbed)):
        whole, part = piece.whole, piece.part
        k = min(len(part.inner), len(part.rows), len(part.columns))
        inner = part.inner[:k]
        one, two = np.ix_(whole.rows, whole.inner), np.ix_(whole.inner, whole.columns)
        before = X[one] @ Y[two]
        U, s, V = np.linalg.svd(E[part.at], full_matrices=False)
        X[np.ix_(part.rows, inner)] = U[:, :k] * np.sqrt(s[:k])
        Y[np.ix_(inner, part.columns)] = np.sqrt(s[:k])[:, None] * V[:k]
        E[whole.at] -= X[one] @ Y[two] - before
        lost.append(float(np.sum(s[k:] ** 2)))
    why = f"{len(found.fitted)} disjoint rectangles, each by a truncated SVD"
    if found.absorbed:
        why += f"; {len(found.absorbed)} that can take any values"
    return Solution(X, Y, math.sqrt(math.fsum(lost)), CLOSED, "optimal", why)


def _alternating(
    intake: Intake, A: np.ndarray, left: np.ndarray, right: np.ndarray, guard: Guard, rng
) -> Solution:
    decay = math.ldexp(guard.decay, -intake.matrix.exponent)
    run = started(A, left, right, intake.norm or 1.0, decay, rng)
    status, trace = alternate(run, guard)
    outside = math.sqrt(energy(np.where(covered(left, right), 0, A)))
    last = trace[-1]
    why = (
        f"{status} after {last.sweep} sweeps from one random start, "
        f"||X|| ||Y|| = {last.norms:.3g} ||A||"
    )
    if lacking_entries(left, right) is not None:
        why += "; for some matrices these supports have no best factors"
    if status == "diverging":
        why += "; weight_decay= bounds the entries"
    return Solution(run.X, run.Y, outside, ALTERNATING, status, why, tuple(trace))


def _result(A, intake: Intake, array, solution: Solution, supports, patterns) -> FixedSupport:
    """Round to the result's dtype, measure, scale back, and move to the library of `A`."""
    X, Y = (v.astype(intake.dtype) for v in balanced(solution.X, solution.Y))
    error = math.sqrt(energy(array - X.astype(array.dtype) @ Y.astype(array.dtype)))
    norm = intake.norm or 1.0
    half = intake.matrix.exponent // 2
    factors = [
        _operator(v * v.real.dtype.type(math.ldexp(1.0, power)), support, pattern)
        for v, power, support, pattern in zip(
            (X, Y), (half, intake.matrix.exponent - half), supports, patterns, strict=True
        )
    ]
    if is_array(A) and not is_numpy(A):
        factors = [factor.to(like=A) for factor in factors]
    lower = max(solution.lower / norm - 8 * intake.unit, 0.0)
    one, two = factors
    return FixedSupport(
        one,
        two,
        relative_error=error / norm,
        lower_bound=min(lower, error / norm),
        method=solution.method,
        status=solution.status,
        reason=solution.reason,
        trace=solution.trace,
    )


def _operator(values: np.ndarray, support: np.ndarray, pattern) -> LinearOperator:
    if pattern is not None:
        parts = block_diagonal_part(values, pattern.a, pattern.d)
        return KroneckerSparse(np.ascontiguousarray(parts), copy=False)
    at = np.nonzero(support)
    return Sparse(coo_array((values[at], at), shape=values.shape))


def _taken_in(A: Any, left: np.ndarray, right: np.ndarray) -> Intake:
    wanted = left.shape[0], right.shape[1]
    shape = tuple(A.shape) if hasattr(A, "shape") else np.shape(A)
    if shape != wanted:
        raise ValueError(
            f"the supports are of a {wanted[0]}x{wanted[1]} product (left is {left.shape[0]}x"
            f"{left.shape[1]}, right is {right.shape[0]}x{right.shape[1]}), the matrix has shape "
            f"{shape}"
        )
    return take_in(A)


def _checked_guard(weight_decay: float, max_sweeps: int, max_norms: float) -> Guard:
    guard = Guard(float(weight_decay), operator.index(max_sweeps), float(max_norms))
    if not 0 <= guard.decay < math.inf:
        raise ValueError(f"weight_decay is finite and from 0 on, got {weight_decay}")
    if guard.sweeps < 1:
        raise ValueError(f"max_sweeps is from 1 on, got {max_sweeps}")
    if not guard.norms > 1:
        raise ValueError(f"max_norms is above 1, got {max_norms}")
    return guard
