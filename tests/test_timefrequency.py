"""Short-time transforms against SciPy's, definitions written out, and the identity."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import assume, given
from hypothesis import strategies as st
from theory import gamma

import lazyops as lo
from lazyops.operators import Frames, Weak
from lazyops.testing import check_operator
from lazyops.transforms.windows import princen_bradley

SIZES = [*range(1, 18), 31, 32, 48, 97, 100, 128, 1000, 1009, 1024]
DTYPES = ["float32", "float64", "complex64", "complex128"]
LEVELS = 40  # roundings on a path through a window, an FFT of these sizes and a sum of frames


def probe(n, dtype, k=3):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, k))
    return (x + 1j * rng.standard_normal((n, k)) if "c" in dtype else x).astype(dtype)


def precision(dtype):
    return "float32" if np.dtype(dtype) in (np.float32, np.complex64) else "float64"


def assert_near(got, want, x, largest=1.0):
    """Normwise: each entry is a sum over |x| times numbers of at most `largest`."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    bound = 2 * gamma(4 * LEVELS, precision(got.dtype)) * largest
    bound = bound * np.abs(x).astype(float).sum(axis=0)
    assert (np.abs(got - want) <= bound).all(), np.abs(got - want).max()


def window_for(n):
    """A window, a hop and a size of transforms that differ with n."""
    m = 1 + n % 13
    w = np.random.default_rng(n).uniform(0.5, 1.5, m)
    return w, 1 + n % min(m, 5), m + n % 3


# -- stft ------------------------------------------------------------------------------------------


@st.composite
def short_time(draw):
    """Arguments of `stft`: windows with zeros at either end, complex ones, every convention."""
    m = draw(st.integers(1, 17))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    w = rng.standard_normal(m)
    w[: draw(st.sampled_from([0, 0, m // 3, m - 1]))] = 0
    w[m - draw(st.sampled_from([0, 0, m // 3, m - 1])) :] = 0
    assume(w.any())
    mode = draw(st.sampled_from(["twosided", "centered", "onesided"]))
    if mode != "onesided" and draw(st.booleans()):
        w = w * np.exp(1j * rng.standard_normal(m))
    n = draw(st.integers(m - m // 2, 60))  # SciPy takes no shorter signals
    hop = draw(st.integers(1, m + 2))
    keywords = {
        "fft_mode": mode,
        "mfft": m + draw(st.integers(0, 4)),
    }
    shifts = [p for p in (None, 0, 3, -2) if p is None or abs(p) < keywords["mfft"]]
    keywords["phase_shift"] = draw(st.sampled_from(shifts))
    return n, w, hop, keywords, draw(st.sampled_from([None, "psd", "magnitude"]))


@given(short_time())
def test_stft_and_istft_equal_scipy(arguments):
    n, w, hop, keywords, scaling = arguments
    if scaling == "magnitude":
        assume(abs(w.sum()) > 1e-3)
    theirs = scipy.signal.ShortTimeFFT(w, hop, 2.0, scale_to=scaling, **keywords)
    A = lo.stft(n, w, hop, scaling=scaling, fs=2.0, **keywords)
    x = probe(n, "float64" if keywords["fft_mode"] == "onesided" else "complex128", 1)
    want = theirs.stft(x[:, 0])
    assert_near(A @ x[:, 0], want.reshape(-1), x, abs(theirs.win).max())
    try:
        dual = theirs.dual_win
    except ValueError:
        with pytest.raises(ValueError, match="take a smaller hop"):
            lo.istft(n, w, hop, scaling=scaling, fs=2.0, **keywords)
        return
    B = lo.istft(n, w, hop, scaling=scaling, fs=2.0, **keywords)
    z = probe(want.size, "complex128", 1)
    y = B @ z[:, 0]
    y = y.real if keywords["fft_mode"] == "onesided" else y
    assert_near(y, theirs.istft(z.reshape(want.shape), 0, n), z, 2 * abs(dual).max())


@pytest.mark.parametrize("n", SIZES)
def test_istft_reconstructs_to_the_ends(n, xp):
    """Signals shorter than the window too, in every precision."""
    w, hop, mfft = window_for(n)
    for i, mode in enumerate(("twosided", "centered")):
        A = lo.stft(n, w, hop, mfft=mfft, fft_mode=mode)
        B = lo.istft(n, w, hop, mfft=mfft, fft_mode=mode)
        for dtype in DTYPES[i::2] if n < 100 else ["float64"]:
            x = probe(n, dtype)
            y = np.asarray(B @ (A @ xp.asarray(x)))
            assert y.dtype == np.result_type(dtype, np.complex64)
            worst = np.abs(y - x).max() / np.abs(x).max()
            assert worst <= {"float64": 1e-14, "float32": 1e-14 * 2**29}[precision(dtype)]


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", ("kaiser", 8.6), "boxcar"])
def test_onesided_reconstructs_real_signals_as_its_real_part(name):
    n, m, hop = 1000, 64, 16
    A = lo.stft(n, (name, m), hop, fft_mode="onesided")
    B = lo.istft(n, (name, m), hop, fft_mode="onesided")
    x = probe(n, "float64")
    assert A.shape[0] * 2 < lo.stft(n, (name, m), hop).shape[0] * 1.1
    assert np.abs((B @ (A @ x)).real - x).max() <= 1e-14 * np.abs(x).max()
    # and is linear over the complex numbers, as a matrix is
    assert_near(A @ (x + 1j * x), (1 + 1j) * (A @ x), np.ones((4 * m, 3)) * np.abs(x).max())


def test_a_dual_that_is_given_is_used():
    n, hop = 50, 4
    w = np.ones(12)
    dual = np.r_[np.zeros(4), np.ones(4), np.zeros(4)]  # sum of dual * w over all shifts is 1
    x = probe(n, "float64")
    A, B = lo.stft(n, w, hop), lo.istft(n, w, hop, dual=dual)
    assert np.abs(B @ (A @ x) - x).max() <= 1e-14 * np.abs(x).max()
    with pytest.raises(ValueError, match="the dual of a window of 12 entries has as many, got 3"):
        lo.istft(n, w, hop, dual=np.ones(3))


def test_what_stft_refuses():
    with pytest.raises(ValueError, match=r"hop >= 1 and mfft from the 8 entries .* mfft = 4"):
        lo.stft(9, ("hann", 8), 2, mfft=4)
    with pytest.raises(ValueError, match="got n = 9, hop = 0"):
        lo.stft(9, ("hann", 8), 0)
    with pytest.raises(ValueError, match="fft_mode is one of twosided, centered, onesided"):
        lo.stft(9, ("hann", 8), 2, fft_mode="both")
    with pytest.raises(ValueError, match="scaling is None, 'magnitude' or 'psd', got 'x'"):
        lo.stft(9, ("hann", 8), 2, scaling="x")
    with pytest.raises(TypeError, match=r"an array or a pair .*'hann', 256.*, got 'hann'"):
        lo.stft(9, "hann", 2)
    with pytest.raises(ValueError, match=r"a window is a vector of numbers, got shape \(2, 2\)"):
        lo.stft(9, np.ones((2, 2)), 2)
    for w in (np.zeros(3), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="finite entries, and not only zeros"):
            lo.stft(9, w, 2)
    with pytest.raises(ValueError, match="hop = 3 of this window of 2 entries leave samples"):
        lo.istft(9, np.ones(2), 3)
    with pytest.raises(ValueError, match="window of 1 entry or more, hop >= 1"):
        Frames(np.ones(3), 9, 0, 0, 2, 3)


# -- mdct ------------------------------------------------------------------------------------------

WINDOWS = [("sine", 16), ("vorbis", 8), (("kaiser_bessel_derived", 4.0), 12)]


@pytest.mark.parametrize("n", SIZES)
def test_mdct_equals_its_definition(n, xp):
    """The sum over each frame, with the windows of the first and last one as stated."""
    window = WINDOWS[n % 3]
    N, w = window[1] // 2, princen_bradley(window)
    count = -(-n // N)
    j, k = np.arange(2 * N), np.arange(N)
    cosines = np.sqrt(2 / N) * np.cos(np.pi / N * (j + 0.5 + N / 2) * (k[:, None] + 0.5))
    A = lo.mdct(n, window)
    assert A.shape == (N * count, n)
    for dtype in DTYPES if n < 100 else ["float64"]:
        x = probe(n, dtype)
        around = np.zeros((N * count + N, 3), x.dtype)
        around[N // 2 : N // 2 + n] = x
        want = np.empty((N, count, 3), np.result_type(x, np.float64))
        for p in range(count):
            frame = w.copy()
            if p == 0:
                frame[:N] = np.r_[np.zeros(N // 2), np.ones(N // 2)]
            if p == count - 1:
                frame[N:] = np.r_[np.ones(N // 2), np.zeros(N // 2)]
            want[:, p] = cosines @ (frame[:, None] * around[p * N : p * N + 2 * N])
        got = np.asarray(A @ xp.asarray(x))
        assert got.dtype == x.dtype
        assert_near(got, want.reshape(-1, 3), x)
        back = np.asarray(lo.imdct(n, window) @ xp.asarray(got))
        worst = np.abs(back - x).max() / np.abs(x).max()
        assert worst <= {"float64": 1e-14, "float32": 1e-14 * 2**29}[precision(dtype)]


def test_mdct_is_orthogonal():
    assert lo.mdct(24, ("sine", 16)).is_unitary
    for window in WINDOWS:
        for n in (1, 21, 96):
            M = lo.mdct(n, window).to_dense()
            np.testing.assert_allclose(M.T @ M, np.eye(n), atol=1e-14)
    A = lo.mdct(24, ("sine", 16))
    assert lo.imdct(24, ("sine", 16)).shape == (24, 24)
    assert repr(A) == "kron(dct(8, type=4, norm='ortho'), I3) @ lapped(24, 16)"


def test_windows_of_mdct_are_checked():
    single = princen_bradley(("vorbis", 64)).astype(np.float32)
    assert lo.mdct(64, single).is_unitary
    with pytest.raises(ValueError, match="Princen and Bradley"):
        lo.mdct(64, np.ones(8))
    with pytest.raises(ValueError, match="Princen and Bradley"):
        lo.mdct(64, single.astype(float))  # to single precision only
    skew = princen_bradley(("sine", 8)).copy()
    skew[1], skew[5] = np.cos(1), np.sin(1)
    with pytest.raises(ValueError, match="symmetric"):
        lo.mdct(64, skew)
    with pytest.raises(ValueError, match="real, its length a multiple of 4, got 6 entries"):
        lo.mdct(64, np.ones(6))
    with pytest.raises(ValueError, match="the length of a window of mdct is a multiple of 4"):
        lo.mdct(64, ("sine", 6))
    with pytest.raises(ValueError, match=r"is 'sine', 'vorbis', .* got 'hann'"):
        lo.mdct(64, ("hann", 8))
    with pytest.raises(ValueError, match="a signal of 1 sample or more, got n = 0"):
        lo.mdct(0, ("sine", 8))


# -- gabor, zak ------------------------------------------------------------------------------------


def gabor_matrix(n, g, a, M):
    """Entry by entry from the definition."""
    G, half = np.zeros((M, n // a, n), complex), len(g) // 2
    for p in range(n // a):
        for j, value in enumerate(g):
            t = j - half
            row = value.conj() * np.exp(-2j * np.pi * np.arange(M) * t / M)
            G[:, p, (t + a * p) % n] += row
    return G.reshape(-1, n)


FRAMES = [  # n, a, M, length of the window: up to M, longer, longer than n
    *[(24, 4, 6, 6), (24, 2, 6, 5), (30, 5, 7, 7), (24, 1, 8, 8), (12, 12, 12, 12), (1, 1, 1, 1)],
    *[(24, 4, 6, 13), (24, 3, 8, 24), (24, 4, 8, 40), (5, 1, 5, 9)],
]


@pytest.mark.parametrize(("n", "a", "M", "length"), FRAMES)
def test_gabor_equals_its_definition_and_its_pseudoinverse(n, a, M, length):
    rng = np.random.default_rng(length)
    g = rng.standard_normal(length) + 1j * rng.standard_normal(length)
    A, B = lo.gabor(n, g, a, M), lo.igabor(n, g, a, M)
    want = gabor_matrix(n, g, a, M)
    np.testing.assert_allclose(A.to_dense(), want, atol=1e-13 * abs(g).sum())
    np.testing.assert_allclose(A.H.to_dense(), want.conj().T, atol=1e-13 * abs(g).sum())
    condition = np.linalg.cond(want)
    error = np.abs(B.to_dense() - np.linalg.pinv(want)).max()
    assert error <= n * condition**2 * 2.0**-52 * np.linalg.norm(B.to_dense(), 2)
    again = lo.gabor(n, g, a, M).H
    np.testing.assert_array_equal(lo.igabor(n, g, a, M, dual=g).to_dense(), again.to_dense())


def test_gabor_is_the_periodic_stft():
    """Away from the ends both see the same frames."""
    n, a, M = 96, 4, 16
    x = probe(n, "complex128", 1)[:, 0]
    ours = (lo.gabor(n, ("hann", 16), a, M) @ x).reshape(M, -1)
    theirs = scipy.signal.ShortTimeFFT(
        scipy.signal.get_window("hann", 16), a, 1.0, fft_mode="twosided"
    )
    S = theirs.stft(x)
    inside = slice(2, n // a - 2)
    assert_near(ours[:, inside], S[:, -theirs.p_min :][:, inside], x)


def test_what_gabor_refuses():
    with pytest.raises(ValueError, match="an n that a divides, got n = 10, a = 3, M = 4"):
        lo.gabor(10, np.ones(4), 3, 4)
    with pytest.raises(ValueError, match="a = 6, M = 4 is no frame for n = 24: no dual"):
        lo.igabor(24, np.random.default_rng(0).standard_normal(24), 6, 4)
    with pytest.raises(ValueError, match="hop = 6 of this window of 4 entries"):
        lo.igabor(24, np.ones(4), 6, 4)
    with pytest.raises(ValueError, match="needs an M that divides n, got 9 entries, M = 5, n = 24"):
        lo.igabor(24, np.ones(9), 2, 5)


@pytest.mark.parametrize(("n", "a"), [(1, 1), (12, 1), (12, 3), (12, 12), (1000, 8), (97, 97)])
def test_zak_equals_its_definition(n, a, xp):
    b = n // a
    A = lo.zak(n, a)
    assert A.is_unitary
    for dtype in DTYPES:
        x = probe(n, dtype)
        want = np.fft.fft(x.astype(complex).reshape(b, a, 3), axis=0, norm="ortho")
        want = want.transpose(1, 0, 2).reshape(n, 3)
        assert_near(np.asarray(A @ xp.asarray(x)), want, x)
        assert_near(np.asarray(A.H @ (A @ xp.asarray(x))), x, x)
    with pytest.raises(ValueError, match=f"an a that divides it, got n = {n}, a = {n + 1}"):
        lo.zak(n, n + 1)


# -- resample --------------------------------------------------------------------------------------


def resampled(x, m):
    """SciPy on real and imaginary part: before 1.17 its way for complex x treats n/2 otherwise."""
    parts = scipy.signal.resample(x.real, m, axis=0), scipy.signal.resample(x.imag, m, axis=0)
    return parts[0] + 1j * parts[1]


@pytest.mark.parametrize("n", SIZES)
def test_resample_equals_scipy(n, xp):
    for m in {1, 2, n // 2 + 1, n - 1, n, n + 1, n + 2, 2 * n, 2 * n + 1, 97} - {0}:
        A = lo.resample(n, m)
        assert A.dtype == float or n == m
        for dtype in DTYPES if n < 100 else ["float64", "complex64"]:
            x = probe(n, dtype)
            got = np.asarray(A @ xp.asarray(x))
            assert got.dtype == x.dtype
            assert_near(got, resampled(x, m), x)


def test_resample_is_linear_on_complex_signals():
    """SciPy goes two ways for real and complex x; a matrix has one."""
    for n, m in ((8, 6), (8, 12), (7, 5), (6, 3), (4, 8)):
        A = lo.resample(n, m)
        want = scipy.signal.resample(np.eye(n), m, axis=0)
        np.testing.assert_allclose(A.to_dense(), want, atol=1e-15 * n)
        np.testing.assert_allclose(A.H.to_dense(), want.T, atol=1e-15 * n)
    with pytest.raises(ValueError, match="resample takes sizes from 1 on, got n = 4, m = 0"):
        lo.resample(4, 0)


@pytest.mark.parametrize("n", SIZES)
def test_resample_poly_equals_scipy(n):
    for up, down in ((1, 1), (2, 3), (3, 2), (7, 5), (1, 4), (4, 1), (6, 4)):
        A = lo.resample_poly(n, up, down)
        for dtype in ("float32", "complex128"):
            x = probe(n, dtype)
            want = scipy.signal.resample_poly(x.astype(complex), up, down, axis=0)
            got = A @ x
            assert got.dtype == dtype
            assert_near(got, want, x, up)
    h = np.array([1.0, 2.0, 1.0]) / 4
    x = probe(n, "float64", 1)[:, 0]
    got = lo.resample_poly(n, 2, 1, h) @ x
    np.testing.assert_allclose(got, scipy.signal.resample_poly(x, 2, 1, window=h), atol=1e-15)
    with pytest.raises(ValueError, match="numbers from 1 on, got 0, up 2, down 3"):
        lo.resample_poly(0, 2, 3)


# -- what holds for all ----------------------------------------------------------------------------

ALL = {
    "stft": lambda: lo.stft(21, ("hann", 8), 3),
    "stft_onesided": lambda: lo.stft(21, ("hamming", 8), 4, mfft=9, fft_mode="onesided"),
    "istft": lambda: lo.istft(21, ("hann", 8), 3),
    "istft_onesided": lambda: lo.istft(21, ("hamming", 8), 4, fft_mode="onesided"),
    "istft_centered": lambda: lo.istft(21, ("hamming", 8), 4, fft_mode="centered"),
    "mdct": lambda: lo.mdct(21, ("vorbis", 8)),
    "imdct": lambda: lo.imdct(24, ("sine", 8)),
    "gabor": lambda: lo.gabor(20, ("hann", 7), 2, 4),
    "igabor": lambda: lo.igabor(20, ("hann", 7), 2, 7),
    "zak": lambda: lo.zak(12, 3),
    "resample": lambda: lo.resample(12, 7),
    "resample_poly": lambda: lo.resample_poly(12, 3, 2),
    "radon": lambda: lo.radon((4, 5), [0, 30, 135], circle=False),
}


@pytest.mark.parametrize("name", ALL)
def test_each_keeps_the_contract(name, xp):
    check_operator(ALL[name](), like=xp.asarray(np.zeros(1)))


@pytest.mark.parametrize("name", ALL)
def test_each_is_saved_and_loaded(name, tmp_path):
    A = ALL[name]()
    lo.save(tmp_path / "a.safetensors", A)
    B = lo.load(tmp_path / "a.safetensors")
    x = probe(A.shape[1], "float32")
    np.testing.assert_array_equal(B @ x, A @ x)
    assert (B @ x).dtype == (A @ x).dtype
    assert repr(B) == repr(A)


@pytest.mark.parametrize("name", ALL)
def test_gradients_flow(name):
    torch = pytest.importorskip("torch")
    A = ALL[name]()
    x = torch.asarray(probe(A.shape[1], "float64", 1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: A @ z, x)
    assert (A @ x.detach().to(torch.float32)).dtype in (torch.float32, torch.complex64)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("mode", ["twosided", "centered", "onesided"])
def test_torch_runs_the_same_with_and_without_numpys_code(mode):
    """On the CPU tensors run as NumPy's arrays do; traced and mapped ones by torch alone."""
    torch = pytest.importorskip("torch")
    options = {"fft_mode": mode, "phase_shift": 3}
    A, B = (f(50, ("hann", 12), 5, **options) for f in (lo.stft, lo.istft))
    for op in (A, B, A.H, B.H, lo.mdct(50, ("sine", 16)), lo.dctn((5, 6)), lo.fftn((4, 3))):
        x = torch.from_numpy(probe(op.shape[1], "complex128", 2))
        want = op @ x
        # two FFTs of at most 16 points, then sums of at most 3 products of numbers up to 2
        bound = gamma(2 * 10 * 5 + 2 * 3, float) * 8 * float(torch.linalg.norm(x, dim=0).max())
        _, tangent = torch.func.jvp(lambda t, op=op: op @ t, (x,), (x,))
        assert abs(tangent - want).max() <= bound
        mapped = torch.func.vmap(lambda t, op=op: op @ t, in_dims=1, out_dims=1)(x)
        assert abs(mapped - want).max() <= bound
        asked = x.real.clone().requires_grad_()
        (op @ asked).abs().sum().backward()
        y = op @ asked.detach()
        back = op.H @ (y / y.abs().clamp(min=1e-300))
        assert asked.grad.dtype == torch.float64
        assert abs(asked.grad - back.real).max() <= bound


def test_a_learned_window_has_its_gradient():
    torch = pytest.importorskip("torch")
    x = torch.asarray(probe(10, "float64", 1))
    w = torch.asarray(np.hanning(4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: Frames(v, 10, 2, -1, 5, 6, 1) @ x, w)


def test_weak_values_are_held_in_double():
    A = Weak(lo.Diagonal(np.array([0.1, 0.2])))
    assert A.places == ()
    assert A.astype("float32") is A
    assert (A @ np.ones(2, np.float32)).dtype == np.float32
    np.testing.assert_array_equal(A.astype("float32") @ np.ones(2), [0.1, 0.2])
    with pytest.raises(TypeError, match="weak values are held in double precision, D2 holds float"):
        Weak(lo.Diagonal(np.ones(2, np.float32)))
