"""Laws of the algebra on random expressions of all kinds, and what depth must not break."""

from __future__ import annotations

import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from cases import blocks_dense
from hypothesis import given
from theory import assert_within, gamma, majorant

import lazyops as lo
from lazyops.operators import Assumed, Restriction

DTYPES = ("float32", "float64", "complex64", "complex128")


def _values(draw, shape, dtypes=DTYPES):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(dtypes))
    x = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


@st.composite
def leaves(draw, m, n):
    """(operator, dense matrix) of shape m x n."""
    kinds = ["dense", "sparse", "zero", "restriction", "extension", "function", "foreign"]
    if m == n:
        kinds += ["identity", "scalar", "diagonal", "permutation", "factor"]
    kind = draw(st.sampled_from(kinds))
    if kind == "dense":
        a = _values(draw, (m, n))
        return lo.Dense(a), a
    if kind == "sparse":
        a = _values(draw, (m, n)) * (np.arange(m * n).reshape(m, n) % 3 == 0)
        return lo.Sparse(scipy.sparse.csr_array(a)), a
    if kind == "zero":
        return lo.Zero((m, n)), np.zeros((m, n))
    if kind in ("restriction", "extension"):
        p, q = (m, n) if kind == "restriction" else (n, m)
        index = np.array(draw(st.lists(st.integers(0, q - 1), min_size=p, max_size=p)))
        op, a = lo.restrict(index, q), np.eye(q)[index]
        return (op, a) if kind == "restriction" else (op.H, a.T)
    if kind == "function":
        a = _values(draw, (m, n), ("complex128",))
        return lo.Function((m, n), lambda x: a @ x, lambda y: a.conj().T @ y, dtype=a.dtype), a
    if kind == "foreign":
        a = _values(draw, (m, n), ("float64", "complex128"))
        return lo.aslinearoperator(scipy.sparse.linalg.aslinearoperator(a)), a
    if kind == "identity":
        return lo.Identity(n), np.eye(n)
    if kind == "scalar":
        alpha = draw(st.sampled_from([0, 1, -2.5, 1j, np.float32(0.5), np.complex128(2 - 1j)]))
        return lo.Scalar(n, alpha), alpha * np.eye(n)
    if kind == "diagonal":
        d = _values(draw, (n,))
        return lo.Diagonal(d), np.diag(d)
    if kind == "permutation":
        index = np.array(draw(st.permutations(range(n))))
        return lo.Permutation(index), np.eye(n)[index]
    d = draw(st.sampled_from([p for p in range(1, n + 1) if n % p == 0]))
    values = _values(draw, (1, n // d, n // d, d))
    op = lo.KroneckerSparse(values)
    return op, op.to_dense()


COMPOSITES = ["leaf", "product", "sum", "scaled", "part", "blocks", "kron"]
COMPOSITES += ["assumed", "power", "kronsum", "block_diag"]


@st.composite
def expressions(draw, m=None, n=None, depth=3):
    """A random expression with its dense matrix, all kinds, at most `depth` levels."""
    size = st.sampled_from([1, 2, 3, 4, 6])
    m = draw(size) if m is None else m
    n = draw(size) if n is None else n
    kind = draw(st.sampled_from(COMPOSITES))
    if depth == 0 or kind == "leaf":
        return draw(leaves(m, n))
    inner = lambda p, q: draw(expressions(p, q, depth - 1))
    if kind == "product":
        k = draw(size)
        (a, x), (b, y) = inner(m, k), inner(k, n)
        return a @ b, x @ y
    if kind == "sum":
        (a, x), (b, y) = inner(m, n), inner(m, n)
        return (a + b, x + y) if draw(st.booleans()) else (a - b, x - y)
    if kind == "scaled":
        (a, x), alpha = inner(m, n), draw(st.sampled_from([2, -1, 0.5, 1j]))
        return alpha * a, alpha * x
    if kind == "part":
        a, x = inner(m, n)
        part = draw(st.sampled_from(["real", "imag", "conj", "H", "T"]))
        if part in ("H", "T"):
            a, x = inner(n, m)
            return (a.H, x.conj().T) if part == "H" else (a.T, x.T)
        return {"real": (a.real, x.real), "imag": (a.imag, x.imag), "conj": (a.conj(), x.conj())}[
            part
        ]
    if kind == "assumed":
        a, x = inner(m, n)
        return Assumed(a, ()), x
    if kind == "power" and m == n:
        (a, x), k = inner(n, n), draw(st.integers(0, 3))
        return a**k, np.linalg.matrix_power(np.asarray(x, np.complex128), k)
    if kind == "kronsum" and m == n and n % 2 == 0:
        (a, x), (b, y) = inner(2, 2), inner(n // 2, n // 2)
        return lo.kronsum(a, b), np.kron(x, np.eye(n // 2)) + np.kron(np.eye(2), y)
    if kind == "block_diag" and m > 1 and n > 1:
        p, q = draw(st.integers(1, m - 1)), draw(st.integers(1, n - 1))
        (a, x), (b, y) = inner(p, q), inner(m - p, n - q)
        return lo.block_diag([a, b]), blocks_dense(np.asarray(x), np.asarray(y))
    if kind == "kron" and m % 2 == 0 and n % 2 == 0:
        (a, x), (b, y) = inner(2, 2), inner(m // 2, n // 2)
        return lo.kron(a, b), np.kron(x, y)
    if kind == "blocks" and n > 1:
        cut = draw(st.integers(1, n - 1))
        (a, x), (b, y) = inner(m, cut), inner(m, n - cut)
        return lo.hstack([a, b]), np.hstack([x, y])
    if m > 1:
        cut = draw(st.integers(1, m - 1))
        (a, x), (b, y) = inner(cut, n), inner(m - cut, n)
        return lo.vstack([a, b]), np.vstack([x, y])
    return draw(leaves(m, n))


@st.composite
def cases(draw):
    op, dense = draw(expressions())
    x = _values(draw, (op.shape[1], draw(st.sampled_from([0, 1, 3]))))
    y = _values(draw, (op.shape[0], 2))
    return op, np.asarray(dense, np.complex128), x, y


def within(got, want, op, x, adjoint=False):
    """The theorem in the lowest precision met on the way: float32 where any part is."""
    matrix, count = majorant(op)
    matrix = matrix.T if adjoint else matrix
    bound = 4 * gamma(2 * count + 4, "float32") * (matrix @ np.abs(x).astype(np.float64))
    assert got.shape == want.shape
    assert (np.abs(got - want) <= bound + 1e-300).all()


@given(cases())
def test_expression_is_its_matrix(case):
    op, dense, x, y = case
    before = x.tobytes()
    got = op @ x
    assert got.dtype.name == op.result_dtype(x.dtype)
    assert x.tobytes() == before
    assert not np.may_share_memory(got, x)
    within(got, dense @ x, op, x)
    within(op.H @ y, dense.conj().T @ y, op, y, adjoint=True)
    within(op.T @ y, dense.T @ y, op, y, adjoint=True)


@given(cases())
def test_simplify_changes_nothing_but_the_form(case):
    op, dense, x, y = case
    simple = lo.simplify(op)
    assert simple.shape == op.shape
    within(simple @ x, dense @ x, op, x)
    within(simple.H @ y, dense.conj().T @ y, op, y, adjoint=True)
    assert repr(lo.simplify(simple)) == repr(simple)


@given(expressions(4, 6), expressions(6, 3))
def test_adjoint_of_a_product(left, right):
    (a, _), (b, _) = left, right
    y = np.arange(4.0) + 1j
    assert repr((a @ b).H) == repr(b.H @ a.H)
    np.testing.assert_array_equal((a @ b).H @ y, (b.H @ a.H) @ y)


@given(expressions(4, 6), expressions(4, 6), st.sampled_from([2.0, -1j]))
def test_linearity_of_the_adjoint(left, right, alpha):
    (a, _), (b, _) = left, right
    y = np.arange(4.0) - 2j
    both, apart = (a + alpha * b).H @ y, a.H @ y + np.conj(alpha) * (b.H @ y)
    (p, k), (q, j) = majorant(a), majorant(b)
    bound = 4 * gamma(2 * (k + j) + 8, "float32") * ((p + abs(alpha) * q).T @ np.abs(y))
    assert (np.abs(both - apart) <= bound + 1e-300).all()


@given(cases())
def test_involutions(case):
    op, _, _, _ = case
    assert op.H.H is op
    assert op.T.T is op
    assert op.conj().conj() is op


# -- depth and length ---------------------------------------------------------------------------


def _dense(count):
    return [lo.Dense(np.eye(2) * 1j) for _ in range(count)]


def _deep(levels):
    d, op = lo.Diagonal(np.full(4, 0.5)), lo.Identity(4)
    for _ in range(levels):
        op = op @ d + lo.Identity(4)
    return op


def test_ten_thousand_alternating_levels():
    op = _deep(10_000)
    x = np.ones(4)
    want = 0.0
    for _ in range(10_000):
        want = 0.5 * want + 1.0
    np.testing.assert_array_equal(op @ x, np.full(4, 2.0))
    assert want == 2.0
    np.testing.assert_array_equal(op.H @ x, op @ x)
    np.testing.assert_array_equal(op.conj().T @ x, op @ x)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(op)) @ x, op @ x)
    assert repr(op).count("D4") == 10_000
    assert op.is_hermitian is None
    assert op.info().depth == 20_001
    np.testing.assert_array_equal(op.astype("float32") @ x, op @ x)
    np.testing.assert_allclose(lo.simplify(op) @ x, op @ x, rtol=1e-12)
    assert op.tree().endswith("first nodes of a long expression")
    assert op._repr_html_().count("<details") == op._repr_html_().count("</details>")


def test_real_parts_keep_what_is_known():
    H = lo.Dense(np.array([[2, 1j], [-1j, 2]])).assume(hermitian=True, positive=True)
    assert (H.real.is_hermitian, H.real.is_positive) == (True, True)
    assert lo.simplify(H + H.conj()).is_hermitian
    np.testing.assert_array_equal(H.real.to_dense(), 2 * np.eye(2))
    assert H.imag.is_hermitian is None
    assert lo.Dense(np.eye(2) * 1j).real.is_hermitian is None


def test_a_hundred_thousand_terms_and_factors():
    d = lo.Diagonal(np.full(3, 0.5))
    total = lo.Sum([d] * 100_000)
    np.testing.assert_array_equal(total @ np.ones(3), np.full(3, 50_000.0))
    np.testing.assert_array_equal(total.H @ np.ones(3), np.full(3, 50_000.0))
    assert repr(lo.simplify(total)) == "100000 * D3"
    parts = lo.Sum([p for d in _dense(5_000) for p in (d.real, 1j * d.imag, d, d.conj())])
    assert repr(lo.simplify(parts)).count("real(M2)") == 5_000
    chain = lo.Product([lo.Permutation([1, 2, 0])] * 99_999)
    np.testing.assert_array_equal(chain @ np.arange(3.0), np.arange(3.0))
    assert lo.simplify(chain).shape == (3, 3)


def test_a_sum_grown_by_a_loop_is_flat():
    op = lo.Identity(3)
    for _ in range(2000):
        op = op + lo.Identity(3)
    assert len(op.terms) == 2001
    np.testing.assert_array_equal(op @ np.ones(3), np.full(3, 2001.0))


def test_dimensions_beyond_memory():
    huge = lo.kron(lo.Identity(2**40), lo.Identity(2**20))
    assert huge.shape == (2**60, 2**60)
    assert (2 * huge + huge).shape == (2**60, 2**60)
    assert lo.trace(lo.Identity(8)) == 8
    with pytest.raises(MemoryError, match="pass force=True if you mean it"):
        huge.to_dense()


# -- plain things beside operators -----------------------------------------------------------------

A = lo.Dense(np.arange(6.0).reshape(2, 3))


def test_arrays_and_sparse_matrices_wrap():
    m = np.ones((2, 3))
    s = scipy.sparse.csr_array(m)
    dense = A.to_dense()
    for other in (m, s, m.tolist()):
        if not isinstance(other, list):
            np.testing.assert_array_equal((A + other).to_dense(), dense + m)
            np.testing.assert_array_equal((other + A).to_dense(), dense + m)
            np.testing.assert_array_equal((A - other).to_dense(), dense - m)
            np.testing.assert_array_equal((other - A).to_dense(), m - dense)
    np.testing.assert_array_equal((A @ s.T).to_dense(), dense @ m.T)
    np.testing.assert_array_equal((s.T @ A).to_dense(), m.T @ dense)
    assert isinstance(A @ s.T, lo.LinearOperator)
    assert isinstance(s.T @ A, lo.LinearOperator)
    assert isinstance(A @ m.T, np.ndarray)
    assert isinstance(m.T @ A, np.ndarray)


def test_scalars():
    dense = A.to_dense()
    for alpha in (2, 2.5, 1j, np.float32(2), np.array(2.0), np.int64(3), True):
        np.testing.assert_array_equal((alpha * A).to_dense(), alpha * dense)
        np.testing.assert_array_equal((A * alpha).to_dense(), alpha * dense)
    np.testing.assert_array_equal((A / 4).to_dense(), dense / 4)
    np.testing.assert_array_equal((-A).to_dense(), -dense)
    assert +A is A
    assert sum([A, A]).shape == A.shape
    assert (2.0 * lo.Dense(np.ones((2, 2), np.float32))).dtype == np.float32
    assert (np.float64(2) * lo.Dense(np.ones((2, 2), np.float32))).dtype == np.float64


def test_dot_and_call_follow_scipy():
    x = np.arange(3.0)
    np.testing.assert_array_equal(A.dot(x), A @ x)
    np.testing.assert_array_equal(A(x), A @ x)
    np.testing.assert_array_equal(A.dot(2).to_dense(), 2 * A.to_dense())
    np.testing.assert_array_equal(A.rdot(np.arange(2.0)), np.arange(2.0) @ A.to_dense())
    assert A.dot(A.T).shape == (2, 2)


def test_out():
    x, out = np.arange(3.0), np.empty(2)
    assert A.matvec(x, out=out) is out
    np.testing.assert_array_equal(out, A @ x)
    block = np.empty((2, 4))
    assert A.matmat(np.ones((3, 4)), out=block) is block
    np.testing.assert_array_equal(block, A @ np.ones((3, 4)))


def test_inverse():
    rng = np.random.default_rng(1)
    k = lo.KroneckerSparse(rng.standard_normal((2, 3, 3, 2)))
    d = lo.Diagonal(rng.standard_normal(12))
    p = lo.Permutation(rng.permutation(12))
    op = 2 * p @ k @ d
    inverse = lo.inverse(op)
    x = rng.standard_normal(12)
    condition = np.linalg.cond(op.to_dense())
    assert np.linalg.norm(inverse @ (op @ x) - x) <= 1e3 * condition * 2.3e-16 * np.linalg.norm(x)
    both = lo.kron(lo.Identity(2), lo.block_diag([d, p]))
    np.testing.assert_allclose(lo.inverse(both) @ (both @ np.ones(48)), np.ones(48))
    assert lo.inverse(p) is p.H


def test_estimates_are_seeded_and_close():
    rng = np.random.default_rng(2)
    m = rng.standard_normal((300, 300))
    op = lo.Function((300, 300), lambda x: m @ x, lambda y: m.T @ y)
    assert lo.trace(op @ op.H, rng=1) == lo.trace(op @ op.H, rng=1)
    # 30 Gaussian products: relative variance 2/30 of the stable rank at the worst
    assert abs(lo.norm(op, rng=3) / np.linalg.norm(m) - 1) < 0.5
    assert abs(lo.trace(op @ op.H, rng=3) / np.linalg.norm(m) ** 2 - 1) < 0.5
    assert abs(lo.trace(op) - np.trace(m)) <= 300 * 2.3e-16 * np.abs(m).sum()
    assert abs(lo.norm(op, 2) / np.linalg.norm(m, 2) - 1) < 1e-8


def test_restriction_of_itself():
    op = lo.simplify(lo.restrict([3, 1], 4) @ lo.Permutation([1, 0, 3, 2]))
    assert isinstance(op, Restriction)
    np.testing.assert_array_equal(op @ np.arange(4.0), [2.0, 0.0])
    assert_within(op @ np.arange(4.0), np.array([2.0, 0.0]), op, np.arange(4.0))
