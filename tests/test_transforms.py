"""Named transforms and exact chains: equal to SciPy at any size, in every library."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from theory import gamma

import lazyops as lo
from lazyops.operators import roots_of_unity

SIZES = [*range(1, 18), 31, 32, 48, 97, 100, 128, 1000, 1009, 1024]
NORMS = ["backward", "ortho", "forward"]
DTYPES = ["float32", "float64", "complex64", "complex128"]
LEVELS = 40  # roundings that a fast transform of these sizes makes on a path, at most (three FFTs)


def probe(n, dtype):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 3))
    return (x + 1j * rng.standard_normal((n, 3)) if "c" in dtype else x).astype(dtype)


def assert_near(got, want, x):
    """Normwise: a fast transform errs by gamma(levels) times the sum of |x| times its entries,
    which are 2 at most."""
    name = "float32" if got.dtype in (np.float32, np.complex64) else "float64"
    bound = 2 * gamma(4 * LEVELS, name) * 2 * np.abs(x).astype(float).sum(axis=0)
    assert got.shape == want.shape
    assert (np.abs(got - want) <= bound).all(), np.abs(got - want).max()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", SIZES)
def test_fourier_equals_scipy(n, norm, xp):
    for dtype in DTYPES:
        x = probe(n, dtype)
        for A, f, g in (
            (lo.fft(n, norm), scipy.fft.fft, scipy.fft.ifft),
            (lo.ifft(n, norm), scipy.fft.ifft, scipy.fft.fft),
        ):
            want = f(x, axis=0, norm=norm)
            got = np.asarray(A @ xp.asarray(x))
            assert got.dtype == want.dtype
            assert_near(got, want, x)
            other = {"backward": "forward", "forward": "backward"}.get(norm, norm)
            assert_near(np.asarray(A.H @ xp.asarray(x)), g(x, axis=0, norm=other), x)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("sine", [False, True])
@pytest.mark.parametrize("type", [1, 2, 3, 4])
def test_cosines_and_sines_equal_scipy(type, sine, n, xp):
    make, f = (lo.dst, scipy.fft.dst) if sine else (lo.dct, scipy.fft.dct)
    if n == 1 and type == 1 and not sine:
        why = "a cosine transform of type 1 takes 2 or more, got 1"
        with pytest.raises(ValueError, match=why):
            make(n, type)
        return
    for norm in NORMS if n < 200 else ["backward"]:
        A, matrix = make(n, type, norm), f(np.eye(n), type, axis=0, norm=norm)
        for dtype in ("float32", "complex128"):
            x = probe(n, dtype)
            assert_near(np.asarray(A @ xp.asarray(x)), matrix @ x, x)
            assert_near(np.asarray(A.H @ xp.asarray(x)), matrix.T @ x, x)


@pytest.mark.parametrize("order", ["natural", "sequency", "dyadic"])
@pytest.mark.parametrize("n", [1, 2, 4, 8, 64, 2048])
def test_hadamard(n, order, xp):
    x = np.random.default_rng(0).integers(-9, 10, (n, 3)).astype(float)
    H = scipy.linalg.hadamard(n).astype(float)
    bits = n.bit_length() - 1
    if order == "sequency":  # by the number of sign changes
        H = H[np.argsort((np.diff(H, axis=1) != 0).sum(axis=1))]
    if order == "dyadic":
        H = H[[int(f"{i:0{bits}b}"[::-1], 2) if bits else 0 for i in range(n)]]
    A = lo.hadamard(n, order=order)
    np.testing.assert_array_equal(np.asarray(A @ xp.asarray(x)), H @ x)  # whole numbers: exact
    np.testing.assert_array_equal(np.asarray(A.H @ xp.asarray(x)), H.T @ x)


def test_hadamard_takes_powers_of_two():
    for n in (0, 3, 12):
        with pytest.raises(ValueError, match=f"a Hadamard transform takes .*, got {n}"):
            lo.hadamard(n)


PI = np.longdouble("3.14159265358979323846264338327950288")


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.integers(1, 10**9), st.integers(-(10**9), 10**9))
def test_roots_of_unity_are_rounded_once(n, k):
    """An angle, a sine and a cosine are rounded: each part within 1.5 ulp of one."""
    z = roots_of_unity(np.array([k]), n)[0]
    angle = -2 * PI * np.longdouble(k % n) / np.longdouble(n)
    assert max(abs(np.cos(angle) - z.real), abs(np.sin(angle) - z.imag)) <= 3 * 2.0**-53


def test_roots_on_axes_are_exact():
    for n in (4, 8, 12, 1 << 20):
        np.testing.assert_array_equal(roots_of_unity(np.arange(4) * (n // 4), n), [1, -1j, -1, 1j])


def test_what_transforms_refuse():
    with pytest.raises(ValueError, match="norm is one of backward, ortho, forward, got 'both'"):
        lo.fft(4, "both")
    with pytest.raises(ValueError, match="order is one of natural, sequency, dyadic, got 'x'"):
        lo.hadamard(4, order="x")
    with pytest.raises(ValueError, match="the type of a sine transform is 1, 2, 3 or 4, got 5"):
        lo.dst(4, 5)
    with pytest.raises(TypeError, match="the size of a Fourier transform is an integer, got float"):
        lo.fft(4.0)


def test_gradients_flow_through_transforms():
    torch = pytest.importorskip("torch")
    for A in (lo.fft(6), lo.dct(6), lo.dst(6, 3), lo.hadamard(8)):
        x = torch.randn(A.shape[1], 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda z, A=A: A @ z, x)
