"""Alternating least squares for two factors of fixed supports, which says when it runs away."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .rounding import UNIT
from .svd import energy

GROWS = 0.1  # an exponent of the norms, over the sweeps, above which they do not settle
SETTLED = 1e-6  # part of the objective that twice the sweeps must win, or they have converged


class Sweep(NamedTuple):
    """Where the alternation stood: sweeps done, ``||A - X Y||``, and the least ``||X|| ||Y||`` that
    a scaling of the hidden indices gives, ``sum_k ||x_k|| ||y_k||``; both relative to ``||A||``."""

    sweep: int
    error: float
    norms: float


@dataclass(frozen=True)
class Guard:
    """When to stop: `decay` of the weights, most `sweeps`, largest `norms` relative to ||A||."""

    decay: float
    sweeps: int
    norms: float


@dataclass
class Alternation:
    """Factors X (m, r) and Y (r, n) with supports, and what became of them."""

    A: np.ndarray
    left: np.ndarray
    right: np.ndarray
    X: np.ndarray
    Y: np.ndarray
    norm: float
    decay: float

    def sweep(self) -> None:
        """Y for X, X for Y, each the least squares solution; then the scaling of least norms."""
        self.Y = fitted(self.X, self.A, self.right, self.decay)
        self.X = fitted(self.Y.T, self.A.T, self.left.T, self.decay).T
        self.X, self.Y = balanced(self.X, self.Y)

    def state(self, sweep: int) -> Sweep:
        error = math.sqrt(energy(self.A - self.X @ self.Y))
        norms = float(np.linalg.norm(self.X, axis=0) @ np.linalg.norm(self.Y, axis=1))
        return Sweep(sweep, error / self.norm, norms / self.norm)

    def objective(self, state: Sweep) -> float:
        """What is minimised, relative to ``||A||^2``."""
        return state.error**2 + self.decay * (energy(self.X) + energy(self.Y)) / self.norm**2


def started(A: np.ndarray, left: np.ndarray, right: np.ndarray, norm: float, decay: float, rng):
    """Gaussian entries on both supports, complex where `A` is, of about the norm of `A`."""

    def gaussian(support: np.ndarray) -> np.ndarray:
        values = rng.standard_normal(support.shape)
        if A.dtype.kind == "c":
            values = values + 1j * rng.standard_normal(support.shape)
        return np.where(support, values, 0).astype(A.dtype)

    X, Y = gaussian(left), gaussian(right)
    scale = math.sqrt(norm / (math.sqrt(energy(X @ Y)) or 1.0))
    return Alternation(A, left, right, X * scale, Y * scale, norm, decay)


def alternate(run: Alternation, guard: Guard) -> tuple[str, list[Sweep]]:
    """Sweep until it is decided: "converged", "diverging" or "undecided", and the way there.

    Looked at after 1, 2, 4, ... sweeps: converged if the second half won nothing and the norms
    stand, diverging if they are above the guard, or still grow as a power of the sweeps when
    these are used up.  An objective that falls like 1/sweeps so never passes for convergence.
    With weight decay the norms are bounded, and nothing diverges.
    """
    trace: list[Sweep] = []
    objectives: list[float] = []
    for state in _looks(run, guard):
        trace.append(state)
        objectives.append(run.objective(state))
        if state.error <= len(run.Y) * UNIT * state.norms:  # no more than X @ Y is rounded by
            return "converged", trace
        if state.norms > guard.norms and not run.decay:
            return "diverging", trace
        half = max((i for i, s in enumerate(trace) if 2 * s.sweep <= state.sweep), default=None)
        if half is None:
            continue
        won = objectives[half] - objectives[-1]
        if won <= SETTLED * objectives[half] and _growth(trace[half], state) <= GROWS:
            return "converged", trace
    grows = half is not None and _growth(trace[half], state) > GROWS
    return "diverging" if grows and not run.decay and len(trace) > 3 else "undecided", trace


def _looks(run: Alternation, guard: Guard) -> Iterator[Sweep]:
    for sweep in range(1, guard.sweeps + 1):
        run.sweep()
        if sweep & (sweep - 1) == 0 or sweep == guard.sweeps:
            yield run.state(sweep)


def _growth(before: Sweep, now: Sweep) -> float:
    """The exponent g of ``norms ~ sweep^g``."""
    if not before.norms or not now.norms:
        return 0.0
    return math.log(now.norms / before.norms) / math.log(now.sweep / before.sweep)


def fitted(X: np.ndarray, A: np.ndarray, support: np.ndarray, decay: float) -> np.ndarray:
    """The Y of this support with the least ``||A - X Y||^2 + decay ||Y||^2``, of least norm.

    X : (m, r)    A : (m, n)    support : bool (r, n)    returns : (r, n)
    """
    Y = np.zeros(support.shape, A.dtype)
    patterns, which = np.unique(support, axis=1, return_inverse=True)
    for p, pattern in enumerate(patterns.T):
        inner, columns = np.flatnonzero(pattern), np.flatnonzero(which.reshape(-1) == p)
        basis, wanted = X[:, inner], A[:, columns]
        if decay:
            basis = np.vstack([basis, math.sqrt(decay) * np.eye(len(inner), dtype=A.dtype)])
            wanted = np.vstack([wanted, np.zeros((len(inner), len(columns)), A.dtype)])
        if len(inner):
            Y[np.ix_(inner, columns)] = np.linalg.lstsq(basis, wanted, rcond=None)[0]
    return Y


def balanced(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every column of X and row of Y scaled to equal norms: same product, least norms.

    Of all scalings it has the least weight decay, where an alternation alone creeps to it.
    """
    one, two = np.sqrt(np.linalg.norm(X, axis=0)), np.sqrt(np.linalg.norm(Y, axis=1))
    used = (one > 0) & (two > 0)
    scale = np.divide(two, one, out=np.ones_like(one), where=used)
    return X * scale, Y / scale[:, None]
