"""Thirty bugs that other libraries had (reference/peers.md 4.10), one test for each line."""

from __future__ import annotations

import copy
import itertools
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg as sla
from cases import CASES, NUMPY_ONLY, c, r

import lazyops as lo

ALL = {**CASES, **NUMPY_ONLY}


def test_01_two_divided_by_an_operator_raises():
    A = lo.Dense(c(3, 3))
    with pytest.raises(TypeError, match=r"cannot divide by M3: .*lo\.inverse"):
        2 / A
    with pytest.raises(TypeError, match="cannot divide by"):
        np.ones(3) / A
    np.testing.assert_array_equal((A / 2).to_dense(), A.to_dense() / 2)


def test_02_facts_do_not_survive_scalars_that_break_them():
    P = lo.Permutation([1, 2, 0])
    D = lo.Diagonal(np.array([1.0, 2.0, 3.0]))
    assert D.is_positive is True
    assert (-1 * D).is_positive is not True
    assert (-D).is_hermitian is True
    assert P.is_unitary is True
    assert (2 * P).is_unitary is not True
    assert (1j * P).is_unitary is True
    assert D.is_hermitian is True
    assert (1j * D).is_hermitian is not True
    assert (np.complex64(1j) * D).is_hermitian is not True


@pytest.mark.parametrize(
    ("A", "x", "dtype"),
    [
        (lo.Diagonal(np.ones(3)) + 1j * lo.Identity(3), "float64", "complex128"),
        (lo.Diagonal(np.ones(3)) + lo.Diagonal(np.ones(3, "c16")), "float64", "complex128"),
        (lo.Diagonal(np.ones(3)) @ lo.Diagonal(np.ones(3, "f4")), "float32", "float64"),
        (2.0 * lo.Diagonal(np.ones(3, "f4")), "float32", "float32"),
        (2 * lo.Diagonal(np.ones(3, "f4")), "float32", "float32"),
        (2.0j * lo.Diagonal(np.ones(3, "f4")), "float32", "complex64"),
        (np.float64(2) * lo.Diagonal(np.ones(3, "f4")), "float32", "float64"),
        (lo.kron(lo.Dense(np.ones((1, 1), "f4")), lo.Identity(3)), "float32", "float32"),
    ],
    ids=repr,
)
def test_03_dtype_declared_is_dtype_delivered(A, x, dtype):
    assert A.result_dtype(x) == dtype
    assert (A @ np.ones(3, x)).dtype == dtype
    assert (A.H @ np.ones(3, x)).dtype == dtype
    assert A.dtype == np.result_type(dtype, A.dtype)  # never narrower than what SciPy is told


@pytest.mark.parametrize(
    "key",
    [
        np.s_[np.array([True, False, True, True, False, True]), :],
        np.s_[:, [-1, -2]],
        np.s_[-1, -1],
        np.s_[:, -1],
        np.s_[2:2, 3:3],
        np.s_[[0, 0, 3, 1], :],
        np.s_[:, [3, 0, 3]],
        np.s_[[3, 0], [1, 1]],
        np.s_[::-2, 1:],
        np.s_[[]],
        np.s_[..., 0],
    ],
    ids=str,
)
def test_04_indexing_is_numpys(key):
    M = r(6, 4)
    found = lo.Dense(M)[key]
    found = found.to_dense() if isinstance(found, lo.LinearOperator) else found
    np.testing.assert_array_equal(found, M[key])
    assert np.shape(found) == M[key].shape


def test_05_powers_are_defined_or_raise():
    M = c(4, 4)
    F = lo.Dense(M)
    np.testing.assert_allclose((F**2).to_dense(), M @ M, rtol=1e-13)
    np.testing.assert_array_equal((F**0).to_dense(), np.eye(4))
    np.testing.assert_array_equal((F**1).to_dense(), M)
    with pytest.raises(ValueError, match=r"powers are integers from 0 on, got -1; see lo\.inverse"):
        F**-1
    with pytest.raises(TypeError, match=r"powers are integers from 0 on, got 0\.5"):
        F**0.5
    with pytest.raises(ValueError, match="only square operators have powers"):
        lo.Dense(r(2, 3)) ** 2


def test_06_long_chains_and_sums():
    limit = sys.getrecursionlimit()
    P = lo.Permutation([1, 2, 0])
    chain, total = lo.Product([P] * 9_999) @ P, P
    for _ in range(9_999):
        total = total + P
    x = np.arange(3.0)
    np.testing.assert_array_equal(chain @ x, np.roll(x, -(10_000 % 3)))
    np.testing.assert_array_equal(total @ x, 10_000 * np.roll(x, -1))
    nested = P
    for _ in range(3_000):  # not flat: a sum in a product in a sum
        nested = P @ (nested + P)
    assert np.isfinite(nested @ x).all()
    for op in (chain, total, nested):
        assert repr(op.H).count("P3") >= 3_000
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(op)) @ x, op @ x)
    assert sys.getrecursionlimit() == limit


def test_07_arrays_come_back_as_they_came():
    torch = pytest.importorskip("torch")
    D, x = lo.Diagonal(torch.arange(3.0)), torch.ones(3)
    assert isinstance(D @ x, torch.Tensor)
    assert isinstance(lo.Permutation([1, 0, 2]) @ x, torch.Tensor)
    meta = torch.ones(3, device="meta")  # stands for a GPU
    with pytest.raises(TypeError, match=r"torch on cpu, x is torch on meta: .*A\.to\(like=x\)"):
        D @ meta
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="torch on cpu, x is array_api_strict"):
        D @ strict.ones(3)


def test_08_svd_of_a_non_symmetric_matrix():
    M = c(12, 9)
    U, s, Vh = sla.svds(lo.Dense(M), k=3, v0=np.ones(9))
    np.testing.assert_allclose(np.sort(s), np.linalg.svd(M, compute_uv=False)[2::-1], rtol=1e-10)
    np.testing.assert_allclose(M @ Vh.conj().T, U * s, atol=1e-10)


def test_09_exp_of_a_singular_matrix():
    """One at the zero eigenvalue: exp(A) v = v for v in the kernel."""
    A = lo.Diagonal(np.array([0.0, 1.0, 2.0]))
    v = np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(sla.expm_multiply(A, v, traceA=3.0), v, rtol=1e-14)
    ones = sla.expm_multiply(lo.Zero((3, 3)), np.ones(3), traceA=0.0)
    np.testing.assert_array_equal(ones, np.ones(3))


def test_10_adjoint_of_a_product_times_a_product():
    a, b, e = c(5, 5), c(5, 5), c(5, 5)
    A, B, C = lo.Dense(a), lo.Dense(b), lo.Dense(e)
    made = (A @ B).H @ (A @ C)
    exact = (a @ b).conj().T @ (a @ e)
    np.testing.assert_allclose(made.to_dense(), exact, rtol=1e-12, atol=1e-12)
    P = lo.Permutation([1, 2, 0, 4, 3])
    simple = lo.simplify((P @ B).H @ (P @ C))
    assert repr(simple) == repr(B.H @ C)
    np.testing.assert_allclose(simple.to_dense(), b.conj().T @ e, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in ALL if name != "function"])
def test_11_pickle_and_deepcopy(name):
    build, M = ALL[name]
    A = build(np.asarray)
    for again in (pickle.loads(pickle.dumps(A)), copy.deepcopy(A), copy.copy(A)):
        assert type(again) is type(A)
        np.testing.assert_array_equal(again.to_dense(), A.to_dense())
        np.testing.assert_allclose(again.H.to_dense(), M.conj().T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1), (1, 4), (4, 1)])
def test_12_small_and_empty_shapes(shape):
    M = c(*shape)
    for A in (lo.Dense(M), lo.Sparse(scipy.sparse.csr_array(M)), lo.Zero(shape)):
        exact = A.to_dense()
        assert exact.shape == shape
        for k in (0, 1, 3):
            x, y = c(shape[1], k), c(shape[0], k)
            np.testing.assert_allclose(A @ x, exact @ x, atol=1e-13)
            np.testing.assert_allclose(A.H @ y, exact.conj().T @ y, atol=1e-13)
        assert (A @ c(shape[1])).shape == shape[:1]
        assert (c(shape[0]) @ A).shape == shape[1:]
    both = lo.block_diag([lo.Dense(M), lo.Dense(M)])
    assert both.to_dense().shape == (2 * shape[0], 2 * shape[1])


def test_13_the_identity_does_not_alias():
    x = r(4)
    eye = lo.Identity(4)
    for A in (eye, eye @ eye, lo.Product([eye]), lo.kron(eye, lo.Identity(1)), eye[:, :], +eye):
        for y in (A @ x, A.H @ x, A.matvec(x), x @ A, A.rmatvec(x)):
            assert not np.shares_memory(x, y)
            assert y.flags.writeable


def test_14_zero_times_infinity_follows_a_rule():
    """0 * A as written computes IEEE's NaN; simplify drops A, and says so."""
    A = 0 * lo.Diagonal(np.array([np.inf, 1.0]))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(A @ np.ones(2), [np.nan, 0.0])
    np.testing.assert_array_equal(lo.simplify(A) @ np.ones(2), [0.0, 0.0])
    assert "``0 * A`` becomes a zero operator" in lo.simplify.__doc__


@pytest.mark.parametrize("name", ALL)
def test_15_involutions(name):
    A = ALL[name][0](np.asarray)
    assert A.H.H is A
    assert A.T.T is A
    assert A.conj().conj() is A


@pytest.mark.parametrize("make", [lambda: lo.fft(4), lambda: lo.fft(4) @ lo.dct(4)])
def test_15_four_partners_in_any_order(make):
    """A, A.H, A.T and A.conj() are four, in whatever order they are asked for."""
    steps = {1: lambda A: A.H, 2: lambda A: A.conj(), 3: lambda A: A.T}
    for path in itertools.product(steps, repeat=5):
        A, at = make(), 0
        kept = {0: A}
        for step in path:
            A, at = steps[step](A), at ^ step
            assert kept.setdefault(at, A) is A, path


def test_15_partners_keep_no_cycle():
    A = lo.fft(4)
    for B in (A.H, A.T, A.conj()):
        assert B.H.T.conj() is B
        B.T.H, B.conj().T, B.H.conj()
    gone = weakref.ref(A)
    del A, B
    assert gone() is None


def test_16_identity_times_an_operator():
    """Construction rewrites nothing (DESIGN 4.8): simplify gives A itself."""
    A = lo.Dense(c(3, 3))
    assert repr(lo.Identity(3) @ A) == "I3 @ M3"
    assert lo.simplify(lo.Identity(3) @ A) is A
    assert lo.simplify(A @ lo.Identity(3)) is A


def test_17_no_array_of_an_operator_by_accident():
    """SciPy's sparse @ needs the 0-d object array (DESIGN 4.1); a dtype makes NumPy raise."""
    A = lo.Diagonal(np.ones(3))
    assert not hasattr(A, "__array__")
    with pytest.raises((TypeError, ValueError)):
        np.asarray(A, dtype=float)
    assert np.asarray(A).ndim == 0
    np.testing.assert_array_equal((scipy.sparse.eye_array(3, format="csr") @ A) @ np.ones(3), 1)
    np.testing.assert_array_equal(A.to_dense(), np.eye(3))


def test_18_sum_works():
    A = lo.Dense(c(3, 3))
    np.testing.assert_allclose(sum([A, A, A]).to_dense(), 3 * A.to_dense(), rtol=1e-14)
    with pytest.raises(TypeError, match=r"cannot add int 1 to M3: .*lo\.Identity"):
        1 + A


def test_19_any_layout_of_x():
    M = c(6, 5)
    x = c(5, 4)
    wide, frozen = np.repeat(x, 2, axis=1), x.copy()
    frozen.flags.writeable = False
    layouts = [np.asfortranarray(x), x[::-1].copy()[::-1], wide[:, ::2], frozen, x.astype(">c16")]
    layouts.append(np.broadcast_to(x[:, :1], x.shape))
    values = [M, np.asfortranarray(M), M[::-1].copy()[::-1], M.astype(">c16")]
    for v in values:
        A = lo.Dense(v) @ lo.Permutation([4, 3, 2, 1, 0])
        for y in layouts:
            np.testing.assert_allclose(A @ y, M @ y[::-1], rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(A @ y[:, 1], M @ y[::-1, 1], rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(y[:, :].T @ A.T, (M @ y[::-1]).T, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "bool"])
def test_20_small_integers_do_not_overflow(dtype):
    x = np.full(4, np.iinfo(dtype).max if dtype != "bool" else True, dtype)
    ones = np.ones((4, 4), dtype)
    for A in (lo.Dense(np.ones((4, 4))), lo.Dense(ones), lo.Sparse(scipy.sparse.csr_array(ones))):
        y = A @ x
        assert y.dtype == np.float64
        np.testing.assert_array_equal(y, 4.0 * float(x[0]))
    np.testing.assert_array_equal(3 * lo.Identity(4) @ x, 3.0 * float(x[0]))


def test_21_threads_agree():
    A = lo.Diagonal(c(64)) @ lo.KroneckerSparse(c(4, 4, 4, 4)) @ lo.Permutation.bit_reversal(64)
    A = A.H @ A + lo.kron(lo.Dense(c(8, 8)), lo.Identity(8))
    inputs = [c(64, 3) for _ in range(8)]
    found = [None] * 8

    def work(i):
        for _ in range(20):
            found[i] = (A @ inputs[i], A.T @ inputs[i], A.conj() @ inputs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, ys in zip(inputs, found, strict=True):
        np.testing.assert_array_equal(ys[0], A @ x)
        np.testing.assert_array_equal(ys[1], A.T @ x)
        np.testing.assert_array_equal(ys[2], A.conj() @ x)


@pytest.mark.parametrize("n", [48, 96, 1000, 101])
def test_22_sizes_that_are_no_powers_of_two(n):
    if not hasattr(lo, "factorize"):
        pytest.skip("lo.factorize is not there yet")
    F = scipy.fft.fft(np.eye(n), axis=0)
    found = lo.factorize(F)
    error = np.linalg.norm(found.operator.to_dense() - F) / np.linalg.norm(F)
    assert error <= 1e-10
    if n == 101:  # a prime does not split: said, not faked
        assert found.chain is None
        assert found.reason
    else:
        assert found.chain is not None


def test_23_kron_is_ordered_as_numpys():
    a, b, e = c(2, 3), c(3, 2), c(2, 2)
    found = lo.kron(lo.Dense(a), lo.Dense(b), lo.Dense(e)).to_dense()
    np.testing.assert_allclose(found, np.kron(np.kron(a, b), e), rtol=1e-13)
    x = c(3, 2)
    both = lo.kron(lo.Dense(a), lo.Dense(b))
    np.testing.assert_allclose(both @ x.reshape(-1), (a @ x @ b.T).reshape(-1), rtol=1e-12)


def test_24_operators_do_not_change():
    A = lo.Dense(c(3, 3))
    before = A.to_dense()
    B = A * 3
    B += A
    np.testing.assert_array_equal(A.to_dense(), before)
    for name, value in [("shape", (9, 9)), ("dtype", np.float32), ("array", before)]:
        with pytest.raises(AttributeError, match="operators are immutable"):
            setattr(A, name, value)
    source = np.ones(3)
    D = lo.Diagonal(source)
    source[:] = 7
    np.testing.assert_array_equal(D.to_dense(), np.eye(3))


def test_25_sign_of_the_determinant():
    """lazyops has no logdet: the way is slogdet of the matrix, which keeps the sign."""
    A = lo.Diagonal(np.array([1.0, -2.0, 3.0])) @ lo.Identity(3)
    assert not hasattr(lo, "logdet")
    sign, logdet = np.linalg.slogdet(A.to_dense())
    assert sign == -1
    np.testing.assert_allclose(logdet, np.log(6))


def test_26_isinstance_consumers_take_the_operator():
    B = lo.Diagonal(np.linspace(1, 2, 12)) @ lo.Permutation([*range(1, 12), 0])
    A = B.H @ B
    start = np.random.default_rng(0).standard_normal((12, 2))
    values, _ = sla.lobpcg(A, start, tol=1e-9, maxiter=100)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(A.to_dense())[:-3:-1], rtol=1e-8)
    y = sla.expm_multiply(A, np.ones(12), traceA=lo.trace(A))
    np.testing.assert_allclose(y, scipy.linalg.expm(A.to_dense()) @ np.ones(12), rtol=1e-10)
    found = scipy.optimize.lsq_linear(B, np.ones(12), lsq_solver="lsmr", tol=1e-12)
    np.testing.assert_allclose(B @ found.x, np.ones(12), rtol=1e-6)


def test_27_kron_with_a_scalar_in_front():
    a, b = c(2, 3), c(3, 2)
    A, B = lo.Dense(a), lo.Dense(b)
    exact = 2j * np.kron(a, b)
    for made in (lo.kron(2j * A, B), lo.kron(A, 2j * B), 2j * lo.kron(A, B), lo.kron(A, B) * 2j):
        np.testing.assert_allclose(made.to_dense(), exact, rtol=1e-13)
        np.testing.assert_allclose(lo.simplify(made).to_dense(), exact, rtol=1e-13)
        np.testing.assert_allclose(made.H.to_dense(), exact.conj().T, rtol=1e-13)
    np.testing.assert_allclose(lo.kron([[2j]], A, B).to_dense(), exact, rtol=1e-13)


def test_28_complex_symmetric_is_not_hermitian():
    D = lo.Diagonal(np.array([1.0, 1j]))
    assert D.is_hermitian is not True
    M = c(4, 4)
    S = lo.Dense(M + M.T)
    assert S.is_hermitian is not True
    np.testing.assert_allclose(S.T.to_dense(), S.to_dense())
    assert not np.allclose(S.H.to_dense(), S.to_dense())


def test_29_wrong_lengths_name_both_shapes():
    A = lo.Dense(r(4, 3))
    np.testing.assert_array_equal(A @ [1, 2, 3], A @ np.array([1.0, 2.0, 3.0]))
    for x in ([1, 2], np.ones(4), np.ones((2, 3)), np.ones((2, 4, 1))):
        shape = str(np.shape(x)).replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(ValueError, match=rf"M4x3 is 4x3 .* n = 3, got {shape}"):
            A @ x
    with pytest.raises(ValueError, match=r"x of shape \(3,\) by M4x3 \(4x3\)"):
        np.ones(3) @ A
    with pytest.raises(ValueError, match=r"cannot multiply M4x3 \(4x3\) by M4x3 \(4x3\)"):
        A @ A
    with pytest.raises(ValueError, match=r"cannot add M4x3 \(4x3\) and I3 \(3x3\)"):
        A + lo.Identity(3)
    with pytest.raises(TypeError, match="takes an array, got str"):
        A.matvec("abc")


def test_30_nothing_is_printed(capfd):
    A = lo.Dense(r(6, 6))
    for op in (A, A.H @ A, lo.kron(A, A), A[1:, ::2], A**3, A + A):
        lo.simplify(op)
        op @ np.ones(op.shape[1])
        repr(op), op.tree(), op.info(), op._repr_html_(), op.to_dense()
    lo.norm(A, 2), lo.trace(A), lo.norm(A)
    if hasattr(lo, "factorize"):
        lo.factorize(np.ones((8, 8)))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
