"""Wavelet transforms: equal to PyWavelets in every mode, true adjoints, perfect reconstruction."""

from __future__ import annotations

import functools
import math
import sys
import warnings

import numpy as np
import pytest
import pywt
from hypothesis import given
from hypothesis import strategies as st
from theory import gamma

import lazyops as lo
from lazyops.operators import boundary, filterbank
from lazyops.testing import check_operator

SIZES = [*range(1, 18), 31, 32, 48, 97, 100, 128, 1000, 1009, 1024]
NAMES = ["haar", "db2", "db4", "db8", "sym5", "coif2", "bior2.2", "bior4.4", "rbio3.3", "dmey"]
EXACT = ["haar", "db2", "db4", "db8", "coif2", "bior2.2", "rbio3.3"]  # filters without an error
DTYPES = ["float64", "float32", "complex128", "complex64"]


@pytest.fixture(autouse=True)
def quiet():
    """Levels above the maximum are tried on purpose; that they warn is a test of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def probe(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if "c" in dtype else x).astype(dtype)


@functools.cache
def absolute(name):
    return pywt.Wavelet("absolute", [np.abs(f) for f in pywt.Wavelet(name).filter_bank])


def sizes_of_parts(x, name, mode, level):
    """|T| |E| ... |T| |E| |x|, by PyWavelets with filters and ends made positive, and the number
    of roundings: an entry of T E is a sum of `taps` products, rounded to the dtype of x; the
    product with x has a term for each tap, and four for the ends that two modes draw lines through.
    """
    taps = pywt.Wavelet(name).dec_len
    roundings = level * len(x.shape) * (2 * taps + 6)
    x = np.abs(x).astype(float)
    if mode in ("smooth", "antireflect"):
        rows = boundary.extension(max(*x.shape, 2), taps, taps, mode)
        once = max(np.abs(f).sum() for f in pywt.Wavelet(name).filter_bank)
        return x.max() * (once * np.abs(rows).sum(axis=1).max()) ** (level * x.ndim), roundings
    positive = "symmetric" if mode == "antisymmetric" else mode
    return coefficients(x, absolute(name), positive, level), roundings


def coefficients(x, name, mode, level):
    if x.ndim == 1:
        return np.concatenate(pywt.wavedec(x, name, mode, level))
    return pywt.ravel_coeffs(pywt.wavedecn(x, name, mode, level))[0]


def assert_equals_pywt(x, name, mode, level, xp):
    want = coefficients(x, name, mode, level)
    got = np.asarray(lo.wavelet(x.shape, name, level, mode) @ xp.asarray(x.reshape(-1)))
    assert got.dtype == want.dtype == x.dtype
    assert got.shape == want.shape
    bound, roundings = sizes_of_parts(x, name, mode, level)
    excess = np.abs(got - want) - 2 * gamma(2 * roundings, x.real.dtype) * bound
    assert excess.max() <= 0, (x.shape, name, mode, level, excess.max())


def level_for(n, name):
    return max(1, pywt.dwt_max_level(n, pywt.Wavelet(name)))


@pytest.mark.parametrize("mode", pywt.Modes.modes)
def test_equals_pywavelets(mode, xp):
    for i, n in enumerate(SIZES):
        if "reflect" in mode and n == 1:
            continue
        for j in range(2 if xp is np else 1):
            name = NAMES[(3 * i + 5 * j + len(mode)) % len(NAMES)]
            x = probe(n, DTYPES[(i + j) % 4], seed=n)
            assert_equals_pywt(x, name, mode, level_for(n, name), xp)


@pytest.mark.parametrize("name", NAMES)
def test_every_family_equals_pywavelets(name):
    for i, n in enumerate((1000, 1009, 1024, 5)):
        for j, mode in enumerate(pywt.Modes.modes):
            x = probe(n, DTYPES[(i + j) % 4], seed=n)
            assert_equals_pywt(x, name, mode, level_for(n, name), np)


@pytest.mark.parametrize("shape", [(16, 16), (17, 5), (9, 1), (40, 300), (6, 7, 8), (3, 5, 2, 4)])
def test_more_axes_equal_pywavelets(shape, xp):
    for i, mode in enumerate(m for m in pywt.Modes.modes if "reflect" not in m or 1 not in shape):
        name = ("haar", "db2", "bior2.2")[i % 3]
        assert_equals_pywt(probe(shape, DTYPES[i % 4]), name, mode, 1 + i % 2, xp)


def test_all_modes_are_known():
    assert set(boundary.MODES) == set(pywt.Modes.modes)
    assert set(pywt.wavelist(kind="discrete")) >= set(NAMES)


@pytest.mark.parametrize("name", pywt.wavelist(kind="discrete"))
def test_every_wavelet_is_taken(name):
    assert_equals_pywt(probe(200, "float64"), name, "symmetric", 2, np)
    W = lo.wavelet(200, name, 2)
    assert filterbank.reconstructs(W.bank) == (name in RECONSTRUCT)
    orthogonal = pywt.Wavelet(name).orthogonal or name in ("bior1.1", "rbio1.1")  # haar
    assert filterbank.is_orthogonal(W.bank) == (name in RECONSTRUCT and orthogonal)


def filter_error(name):
    """How far the filters are from reconstruction: from the product of their polynomials."""
    low, high, low_back, high_back = map(np.poly1d, pywt.Wavelet(name).filter_bank)
    through = (low * low_back + high * high_back).coeffs
    return np.abs(through - 2 * (np.abs(through) > 1)).max()


RECONSTRUCT = [n for n in pywt.wavelist(kind="discrete") if filter_error(n) < 2e-15]


def test_which_wavelets_reconstruct():
    """Those that PyWavelets tabulates with an error, and only those, are left out."""
    left_out = set(pywt.wavelist(kind="discrete")) - set(RECONSTRUCT)
    assert {n.rstrip("0123456789.") for n in left_out} == {"bior", "dmey", "rbio", "sym"}
    assert set(EXACT) <= set(RECONSTRUCT)


# -- reconstruction --------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("mode", pywt.Modes.modes)
def test_perfect_reconstruction(name, mode):
    for n in SIZES:
        if "reflect" in mode and n == 1:
            continue
        level = level_for(n, name)
        if (name, mode) == ("rbio3.3", "smooth"):  # the lines grow with each level, and round alike
            level = min(level, 6)
        x = probe(n, "float64", seed=n)
        y = lo.iwavelet(n, name, level, mode) @ (lo.wavelet(n, name, level, mode) @ x)
        assert np.linalg.norm(y - x) <= 1e-14 * np.linalg.norm(x), (n, mode)
    x = probe((33, 20), "float64").reshape(-1)
    y = lo.iwavelet((33, 20), name, 2, mode) @ (lo.wavelet((33, 20), name, 2, mode) @ x)
    assert np.linalg.norm(y - x) <= 1e-14 * np.linalg.norm(x)


@pytest.mark.parametrize("name", ["db4", "bior4.4", "dmey"])
@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
def test_reconstruction_equals_pywavelets(name, mode, xp):
    """Of any coefficients, not only those of a signal; without the entry more of odd sizes."""
    for n in (1, 2, 7, 31, 100, 1009, 1024):
        level = level_for(n, name)
        S = lo.iwavelet(n, name, level, mode)
        c = probe(S.shape[1], "float64", seed=n)
        want = pywt.waverec(S.coefficients(c), name, mode)[:n]
        got = np.asarray(S @ xp.asarray(c))
        once = np.abs(pywt.Wavelet(name).filter_bank).sum()
        bound = 2 * gamma(level * (3 * pywt.Wavelet(name).dec_len + 6), float)
        assert (np.abs(got - want) <= bound * once**level * np.abs(c).max()).all()


def test_coefficients_are_those_of_pywavelets():
    x = probe((12, 10), "float64")
    W = lo.wavelet(x.shape, "db2", 2)
    y = W @ x.reshape(-1)
    ours, theirs = W.coefficients(y), pywt.wavedecn(x, "db2", level=2)
    assert np.shares_memory(ours[0], y)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)
    assert [list(level) for level in ours[1:]] == [sorted(level) for level in theirs[1:]]
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        for key in one:
            assert one[key].shape == other[key].shape
    np.testing.assert_array_equal(pywt.ravel_coeffs(ours)[0], y)
    back = pywt.waverecn(ours, "db2")
    np.testing.assert_allclose(back, x, atol=1e-13)
    columns = lo.wavelet(12, "haar", 1).coefficients(np.ones((12, 3)))
    assert [c.shape for c in columns] == [(6, 3), (6, 3)]
    with pytest.raises(
        ValueError, match=r"has 12 coefficients: y is of shape \(12,\) or .* \(11,\)"
    ):
        lo.wavelet(12, "haar", 1).coefficients(np.ones(11))


# -- adjoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", pywt.Modes.modes)
@pytest.mark.parametrize("name", ["haar", "db4", "bior2.2"])
def test_the_adjoint_is_the_transpose(name, mode, xp):
    """Of the matrix that PyWavelets applies, ends included; exactly as many entries as it has."""
    for n in (2, 7, 16, 33):
        level = level_for(n, name)
        W = lo.wavelet(n, name, level, mode)
        matrix = np.stack([coefficients(e, name, mode, level) for e in np.eye(n)], axis=1)
        y = probe((W.shape[0], 3), "float64")
        bound, roundings = sizes_of_parts(np.ones(n), name, mode, level)
        error = np.abs(np.asarray(W.H @ xp.asarray(y)) - matrix.T @ y)
        within = 2 * gamma(roundings + W.shape[0], float) * np.max(bound) * np.abs(y).sum(axis=0)
        assert (error <= within).all(), (n, error.max())


def most_reflected(n, name, mode):
    """Levels until one entry is left, which has no neighbour."""
    level = 0
    while n > 1 and level < 9:
        n, level = pywt.dwt_coeff_len(n, pywt.Wavelet(name).dec_len, mode), level + 1
    return level


@given(
    st.integers(2, 700), st.sampled_from(NAMES), st.sampled_from(pywt.Modes.modes),
    st.integers(0, 3), st.booleans(), st.sampled_from([1, 2, 9]),
)  # fmt: skip
def test_the_dot_products_agree(n, name, mode, level, inverse, k):
    """<A x, y> = <x, A.H y>, long signals and short ones, with columns and without."""
    make = lo.iwavelet if inverse else lo.wavelet
    if "reflect" in mode:
        level = min(level, most_reflected(n, name, mode))
    A = make(n, name, level, mode)
    x, y = probe((A.shape[1], k), "float64"), probe((A.shape[0], k), "float64", 1)
    Ax, Aty = A @ x, A.H @ y
    size = np.linalg.norm(Ax) * np.linalg.norm(y) + np.linalg.norm(x) * np.linalg.norm(Aty)
    grows = 1 if mode not in ("smooth", "antireflect") else 4.0 * pywt.Wavelet(name).dec_len
    roundings = (level + 1) * (3 * pywt.Wavelet(name).dec_len + 6) + n
    bound = gamma(roundings, float) * size * (4 * grows) ** level
    assert abs(np.sum(Ax * y) - np.sum(x * Aty)) <= bound


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(
    ("shape", "mode"), [(13, "smooth"), ((6, 5), "periodization"), (300, "zero")]
)
def test_contract(shape, mode, inverse, xp):
    make = lo.iwavelet if inverse else lo.wavelet
    A = make(shape, "db2", 1, mode)
    check_operator(A, like=xp.asarray(np.ones(1)))
    check_operator(A.H, like=xp.asarray(np.ones(1)))


@pytest.mark.parametrize("name", ["haar", "db3"])
def test_orthogonal_where_it_says_so(name):
    W = lo.wavelet((32, 16), name, 1, "periodization")
    assert W.is_unitary
    assert not lo.wavelet(31, name, 1, "periodization").is_unitary  # more coefficients than entries
    assert lo.wavelet(32, "bior2.2", 1, "periodization").is_unitary is None
    assert lo.wavelet(32, "dmey", 1, "periodization").is_unitary is None
    matrix = W.to_dense()
    assert np.abs(matrix @ matrix.T - np.eye(512)).max() <= 2 * gamma(4 * 8 * 6, float) * 4


def test_gradients_flow_through_torch():
    torch = pytest.importorskip("torch")
    for inverse in (False, True):
        A = (lo.iwavelet if inverse else lo.wavelet)((9, 20), "db2", 1, "antireflect")
        x = torch.from_numpy(probe(A.shape[1], "float64")).requires_grad_()
        assert torch.autograd.gradcheck(lambda t, A=A: A @ t, (x,), fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda t, A=A: A @ t, (x,), fast_mode=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("columns", [1, 3])
def test_torch_runs_the_same_by_the_compiled_kernel_and_by_its_own_operations(columns):
    """The code of all libraries, as a GPU runs it: values, derivatives, maps over batches."""
    torch = pytest.importorskip("torch")
    W = lo.wavelet(200, "db4", level=3)
    for A in (W, W.H, lo.iwavelet((20, 36), "bior2.2", level=2)):
        x = torch.from_numpy(probe((A.shape[1], columns), "float64"))
        want = A @ x
        passes = A.level * len(A.sizes)  # of sums of 64 products at most, zeros counted
        growth = max(2 * np.abs(f).sum() for f in A.bank) ** passes
        bound = 2 * gamma(64 * passes, float) * growth * float(abs(x).max())
        asked = x.clone().requires_grad_()
        assert abs(A._anywhere(x) - want).max() <= bound
        assert torch.autograd.gradcheck(A._anywhere, (asked,), fast_mode=True)
        _, tangent = torch.func.jvp(lambda t, A=A: A @ t, (x,), (x,))
        assert abs(tangent - want).max() <= bound
        rows = torch.func.vmap(lambda t, A=A: A @ t, in_dims=1, out_dims=1)(x)
        assert abs(rows - want).max() <= bound
        (A @ asked).sum().backward()
        assert torch.equal(asked.grad, A.H @ torch.ones_like(want))


# -- what is asked for wrongly ------------------------------------------------------------------


def test_levels():
    for n in (1, 2, 5, 7, 8, 1000):
        for name in ("haar", "db4"):
            assert lo.wavelet(n, name).level == pywt.dwt_max_level(n, pywt.Wavelet(name))
    assert lo.wavelet((100, 9), "db2").level == pywt.dwtn_max_level((100, 9), "db2")
    assert lo.wavelet(5, "db8").shape == (5, 5)  # no level at all: the signal itself
    with pytest.warns(
        UserWarning, match="level 4 is above 3, the last at which the 2 taps of haar"
    ):
        lo.wavelet(8, "haar", level=4)
    with pytest.raises(
        ValueError, match="the level of a wavelet transform is an integer from 0 on"
    ):
        lo.wavelet(8, "haar", level=-1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((8, "gaus1"), ValueError, "gaus1 is a continuous wavelet"),
        ((8, "nothing"), ValueError, "Unknown wavelet name 'nothing'"),
        ((8, "haar", 1, "mirror"), ValueError, "mode is one of zero, constant, .* got 'mirror'"),
        ((8.0, "haar"), TypeError, "an axis of a wavelet transform is an integer, got float 8.0"),
        (((8, 0), "haar"), ValueError, r"takes axes of 1 or more entries, got \(8, 0\)"),
        (((), "haar"), ValueError, r"takes axes of 1 or more entries, got \(\)"),
        ((1, "haar", 1, "reflect"), ValueError, "mode 'reflect' takes axes of 2 or more entries"),
        ((3, "haar", 3, "reflect"), ValueError, r"entries, got \(1,\) at level 3: take at most 2"),
        ((8, [[1, 1], [1, -1]]), ValueError, r"four filters of .*, got lengths \[2, 2\]"),
        ((8, [[1.0, 2, 3]] * 4), ValueError, r"of one even length .*, got lengths \[3, 3, 3, 3\]"),
        ((8, [1, 2, 3, 4]), TypeError, "a filter bank is four sequences of real numbers"),
    ],
)  # fmt: skip
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        lo.wavelet(*arguments)


def test_without_pywavelets(monkeypatch):
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(
        ImportError, match=r"pip install 'lazyops\[wavelet\]', or pass four filters"
    ):
        lo.wavelet(8, "haar")
    half = math.sqrt(0.5)
    W = lo.wavelet(8, [[half, half], [-half, half], [half, half], [half, -half]], 1)
    np.testing.assert_allclose(W @ np.ones(8), [2 * half] * 4 + [0] * 4, atol=1e-15)


def test_a_wavelet_object():
    w = pywt.Wavelet("db2")
    assert repr(lo.wavelet(16, w)) == repr(lo.wavelet(16, "db2"))


def test_what_is_not_the_identity_is_kept():
    """Where filters, sizes, levels or ends do not meet, or a square matrix is missing."""
    W = lo.wavelet(16, "db2", 1)
    for product in (
        W @ lo.iwavelet(16, "db2", 1),  # a projector
        W.H @ W,
        lo.iwavelet(17, "haar", 1, "periodization") @ lo.wavelet(17, "haar", 1, "smooth"),
        lo.iwavelet(16, "sym4", 1) @ lo.wavelet(16, "sym4", 1),  # to 1e-12 only
        lo.iwavelet(15, "db2", 1, "periodization").H @ lo.wavelet(15, "db2", 1, "periodization").H,
    ):
        assert isinstance(lo.simplify(product), lo.Product)


@pytest.mark.parametrize("k", [2, 3, 16, 21, 600])
@pytest.mark.parametrize("inverse", [False, True])
def test_columns_are_transformed_alike(k, inverse):
    """Few and many, in C and Fortran order, long and short: within rounding of one at a time."""
    for n in (5000, 700) if k < 600 else (700,):
        A = (lo.iwavelet if inverse else lo.wavelet)(n, "db2", 2, "periodization")
        for op in (A, A.H):
            x = probe((op.shape[1], k), "float64")
            alone = np.stack([op @ np.ascontiguousarray(x[:, j]) for j in range(k)], axis=1)
            bound = 2 * gamma(2 * 3 * 14, float) * 4 * np.abs(x).max() * 8
            assert np.abs(op @ x - alone).max() <= bound
            assert np.abs(op @ np.asfortranarray(x) - alone).max() <= bound


def test_the_kernel_reads_and_writes_inside_only():
    from lazyops.kernels import filterbank as kernel

    x, filters = np.ones((2, 40, 1)), np.ones((2, 2, 2))
    if kernel.obstacle(filters, x) is not None:
        pytest.skip(kernel.obstacle(filters, x))
    bands = [np.zeros((2, 20, 1)), np.zeros((2, 20, 1))]
    kernel.decompose(x, filters, bands, 0, 0, 19)
    np.testing.assert_array_equal(bands[0][:, :, 0], [[4.0] * 19 + [0]] * 2)
    for start, first, rows in (
        (0, 0, 20),
        (1, 0, 19),
        (0, 2, 19),
        (-1, 0, 1),
        (0, -1, 1),
        (0, 0, -1),
    ):
        with pytest.raises(
            ValueError, match=r"do not fit: \(2, 40, 1\), \(2, 2, 2\), \(2, 20, 1\)"
        ):
            kernel.decompose(x, filters, bands, start, first, rows)
    for start, first, rows in ((0, 0, 20), (1, 0, 19), (0, 3, 19), (-1, 0, 1), (0, -1, 1)):
        with pytest.raises(ValueError, match="signal, filters and bands do not fit"):
            kernel.reconstruct(bands, filters, x, start, first, rows)
    with pytest.raises(TypeError, match="do not fit by dtype: float64, float32, float64, float64"):
        kernel.decompose(x, filters.astype(np.float32), bands, 0, 0, 1)
