"""Every consumer of operators in SciPy, on operators built by products, against the dense matrix.

Bounds of solutions are ``cond(A)`` times the tolerance that the solver was given: what a residual
of that size proves.  The factor 10 is for residuals that SciPy updates instead of computing.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy
import scipy.linalg
import scipy.linalg.interpolative as interpolative
import scipy.optimize
import scipy.sparse
import scipy.sparse.linalg as sla

import lazyops as lo

N = 32
DTYPES = ["float32", "float64", "complex128"]
VERSION = tuple(map(int, scipy.__version__.split(".")[:2]))
rng = np.random.default_rng(7)
START = rng.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order_of_tests():
    rng.bit_generator.state = START


def draw(dtype, *shape):
    x = rng.standard_normal(shape)
    x = x + 1j * rng.standard_normal(shape) if dtype[0] == "c" else x
    return x.astype(dtype)


def chain(dtype):
    """Diagonal, Kronecker-sparse factor, permutation, another factor: nothing is simplified."""
    D = lo.Diagonal(draw(dtype, N))
    K, L = lo.KroneckerSparse(draw(dtype, 4, 2, 2, 4)), lo.KroneckerSparse(draw(dtype, 1, 4, 4, 8))
    return D @ K @ lo.Permutation.bit_reversal(N) @ L / 6


def general(dtype):
    return chain(dtype) + 3 * lo.Identity(N)


def positive(dtype):
    B = chain(dtype)
    return B.H @ B + lo.Identity(N)


def indefinite(dtype):
    C, signs = chain(dtype), lo.Diagonal(np.where(np.arange(N) % 2, 6.0, -6.0).astype(dtype))
    return C + C.H + signs


def tolerance(dtype):
    return 1e-4 if dtype == "float32" else 1e-10


def assert_solves(x, A, b, rtol):
    M = A.to_dense().astype(np.complex128)
    exact = np.linalg.lstsq(M, b, rcond=None)[0]
    error = np.linalg.norm(x - exact) / np.linalg.norm(exact)
    assert error <= 10 * np.linalg.cond(M) * rtol


# -- linear systems ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "solver", ["gmres", "lgmres", "gcrotmk", "bicg", "bicgstab", "qmr", "tfqmr", "cgs"]
)
def test_solvers_of_general_systems(solver, dtype):
    A, b, rtol = general(dtype), draw(dtype, N), tolerance(dtype)
    x, info = getattr(sla, solver)(A, b, rtol=rtol)
    assert info == 0
    assert x.dtype == dtype
    assert_solves(x, A, b, rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", ["cg", "minres", "gmres"])
def test_solvers_of_positive_systems(solver, dtype):
    if solver == "minres" and dtype == "complex128" and VERSION < (1, 18):
        pytest.skip("this SciPy's minres is for real numbers")
    A, b, rtol = positive(dtype), draw(dtype, N), tolerance(dtype)
    x, info = getattr(sla, solver)(A, b, rtol=rtol)
    assert info == 0
    assert_solves(x, A, b, rtol)


def test_minres_on_an_indefinite_system():
    A, b = indefinite("float64"), draw("float64", N)
    x, info = sla.minres(A, b, rtol=1e-12, maxiter=10 * N)
    assert info == 0
    assert_solves(x, A, b, 1e-12)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("solver", ["gmres", "cg", "bicgstab", "lgmres"])
def test_operators_precondition(solver, dtype):
    A, b = positive(dtype), draw(dtype, N)
    M = lo.inverse(lo.Diagonal(A.diagonal()))
    x, info = getattr(sla, solver)(A, b, rtol=1e-10, M=M)
    assert info == 0
    assert_solves(x, A, b, 1e-9)  # gmres and others measure the preconditioned residual


@pytest.mark.parametrize("solver", ["gmres", "lgmres", "gcrotmk", "bicgstab", "qmr"])
@pytest.mark.parametrize("A", [lo.Identity(N), lo.Identity(N) @ lo.Identity(N)], ids=repr)
def test_the_identity_is_no_trap(solver, A):
    """An operator that hands x back breaks the solvers that work in place."""
    b = draw("float64", N)
    x, info = getattr(sla, solver)(A, b, rtol=1e-12)
    assert info == 0
    np.testing.assert_allclose(x, b, rtol=1e-12)
    B = general("float64")
    if solver != "qmr":
        x, _ = getattr(sla, solver)(B, b, rtol=1e-12, M=A)
        assert_solves(x, B, b, 1e-12)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # lsmr's own, in float32
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(48, N), (N, 48)])
@pytest.mark.parametrize("solver", ["lsqr", "lsmr"])
def test_least_squares_solvers(solver, shape, dtype):
    A = lo.Dense(draw(dtype, *shape))
    A = A @ general(dtype) if shape[1] == N else general(dtype) @ A
    b, tol = draw(dtype, shape[0]), tolerance(dtype)
    steps = {"iter_lim" if solver == "lsqr" else "maxiter": 20 * N}
    x = getattr(sla, solver)(A, b, atol=tol, btol=tol, conlim=0, **steps)[0]
    M = A.to_dense().astype(np.complex128)
    exact = np.linalg.lstsq(M, b, rcond=None)[0]
    # |A^H r| <= tol |A| |r| bounds the distance to the solution by cond^2 tol |r| / |A|
    cond = np.linalg.cond(M)
    size = np.linalg.norm(exact) + np.linalg.norm(b) / np.linalg.norm(M, 2)
    assert np.linalg.norm(x - exact) <= 10 * cond**2 * tol * size


# -- eigenvalues, singular values, norms -----------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_eigsh(dtype):
    A = positive(dtype)
    values = sla.eigsh(A, k=4, return_eigenvectors=False, v0=np.ones(N, dtype))
    exact = np.linalg.eigvalsh(A.to_dense().astype(np.complex128))[-4:]
    np.testing.assert_allclose(np.sort(values), exact, rtol=tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_eigs(dtype):
    A = general(dtype) @ lo.Diagonal(np.linspace(1, 3, N).astype(dtype))
    values = sla.eigs(A, k=4, return_eigenvectors=False, v0=np.ones(N, dtype))
    exact = np.linalg.eigvals(A.to_dense().astype(np.complex128))
    distance = np.abs(values[:, None] - exact).min(axis=1)
    assert distance.max() <= 100 * tolerance(dtype) * np.abs(exact).max()


@pytest.mark.filterwarnings("ignore:Exited")  # lobpcg, some steps before its tolerance
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", ["arpack", "propack", "lobpcg"])
def test_svds(solver, dtype):
    A = lo.Dense(draw(dtype, 40, N)) @ lo.Diagonal((0.7 ** np.arange(N)).astype(dtype))
    if dtype == "float32" and solver == "lobpcg":
        pytest.skip("lobpcg squares the condition number: too much for float32")
    values = sla.svds(A, k=3, solver=solver, return_singular_vectors=False, **_start(solver, dtype))
    exact = np.linalg.svd(A.to_dense(), compute_uv=False)[2::-1]
    np.testing.assert_allclose(np.sort(values), exact, rtol=1e-4 if dtype == "float32" else 1e-7)


def _start(solver, dtype):
    if solver == "lobpcg":
        return {"maxiter": 200, "tol": 1e-6, "v0": np.ones(N, dtype)}
    return {"v0": np.ones(40 if solver == "propack" else N, dtype)}


@pytest.mark.parametrize("dtype", DTYPES)
def test_lobpcg(dtype):
    A = positive(dtype)
    start = np.random.default_rng(1).standard_normal((N, 4)).astype(dtype)
    tol = 1e-2 if dtype == "float32" else 1e-7
    values, vectors = sla.lobpcg(A, start, tol=tol, maxiter=300)
    M = A.to_dense().astype(np.complex128)
    residuals = np.linalg.norm(M @ vectors - vectors * values, axis=0)
    assert residuals.max() <= 10 * tol
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(M)[-4:], rtol=tol)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_onenormest(dtype):
    A = general(dtype)
    exact = np.linalg.norm(A.to_dense(), 1)
    np.testing.assert_allclose(sla.onenormest(A, t=N), exact, rtol=1e-12)
    assert exact / N <= sla.onenormest(A) <= exact * (1 + 1e-12)


# -- functions of operators ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_expm_multiply(dtype):
    A, b = chain(dtype), draw(dtype, N, 2)
    M = A.to_dense()
    y = sla.expm_multiply(A, b, traceA=lo.trace(A))
    np.testing.assert_allclose(y, scipy.linalg.expm(M) @ b, rtol=1e-9, atol=1e-9)
    times = np.linspace(0, 0.5, 3)
    y = sla.expm_multiply(A, b, start=0, stop=0.5, num=3, endpoint=True, traceA=lo.trace(A))
    exact = [scipy.linalg.expm(t * M) @ b for t in times]
    np.testing.assert_allclose(y, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_funm_multiply_krylov(dtype):
    if not hasattr(sla, "funm_multiply_krylov"):
        pytest.skip("this SciPy has no funm_multiply_krylov")
    b = draw(dtype, N)
    for A, kind in [(chain(dtype), "general"), (positive(dtype), "hermitian")]:
        y = sla.funm_multiply_krylov(scipy.linalg.expm, A, b, assume_a=kind, rtol=1e-9)
        exact = scipy.linalg.expm(A.to_dense()) @ b
        assert np.linalg.norm(y - exact) <= 1e-6 * np.linalg.norm(exact)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_interpolative(dtype):
    m = N if dtype == "complex128" else 40  # for m > n SciPy's complex code mixes m and n up
    A = lo.Dense(draw(dtype, m, 5)) @ lo.Dense(draw(dtype, 5, N)) @ lo.Permutation.bit_reversal(N)
    M = A.to_dense()
    U, S, V = interpolative.svd(A, 5)
    np.testing.assert_allclose(S, np.linalg.svd(M, compute_uv=False)[:5], rtol=1e-9)
    np.testing.assert_allclose(U * S @ V.conj().T, M, atol=1e-9 * S[0])
    index, proj = interpolative.interp_decomp(A, 5)
    skeleton = M[:, index[:5]]
    again = interpolative.reconstruct_matrix_from_id(skeleton, index, proj)
    np.testing.assert_allclose(again, M, atol=1e-9 * S[0])
    found = interpolative.estimate_spectral_norm(A, its=100)
    np.testing.assert_allclose(found, S[0], rtol=1e-6)


# -- optimisation ----------------------------------------------------------------------------------


def test_lsq_linear():
    A, b = lo.Dense(draw("float64", 48, N)) @ general("float64"), draw("float64", 48)
    options = {"bounds": (-0.02, 0.02), "tol": 1e-12, "lsmr_tol": 1e-13, "max_iter": 200}
    found = scipy.optimize.lsq_linear(A, b, lsq_solver="lsmr", **options)
    exact = scipy.optimize.lsq_linear(A.to_dense(), b, bounds=(-0.02, 0.02), tol=1e-12)
    assert found.success
    np.testing.assert_allclose(found.cost, exact.cost, rtol=1e-8)
    np.testing.assert_allclose(found.x, exact.x, atol=1e-6)


def test_least_squares_with_an_operator_for_jacobian():
    A, b = general("float64"), draw("float64", N)

    def residual(x):
        return A @ x + 0.1 * x**3 - b

    def jacobian(x):
        return A + lo.Diagonal(0.3 * x**2)

    found = scipy.optimize.least_squares(residual, np.zeros(N), jacobian, xtol=1e-12, ftol=1e-14)
    assert found.success
    assert np.linalg.norm(residual(found.x)) <= 1e-6
    assert isinstance(found.jac, sla.LinearOperator)


def test_trust_constr_with_an_operator_for_hessian():
    A, b = positive("float64"), draw("float64", N)
    found = scipy.optimize.minimize(
        lambda x: 0.5 * x @ (A @ x) - b @ x,
        np.zeros(N),
        method="trust-constr",
        jac=lambda x: A @ x - b,
        hess=lambda x: A,
        options={"gtol": 1e-6, "xtol": 1e-14},
    )
    assert found.success
    M = A.to_dense()
    exact = np.linalg.solve(M, b)
    error = np.linalg.norm(found.x - exact)
    # it may stop by its radius, short of gtol: what it reports of the gradient bounds the error
    slope = max(1e-6, found.optimality)
    assert error <= slope * np.sqrt(N) * np.linalg.norm(np.linalg.inv(M), 2)
    assert error <= 1e-6 * np.linalg.norm(exact)


def test_newton_krylov_with_an_operator_inside():
    A, b = positive("float64"), draw("float64", N)
    M = lo.inverse(lo.Diagonal(A.diagonal()))
    x = scipy.optimize.newton_krylov(
        lambda x: A @ x + 0.1 * x**3 - b, np.zeros(N), inner_M=M, f_tol=1e-9
    )
    assert np.abs(A @ x + 0.1 * x**3 - b).max() <= 1e-9


# -- algebra with SciPy ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_products_and_sums_with_scipy(dtype):
    A, x = general(dtype), draw(dtype, N)
    M, S = A.to_dense(), scipy.sparse.csr_array(np.where(rng.random((N, N)) < 0.2, 1.5, 0.0))
    D = draw(dtype, N, N)
    op = sla.aslinearoperator(D)
    for made, exact in [
        (S @ A, S.toarray() @ M),
        (A @ S, M @ S.toarray()),
        (scipy.sparse.csr_matrix(S) @ A, S.toarray() @ M),
        (S + A, S.toarray() + M),
        (A - S, M - S.toarray()),
        (op @ A, D @ M),
        (A @ op, M @ D),
        (op + A, D + M),
        (A + op, M + D),
        (op - A, D - M),
        (A - op, M - D),
        (2 * op @ A.H, 2 * D @ M.conj().T),
        (op * A, D @ M),
    ]:
        # products of several factors in two orders: g(k) |A1| ... |x|, with room for k
        bound = 4 * N**2 * 2.0**-53 * np.linalg.norm(M) * (1 + np.linalg.norm(D))
        bound *= np.linalg.norm(x)
        assert np.linalg.norm(made @ x - exact @ x) <= bound
        assert np.linalg.norm(made.H @ x - exact.conj().T @ x) <= bound
        assert isinstance(made, sla.LinearOperator)
    assert isinstance(D @ A, np.ndarray)
    np.testing.assert_allclose(D @ A, D @ M, atol=1e-12)
    np.testing.assert_allclose(x @ A, x @ M, atol=1e-12)


def test_operators_are_scipy_operators():
    A = general("float64")
    assert isinstance(A, sla.LinearOperator)
    assert sla.aslinearoperator(A) is A
    assert isinstance(A.shape, tuple)
    assert A.dtype == np.float64
    assert A.ndim == 2
    for name in ("psolve", "rpsolve"):  # SciPy would take them for preconditioners
        assert not hasattr(A, name)


def test_sums_that_scipy_makes_of_ours_can_be_used():
    A, x = general("float64"), draw("float64", N)
    op = sla.aslinearoperator(np.eye(N))
    made = op @ A @ op + 2.0 * op
    np.testing.assert_allclose(made.matvec(x), A @ x + 2 * x, rtol=1e-12)
    np.testing.assert_allclose(made.matmat(x[:, None]), (A @ x + 2 * x)[:, None], rtol=1e-12)
    np.testing.assert_allclose(made.rmatvec(x), A.H @ x + 2 * x, rtol=1e-12)
