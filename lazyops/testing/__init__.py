"""check_operator(): does an operator keep the contract?  For ours, and for yours."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._array import Array, is_array
from ..operators import LinearOperator
from .probes import on_host
from .trial import SMALL, Trial
from .trial import Check as Check
from .trial import Report as Report

__all__ = ["Check", "Report", "check_operator"]

DTYPES = ("float32", "float64", "complex64", "complex128")
SEED = 20261123  # where no rng is given: same call, same probes


def check_operator(
    A: LinearOperator, *, rng: Any = None, dense: Any = None, like: Array | None = None
) -> Report:
    """Check that `A` keeps the contract of operators.

    Shapes of every form of product, the dtype promised against the dtype delivered, fresh
    output, untouched input, the adjoint, transpose and conjugate, linearity, pickling.

    Parameters
    ----------
    A : LinearOperator
        Wrap operators of other libraries with ``lo.aslinearoperator``.
    rng : seed or numpy.random.Generator, optional
    dense : array of shape (m, n), optional
        The matrix that `A` should be, to the precision of its dtype and of ``A.dtype``.
    like : array, optional
        Probes live where this array does; by default where the values of `A` do.

    Returns
    -------
    Report, readable with ``print``

    Raises
    ------
    AssertionError
        At the first check that fails: the operator, the check, both numbers, the bound.

    Notes
    -----
    The bounds are theorems (underflow and overflow apart).  With ``g(k) = k u / (1 - k u)``,
    `u` the unit round-off, a product computed in any order of summation obeys componentwise
    ``|fl(A x) - A x| <= g(k) |A| |x|``, where k is the largest number of entries in a row or
    column, one more for the conversion of the entry, times three in complex arithmetic
    (``sqrt(2) * 2 k <= 3 k``); for ``A1 A2 ...`` the k add up and ``|A|`` is ``|A1| |A2| ...``;
    a sum of t terms takes the largest k and t - 1 more (N. J. Higham, "Accuracy and stability
    of numerical algorithms", 2nd ed., sections 3.1, 3.3, 3.5, 3.6).  So
    ``|<A x, y> - <x, A.H y>| <= 2 g(k) |y|^T |A| |x|``, and alike for the rest.  `u` is that of
    the coarsest dtype met on the way: a float32 leaf works in float32 on a float32 `x`,
    whatever its neighbours hold.

    Inside a kind that this module does not know nothing can be seen.  It is asked to be as
    accurate as its dense matrix, in norm: ``||fl(A x) - A x|| <= g(3 max(m, n) + 3) ||A||_F
    ||x||``; an operator that solves an ill-conditioned system is not.  Sixteen complex
    Gaussian products give ``||A||_F`` from above, up to a factor 5, except with probability
    2e-16 (Chernoff).  Callables and operators of other libraries are held to the coarsest
    of the dtype they declare, that of `x` and that delivered; all others to that delivered.
    """
    if not isinstance(A, LinearOperator):
        raise TypeError(
            f"check_operator takes a lazyops operator, got {type(A).__name__}: "
            f"wrap it, lo.aslinearoperator(A)"
        )
    trial = Trial(A, np.random.default_rng(SEED if rng is None else rng), like)
    if trial.has_adjoint:
        trial.structure()
    trial.forms()
    for name in DTYPES:
        trial.dtype(name)
    trial.integers()
    trial.buffers()
    trial.linearity()
    if A.shape[0] * A.shape[1] <= SMALL:
        trial.entries()
    if dense is not None:
        trial.against(on_host(dense) if is_array(dense) else np.asarray(dense))
    trial.pickle()
    return Report(trial.name, tuple(trial.checks), tuple(trial.skipped))
