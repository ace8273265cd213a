"""Numbers and operators that structure gives away: diagonal, trace, norms, inverse.

Each walks the expression once.  A kind that knows the answer gives it through one of the hooks
`_known_diagonal`, `_known_norm2`, `_known_frobenius2`, `_known_inverse`; None means unknown.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._array import Array, array_namespace, convert, real_dtype
from .base import LinearOperator
from .densify import first_values, unit_columns
from .index import entries
from .known import known_diagonal, known_frobenius2, known_inverse, known_spectral
from .tree import fold

PANEL = 256  # products with unit vectors made at once
SEED = 20260501  # of everything that is sampled where no rng is given: same call, same number


def diagonal(op: LinearOperator) -> Array:
    """The entries ``A[i, i]``, shape (min(m, n),): by structure, else by products."""
    found = fold(op, known_diagonal)
    if found is not None:
        return found
    size = min(op.shape)
    panels = [
        entries(op, where, where)
        for start in range(0, size, PANEL)
        for where in [np.arange(start, min(start + PANEL, size))]
    ]
    if not panels:
        return op.matmat(unit_columns(op, np.arange(0)))[:0, :].reshape(-1)
    return array_namespace(panels[0]).concat(panels) if len(panels) > 1 else panels[0]


def trace(op: LinearOperator, *, rng: Any = None, samples: int = 30) -> complex | float:
    """The sum of the diagonal.

    Parameters
    ----------
    op : LinearOperator, square
    rng : seed or numpy.random.Generator, optional
        None: exact, by structure or by one product per column.  Given: estimated by Hutch++
        (Meyer, Musco, Musco, Woodruff, "Hutch++: optimal stochastic trace estimation", SOSA
        2021, Algorithm 1) from `samples` products, unless structure gives it exactly.
    samples : int, from 3 on

    Raises
    ------
    ValueError
        If `op` is not square.
    """
    m, n = op.shape
    if m != n:
        raise ValueError(f"only square operators have a trace, {op!r} is {m}x{n}")
    found = fold(op, known_diagonal)
    if found is None and rng is not None and samples < n:
        return _hutchpp(op, np.random.default_rng(rng), samples)
    values = diagonal(op) if found is None else found
    return _number(array_namespace(values).sum(values))


def norm(op: LinearOperator, ord: Any = "fro", *, rng: Any = None) -> float:
    """Frobenius or spectral norm.

    Parameters
    ----------
    op : LinearOperator
    ord : "fro" or 2
    rng : seed or numpy.random.Generator, optional
        "fro": None is exact (structure, or one product per column); given, it is estimated from
        thirty Gaussian products unless structure gives it.  2: exact where structure gives it,
        else the largest singular value by Golub-Kahan-Lanczos bidiagonalisation with full
        reorthogonalisation (Golub, Van Loan, "Matrix computations", 10.4) from a seeded start,
        run to a relative change below 1e-10 (single precision: 1e-5) or 200 steps: a lower
        bound that is tight unless the start misses the leading vector.

    Raises
    ------
    ValueError
        For another `ord`.
    """
    if ord == "fro":
        found = fold(op, known_frobenius2)
        return math.sqrt(_frobenius2(op, rng) if found is None else found)
    if ord == 2:
        found = fold(op, known_spectral)
        return _lanczos_norm(op, rng) if found is None else found
    raise ValueError(f"norm takes 'fro' or 2, got {ord!r}")


def inverse(op: LinearOperator) -> LinearOperator:
    """The inverse, where structure gives it exactly.

    Raises
    ------
    ValueError
        If `op` is not square, singular, or of a kind whose inverse needs a solver.
    """
    m, n = op.shape
    if m != n:
        raise ValueError(f"only square operators have an inverse, {op!r} is {m}x{n}")
    found = fold(op, known_inverse)
    if isinstance(found, str):
        raise ValueError(
            f"no structure gives the inverse of {op!r} ({found}): solve A x = b instead, with "
            f"scipy.sparse.linalg.lsmr(A, b), or lo.solve for torch and CuPy"
        )
    return found


# -- by products -----------------------------------------------------------------------------


def _frobenius2(op: LinearOperator, rng: Any) -> float:
    n = op.shape[1]
    if rng is not None and n > 30:
        x = _gaussian(op, np.random.default_rng(rng), 30)
        return _energy(op.matmat(x)) / 30
    panels = range(0, n, PANEL)
    units = (unit_columns(op, np.arange(s, min(s + PANEL, n))) for s in panels)
    return math.fsum(_energy(op.matmat(e)) for e in units)


def _hutchpp(op: LinearOperator, rng: np.random.Generator, samples: int) -> complex | float:
    if samples < 3:
        raise ValueError(f"Hutch++ takes samples from 3 on, got {samples}")
    k = samples // 3
    sketch = op.matmat(_gaussian(op, rng, k))
    xp = array_namespace(sketch)
    q, _ = xp.linalg.qr(sketch)
    g = xp.astype(_gaussian(op, rng, samples - 2 * k), q.dtype, copy=False)
    qh = xp.conj(xp.permute_dims(q, (1, 0)))
    g = g - q @ (qh @ g)
    head = xp.sum(xp.conj(q) * op.matmat(q))
    tail = xp.sum(xp.conj(g) * op.matmat(g)) / (samples - 2 * k)
    return _number(head + tail)


def _lanczos_norm(op: LinearOperator, rng: Any) -> float:
    """The largest singular value of the growing bidiagonal matrix."""
    m, n = op.shape
    if min(m, n) == 0:
        return 0.0
    rng = np.random.default_rng(SEED if rng is None else rng)
    v = _gaussian(op, rng, 1)
    xp = array_namespace(v)
    adjoint = op.H
    tolerance = 1e-10 if real_dtype(op.dtype.name) == "float64" else 1e-5
    lefts: list[Array] = []
    rights: list[Array] = []
    alphas: list[float] = []
    betas: list[float] = []
    sigma, v = 0.0, v / _length(v)
    for _ in range(min(m, n, 199) + 1):  # one more: the last beta counts
        rights.append(v)
        u, alpha = _next(op.matmat(v), lefts, xp)
        alphas.append(alpha)
        before, sigma = sigma, _bidiagonal_norm(alphas, betas)
        if alpha == 0.0 or sigma - before <= tolerance * sigma:
            break
        lefts.append(u)
        v, beta = _next(adjoint.matmat(u), rights, xp)
        if beta == 0.0:
            break
        betas.append(beta)
    return sigma


def _next(w: Array, basis: list[Array], xp: Any) -> tuple[Array, float]:
    """`w` orthogonalised twice against the basis, normalised, and its length before."""
    if basis:
        q = xp.astype(xp.concat(basis, axis=1), w.dtype, copy=False)
        qh = xp.conj(xp.permute_dims(q, (1, 0)))
        scale = _length(w)
        w = w - q @ (qh @ w)
        w = w - q @ (qh @ w)
        if _length(w) <= 1e-14 * scale:
            return w, 0.0
    length = _length(w)
    return (w / length, length) if length else (w, 0.0)


def _bidiagonal_norm(alphas: list[float], betas: list[float]) -> float:
    k = len(alphas)
    b = np.diag(np.array(alphas)) + np.diag(np.array(betas[: k - 1]), 1)
    return float(np.linalg.norm(b, 2))


def _gaussian(op: LinearOperator, rng: np.random.Generator, k: int) -> Array:
    """Standard normal columns, shape (n, k), real, where `op` lives."""
    host = rng.standard_normal((op.shape[1], k)).astype(real_dtype(op.dtype.name))
    example = first_values(op)
    if example is None:
        return host
    return convert(host, array_namespace(example), example.device)


def _energy(x: Array) -> float:
    """Sum of squared moduli."""
    xp = array_namespace(x)
    return float(xp.sum(xp.real(xp.conj(x) * x) if _complex(x) else x * x))


def _length(x: Array) -> float:
    return math.sqrt(_energy(x))


def _complex(x: Array) -> bool:
    return array_namespace(x).isdtype(x.dtype, "complex floating")


def _number(x: Array) -> complex | float:
    value = complex(x)
    return value if _complex(x) else value.real
