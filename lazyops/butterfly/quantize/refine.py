"""Solve with a cheap operator, to the accuracy of the dear one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..._array import Array, array_namespace, dtype_name, real_dtype
from ...operators import Function, LinearOperator

STALLED = 0.9  # two steps that do not lower the residual to that share of it are the last


@dataclass(frozen=True)
class Refinement:
    """A solution, and what it took.

    Attributes
    ----------
    x : array
        The iterate of the smallest residual.
    converged : bool
    reason : str
        Why it stopped.
    iterations : int
        Inner solves.
    residuals : tuple of float
        ``||b - A x|| / ||b||`` before the first solve and after each.
    full_products, low_products : int
        Passes over the values of `A`, and of `A_low` or its adjoint.
    bytes_read : int
        Of values, in all these.
    """

    x: Array = field(repr=False)
    converged: bool
    reason: str
    iterations: int
    residuals: tuple[float, ...]
    full_products: int
    low_products: int
    bytes_read: int


def refine(
    solve: Callable[[LinearOperator, Array], Any],
    A: LinearOperator,
    A_low: LinearOperator,
    b: Array,
    x0: Array | None = None,
    *,
    rtol: float | None = None,
    maxiter: int = 50,
) -> Refinement:
    """Iterative refinement: solve with `A_low`, take the residual with `A`, repeat.

    Each round multiplies the error by ``||I - A_low^-1 A||``, about ``cond(A)`` times the relative
    error of `A_low`, and by what the inner solver leaves: it converges where that is below one.
    (Carson, Higham, SIAM J. Sci. Comput. 40 (2018) A817, of which this is the operator form.)

    Parameters
    ----------
    solve : callable
        ``solve(A_low, r)`` returns d with ``A_low d`` near r: an array, or a tuple that begins
        with one, as SciPy's solvers return.  A low accuracy is enough.
    A, A_low : LinearOperator, square, of one shape
    b : array of shape (n,) or (n, k)
    x0 : array, optional
        Where to begin; zero.
    rtol : float, optional
        Of ``||b - A x|| / ||b||``; 1e-12, or 1e-5 in single precision.
    maxiter : int
        Inner solves at most.

    Returns
    -------
    Refinement
        Where the residual stops falling, or grows, `converged` is False, `reason` says so and
        `x` is the best there was.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np, scipy.sparse.linalg, lazyops as lo
    >>> rng = np.random.default_rng(0)
    >>> A = lo.Dense(np.eye(50) + 0.02 * rng.standard_normal((50, 50)))
    >>> low = lo.quantize(A, "e4m3").operator
    >>> b = rng.standard_normal(50)
    >>> inner = lambda A, r: scipy.sparse.linalg.gmres(A, r, rtol=1e-2)
    >>> found = lo.refine(inner, A, low, b)
    >>> found.converged, bool(np.linalg.norm(A @ found.x - b) < 1e-11)
    (True, True)
    """
    _check(A, A_low, b)
    counted = Counted(A_low)
    norm = _norm(b)
    x = b * 0.0 if x0 is None else x0 + 0 * b
    r = b if x0 is None else b - A @ x
    single = real_dtype(A.result_dtype(dtype_name(b.dtype))) == "float32"
    rtol = (1e-5 if single else 1e-12) if rtol is None else rtol
    residuals = [_relative(_norm(r), norm)]
    best, reason, full = x, "", 0 if x0 is None else 1
    while not residuals[-1] <= rtol and len(residuals) <= maxiter and not reason:
        found = solve(counted.operator, r)
        step = found[0] if isinstance(found, tuple) else found
        if tuple(step.shape) != tuple(b.shape):
            raise ValueError(f"solve returned shape {tuple(step.shape)}, wanted {tuple(b.shape)}")
        x = x + step
        r = b - A @ x
        full += 1
        residuals.append(_relative(_norm(r), norm))
        reason = _why_stop(residuals)
        if residuals[-1] <= min(residuals[:-1]):
            best = x
    converged = min(residuals) <= rtol
    if converged:
        reason = f"residual {min(residuals):.2g} <= rtol {rtol:.2g}"
    return Refinement(
        best,
        converged,
        reason or f"maxiter = {maxiter} solves did not bring the residual to {rtol:.2g}",
        len(residuals) - 1,
        tuple(residuals),
        full,
        counted.products,
        full * A.values_nbytes + counted.products * A_low.values_nbytes,
    )


def _why_stop(residuals: list[float]) -> str:
    """Why another solve would not help; empty while it may."""
    last = residuals[-1]
    if not math.isfinite(last) or last > 2 * min(residuals[:-1]):
        return f"diverged: the residual went to {last:.2g}, A_low is too far from A or solve failed"
    if len(residuals) > 2 and last > STALLED * residuals[-3]:
        return f"stalled: the residual stays at {last:.2g}"
    return ""


class Counted:
    """`operator` acts as the one given and counts passes over its values."""

    def __init__(self, given: LinearOperator):
        self.products = 0
        self.operator = Function(
            given.shape, self._through(given), self._through(given.H), dtype=given.dtype
        )

    def _through(self, given: LinearOperator) -> Callable[[Array], Array]:
        def product(x: Array) -> Array:
            self.products += 1
            return given @ x

        return product


def _check(A: LinearOperator, A_low: LinearOperator, b: Array) -> None:
    m, n = A.shape
    if m != n or tuple(A_low.shape) != (m, n):
        raise ValueError(
            f"refine takes two square operators of one shape, got {tuple(A.shape)} and "
            f"{tuple(A_low.shape)}; for least squares give solve a preconditioner instead"
        )
    if b.ndim not in (1, 2) or b.shape[0] != n:
        raise ValueError(f"b of shape {tuple(b.shape)} does not meet {n} rows")


def _norm(r: Array) -> float:
    return float(array_namespace(r).linalg.vector_norm(r))


def _relative(residual: float, norm: float) -> float:
    return residual / norm if norm else residual
