"""Solvers in the array API, against dense solutions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg

import lazyops as lo
from lazyops._array import to_numpy
from lazyops.solve import cg, gmres, lsmr


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


def general(m, n, dtype, seed=0, shift=0.0):
    rng = np.random.default_rng([seed, m, n])
    a = rng.standard_normal((m, n)) + shift * np.eye(m, n)
    if np.dtype(dtype).kind == "c":
        a = a + 1j * rng.standard_normal((m, n))
    return a.astype(dtype)


def many(m, dtype, seed=1):
    """Right-hand sides of very different sizes, one of them zero."""
    return (general(m, 4, dtype, seed) * [1, 1e3, 0, 1e-3]).astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("damp", [0.0, 0.7])
def test_lsmr_takes_the_steps_of_scipy(xp, dtype, damp):
    """Every column by itself, whatever the others do; the norms SciPy reports at each step."""
    a, b = general(30, 20, dtype), many(30, dtype)
    exact = {"damp": damp, "atol": 0.0, "btol": 0.0, "conlim": 0.0}
    for steps in (1, 2, 3, 6, 10):
        found = lsmr(lo.Dense(xp.asarray(a)), xp.asarray(b), maxiter=steps, **exact)
        x = to_numpy(found.x)
        worst = slope = 0.0
        for k in (0, 1, 3):
            want, _, taken, norm_r, norm_ar, norm_a, _, _ = scipy.sparse.linalg.lsmr(
                a, b[:, k], maxiter=steps, **exact
            )
            assert taken == found.iterations == steps
            assert np.linalg.norm(x[:, k] - want) <= 1e-12 * np.linalg.norm(want)
            worst = max(worst, norm_r / np.linalg.norm(b[:, k]))
            slope = max(slope, norm_ar / norm_a / norm_r)
        assert not x[:, 2].any()
        assert found.residuals[-2] == pytest.approx(worst, rel=1e-12)
        assert found.gradients[-2] == pytest.approx(slope, rel=1e-11)
        assert found.residuals[-1] == pytest.approx(worst, rel=1e-12)  # and anew


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64"])
@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (25, 25)])
def test_lsmr_solves(xp, dtype, shape):
    m, n = shape
    a, b = general(m, n, dtype), many(m, dtype)
    tol = 1e-5 if dtype != "float64" else 1e-10
    found = lsmr(lo.Dense(xp.asarray(a)), xp.asarray(b), atol=tol, btol=tol, maxiter=500)
    assert found.converged, found.reason
    assert ("least-squares" in found.reason) == (m > n)
    x = to_numpy(found.x)
    assert x.dtype == dtype
    wide = "complex128" if "complex" in dtype else "float64"
    r = b.astype(wide) - a.astype(wide) @ x
    # ||A|| is estimated by the norm of a bidiagonal matrix whose numbers are at most ||A||_2
    size = np.sqrt(2 * found.iterations + 1) * np.linalg.norm(a, 2)
    slack = 4 * np.finfo(dtype).eps * max(m, n)  # of the solver's own residual
    consistent = np.linalg.norm(r, axis=0) <= (tol + slack) * (
        size * np.linalg.norm(x, axis=0) + np.linalg.norm(b, axis=0)
    )
    slope = np.linalg.norm(a.conj().T @ r, axis=0)
    least = slope <= size * (tol * np.linalg.norm(r, axis=0) + slack * np.linalg.norm(b, axis=0))
    assert (consistent | least).all()


def test_lsmr_with_a_preconditioner_and_damp():
    a = general(40, 12, "float64") * np.logspace(0, 5, 12)
    b = general(40, 2, "float64", 3)
    M = lo.Diagonal(1 / np.linalg.norm(a, axis=0))
    plain = lsmr(lo.Dense(a), b, atol=1e-10, btol=1e-10, conlim=0, maxiter=1000)
    helped = lsmr(lo.Dense(a), b, atol=1e-10, btol=1e-10, M=M)
    assert helped.converged
    assert helped.iterations <= 12 < plain.iterations
    want = np.linalg.lstsq(a, b, rcond=None)[0]
    scale = np.linalg.norm(a, axis=0)[:, None]
    assert np.linalg.norm((helped.x - want) * scale) <= 1e-8 * np.linalg.norm(want * scale)
    damped = lsmr(lo.Dense(a), b, damp=3.0, atol=1e-12, btol=1e-12, M=M)
    z = np.linalg.solve(M.H.to_dense() @ a.T @ a @ M.to_dense() + 9 * np.eye(12), M @ (a.T @ b))
    assert damped.converged
    assert np.linalg.norm(damped.x - M @ z) <= 1e-9 * np.linalg.norm(M @ z)


def test_lsmr_stops():
    a = np.diag(np.logspace(0, -6, 12))
    ill = lsmr(lo.Dense(a), np.ones(12), atol=0, btol=0, conlim=1e3, maxiter=100)
    assert not ill.converged
    assert ill.reason.startswith("the condition of A is above conlim")
    few = lsmr(lo.Dense(general(30, 20, "float64")), np.ones(30), maxiter=3)
    assert few.reason.startswith("3 iterations were not enough")
    assert few.products == 2 * 3 + 1 + 2
    none = lsmr(lo.Dense(general(30, 20, "float64")), np.zeros(30))
    assert none.converged
    assert none.iterations == 0
    orthogonal = lsmr(lo.Diagonal(np.array([1.0, 0.0])), np.array([0.0, 1.0]))
    assert orthogonal.converged  # x = 0 is the least-squares solution
    assert not orthogonal.x.any()
    with pytest.raises(ValueError, match=r"b of shape \(4,\) does not meet A, 2x3"):
        lsmr(lo.Zero((2, 3)), np.ones(4))
    with pytest.raises(ValueError, match="M is 2x2, a preconditioner here is 3x3"):
        lsmr(lo.Zero((2, 3)), np.ones(2), M=lo.Identity(2))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("restart", [7, 40])
def test_gmres_takes_the_steps_of_scipy(xp, dtype, restart):
    a = general(40, 40, dtype, shift=12.0)
    b = general(40, 1, dtype, 1)
    seen = []
    want, _ = scipy.sparse.linalg.gmres(
        a, b[:, 0], rtol=1e-10, restart=restart, callback=seen.append, callback_type="pr_norm"
    )
    found = gmres(lo.Dense(xp.asarray(a)), xp.asarray(b[:, 0]), rtol=1e-10, restart=restart)
    assert found.converged, found.reason
    assert found.iterations == len(seen)
    np.testing.assert_allclose(found.residuals[:-1], seen, rtol=1e-4, atol=1e-13)
    assert np.linalg.norm(to_numpy(found.x) - want) <= 1e-10 * np.linalg.norm(want)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64", "complex128"])
def test_gmres_solves_each_column_by_itself(xp, dtype):
    a, b = general(40, 40, dtype, shift=15.0), many(40, dtype)
    tol = 1e-4 if "32" in dtype or "64" in dtype[7:] else 1e-10
    A = lo.Dense(xp.asarray(a))
    found = gmres(A, xp.asarray(b), rtol=tol, restart=10)
    assert found.converged, found.reason
    x = to_numpy(found.x)
    assert x.dtype == dtype
    wide = "complex128" if "complex" in dtype else "float64"
    r = np.linalg.norm(b.astype(wide) - a.astype(wide) @ x, axis=0)
    rounding = 2 * np.finfo(dtype).eps * 40 * np.linalg.norm(a) * np.linalg.norm(x, axis=0)
    assert (r <= tol * np.linalg.norm(b, axis=0) + rounding).all()
    assert not x[:, 2].any()
    alone = [gmres(A, xp.asarray(b[:, k]), rtol=tol, restart=10).iterations for k in (0, 1, 3)]
    assert found.iterations == max(alone)


def test_gmres_with_a_preconditioner():
    """On the right: the steps are those of SciPy for A M, and the residuals those of A."""
    a = general(40, 40, "float64", shift=12.0) * np.logspace(0, 3, 40)
    b = general(40, 1, "float64", 1)[:, 0]
    M = lo.Diagonal(1 / np.diag(a))
    seen = []
    z, _ = scipy.sparse.linalg.gmres(
        a @ M.to_dense(), b, rtol=1e-9, restart=15, callback=seen.append, callback_type="pr_norm"
    )
    told = []
    found = gmres(lo.Dense(a), b, rtol=1e-9, restart=15, M=M, callback=lambda *t: told.append(t))
    assert found.converged
    assert found.iterations == len(seen) == len(told)
    np.testing.assert_allclose([r for _, r in told], seen, rtol=1e-4)
    assert np.linalg.norm((found.x - M @ z) / M.values) <= 1e-8 * np.linalg.norm(z)


def test_gmres_breaks_down_well_or_says_so():
    n = 12
    shift = np.roll(np.eye(n), 1, axis=0)  # no progress before step n
    e = np.eye(n)[:, 0]
    whole = gmres(lo.Dense(shift), e, rtol=1e-12)
    assert whole.converged
    assert whole.iterations == n
    stuck = gmres(lo.Dense(shift), e, restart=3)
    assert not stuck.converged
    assert stuck.reason.startswith("stagnated")
    lucky = gmres(lo.Diagonal(np.arange(1.0, n + 1)), e + np.eye(n)[:, 5], rtol=1e-14)
    assert lucky.converged
    assert lucky.iterations == 2  # the space of two eigenvectors
    singular = gmres(lo.Diagonal(np.array([1.0, 0.0])), np.array([1.0, 1.0]))
    assert not singular.converged
    assert np.isfinite(singular.x).all()
    few = gmres(lo.Dense(general(30, 30, "float64")), np.ones(30), rtol=1e-12, maxiter=4)
    assert few.reason.startswith("4 iterations were not enough")
    assert few.iterations == 4
    none = gmres(lo.Dense(shift), np.zeros((n, 2)))
    assert none.converged
    assert none.products == 1
    with pytest.raises(ValueError, match="restart is 1 or more, got 0"):
        gmres(lo.Dense(shift), e, restart=0)
    with pytest.raises(ValueError, match="gmres solves square systems, A is 2x3"):
        gmres(lo.Zero((2, 3)), np.ones(2))


def test_progress_is_a_line_on_stderr(capsys):
    A, b = lo.Dense(definite(20, "float64")), np.ones(20)
    for solver in (cg, gmres, lsmr):
        solver(A, b, progress=True)
        said = capsys.readouterr()
        assert f"{solver.__name__}: step 2, residual" in said.err
        assert said.err.endswith("\r")
        assert not said.out
        solver(A, b)
        assert not capsys.readouterr().err
