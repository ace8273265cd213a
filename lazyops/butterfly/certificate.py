"""certificate(): how good is a butterfly that came from elsewhere, and how good could one be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pattern import Chain
from .errors import relative_error
from .form import Form, as_operator, butterfly_of
from .hierarchical import Cores
from .intake import Intake, take_in
from .splits import Matrix, Values, block_diagonal_part
from .svd import energy, singular_values, tails


@dataclass(frozen=True, repr=False)
class Certificate:
    """Every best error of a single split, and what follows for a butterfly on the same chain.

    All errors are relative to the Frobenius norm of the matrix.  With ``E_q`` the best error of a
    product of two factors at split q, the best error on the whole chain is at least ``max E_q``
    (each is a relaxation of it) and at most ``hypot(E_q)`` (what exact truncated SVDs from left to
    right make; `factorize`, which sketches large blocks, comes within 0.5 % of it):
    ``lower_bound <= best <= min(attainable, relative_error)``.

    Attributes
    ----------
    chain : Chain
        What the butterfly is a product over.
    split_errors : tuple of float
        ``E_q`` for the splits q = 1, 2, ... between the factors q and q + 1.
    relative_error : float
        Of the butterfly, measured exactly.
    lower_bound : float
        The largest ``E_q``, less what rounding may have added to it: no butterfly on this chain,
        with these permutations, is nearer to the matrix.
    attainable : float
        ``hypot(E_q)``, and what rounding may add.
    """

    chain: Chain
    split_errors: tuple[float, ...]
    relative_error: float
    lower_bound: float
    attainable: float
    rounding: float

    @property
    def optimality(self) -> float:
        """The error is at most so many times the best one; 1 where it is of rounding, inf where
        no lower bound is proven."""
        if self.relative_error <= max(self.rounding, self.lower_bound):
            return 1.0
        return self.relative_error / self.lower_bound if self.lower_bound else math.inf

    def __repr__(self) -> str:
        m, n = self.chain.shape
        errors = ", ".join(f"{e:.2g}" for e in self.split_errors)
        return (
            f"<Certificate {m}x{n}: {len(self.chain)} factors, error {self.relative_error:.3g}, "
            f"at most {self.optimality:.3g} x the best, which is in [{self.lower_bound:.3g}, "
            f"{min(self.attainable, self.relative_error):.3g}]; splits: {errors or 'none'}>"
        )


def certificate(A: Any, B: Any) -> Certificate:
    """Judge a butterfly `B` as an approximation of `A`, wherever it came from.

    Every ``E_q(A)`` over the chain of `B` is computed, from the singular values of all the blocks
    of each split (Le, Zheng, Riccietti, Gribonval, arXiv 2411.04506, section 4): the optimality
    ratio is proven, not estimated.  `A` is read once for each split.

    Parameters
    ----------
    A : 2-D array, shape (m, n)
        Of any library.
    B : operator, Factorization, or list of arrays of shape (a, b, c, d)
        A product of Kronecker-sparse factors whose patterns chain, with permutations at its ends,
        diagonals and scalars; transposes and inverses of such; or the values of the factors,
        left-most first.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If the shapes differ, `B` is no butterfly, or something is not finite.
    TypeError
        If `A` has no entries: pass ``A.to_dense()``.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((16, 16))
    >>> found = lo.factorize(A, lo.Chain.square_dyadic(16))
    >>> judged = lo.certificate(A, found)
    >>> judged.lower_bound <= found.relative_error <= judged.attainable
    True
    >>> 1 <= judged.optimality < 1.5
    True
    """
    form = butterfly_of(B).form
    intake = take_in(A)
    shape = intake.matrix.array.shape
    if form.chain.shape != shape:
        (m, n), (p, q) = shape, form.chain.shape
        raise ValueError(f"certificate compares matrices of one shape, got {m}x{n} and {p}x{q}")
    operator = as_operator(B)
    measured = relative_error(A, operator)
    single = np.dtype(operator.dtype).itemsize <= (8 if operator.dtype.kind == "c" else 4)
    rounding = _rounding(intake, len(form.values), single)
    if intake.norm == 0:
        return Certificate(form.chain, (0.0,) * len(form.chain.ranks), measured, 0.0, 0.0, rounding)
    outside = _outside(intake, form)
    errors = split_errors(intake, form, outside)
    own = 4 * len(form.values) * intake.unit
    lower = max(max(errors, default=outside) - own, 0.0)
    attainable = _attainable(errors, outside) + rounding
    return Certificate(form.chain, errors, measured, lower, attainable, rounding)


def _rounding(intake: Intake, factors: int, single: bool) -> float:
    """Relative error that is rounding's: of the computation, and of single-precision factors."""
    return 4 * factors * intake.unit + (factors * 2.0**-24 if single else 0.0)


def split_errors(intake: Intake, form: Form, outside: float) -> tuple[float, ...]:
    """Every ``E_q``, relative; what the support of the chain leaves out is in each of them."""
    root = supported(form.permuted(intake.matrix), form.cores)
    found = []
    for q, rank in enumerate(form.chain.ranks, 1):
        tail2 = split_tails(root, form.cores, q)
        own = math.sqrt(tail2[min(rank, len(tail2) - 1)]) / intake.norm
        found.append(math.hypot(outside, own))
    return tuple(found)


def split_tails(root: Values | Matrix, cores: Cores, q: int) -> np.ndarray:
    """``tails[r] = E_q^2`` at rank r, from r = 0 to the full rank."""
    A, D = math.prod(cores.columns[:q]), math.prod(cores.rows[q:])
    total = np.zeros(1)
    for _, T in root.block_chunks(A, D):
        s = singular_values(T)
        total = total + (s.reshape(-1, s.shape[-1]) ** 2).sum(axis=0)
    return tails(total)


def supported(matrix: Matrix, cores: Cores) -> Values | Matrix:
    """The part of a matrix on the support of a chain, as a source of blocks."""
    if cores.a * cores.d == 1:
        return matrix
    whole = _permuted_entries(matrix)
    return Values(np.ascontiguousarray(block_diagonal_part(whole, cores.a, cores.d)))


def _outside(intake: Intake, form: Form) -> float:
    """Norm of what the support of the chain leaves out, relative."""
    a, d = form.cores.a, form.cores.d
    if a * d == 1:
        return 0.0
    rest = _permuted_entries(form.permuted(intake.matrix))
    m, n = rest.shape
    blocks = rest.reshape(a, m // (a * d), d, a, n // (a * d), d)
    i, k = np.arange(a)[:, None], np.arange(d)[None, :]
    blocks[i, :, k, i, :, k] = 0
    return math.sqrt(energy(rest)) / intake.norm


def _permuted_entries(matrix: Matrix) -> np.ndarray:
    m, n = matrix.array.shape
    return matrix.entries(np.arange(m)[:, None], np.arange(n)[None, :])


def _attainable(errors: tuple[float, ...], outside: float) -> float:
    """What a nested order makes: the errors inside the support are orthogonal."""
    inside = [math.sqrt(max(e**2 - outside**2, 0.0)) for e in errors]
    return math.hypot(outside, *inside)
