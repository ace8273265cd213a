"""What moves entries, and what acts on one axis: exactly equal to NumPy's function."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from cases import CASES
from hypothesis import given
from hypothesis import strategies as st
from theory import assert_within

import lazyops as lo
from lazyops.operators import Identity
from lazyops.operators.stretches import Windows, stretches
from lazyops.testing import check_operator

SIZES = [*range(1, 18), 31, 32, 48, 97, 100, 128, 1000, 1009, 1024]
MODES = ["constant", "edge", "reflect", "symmetric", "wrap"]
DTYPES = ["float32", "float64", "complex64", "complex128"]


def probe(n, dtype="float64", k=2):
    """Small whole numbers: sums of them are exact, so equality is to the bit."""
    rng = np.random.default_rng(n)
    x = rng.integers(-9, 10, (n, k)) + (1j * rng.integers(-9, 10, (n, k)) if "c" in dtype else 0)
    return x.astype(dtype)


def assert_does(A, x, want, xp):
    """A @ x is `want`, dtype and all; A.H is the transpose of the matrix of A."""
    got = A @ xp.asarray(x)
    assert type(got) is type(xp.asarray(x))
    got = np.asarray(got)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, want)
    y = probe(A.shape[0], x.dtype.name)
    back = np.asarray(A.H @ xp.asarray(y))
    assert back.dtype == x.dtype
    assert (back * x.conj()).sum() == (y * got.conj()).sum()  # whole numbers: exact


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", SIZES)
def test_pad_equals_numpy(n, mode, xp):
    for width in (0, 1, (2, 0), (0, 3), (n, n), (2 * n + 3, 1)):
        x = probe(n, DTYPES[(n + len(mode)) % 4])
        want = np.pad(x, (np.broadcast_to(width, 2), (0, 0)), mode)
        assert_does(lo.pad(n, width, mode), x, want, xp)


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.sampled_from(MODES),
    st.data(),
)
def test_pad_of_several_axes_equals_numpy(shape, mode, data):
    pairs = st.tuples(st.integers(0, 7), st.integers(0, 7))
    width = data.draw(st.one_of(st.integers(0, 7), pairs, st.tuples(*[pairs] * len(shape))))
    x = probe(int(np.prod(shape)), k=1)[:, 0]
    A = lo.pad(shape, width, mode)
    np.testing.assert_array_equal(A @ x, np.pad(x.reshape(shape), width, mode).reshape(-1))
    np.testing.assert_array_equal(A.H.to_dense(), A.to_dense().T)


@pytest.mark.parametrize("n", SIZES)
def test_roll_and_flip_equal_numpy(n, xp):
    x = probe(n, DTYPES[n % 4])
    for shift in (0, 1, -2, n // 2, 3 * n + 1):
        assert_does(lo.roll(n, shift), x, np.roll(x, shift, axis=0), xp)
    assert_does(lo.flip(n), x, x[::-1], xp)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.data())
def test_roll_and_flip_of_several_axes_equal_numpy(shape, data):
    axes = data.draw(
        st.none()
        | st.integers(-len(shape), len(shape) - 1)
        | st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(tuple)
    )
    shift = data.draw(st.integers(-9, 9))
    x = probe(int(np.prod(shape)), k=1)[:, 0]
    X = x.reshape(shape)
    np.testing.assert_array_equal(lo.flip(shape, axes) @ x, np.flip(X, axes).reshape(-1))
    np.testing.assert_array_equal(
        lo.roll(shape, shift, axes) @ x, np.roll(X, shift, axes).reshape(-1)
    )


def test_roll_takes_a_shift_for_each_axis():
    x = probe(12, k=1)[:, 0]
    want = np.roll(x.reshape(3, 4), (1, -2), (0, 1)).reshape(-1)
    np.testing.assert_array_equal(lo.roll((3, 4), (1, -2), (0, 1)) @ x, want)


@pytest.mark.parametrize("n", SIZES)
def test_chunks_equal_a_sliding_window(n, xp):
    x = probe(n, DTYPES[n % 4])
    for size in {1, min(3, n), n}:
        for hop in (1, 2, 5):
            view = np.lib.stride_tricks.sliding_window_view(x, size, axis=0)[::hop]
            want = view.transpose(0, 2, 1).reshape(-1, x.shape[1])
            assert_does(lo.chunk(n, size, hop), x, want, xp)
        assert lo.chunk(n, size).shape == (n // size * size, n)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9))
def test_overlap_add_adds_each_window_in_its_place(n, size, hop):
    size = min(size, n)
    A = lo.overlap_add(n, size, hop)
    windows = probe(A.shape[1], k=1)[:, 0].reshape(-1, size)
    want = np.zeros(n)
    for i, window in enumerate(windows):
        want[i * hop : i * hop + size] += window
    np.testing.assert_array_equal(A @ windows.reshape(-1), want)


@given(
    st.integers(1, 3), st.integers(8, 20), st.integers(1, 30), st.integers(0, 5), st.integers(1, 3)
)
def test_windows_are_found_and_added_up(k, size, hop, first, count):
    """Long ones run as one view; what follows is the same as entry by entry."""
    index = (first + hop * np.arange(count)[:, None] + np.arange(size)).reshape(-1)
    n = int(index[-1]) + 3
    A, x = lo.restrict(index, n), probe(n, k=k)
    assert (count > 1 and hop != size) == isinstance(stretches(index, {}), Windows)
    np.testing.assert_array_equal(A @ x, x[index])
    y, want = probe(len(index), k=k), np.zeros((n, k))
    np.add.at(want, index, y)
    np.testing.assert_array_equal(A.H @ y, want)
    both = lo.along_axis(A, (2, n, k), 1)
    X = probe(2 * n * k, k=1)[:, 0]
    got = (both @ X).reshape(2, -1, k)
    np.testing.assert_array_equal(got, X.reshape(2, n, k)[:, index])
    back = (both.H @ got.reshape(-1)).reshape(2, n, k)
    np.testing.assert_array_equal(back, [A.H @ part for part in got])


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(900, 1500)), min_size=1, max_size=4))
def test_long_stretches_equal_their_index(parts):
    pieces = [20 + abs(step) * length + step * np.arange(length) for step, length in parts]
    index = np.concatenate(pieces)
    n = int(index.max()) + 2
    A, x = lo.restrict(index, n), probe(n)
    np.testing.assert_array_equal(A @ x, x[index])
    y, want = probe(len(index)), np.zeros((n, 2))
    np.add.at(want, index, y)
    np.testing.assert_array_equal(A.H @ y, want)
    two = lo.kron(lo.Identity(2), A)
    np.testing.assert_array_equal(
        two @ np.concatenate([x, 2 * x]), np.concatenate([x[index], 2 * x[index]])
    )
    np.testing.assert_array_equal(two.H @ np.concatenate([y, y]), np.concatenate([want, want]))


@pytest.mark.parametrize("n", SIZES)
def test_downsample_is_a_slice(n, xp):
    x = probe(n, DTYPES[n % 4])
    for step, start in ((1, 0), (2, 1), (3, 0), (n + 1, 0)):
        assert_does(lo.downsample(n, step, start), x, x[start::step], xp)


@pytest.mark.parametrize("name", CASES)
def test_every_kind_acts_along_the_middle_of_three_axes(name, xp):
    """Whether it knows how to run there, or a copy brings its axis to the front."""
    make, matrix = CASES[name]
    A, host = make(xp.asarray), make(np.asarray)
    for after in (3, 1):
        X = probe(2 * A.shape[1] * after, "complex128", 1).reshape(2, A.shape[1], after)
        want = np.einsum("ij,ajb->aib", matrix, X).reshape(-1)
        got = lo.kron(Identity(2), A, Identity(after)) @ xp.asarray(X.reshape(-1))
        bound = lo.kron(Identity(2), host, Identity(after))
        assert_within(got, want, bound, X.reshape(-1), times=2)


@pytest.mark.parametrize("shape", [(6,), (4, 6), (3, 4, 5), (2, 3, 2, 2)])
def test_along_axis_equals_the_axis_argument(shape, xp):
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape)
    x = xp.asarray(X.reshape(-1))
    for axis in range(-len(shape), len(shape)):
        n = shape[axis]
        cases = [
            (lo.fft(n), scipy.fft.fft(X, axis=axis)),
            (lo.ifft(n), scipy.fft.ifft(X, axis=axis)),
            (lo.dct(n), scipy.fft.dct(X, axis=axis)),
            (lo.dst(n, 4), scipy.fft.dst(X, 4, axis=axis)),
            (lo.roll(n, 1), np.roll(X, 1, axis)),
            (lo.flip(n), np.flip(X, axis)),
            (lo.downsample(n, 2), np.moveaxis(np.moveaxis(X, axis, 0)[::2], 0, axis)),
            (lo.fft(n) @ lo.roll(n, 1), scipy.fft.fft(np.roll(X, 1, axis), axis=axis)),
        ]
        for op, want in cases:
            A = lo.along_axis(op, shape, axis)
            assert_within(A @ x, want.reshape(-1), A, X.reshape(-1), times=20)
        matrix = rng.standard_normal((2, n))
        A = lo.along_axis(matrix, shape, axis)
        if xp is np:
            want = np.moveaxis(np.tensordot(matrix, X, (1, axis)), 0, axis)
            assert_within(A @ x, want.reshape(-1), A, X.reshape(-1))


def test_columns_of_images_in_both_orders():
    A = lo.along_axis(lo.fft(4), (3, 4), 1)
    x = np.random.default_rng(0).standard_normal((12, 5))
    want = scipy.fft.fft(x.reshape(3, 4, 5), axis=1).reshape(12, 5)
    np.testing.assert_array_equal(A @ x, want)
    np.testing.assert_allclose(A @ np.asfortranarray(x), want, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "A",
    [
        lo.pad(5, (2, 3), "reflect"),
        lo.pad((3, 2), 1),
        lo.pad((2, 3), ((4, 0), (1, 2)), "wrap"),
        lo.roll((3, 4), 2, 1),
        lo.flip(6),
        lo.chunk(9, 4, 2),
        lo.overlap_add(9, 4, 2),
        lo.downsample(7, 3, 1),
        lo.along_axis(lo.hadamard(4), (3, 4, 2), 1),
    ],
    ids=repr,
)
def test_they_keep_the_contract(A):
    assert check_operator(A)


def test_gradients_flow():
    torch = pytest.importorskip("torch")
    for A in (
        lo.pad(4, 3, "symmetric"),
        lo.chunk(6, 3, 2).H,
        lo.along_axis(lo.dct(3), (2, 3, 2), 1),
    ):
        x = torch.randn(A.shape[1], 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda z, A=A: A @ z, x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lo.pad(3, 1, "mean"), ValueError, "mode is one of constant, edge, .*, got 'mean'"),
        (lambda: lo.pad(3, -1), ValueError, "width is from 0 on, got -1"),
        (lambda: lo.pad(3, 1.5), TypeError, "width holds integers, got 1.5"),
        (lambda: lo.pad((3, 4), (1, 2, 3)), ValueError, r"one pair for each of 2 axes, got \(1, 2"),
        (lambda: lo.pad(0, 1, "edge"), ValueError, "can't extend empty axis"),
        (lambda: lo.pad((3, 2.5), 1), TypeError, r"shape of a signal holds integers, got \(3, 2.5"),
        (lambda: lo.flip((2, -1)), ValueError, "holds integers from 0 on, got"),
        (lambda: lo.flip((2, 3), 2), ValueError, "axis 2 is out of bounds"),
        (lambda: lo.roll((), 2), ValueError, "holds integers from 0 on, got"),
        (lambda: lo.chunk(4, 5), ValueError, "a window has 1 to 4 entries of a signal of 4, got 5"),
        (
            lambda: lo.chunk(4, 2, 0),
            ValueError,
            "the hop from window to window is 1 or more, got 0",
        ),
        (lambda: lo.downsample(4, 0), ValueError, "the step of a downsampling is 1 or more, got 0"),
        (
            lambda: lo.along_axis(lo.fft(4), (3, 4), 2),
            ValueError,
            r"a signal of shape \(3, 4\) has no axis 2",
        ),
        (
            lambda: lo.along_axis(lo.fft(4), (3, 4), 0),
            ValueError,
            r"fft\(4\) \(4x4\) meets axis 0 of shape \(3, 4\): 4 columns, 3 entries",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
