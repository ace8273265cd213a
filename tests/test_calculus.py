"""Differences, sums, gradients, Laplacians: NumPy's and SciPy's, and the algebra of stencils."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import LaplacianNd
from theory import assert_within, gamma

import lazyops as lo
from lazyops.operators import Stencil, stencil_product, stencil_sum, tiles
from lazyops.testing import check_operator

SIZES = [*range(1, 18), 31, 32, 48, 97, 100, 128, 1000, 1009, 1024]
DTYPES = ["float32", "float64", "complex64", "complex128"]
BEFORE = {"zero": lambda x: 0 * x[:1], "periodic": lambda x: x[-1:]}


def whole(n, dtype="float64", k=2):
    """Small whole numbers, whose differences and sums are exact."""
    rng = np.random.default_rng(n)
    x = rng.integers(-9, 10, (n, k)) + (1j * rng.integers(-9, 10, (n, k)) if "c" in dtype else 0)
    return x.astype(dtype)


def assert_does(A, x, want, xp):
    """A @ x is `want` to the bit, dtype and all, and A.H fits it."""
    got = np.asarray(A @ xp.asarray(x))
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, want)
    y = whole(A.shape[0], x.dtype.name, x.shape[1])
    back = np.asarray(A.H @ xp.asarray(y))
    assert back.dtype == x.dtype
    assert (back * x.conj()).sum() == (y * got.conj()).sum()


@pytest.mark.parametrize("n", SIZES)
def test_diff_and_cumsum_equal_numpy(n, xp):
    x = whole(n, DTYPES[n % 4])
    for order in (0, 1, 2, 3):
        assert_does(lo.diff(n, order), x, np.diff(x, order, axis=0), xp)
        for boundary, before in BEFORE.items():
            want = x
            for _ in range(order):
                want = np.diff(want, prepend=before(want), axis=0)
            assert_does(lo.diff(n, order, boundary), x, want, xp)
    assert_does(lo.cumsum(n), x, np.cumsum(x, axis=0), xp)


def test_differences_and_sums_undo_each_other():
    D, C = lo.diff(50, boundary="zero"), lo.cumsum(50)
    np.testing.assert_array_equal((D @ C).to_dense(), np.eye(50))
    np.testing.assert_array_equal((C @ D).to_dense(), np.eye(50))


@pytest.mark.parametrize("edge_order", [1, 2])
@pytest.mark.parametrize("n", SIZES)
def test_gradient_equals_numpy(n, edge_order, xp):
    if n <= edge_order:
        with pytest.raises(ValueError, match=f"takes {edge_order + 1} entries or more .*, got {n}"):
            lo.gradient(n, 1.0, edge_order)
        return
    x = np.random.default_rng(n).standard_normal((n, 2)).astype(DTYPES[n % 2])
    A = lo.gradient(n, 0.3, edge_order)
    got = A @ xp.asarray(x)
    want = np.gradient(x.astype(float), 0.3, axis=0, edge_order=edge_order)
    assert np.asarray(got).dtype == x.dtype
    assert_within(got, want, A, x)
    places = np.cumsum(np.random.default_rng(n).uniform(0.1, 1.0, n))
    A = lo.gradient(n, places, edge_order)
    want = np.gradient(x.astype(float), places, axis=0, edge_order=edge_order)
    if xp is np:  # what stands in the matrix is itself rounded, and so are NumPy's weights
        assert_within(A @ x.astype(float), want, A, x, times=8)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (4, 2, 3)])
def test_gradient_of_several_axes_is_stacked(shape, xp):
    X = np.random.default_rng(0).standard_normal(shape)
    steps = [0.5, 2.0, 3.0][: len(shape)]
    A = lo.gradient(shape, steps if len(shape) > 1 else 0.5)
    want = np.stack(np.gradient(X, *steps) if len(shape) > 1 else [np.gradient(X, 0.5)])
    assert_within(A @ xp.asarray(X.reshape(-1)), want.reshape(-1), A, X.reshape(-1))
    mixed = (
        lo.gradient(shape, [np.arange(float(n)) ** 2 for n in shape]) if len(shape) > 1 else None
    )
    if mixed is not None and xp is np:
        want = np.stack(np.gradient(X, *[np.arange(float(n)) ** 2 for n in shape]))
        assert_within(mixed @ X.reshape(-1), want.reshape(-1), mixed, X.reshape(-1), times=8)


def scipys(shape, boundary):
    """By its products: its `toarray` has -1 for an axis of one entry where they have 0."""
    return LaplacianNd(shape, boundary_conditions=boundary, dtype=float)


@pytest.mark.parametrize("boundary", ["dirichlet", "neumann", "periodic"])
@pytest.mark.parametrize("shape", [1, 2, 3, 17, (1, 1), (2, 3), (5, 1, 4), (3, 4, 5), (2, 2, 3, 2)])
def test_laplacian_equals_scipy(shape, boundary, xp):
    sizes = (shape,) if isinstance(shape, int) else shape
    matrix = scipys(sizes, boundary) @ np.eye(math.prod(sizes))
    A = lo.laplacian(shape, boundary)
    for dtype in DTYPES:
        x = whole(math.prod(sizes), dtype, 3)
        assert_does(A, x, (matrix @ x).astype(dtype), xp)
        one = np.asarray(A @ xp.asarray(x[:, 0]))
        np.testing.assert_array_equal(one, matrix @ x[:, 0])
    assert A.is_hermitian


@pytest.mark.parametrize("n", SIZES)
def test_laplacian_of_every_size(n):
    for boundary in ("dirichlet", "neumann", "periodic"):
        L = scipys((n, 3), boundary)
        x = whole(3 * n, "float64", 1)
        np.testing.assert_array_equal(lo.laplacian((n, 3), boundary) @ x, L @ x)
        one = scipys((n,), boundary)
        np.testing.assert_array_equal(lo.laplacian(n, boundary) @ x[:n], one @ x[:n])


def test_laplacian_is_the_kronecker_sum_of_its_axes():
    A = lo.laplacian((4, 5, 3), "neumann", (1.0, 0.5, 2.0))
    parts = [lo.laplacian(n, "neumann", h) for n, h in ((4, 1.0), (5, 0.5), (3, 2.0))]
    np.testing.assert_allclose(A.to_dense(), lo.kronsum(*parts).to_dense(), rtol=1e-15, atol=1e-14)


@pytest.mark.parametrize("shape", [(300, 300), (70, 40, 30), (90_000,), (3, 40_000)])
def test_large_grids_run_in_tiles(shape):
    """More than one tile of each kind: whole ones, the ends, the edges of axes."""
    assert math.prod(shape) > 2 * tiles.TILE
    x = whole(math.prod(shape), "float32", 1)[:, 0]
    for boundary in ("dirichlet", "neumann", "periodic"):
        L = scipys(shape, boundary)
        np.testing.assert_array_equal(lo.laplacian(shape, boundary) @ x, L @ x)


def test_what_stands_beyond_an_edge_does_not_come_in():
    x = np.zeros((4, 5))
    x[1, 0] = np.nan
    y = (lo.laplacian((4, 5), "dirichlet") @ x.reshape(-1)).reshape(4, 5)
    rows, columns = np.nonzero(np.isnan(y))
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (0, 0),
        (1, 0),
        (2, 0),
        (1, 1),
    }


def dense(S):
    """By the definition."""
    m, n = S.shape
    matrix = np.zeros((m, n))
    for k, w in enumerate(S.weights):
        for i in range(m):
            if 0 <= i + S.first + k < n:
                matrix[i, i + S.first + k] += w
    for i, j, v in S.corners:
        matrix[i, j] += v
    return matrix


@st.composite
def stencils(draw, rows=None, columns=None):
    m = draw(st.integers(0, 7)) if rows is None else rows
    n = draw(st.integers(0, 7)) if columns is None else columns
    weight = st.integers(-3, 3).map(float)
    weights = tuple(draw(st.lists(weight, min_size=1, max_size=4)))
    corners = ()
    if m and n:
        places = st.tuples(st.integers(0, m - 1), st.integers(0, n - 1), weight)
        corners = tuple(draw(st.lists(places, max_size=3)))
    return Stencil(m, n, draw(st.integers(-8, 8)), weights, corners)


@given(stencils(), st.integers(1, 3))
def test_a_stencil_is_its_matrix(S, k):
    matrix, x = dense(S), whole(S.shape[1], k=k)
    np.testing.assert_array_equal(S @ x, matrix @ x)
    np.testing.assert_array_equal(S.H.to_dense(), matrix.T)
    X = whole(2 * S.shape[1] * k, k=1).reshape(2, S.shape[1], k)
    want = np.einsum("ij,ajb->aib", matrix, X).reshape(-1)
    got = lo.kron(lo.Identity(2), S, lo.Identity(k)) @ X.reshape(-1)
    np.testing.assert_array_equal(got, want)
    if S.is_hermitian:
        np.testing.assert_array_equal(matrix, matrix.T)


SIZE = st.integers(0, 7)


@given(
    st.tuples(SIZE, SIZE, SIZE).flatmap(
        lambda s: st.tuples(stencils(s[0], s[1]), stencils(s[1], s[2]), stencils(s[0], s[1]))
    )
)
def test_products_and_sums_of_stencils(three):
    A, B, C = three
    np.testing.assert_array_equal(dense(stencil_product(A, B)), dense(A) @ dense(B))
    np.testing.assert_array_equal(dense(stencil_sum(A, C)), dense(A) + dense(C))


def test_the_square_of_a_difference_is_a_laplacian():
    D = lo.diff(6)
    minus = lo.simplify(-1 * (D.H @ D))
    np.testing.assert_array_equal(minus.to_dense(), lo.laplacian(6, "neumann").to_dense())
    assert isinstance(minus, Stencil)
    P = lo.diff(6, boundary="periodic")
    minus = lo.simplify(-1 * (P.H @ P))
    np.testing.assert_array_equal(minus.to_dense(), lo.laplacian(6, "periodic").to_dense())


def test_a_long_sum_stays_within_its_bound():
    x = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32)
    exact = np.cumsum(x.astype(np.longdouble))
    bound = gamma(len(x), "float32") * np.cumsum(np.abs(x.astype(float)))
    assert (np.abs(lo.cumsum(len(x)) @ x - exact) <= bound).all()


@pytest.mark.parametrize(
    "A",
    [
        lo.diff(7, 2),
        lo.diff(7, 1, "periodic"),
        lo.cumsum(5),
        lo.gradient((3, 4), [1.0, 0.5], 2),
        lo.gradient(4, [0.0, 1.0, 3.0, 4.0]),
        lo.laplacian((3, 4), "neumann"),
        lo.laplacian(2, "periodic"),
    ],
    ids=repr,
)
def test_they_keep_the_contract(A):
    assert check_operator(A)


def test_gradients_flow():
    torch = pytest.importorskip("torch")
    for A in (
        lo.diff(6, 2),
        lo.cumsum(4).H,
        lo.gradient(5, 0.5, 2),
        lo.laplacian((3, 2), "periodic"),
    ):
        x = torch.randn(A.shape[1], 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda z, A=A: A @ z, x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lo.diff(4, -1), ValueError, "the order of a difference is from 0 on, got -1"),
        (
            lambda: lo.diff(4, 1, "mirror"),
            ValueError,
            "boundary is None, 'zero' or 'periodic'",
        ),
        (lambda: lo.cumsum(2.5), TypeError, "the size of a cumulative sum is an integer"),
        (lambda: lo.gradient(4, edge_order=3), ValueError, "edge_order is 1 or 2, got 3"),
        (lambda: lo.gradient((4, 4), [1.0]), ValueError, "1 spacings are given for 2 axes"),
        (
            lambda: lo.gradient(4, [0.0, 1.0, 2.0]),
            ValueError,
            r"an axis of 4 entries .* \(3,\)",
        ),
        (
            lambda: lo.gradient(3, [0.0, 1.0, 1.0]),
            ValueError,
            "coordinates 1 and the next",
        ),
        (
            lambda: lo.laplacian(4, "open"),
            ValueError,
            "boundary is one of dirichlet, .* 'open'",
        ),
        (lambda: lo.laplacian((4, 4), "neumann", [1.0]), ValueError, "1 spacings are given for 2"),
        (lambda: Stencil(2, 2, 0, ()), ValueError, "a stencil has at least one weight"),
        (
            lambda: Stencil(2, 2, 0, (1.0,), ((2, 0, 1.0),)),
            ValueError,
            r"\(2, 0\) lies outside",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# -- the compiled sum of shifted copies -----------------------------------------------------------


@given(
    st.sampled_from(["float32", "float64", "complex64", "complex128"]),
    st.lists(st.tuples(st.integers(-40, 40), st.integers(-6, 6)), min_size=0, max_size=9),
    st.integers(0, 700),
    st.sampled_from([1.0, 0.25, 3.0]),
)
def test_the_compiled_sum_of_shifts_is_exact_on_integers(dtype, terms, rows, scale):
    from lazyops.kernels import shifts

    x = (np.arange(rows + 80) % 17 * (1 - 2j if "c" in dtype else 1)).astype(dtype)
    if shifts.obstacle(x, len(terms)) is not None:
        pytest.skip(shifts.obstacle(x, len(terms)))
    y = np.full(rows + 50, 7, dtype)
    offsets, weights = [o for o, _ in terms], [w for _, w in terms]
    shifts.add_shifted(x, y, offsets, weights, scale, 40, 40 + rows)
    want = sum((w * x[40 + o : 40 + o + rows] for o, w in terms), np.zeros(rows, dtype))
    np.testing.assert_array_equal(y[40 : 40 + rows], scale * want)
    assert (y[:40] == 7).all()
    assert (y[40 + rows :] == 7).all()


def test_the_compiled_sum_of_shifts_reads_and_writes_inside_only():
    from lazyops.kernels import shifts

    x, y = np.ones(20), np.zeros(20)
    if shifts.obstacle(x, 1) is not None:
        pytest.skip(shifts.obstacle(x, 1))
    for offsets, start, stop in (
        ([-1], 0, 20),
        ([1], 0, 20),
        ([0, -3], 2, 20),
        ([0, 3], 2, 18),
        ([0], -1, 3),
        ([0], 0, 21),
        ([0], 5, 4),
        ([0] * 65, 0, 20),
        ([2**62], 0, 20),
        ([-(2**62)], 0, 20),
    ):
        with pytest.raises(ValueError, match=r"\(20,\), \(20,\), .* do not fit"):
            shifts.add_shifted(x, y, offsets, [1.0] * len(offsets), 1.0, start, stop)
    with pytest.raises(ValueError, match="not contiguous"):
        shifts.add_shifted(np.ones(40)[::2], y, [0], [1.0], 1.0, 0, 20)
    with pytest.raises(ValueError, match="1 offsets and 2 weights"):
        shifts.add_shifted(x, y, [0], [1.0, 2.0], 1.0, 0, 20)
    with pytest.raises(TypeError, match="float64 and float32"):
        shifts.add_shifted(x, y.astype(np.float32), [0], [1.0], 1.0, 0, 20)
    assert not y.any()
    locked = np.zeros(20)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match=r"read-only|writable"):
        shifts.add_shifted(x, locked, [0], [1.0], 1.0, 0, 20)


@pytest.mark.parametrize("forced", ["reference", None])
def test_laplacians_with_and_without_the_compiled_sum(forced, monkeypatch):
    from lazyops import kernels

    monkeypatch.setattr(kernels, "FORCED", forced)
    x = np.random.default_rng(0).integers(-9, 9, 40 * 30 * 20).astype(float)
    want = LaplacianNd((40, 30, 20), boundary_conditions="dirichlet", dtype=float) @ x
    np.testing.assert_array_equal(lo.laplacian((40, 30, 20), "dirichlet") @ x, want)
