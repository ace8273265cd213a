"""LSMR for least squares, all right-hand sides at once."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .._array import Array, array_namespace, cast, dtype_name
from .columns import Callback, Watch, check_preconditioner, checked, like, norms, ratio, worst
from .result import Solution


def lsmr(
    A: Any,
    b: Array,
    *,
    damp: float = 0.0,
    atol: float = 1e-6,
    btol: float = 1e-6,
    conlim: float = 1e8,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> Solution:
    """Minimise ``||b - A x||^2 + damp^2 ||x||^2`` for any A.

    Parameters
    ----------
    A : LinearOperator, (m, n)
    b : array of shape (m,) or (m, k)
        Each column is a problem of its own; they take their products together.
    damp : float
        Weight of ``||x||``.
    atol, btol : float
        A column is solved when ``||r|| <= atol ||A|| ||x|| + btol ||b||`` (the system is
        consistent) or ``||A^H r|| <= atol ||A|| ||r||``; with `damp`, A and r have the rows
        ``damp I`` and ``-damp x`` too, but for the ``||A||``, estimated as it goes.
    conlim : float
        A column stops where the condition of A is estimated to be above; 0 for never.
    maxiter : int, optional
        By default min(m, n), as in SciPy.
    M : operator, (n, n), optional
        Preconditioner on the right: ``x = M z``, and z is sought; tolerances and `damp` are those
        of ``A M`` and z.  Good is what makes the columns of ``A M`` close to orthonormal.
    callback : callable, optional
        ``callback(iteration, residual)`` with the largest ``||r|| / ||b||``.
    progress : bool
        Whether a line on stderr says how far it is.

    Returns
    -------
    Solution
        `gradients` has the second test after each step: the largest
        ``||A^H r|| / (||A|| ||r||)``.

    Raises
    ------
    ValueError
        If `b` or `M` does not meet A.

    Notes
    -----
    D. C.-L. Fong, M. Saunders, SIAM J. Sci. Comput. 33 (2011) 2950, with the scalars of each
    column in one array: nothing of a step waits for the device but the test whether to go on.
    What is said of the end is computed anew.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> from lazyops.solve import lsmr
    >>> A = lo.Dense(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    >>> found = lsmr(A, np.array([1.0, 2.0, 5.0]))
    >>> found.converged, found.x.round(12).tolist()
    (True, [1.0, 1.0])
    """
    columns = checked(A, b, "lsmr", square=False)
    check_preconditioner(M, A.shape[1])
    xp = array_namespace(columns)
    maxiter = min(A.shape) if maxiter is None else maxiter
    watch = Watch("lsmr", callback, progress)
    size = norms(xp, columns)
    task = Task(xp, size, atol, btol)
    space = Bidiagonal(xp, A, M, columns, size)
    now = State.first(xp, size, space.alpha)
    h, bar = space.v, xp.zeros_like(space.v)
    x = xp.zeros_like(space.v)
    active = now.gradient > 0
    ill = xp.zeros_like(active)
    residual = size
    gradients: list[float] = []
    steps = 0
    while steps < maxiter and bool(xp.any(active)):
        space.step()
        now, by = now.after(xp, space.alpha, space.beta, damp)
        bar = h - by.bar * bar
        x = xp.where(active, x + by.x * bar, x)
        h = space.v - by.h * h
        steps += 1
        residual = xp.where(active, now.residual, residual)
        gradients.append(worst(xp, xp.where(active, task.slope(now), xp.zeros_like(size))))
        watch.tell(worst(xp, residual / task.safe))
        ill = ill | (active & (now.condition(xp) > (conlim or math.inf)))
        consistent, least = task.met(now, norms(xp, x))
        active = active & ~(consistent | least | ill)
    z, x = x, x if M is None else M @ x
    r = columns - A @ x
    found = End(  # all of it anew
        residual=xp.hypot(norms(xp, r), damp * norms(xp, z)),
        gradient=norms(xp, space.back(r) - damp * damp * z),
        norm=now.norm,
    )
    consistent, least = task.met(found, norms(xp, z))
    solved = bool(xp.all(consistent | least))
    reason = _reason(solved, bool(xp.all(consistent)), bool(xp.any(ill)), steps >= maxiter, steps)
    residuals = watch.ended(worst(xp, found.residual / task.safe))
    gradients.append(worst(xp, xp.where(consistent, xp.zeros_like(size), task.slope(found))))
    return Solution(
        like(x, b), solved, reason, steps, space.products + 2, residuals, tuple(gradients)
    )


class End(NamedTuple):
    """``||r||``, ``||A^H r - damp^2 x||`` and ``||A||`` of each column."""

    residual: Array
    gradient: Array
    norm: Array


class Task:
    """When a column is solved: see `lsmr`."""

    def __init__(self, xp: Any, size: Array, atol: float, btol: float):
        self.xp, self.size, self.atol, self.btol = xp, size, atol, btol
        self.safe = xp.where(size > 0, size, xp.ones_like(size))

    def met(self, at: State | End, size_x: Array) -> tuple[Array, Array]:
        """Which systems are solved, and which least-squares problems."""
        consistent = at.residual <= self.btol * self.size + self.atol * at.norm * size_x
        return consistent, at.gradient <= self.atol * at.norm * at.residual

    def slope(self, at: State | End) -> Array:
        return ratio(self.xp, at.gradient, at.norm * at.residual)


class Bidiagonal:
    """Golub and Kahan: ``A M v = beta' u' + alpha u`` and back, for all columns."""

    def __init__(self, xp: Any, A: Any, M: Any, b: Array, beta: Array):
        self.xp, self.A, self.M, self.products = xp, A, M, 1
        self.beta = beta
        self.u = b * self._inverse(beta, b)
        self.v, self.alpha = self._unit(self.back(self.u))

    def step(self) -> None:
        v = self.v if self.M is None else self.M @ self.v
        u = self.A @ v - self._like(self.alpha, self.u) * self.u
        self.u, self.beta = self._unit(u)
        v = self.back(self.u) - self._like(self.beta, self.v) * self.v
        self.v, self.alpha = self._unit(v)
        self.products += 2

    def back(self, u: Array) -> Array:
        v = self.A.H @ u
        return v if self.M is None else self.M.H @ v

    def _unit(self, w: Array) -> tuple[Array, Array]:
        size = norms(self.xp, w)
        return w * self._inverse(size, w), size

    def _inverse(self, size: Array, w: Array) -> Array:
        return self._like(ratio(self.xp, self.xp.ones_like(size), size), w)

    def _like(self, scalars: Array, w: Array) -> Array:
        return cast(scalars, dtype_name(w.dtype))


class Updates(NamedTuple):
    """What is taken of the old directions, and the length of the step."""

    bar: Array
    x: Array
    h: Array


class State(NamedTuple):
    """The scalars of each column, by the names of the paper (section 2.7 and 3.2 to 3.4)."""

    zeta_bar: Array
    alpha_bar: Array
    rho: Array
    rho_bar: Array
    c_bar: Array
    s_bar: Array
    zeta: Array
    beta_dd: Array
    beta_d: Array
    rho_d: Array
    tau: Array
    theta: Array
    d: Array
    norm2: Array  # ||A||_F^2 as far as it is known
    largest: Array  # of rho_bar
    smallest: Array
    last: Array
    residual: Array
    gradient: Array
    norm: Array

    @classmethod
    def first(cls, xp: Any, beta: Array, alpha: Array) -> State:
        one, zero = xp.ones_like(beta), xp.zeros_like(beta)
        return cls(
            zeta_bar=alpha * beta, alpha_bar=alpha, rho=one, rho_bar=one, c_bar=one, s_bar=zero,
            zeta=zero, beta_dd=beta, beta_d=zero, rho_d=one, tau=zero, theta=zero, d=zero,
            norm2=alpha * alpha, largest=zero, smallest=zero + math.inf, last=one,
            residual=beta, gradient=alpha * beta, norm=alpha,
        )  # fmt: skip

    def after(self, xp: Any, alpha: Array, beta: Array, damp: float) -> tuple[State, Updates]:
        """One step of the bidiagonalization later."""
        c_hat, s_hat, alpha_hat = rotation(xp, self.alpha_bar, xp.full_like(beta, damp))
        c, s, rho = rotation(xp, alpha_hat, beta)
        theta_new, alpha_bar = s * alpha, c * alpha
        theta_bar, rho_temp = self.s_bar * rho, self.c_bar * rho
        c_bar, s_bar, rho_bar = rotation(xp, rho_temp, theta_new)
        zeta, zeta_bar = c_bar * self.zeta_bar, -s_bar * self.zeta_bar
        updates = Updates(
            bar=ratio(xp, theta_bar * rho, self.rho * self.rho_bar),
            x=ratio(xp, zeta, rho * rho_bar),
            h=ratio(xp, theta_new, rho),
        )
        # the norm of the residual
        beta_acute, beta_check = c_hat * self.beta_dd, -s_hat * self.beta_dd
        beta_hat, beta_dd = c * beta_acute, -s * beta_acute
        c_tilde, s_tilde, rho_tilde = rotation(xp, self.rho_d, theta_bar)
        theta, rho_d = s_tilde * rho_bar, c_tilde * rho_bar
        beta_d = -s_tilde * self.beta_d + c_tilde * beta_hat
        tau = ratio(xp, self.zeta - self.theta * self.tau, rho_tilde)
        tau_d = ratio(xp, zeta - theta * tau, rho_d)
        d = self.d + beta_check * beta_check
        residual = xp.sqrt(d + (beta_d - tau_d) ** 2 + beta_dd**2)
        norm2 = self.norm2 + beta * beta
        # what SciPy leaves out of the smallest in the first step is the rho_bar of the start
        known = xp.where(self.largest > 0, self.rho_bar, xp.full_like(beta, math.inf))
        return State(
            zeta_bar, alpha_bar, rho, rho_bar, c_bar, s_bar, zeta, beta_dd, beta_d, rho_d, tau,
            theta, d, norm2 + alpha * alpha, xp.maximum(self.largest, self.rho_bar),
            xp.minimum(self.smallest, known), rho_temp, residual, xp.abs(zeta_bar), xp.sqrt(norm2),
        ), updates  # fmt: skip

    def condition(self, xp: Any) -> Array:
        return ratio(xp, xp.maximum(self.largest, self.last), xp.minimum(self.smallest, self.last))


def rotation(xp: Any, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """(c, s, r) with ``c a + s b = r`` and ``c b = s a``, r >= 0; (0, 0, 0) of nothing."""
    r = xp.hypot(a, b)
    return ratio(xp, a, r), ratio(xp, b, r), r


def _reason(solved: bool, consistent: bool, ill: bool, out: bool, steps: int) -> str:
    if solved and consistent:
        return "the residual is within the tolerance"
    if solved:
        return "the least-squares solution is within the tolerance"
    if ill:
        return "the condition of A is above conlim: raise it, or give damp or a preconditioner M"
    if out:
        return f"{steps} iterations were not enough: raise maxiter, or give a preconditioner M"
    return "stagnated: rounding keeps the residual above the tolerance"
