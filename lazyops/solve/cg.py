"""Conjugate gradients, all right-hand sides at once."""

from __future__ import annotations

from typing import Any

from .._array import Array, array_namespace
from .columns import Callback, Watch, check_preconditioner, checked, dots, like, norms, ratio, worst
from .result import Solution


def cg(
    A: Any,
    b: Array,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> Solution:
    """Solve ``A x = b`` for a Hermitian positive definite A.

    Parameters
    ----------
    A : LinearOperator, (n, n)
    b : array of shape (n,) or (n, k)
        Each column is a system of its own; they take their products together.
    rtol, atol : float
        A column is solved when ``||b - A x|| <= max(rtol ||b||, atol)``.
    maxiter : int, optional
        By default 10 n.
    M : operator, optional
        Preconditioner, Hermitian positive definite, close to the inverse of A.
    callback : callable, optional
        ``callback(iteration, residual)`` with the largest ``||r|| / ||b||``.
    progress : bool
        Whether a line on stderr says how far it is.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If A is not square, or `b` or `M` does not meet it.

    Notes
    -----
    M. R. Hestenes, E. Stiefel, J. Res. Nat. Bur. Stand. 49 (1952) 409.  A direction p with
    ``p^H A p <= 0`` shows that A is not positive definite: its column stops there, the others
    go on.  The residual of the end is computed anew; where rounding keeps it above the tolerance,
    the solution says that it stagnated.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> from lazyops.solve import cg
    >>> found = cg(lo.Diagonal(np.array([1.0, 2.0, 4.0])), np.ones(3), rtol=1e-12)
    >>> found.converged, found.iterations, found.x.tolist()
    (True, 3, [1.0, 0.5, 0.25])
    """
    columns = checked(A, b, "cg")
    check_preconditioner(M, b.shape[0])
    xp = array_namespace(columns)
    maxiter = 10 * b.shape[0] if maxiter is None else maxiter
    watch = Watch("cg", callback, progress)
    size = norms(xp, columns)
    goal = xp.maximum(rtol * size, xp.full_like(size, atol))
    safe = xp.where(size > 0, size, xp.ones_like(size))
    x, r = xp.zeros_like(columns), columns
    rho: Any = None
    p: Any = None
    lost = xp.zeros_like(size, dtype=xp.bool)  # columns for which A is not positive definite
    steps = products = 0
    while steps < maxiter:
        active = (norms(xp, r) > goal) & ~lost
        if not bool(xp.any(active)):
            break
        z = r if M is None else M @ r
        before, rho = rho, dots(xp, r, z)
        p = z if p is None else z + ratio(xp, rho, before, active) * p
        q = A @ p
        products += 1
        curvature = dots(xp, p, q)
        lost = lost | (active & ~(curvature > 0))
        active = active & ~lost
        alpha = ratio(xp, rho, curvature, active)
        x, r = x + alpha * p, r - alpha * q
        steps += 1
        watch.tell(worst(xp, norms(xp, r) / safe))
    true = norms(xp, columns - A @ x)
    residuals = watch.ended(worst(xp, true / safe))
    solved = bool(xp.all(true <= goal))
    reason = _reason(solved, bool(xp.any(lost)), steps >= maxiter, steps)
    return Solution(like(x, b), solved, reason, steps, products + 1, residuals)


def _reason(solved: bool, lost: bool, out: bool, steps: int) -> str:
    if solved:
        return "the residual is within the tolerance"
    if lost:
        return "the operator is not positive definite (p^H A p <= 0), or not a number"
    if out:
        return f"{steps} iterations were not enough: raise maxiter, or give a preconditioner M"
    return "stagnated: rounding keeps the residual above the tolerance"
