"""Restarted GMRES, all right-hand sides at once."""

from __future__ import annotations

from typing import Any, NamedTuple

from .._array import Array, array_namespace, cast, conj, dtype_name
from .columns import Callback, Watch, check_preconditioner, checked, like, norms, ratio, worst
from .result import Solution


def gmres(
    A: Any,
    b: Array,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    restart: int = 20,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> Solution:
    """Solve ``A x = b`` for any square A.

    Parameters
    ----------
    A : LinearOperator, (n, n)
    b : array of shape (n,) or (n, k)
        Each column is a system of its own; they take their products together.
    rtol, atol : float
        A column is solved when ``||b - A x|| <= max(rtol ||b||, atol)``.
    restart : int
        Steps between restarts; as many arrays like `b` are held, and one more.
    maxiter : int, optional
        Steps in all, by default 10 n.  (SciPy counts restarts.)
    M : operator, optional
        Preconditioner, close to the inverse of A.  It acts on the right, ``A M z = b`` with
        ``x = M z``, so that residuals are those of the system; SciPy's acts on the left.
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
        If A is not square, `b` or `M` does not meet it, or `restart` is below 1.

    Notes
    -----
    Y. Saad, M. H. Schultz, SIAM J. Sci. Stat. Comput. 7 (1986) 856.  The basis is made orthogonal
    by classical Gram-Schmidt, twice, which takes four large products a step whatever its number
    and is orthogonal up to rounding (L. Giraud et al., Numer. Math. 101 (2005) 87).  A column whose
    residual no longer falls in a whole cycle stops; the others go on.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> from lazyops.solve import gmres
    >>> A = lo.Dense(np.array([[2.0, 1.0], [0.0, 1.0]]))
    >>> found = gmres(A, np.array([3.0, 1.0]), rtol=1e-12)
    >>> found.converged, found.iterations, found.x.round(12).tolist()
    (True, 2, [1.0, 1.0])
    """
    columns = checked(A, b, "gmres")
    check_preconditioner(M, b.shape[0])
    if restart < 1:
        raise ValueError(f"restart is 1 or more, got {restart}")
    xp = array_namespace(columns)
    maxiter = 10 * b.shape[0] if maxiter is None else maxiter
    restart = min(restart, max(1, b.shape[0]))
    watch = Watch("gmres", callback, progress)
    size = norms(xp, columns)
    goal = xp.maximum(rtol * size, xp.full_like(size, atol))
    safe = xp.where(size > 0, size, xp.ones_like(size))
    x, r, true = xp.zeros_like(columns), columns, size
    active = true > goal
    steps = products = 0
    while steps < maxiter and bool(xp.any(active)):
        cycle = Cycle(xp, r, true, active, min(restart, maxiter - steps))
        while cycle.goes_on:
            v = cycle.direction
            cycle.step(A @ (v if M is None else M @ v), goal)
            steps += 1
            watch.tell(worst(xp, cycle.residual / safe))
        z = cycle.solution()
        x = x + (z if M is None else M @ z)
        r = columns - A @ x
        products += cycle.size + 1
        before, true = true, norms(xp, r)
        active = (true > goal) & (true < before)
    if not products:
        products, true = 1, norms(xp, columns - A @ x)
    solved = bool(xp.all(true <= goal))
    reason = _reason(solved, steps >= maxiter, steps)
    residuals = watch.ended(worst(xp, true / safe))
    return Solution(like(x, b), solved, reason, steps, products, residuals)


class Cycle:
    """The steps between two restarts, for all columns; what is not active stays 0.

    basis : (k, most + 1, n); triangle : (k, most, most), R of the Hessenberg matrix;
    turns : (k, most + 1, most + 1), the product of its Givens rotations; right : (k, most + 1).
    """

    def __init__(self, xp: Any, r: Array, beta: Array, active: Array, most: int):
        n, k = r.shape
        self.xp, self.most, self.size, self.active = xp, most, 0, active
        options = {"dtype": r.dtype, "device": r.device}
        self.basis = xp.zeros((k, most + 1, n), **options)
        self.basis[:, 0, :] = (r * cast(ratio(xp, xp.ones_like(beta), beta, active), name_of(r))).T
        self.triangle = xp.zeros((k, most, most), **options)
        eye = xp.eye(most + 1, **options)
        self.turns = xp.zeros((k, most + 1, most + 1), **options) + eye[None, :, :]
        self.right = xp.zeros((k, most + 1), **options)
        self.right[:, 0] = cast(xp.where(active, beta, xp.zeros_like(beta)), name_of(r))
        self.residual = beta
        self.goes_on = True

    @property
    def direction(self) -> Array:
        return self.basis[:, self.size, :].T

    def step(self, w: Array, goal: Array) -> None:
        """Take ``A v`` for the direction v: one more column of the Hessenberg matrix."""
        xp, j = self.xp, self.size
        known, w = self.basis[:, : j + 1, :], w.T
        before = norms(xp, w.T)
        h = xp.zeros_like(self.right)
        for _ in range(2):  # what the first pass leaves along the basis is rounding, and goes
            along = (conj(known) @ w[:, :, None])[:, :, 0]
            w = w - (along[:, None, :] @ known)[:, 0, :]
            h[:, : j + 1] = h[:, : j + 1] + along
        after = norms(xp, w.T)
        ends = after <= xp.finfo(after.dtype).eps * before  # the space holds the solution
        after = xp.where(ends, xp.zeros_like(after), after)
        h[:, j + 1] = cast(after, name_of(w))
        one_over = cast(ratio(xp, xp.ones_like(after), after), name_of(w))
        self._rotate((self.turns @ h[:, :, None])[:, :, 0])
        left = xp.abs(self.right[:, j + 1])
        self.residual = xp.where(self.active, left, self.residual)
        self.size += 1
        self.active = self.active & (self.residual > goal) & ~ends
        self.goes_on = self.size < self.most and bool(xp.any(self.active))
        zero = xp.zeros_like(one_over)
        self.basis[:, j + 1, :] = w * xp.where(self.active, one_over, zero)[:, None]

    def _rotate(self, h: Array) -> None:
        """Turn the rows j and j + 1 so that h[j + 1] vanishes; columns that rest keep 0."""
        xp, j = self.xp, self.size
        on = cast(self.active, name_of(h))
        c, s, r = givens(xp, h[:, j], h[:, j + 1])
        self.triangle[:, :j, j] = h[:, :j] * on[:, None]
        self.triangle[:, j, j] = r * on
        for array in (self.turns, self.right):
            one, other = array[:, j, ...], array[:, j + 1, ...]
            by = [z if one.ndim == 1 else z[:, None] for z in (c, s, on)]
            new = by[0] * one + by[1] * other, by[0] * other - conj(by[1]) * one
            array[:, j, ...] = xp.where(by[2] != 0, new[0], one)
            array[:, j + 1, ...] = xp.where(by[2] != 0, new[1], other)

    def solution(self) -> Array:
        """The combination of the basis with the least residual; (n, k)."""
        xp, size = self.xp, self.size
        R, right = self.triangle[:, :size, :size], self.right[:, :size]
        diagonal = xp.abs(xp.linalg.diagonal(R))
        # columns that rested have no entry here, a singular operator a last one of 0
        there = diagonal > xp.finfo(diagonal.dtype).eps * xp.max(diagonal, axis=1, keepdims=True)
        there = cast(there, name_of(R))
        R = R * there[:, :, None]
        eye = xp.eye(size, dtype=R.dtype, device=R.device)
        R = R + eye[None, :, :] * (1 - there)[:, :, None]
        y = xp.linalg.solve(R, (right * there)[:, :, None])[:, :, 0]
        return (y[:, None, :] @ self.basis[:, :size, :])[:, 0, :].T


class Rotation(NamedTuple):
    """c real (as a number of the dtype), s, and r: ``[c s; -conj(s) c] [a b]^T = [r 0]^T``."""

    c: Array
    s: Array
    r: Array


def givens(xp: Any, a: Array, b: Array) -> Rotation:
    """The rotation that takes the real b >= 0 to 0; of each column."""
    name = name_of(a)
    size = xp.abs(a)
    most = xp.hypot(size, xp.abs(b))
    one = xp.ones_like(size)
    phase = xp.where(size > 0, a / cast(xp.where(size > 0, size, one), name), xp.ones_like(a))
    c = xp.where(most > 0, size / xp.where(most > 0, most, one), one)
    s = phase * b / cast(xp.where(most > 0, most, one), name)
    return Rotation(cast(c, name), s, phase * cast(most, name))


def name_of(x: Array) -> str:
    return dtype_name(x.dtype)


def _reason(solved: bool, out: bool, steps: int) -> str:
    if solved:
        return "the residual is within the tolerance"
    if out:
        return (
            f"{steps} iterations were not enough: raise maxiter or restart, "
            "or give a preconditioner M"
        )
    return (
        "stagnated: the residual no longer falls, by rounding, by restarts that are too frequent, "
        "or because the operator is singular"
    )
