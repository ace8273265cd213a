"""The normal form of a butterfly: equal matrices on equal chains have equal factors.

Factors are determined up to an invertible matrix in every block of every junction: ``X_q G`` and
``G^-1 X_(q+1)`` have the same product.  At rank 1 these are the diagonal scalings of Zheng,
Riccietti, Gribonval (arXiv 2110.01230, on essential uniqueness).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..operators import LinearOperator
from .form import Form, butterfly_of
from .hierarchical import Part, Splitting, padded
from .rounding import UNIT, orthonormalised
from .run import _times_power
from .splits import Values, from_left_blocks, from_right_blocks, left_blocks, right_blocks
from .sums import distance, norm_of_form
from .svd import adjoint

PIVOT = 0.37  # of the largest: rows in order from there on; no structured matrix has this ratio
NOTHING = 64 * UNIT  # of its block: a direction below it is rounding


def canonical(B: Any) -> LinearOperator:
    """The same butterfly in its normal form: a function of the matrix and the chain alone.

    The columns of every block of every factor but the last one are orthonormal; at rank 1: of unit
    norm, with a positive real entry in the first row that is not small.  The last factor carries
    the norm.  Directions that reach nothing are zero.

    Parameters
    ----------
    B : operator, Factorization, or list of arrays of shape (a, b, c, d)
        As for `certificate`.

    Returns
    -------
    LinearOperator
        On the same chain and permutations; the same matrix to rounding.  In double precision the
        values of two such forms of one matrix agree to rounding, as far as its blocks are
        determined: the error grows with the condition of a block of rank > 1.

    Raises
    ------
    TypeError, ValueError
        If `B` is no butterfly.

    Notes
    -----
    In every block ``U`` of a left factor, with orthogonal projector ``P`` onto its range, the
    basis is the Cholesky factor of ``P`` pivoted on rows: each pivot is the first row of at least
    0.37 times the largest diagonal left.  ``P`` does not change with ``U G``, and a projector's
    pivoted Cholesky factor is orthonormal.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> D = lo.Diagonal(np.array([2.0, -1.0, 0.5, 4.0]))
    >>> K, L = (lo.KroneckerSparse(np.ones(p)) for p in lo.Chain.square_dyadic(4))
    >>> one, other = lo.canonical(K @ L), lo.canonical(K @ D @ lo.inverse(D) @ L)
    >>> bool(np.allclose(one.factors[0].values, other.factors[0].values))
    True
    """
    source = butterfly_of(B)
    return normal_form(source.form).operator(source.dtype, source.like)


def same_up_to_scaling(B1: Any, B2: Any, tol: float | None = None) -> bool:
    """Whether two butterflies differ by scalings of their junctions only.

    That is: the same chain, the same permutations, and ``X'_q = D_(q-1)^-1 X_q D_q`` with
    invertible diagonal ``D_q`` (at rank r: an invertible r x r matrix for each block).  By
    essential uniqueness (arXiv 2110.01230) this is so if and only if the products are equal, where
    no block has a lower rank than the chain allows; so it is decided by ``||B1 - B2|| <= tol
    ||B1||``, which is computed from the factors.

    Parameters
    ----------
    B1, B2 : operator, Factorization, or list of arrays of shape (a, b, c, d)
        As for `certificate`.
    tol : float, optional
        By default 1e-10, and 1e-5 if one of the two is in single precision.

    Returns
    -------
    bool

    Raises
    ------
    TypeError, ValueError
        If one of the two is no butterfly.

    Examples
    --------
    >>> import lazyops as lo, scipy.fft, numpy as np
    >>> M = scipy.fft.fft(np.eye(16), axis=0)
    >>> chain = lo.Chain.square_dyadic(16)
    >>> one = lo.factorize(M, chain, order="left-to-right")
    >>> other = lo.factorize(M, chain, order="right-to-left")
    >>> same_up_to_scaling(one, other)
    True
    """
    first, second = butterfly_of(B1), butterfly_of(B2)
    one, other = first.form, second.form
    if one.chain != other.chain or not one.same_ends(other):
        return False
    if tol is None:
        names = {first.dtype.name, second.dtype.name}
        tol = 1e-5 if names & {"float32", "complex64"} else 1e-10
    return distance(one, other.values, other.exponent) <= tol * norm_of_form(one)


def normal_form(form: Form) -> Form:
    """See `canonical`."""
    chain, cores = form.chain, form.cores
    splitting = orthonormalised(form.values, cores, np.random.default_rng(0))
    for k in range(len(cores) - 1):
        _settle_junction(splitting, k)
    parts = zip(splitting.values, cores.rows, cores.columns, chain, strict=True)
    values = [padded(v, (b, c), p) for v, b, c, p in parts]
    values[-1] = _times_power(values[-1], form.exponent)
    return Form(tuple(values), form.rows, form.columns)


def _settle_junction(splitting: Splitting, k: int) -> None:
    """The basis of the left blocks at a junction that depends on their ranges alone."""
    A, D = splitting.junction(k)
    U = left_blocks(splitting.parts[k].values, A, D)
    Q = range_basis(U)
    V = (adjoint(Q) @ U) @ right_blocks(splitting.parts[k + 1].values, A, D)
    one, two = splitting.parts[k : k + 2]
    splitting.parts[k : k + 2] = [
        Part(one.first, one.last, Values(from_left_blocks(Q))),
        Part(two.first, two.last, Values(from_right_blocks(V))),
    ]
    splitting.centre = k + 1


def range_basis(U: np.ndarray) -> np.ndarray:
    """Orthonormal columns with the range of each block (..., b, r), the same for ``U G``.

    Fewer where the rank is lower, then zeros.
    """
    L, s, _ = np.linalg.svd(U, full_matrices=False)
    L = np.where(s[..., None, :] > NOTHING * s[..., None, :1], L, 0)  # (..., b, t)
    basis, left = np.zeros_like(L), L
    smallest = 0.5 / L.shape[-2]  # a projector of rank t and size b has an entry of t / b or more
    for j in range(L.shape[-1]):
        diagonal = energies(left)  # of the projector that is left
        largest = diagonal.max(axis=-1, keepdims=True)
        pivot = np.argmax(diagonal >= PIVOT * largest, axis=-1)[..., None, None]
        row = np.take_along_axis(left, pivot, axis=-2)
        size = np.sqrt(np.where(largest > smallest, energies(row), np.inf))
        towards = adjoint(row / size[..., None])
        basis[..., j : j + 1] = left @ towards
        left = left - basis[..., j : j + 1] @ adjoint(towards)
    return basis


def energies(rows: np.ndarray) -> np.ndarray:
    """Squared norms of rows: (..., b, t) -> (..., b)."""
    return (rows.real**2 + rows.imag**2).sum(axis=-1)
