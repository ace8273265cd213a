"""Conjugate gradients, all right-hand sides at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._array import Array, array_namespace, cast, conj, dtype_name, is_array, real_dtype
from .result import Solution


def cg(
    A: Any,
    b: Array,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[[int, float], None] | None = None,
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

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If A is not square or `b` does not meet it.

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
    b = _checked(A, b)
    xp = array_namespace(b)
    name = A.result_dtype(b.dtype) if hasattr(A, "result_dtype") else dtype_name(b.dtype)
    columns = cast(b[:, None] if b.ndim == 1 else b, name)
    maxiter = 10 * b.shape[0] if maxiter is None else maxiter
    size = _norms(xp, columns)
    goal = xp.maximum(rtol * size, xp.full_like(size, atol))
    safe = xp.where(size > 0, size, xp.ones_like(size))
    x, r = xp.zeros_like(columns), columns
    rho: Any = None
    p: Any = None
    lost = xp.zeros_like(size, dtype=xp.bool)  # columns for which A is not positive definite
    history: list[float] = []
    steps = products = 0
    while steps < maxiter:
        norms = _norms(xp, r)
        active = (norms > goal) & ~lost
        if not bool(xp.any(active)):
            break
        z = r if M is None else M @ r
        before, rho = rho, _dots(xp, r, z)
        p = z if p is None else z + _ratio(xp, rho, before, active) * p
        q = A @ p
        products += 1
        curvature = _dots(xp, p, q)
        lost = lost | (active & ~(curvature > 0))
        active = active & ~lost
        alpha = _ratio(xp, rho, curvature, active)
        x, r = x + alpha * p, r - alpha * q
        steps += 1
        history.append(float(xp.max(_norms(xp, r) / safe)))
        if callback is not None:
            callback(steps, history[-1])
    true = _norms(xp, columns - A @ x)
    history.append(float(xp.max(true / safe)) if columns.shape[1] else 0.0)
    solved = bool(xp.all(true <= goal))
    reason = _reason(solved, bool(xp.any(lost)), steps >= maxiter, steps)
    x = x[:, 0] if b.ndim == 1 else x
    return Solution(x, solved, reason, steps, products + 1, tuple(history))


def _reason(solved: bool, lost: bool, out: bool, steps: int) -> str:
    if solved:
        return "the residual is within the tolerance"
    if lost:
        return "the operator is not positive definite (p^H A p <= 0), or not a number"
    if out:
        return f"{steps} iterations were not enough: raise maxiter, or give a preconditioner M"
    return "stagnated: rounding keeps the residual above the tolerance"


def _checked(A: Any, b: Array) -> Array:
    if not is_array(b) or b.ndim not in (1, 2):
        raise ValueError("b is an array of shape (n,) or (n, k)")
    m, n = A.shape
    if m != n:
        raise ValueError(f"cg solves square systems, A is {m}x{n}")
    if b.shape[0] != n:
        raise ValueError(f"b of shape {tuple(b.shape)} does not meet A, {m}x{n}")
    return b


def _dots(xp: Any, x: Array, y: Array) -> Array:
    """``x^H y`` of each column, real."""
    found = xp.sum(conj(x) * y, axis=0)
    return xp.real(found) if xp.isdtype(found.dtype, "complex floating") else found


def _norms(xp: Any, x: Array) -> Array:
    """Norms of the columns, without overflow."""
    most = xp.max(xp.abs(x), axis=0)
    scale = xp.where(most > 0, most, xp.ones_like(most))
    scaled = xp.abs(x) / scale
    return cast(scale * xp.sqrt(xp.sum(scaled * scaled, axis=0)), real_dtype(dtype_name(x.dtype)))


def _ratio(xp: Any, one: Array, other: Array, active: Array) -> Array:
    """one / other where a column is active, else 0."""
    good = active & (other != 0)
    return xp.where(good, one / xp.where(good, other, xp.ones_like(other)), xp.zeros_like(one))
