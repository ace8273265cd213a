"""Convolutions, Toeplitz, Hankel and circulant matrices: equal to SciPy's, by every method."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from theory import gamma

import lazyops as lo
from lazyops.operators import GridConvolution
from lazyops.operators.convolution import cheapest
from lazyops.testing import check_operator

SIZES = [*range(1, 18), 31, 32, 48, 97, 100, 128, 1000, 1009, 1024]
DTYPES = ["float32", "float64", "complex64", "complex128"]
MODES = ["full", "same", "valid"]
METHODS = ["auto", "direct", "fft", "overlap-add"]


def draw(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if "c" in dtype else x).astype(dtype)


def assert_near(got, want, h, x):
    """Three FFTs of length L err by ``10 log2 L`` roundings each in norm, and by Cauchy-Schwarz no
    entry of the result by more than that times ``||h|| ||x||`` (Higham, 24.1); direct sums by one
    rounding for each product and sum."""
    name = "float32" if got.dtype in (np.float32, np.complex64) else "float64"
    length = 4 * (len(h) + len(x))
    bound = gamma(30 * np.log2(length) + 2 * min(len(h), len(x)), name)
    norms = np.linalg.norm(h) * np.linalg.norm(x, axis=0)
    assert got.shape == want.shape
    assert (np.abs(got - want) <= 2 * bound * norms).all(), np.abs(got - want).max()


def convolved(h, x, mode):
    wide = np.result_type(h, x, np.float64)
    columns = [scipy.signal.convolve(c.astype(wide), h.astype(wide), mode, "direct") for c in x.T]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_convolution_equals_scipy(n, method, xp):
    dtype, other = DTYPES[n % 4], DTYPES[n // 4 % 4]
    for m in (1, 2, 3, 17, 100):
        if m > 8 and n > 200 and method == "direct" and xp is not np:
            continue  # a step of Python for each entry: what "auto" would never take
        h, x = draw(m, dtype, m), draw((n, 2), other, n)
        for mode in MODES:
            A = lo.convolution(xp.asarray(h), n, mode, method)
            got = np.asarray(A @ xp.asarray(x))
            assert got.dtype == np.result_type(h, x)
            assert_near(got, convolved(h, x, mode), h, x)


@pytest.mark.parametrize("n", SIZES)
def test_circular_convolution_goes_around(n, xp):
    for m in (1, 3, n, 2 * n + 1):
        h, x = draw(m, DTYPES[(n + m) % 4], m), draw((n, 2), DTYPES[n % 4], n)
        wrapped = np.zeros(n, h.dtype)
        np.add.at(wrapped, np.arange(m) % n, h)
        got = np.asarray(lo.convolution(xp.asarray(h), n, "circular") @ xp.asarray(x))
        wide = scipy.linalg.circulant(wrapped).astype(np.result_type(h, np.float64))
        assert_near(got, wide @ x, h, x)


@pytest.mark.parametrize("n", SIZES)
def test_structured_matrices_equal_scipy(n):
    for dtype in ("float32", "complex128"):
        c, r = draw(n, dtype, 1), draw(max(n // 2, 1), dtype, 2)
        for A, M in (
            (lo.circulant(c), scipy.linalg.circulant(c)),
            (lo.toeplitz(c), scipy.linalg.toeplitz(c)),
            (lo.toeplitz(c, r), scipy.linalg.toeplitz(c, r)),
            (lo.hankel(c), scipy.linalg.hankel(c)),
            (lo.hankel(c, r), scipy.linalg.hankel(c, r)),
        ):
            x, y = draw((A.shape[1], 2), "float64", 3), draw((A.shape[0], 2), "float64", 4)
            assert_near((A @ x).astype(np.result_type(dtype, np.complex64)), M @ x, np.r_[c, r], x)
            assert_near(
                (A.H @ y).astype(np.result_type(dtype, np.complex64)), M.conj().T @ y,
                np.r_[c, r], y,
            )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_convolutions_keep_the_contract(method, xp):
    for m, n, mode in ((3, 7, "full"), (4, 7, "same"), (9, 4, "valid"), (3, 8, "valid")):
        h = draw(m, "complex128" if m == 4 else "float64")
        A = lo.convolution(xp.asarray(h), n, mode, method)
        check_operator(A, dense=convolved(h, np.eye(n), mode), like=xp.asarray(np.zeros(1)))


@pytest.mark.parametrize("n", [1, 2, 7, 64, 65, 96, 131])
def test_circulants_keep_the_contract(n, xp):
    """By the dense matrix, by an FFT of size n, by a longer one where n is a large prime."""
    c = draw(n, "complex128" if n % 2 else "float64", n)
    A = lo.circulant(xp.asarray(c))
    check_operator(A, dense=scipy.linalg.circulant(c), like=xp.asarray(np.zeros(1)))


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(MODES), st.sampled_from(METHODS))
def test_the_adjoint_is_the_correlation(m, n, mode, method):
    h = draw(m, "complex128", m)
    A = lo.convolution(h, n, mode, method)
    dense = convolved(h, np.eye(n), mode)
    y = draw((A.shape[0], 2), "complex128", n)
    assert_near(A.H @ y, dense.conj().T @ y, h, y)
    assert_near(A.T @ y, dense.T @ y, h, y)


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.sampled_from(MODES))
def test_convolutions_of_convolutions_are_one(m1, m2, n, mode):
    h1, h2, x = draw(m1, "float64", 1), draw(m2, "float64", 2), draw((n, 2), "float64", 3)
    right = lo.convolution(h2, n)
    A = lo.convolution(h1, right.shape[0], mode) @ right
    simple = lo.simplify(A)
    assert repr(simple) == f"conv({m1 + m2 - 1})[{A.shape[0]}x{n}]"
    want = convolved(h1, convolved(h2, x, "full"), mode)
    assert_near(simple @ x, want, np.full(m1 + m2 - 1, np.linalg.norm(h1) * np.linalg.norm(h2)), x)
    back = lo.simplify(A.H)
    assert repr(back) == f"conv({m1 + m2 - 1})[{n}x{A.shape[0]}]"


def test_a_window_between_two_convolutions_is_kept():
    """Where rows are missing between the two, they are no convolution."""
    A = lo.convolution(draw(3, "float64"), 8, "same") @ lo.convolution(
        draw(3, "float64"), 8, "same"
    )
    assert lo.simplify(A) is A


def test_the_cheapest_method():
    """Few entries directly, many by FFT, long signals in blocks; one rule for each library."""
    choose = lambda m, n, numpy=True: cheapest(lo.convolution(np.ones(m), n), numpy, "float64", 1)
    assert choose(3, 100) == choose(64, 64) == "direct"
    assert choose(2000, 2000) == choose(3000, 1000) == "fft"
    assert choose(200, 10**6) == "overlap-add"
    assert choose(64, 512, numpy=False) == "fft"
    assert choose(2, 512, numpy=False) == "direct"


def test_the_spectrum_is_computed_once(monkeypatch):
    import scipy.fft

    calls = []
    f = scipy.fft.rfft
    monkeypatch.setattr(scipy.fft, "rfft", lambda *a, **k: (calls.append(1), f(*a, **k))[1])
    A = lo.convolution(np.ones(200), 500, method="fft")
    for _ in range(3):
        A @ np.ones(500)
    assert len(calls) == 4  # the kernel once, x three times


def test_gradients_reach_signal_and_filter():
    torch = pytest.importorskip("torch")
    double = {"dtype": torch.float64, "requires_grad": True}
    x, h = torch.randn(9, 2, **double), torch.randn(4, **double)
    for method in METHODS:
        f = lambda h, x, method=method: lo.convolution(h, 9, "same", method) @ x
        assert torch.autograd.gradcheck(f, (h, x))
    for n in (9, 67, 96):  # dense, by a longer FFT, by one of its size
        c, z = torch.randn(n, **double), torch.randn(n, 1, **double)
        assert torch.autograd.gradcheck(lambda c, z: lo.circulant(c) @ z, (c, z))
    r = torch.randn(9, **double)
    assert torch.autograd.gradcheck(lambda h, r, x: lo.toeplitz(h, r) @ x, (h, r, x))
    assert torch.autograd.gradcheck(lambda h, r, x: lo.hankel(h, r).H @ x, (r, h, x))


def test_a_tensor_changed_in_place_is_seen():
    torch = pytest.importorskip("torch")
    for n in (9, 96, 131):
        c, x = torch.ones(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
        A, B = lo.circulant(c), lo.convolution(c, n, "same", "fft")
        A @ x, B @ x
        c *= 2
        torch.testing.assert_close(A @ x, lo.circulant(c.clone()) @ x)
        torch.testing.assert_close(B @ x, lo.convolution(c.clone(), n, "same", "fft") @ x)


def test_whole_numbers_are_computed_in_double():
    A = lo.convolution([1, 2, 3], 4)
    assert A.dtype == np.float64
    np.testing.assert_array_equal(A @ [1, 0, 0, 1], [1, 2, 3, 1, 2, 3])


# -- grids: filters that are no product of filters of one axis -------------------------------------

GRIDS = [((1,), (3,)), ((6,), (6,)), ((5, 7), (3, 2)), ((1, 9), (2, 1)), ((4, 3), (6, 5))]
GRIDS += [((3, 4, 5), (2, 3, 2)), ((8, 8), (9, 2)), ((2, 1, 3, 2), (2, 2, 2, 2))]


@pytest.mark.parametrize("mode", [*MODES, "circular"])
@pytest.mark.parametrize(("sizes", "taps"), GRIDS)
def test_convolution_of_grids_equals_scipy(sizes, taps, mode, xp):
    signs = {np.sign(n - m) for n, m in zip(sizes, taps, strict=True)}
    if mode == "valid" and {-1, 1} <= signs:
        with pytest.raises(ValueError, match="mode 'valid' takes a grid that covers the filter"):
            lo.convolution(np.ones(taps), sizes, mode)
        return
    for i, (dtype, other) in enumerate(itertools.product(DTYPES, DTYPES)):
        if mode == "circular" and -1 in signs and np.result_type(dtype, other) != dtype:
            continue  # the filter is folded in its own precision
        h, x = draw(taps, dtype, i), draw((math.prod(sizes), 2), other, i)
        for method in ("auto", "direct", "fft"):
            A = lo.convolution(xp.asarray(h), sizes, mode, method)
            got = np.asarray(A @ xp.asarray(x))
            wide = np.result_type(h, x, np.float64)
            want = np.stack(
                [of_grid(h.astype(wide), c.astype(wide).reshape(sizes), mode) for c in x.T], axis=1
            )
            assert got.dtype == np.result_type(h, x)
            assert_near(got, want, h.reshape(-1), x)


def of_grid(h, x, mode):
    if mode != "circular":
        return scipy.signal.convolve(x, h, mode, "direct").reshape(-1)
    y = np.zeros(x.shape, x.dtype)
    for j in np.ndindex(h.shape):
        y += h[j] * np.roll(x, j, axis=tuple(range(x.ndim)))
    return y.reshape(-1)


@pytest.mark.parametrize("n", SIZES[:-3])
def test_filters_of_images_of_every_size(n):
    h, x = draw((3, 5), DTYPES[n % 4], n), draw((n, 4), DTYPES[n // 4 % 4], n)
    for mode in ("full", "same", "circular"):
        if mode == "circular" and np.result_type(h, x) != h.dtype:
            continue  # the filter is folded in its own precision
        want = of_grid(*(a.astype(np.result_type(h, x, np.float64)) for a in (h, x)), mode)
        got = lo.convolution(h, (n, 4), mode) @ x.reshape(-1)
        assert_near(got, want, h.reshape(-1), x.reshape(-1))


def test_circular_convolution_of_an_image_is_that_of_ndimage():
    """There the filter stands on its middle, here on its first entry."""
    h, x = draw((3, 5), "float64"), draw((12, 16), "float64", 1)
    got = (lo.convolution(h, (12, 16), "circular") @ x.reshape(-1)).reshape(12, 16)
    want = np.roll(scipy.ndimage.convolve(x, h, mode="wrap"), (1, 2), (0, 1))
    assert_near(got.reshape(-1), want.reshape(-1), h.reshape(-1), x.reshape(-1))


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_convolutions_of_grids_keep_the_contract(method, xp):
    for mode in (*MODES, "circular"):
        for sizes, taps in (((4, 5), (2, 3)), ((3, 4, 2), (2, 1, 2))):
            dense = np.stack(
                [
                    of_grid(kernel := draw(taps, "complex128"), e.reshape(sizes) + 0j, mode)
                    for e in np.eye(math.prod(sizes))
                ],
                axis=1,
            )
            check_operator(lo.convolution(xp.asarray(kernel), sizes, mode, method), dense=dense)


def test_filters_of_one_axis_each_are_their_kronecker_product():
    g, h, x = draw(3, "float64"), draw(4, "float64", 1), draw((6, 5), "float64", 2)
    one = lo.convolution(np.outer(g, h), (6, 5), "same") @ x.reshape(-1)
    other = lo.kron(lo.convolution(g, 6, "same"), lo.convolution(h, 5, "same")) @ x.reshape(-1)
    assert_near(one, other, np.outer(g, h).reshape(-1), x.reshape(-1))


def test_the_cheapest_way_over_grids():
    def chosen(h, n, dtype="float64"):
        A = lo.convolution(h.astype(dtype), n, "same")
        return A._cheapest(A.kernel, np.empty((math.prod(n), 1), dtype))

    assert chosen(np.ones((31, 31)), (512, 512)) == "fft"
    assert chosen(np.ones((2, 2)), (4, 4)) == "direct"
    assert chosen(1j * np.ones((9, 9)), (512, 512), "complex128") == "fft"


def test_gradients_reach_grids_and_their_filters():
    torch = pytest.importorskip("torch")
    h = torch.from_numpy(draw((2, 3), "float64")).requires_grad_()
    x = torch.from_numpy(draw((12, 2), "float64", 1)).requires_grad_()
    for method in ("direct", "fft"):
        for mode in ("same", "circular"):
            f = lambda h, x, how=(mode, method): lo.convolution(h, (3, 4), *how) @ x
            assert torch.autograd.gradcheck(f, (h, x))
    A = lo.convolution(h.detach(), (3, 4), "same", "fft")
    before = A @ x.detach()
    with torch.no_grad():
        h.mul_(2)
    torch.testing.assert_close(A @ x.detach(), 2 * before)


def test_what_convolutions_of_grids_refuse():
    with pytest.raises(ValueError, match=r"a filter of a grid of shape \(4, 5\) has as many axes"):
        lo.convolution(np.ones(3), (4, 5))
    with pytest.raises(ValueError, match="none is empty, got shape \\(2, 0\\)"):
        lo.convolution(np.ones((2, 0)), (4, 5))
    with pytest.raises(ValueError, match="method is one of auto, direct, fft, got 'overlap-add'"):
        lo.convolution(np.ones((2, 2)), (4, 5), "same", "overlap-add")
    with pytest.raises(ValueError, match="4 entries with 2 has no window of 9 rows from 0 on"):
        GridConvolution(np.ones((2, 2)), (4, 4), (0, 0), (9, 4))
    with pytest.raises(ValueError, match="a filter of a grid of 2 axes has as many"):
        GridConvolution(np.ones((2, 2)), (4, 4), (0,), (4, 4))


def test_what_convolutions_refuse():
    why = r"a filter has shape \(m,\) with m from 1 on, got "
    with pytest.raises(ValueError, match=why + r"\(2, 2\)"):
        lo.convolution(np.ones((2, 2)), 4)
    with pytest.raises(ValueError, match=why + r"\(0,\)"):
        lo.circulant([])
    with pytest.raises(ValueError, match="mode is one of full, same, valid, circular, got 'x'"):
        lo.convolution([1.0], 4, "x")
    with pytest.raises(
        ValueError, match="method is one of auto, direct, fft, overlap-add, got 'x'"
    ):
        lo.convolution([1.0], 4, method="x")
    with pytest.raises(ValueError, match="mode 'circular' has no methods to choose from"):
        lo.convolution([1.0], 4, "circular", "fft")
    with pytest.raises(ValueError, match="a convolution takes signals of length 1 or more"):
        lo.convolution([1.0], 0)
    with pytest.raises(ValueError, match="has no window of 9 rows from 0 on that meets them all"):
        lo.operators.Convolution(np.ones(3), 5, 0, 9)
