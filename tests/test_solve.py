"""Solvers in the array API, against dense solutions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg

import lazyops as lo
from lazyops._array import to_numpy
from lazyops.solve import cg


def definite(n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    m = rng.standard_normal((n, n))
    if np.dtype(dtype).kind == "c":
        m = m + 1j * rng.standard_normal((n, n))
    return (m @ m.conj().T / n + np.eye(n)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("columns", [None, 1, 4])
def test_cg_solves(xp, dtype, columns):
    n = 30
    m = definite(n, dtype)
    shape = (n,) if columns is None else (n, columns)
    b = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    tol = 1e-4 if "32" in dtype or "64" in dtype[7:] else 1e-10
    found = cg(lo.Dense(xp.asarray(m)), xp.asarray(b), rtol=tol)
    x = to_numpy(found.x)
    assert found.converged, found.reason
    assert x.shape == shape
    assert x.dtype == dtype
    assert found.products == found.iterations + 1
    exact = np.linalg.solve(m.astype("complex128"), b.astype("complex128"))
    # ||x - A^-1 b|| <= ||A^-1|| ||r||, and the eigenvalues of A are 1 or more
    u = np.finfo(dtype).eps * n * np.linalg.norm(m, 2)
    norms = np.linalg.norm(b.reshape(n, -1), axis=0)
    errors = np.linalg.norm((x - exact).reshape(n, -1), axis=0)
    assert (errors <= (tol + u * np.linalg.cond(m)) * norms).all()


def test_cg_takes_the_steps_of_scipy():
    m = definite(40, "float64")
    b = np.random.default_rng(2).standard_normal(40)
    steps = []
    x, info = scipy.sparse.linalg.cg(m, b, rtol=1e-8, callback=lambda _: steps.append(1))
    seen = []
    found = cg(lo.Dense(m), b, rtol=1e-8, callback=lambda *told: seen.append(told))
    assert info == 0
    assert abs(found.iterations - len(steps)) <= 1
    assert [i for i, _ in seen] == list(range(1, found.iterations + 1))
    assert np.linalg.norm(found.x - x) <= 2e-8 * np.linalg.norm(b)


def test_a_preconditioner_helps():
    d = np.logspace(0, 4, 50)
    A = lo.Diagonal(d)
    b = np.random.default_rng(3).standard_normal((50, 2))
    plain, helped = cg(A, b, rtol=1e-8), cg(A, b, rtol=1e-8, M=lo.Diagonal(1 / d))
    assert helped.converged
    assert helped.iterations == 1 < plain.iterations


def test_breakdowns():
    d = np.array([1.0, -1.0, 2.0])
    found = cg(lo.Diagonal(d), np.array([0.0, 1.0, 0.0]))
    assert not found.converged
    assert "not positive definite" in found.reason
    zero = cg(lo.Diagonal(np.abs(d)), np.zeros((3, 2)))
    assert zero.converged
    assert zero.iterations == 0
    assert not zero.x.any()
    one = cg(lo.Diagonal(d), np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert one.x[:, 0].tolist() == [1.0, 0.0, 0.0]  # the other column stops alone
    few = cg(lo.Dense(definite(20, "float64")), np.ones(20), rtol=1e-12, maxiter=2)
    assert not few.converged
    assert few.reason.startswith("2 iterations were not enough")
    nan = cg(lo.Diagonal(np.array([1.0, np.nan, 1.0])), np.ones(3))
    assert not nan.converged
    low = cg(lo.Dense(definite(20, "float32")), np.ones(20, np.float32), rtol=1e-12, maxiter=400)
    assert not low.converged
    with pytest.raises(ValueError, match="cg solves square systems, A is 2x3"):
        cg(lo.Zero((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match=r"b of shape \(4,\) does not meet A, 3x3"):
        cg(lo.Diagonal(d), np.ones(4))
