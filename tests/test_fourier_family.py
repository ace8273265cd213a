"""Transforms of real signals, n-D transforms, Hartley: equal to SciPy at any size, everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st
from test_transforms import DTYPES, NORMS, SIZES, assert_near, probe

import lazyops as lo
from lazyops.operators import cosine, fourier, hartley, real_fourier
from lazyops.testing import check_operator


def as_pairs(z):
    """(m, k) complex to (2 m, k) real, as ``z.view(float)`` does for one column."""
    return np.stack([z.real, z.imag], axis=1).reshape(-1, z.shape[1])


def on_parts(f, x):
    """A real-linear `f` on a complex `x`."""
    return f(x.real) + 1j * f(x.imag) if np.iscomplexobj(x) else f(x)


@pytest.mark.parametrize("n", SIZES)
def test_rfft_equals_scipy(n, xp):
    norm = NORMS[n % 3]
    for dtype in DTYPES:
        x = probe(n, dtype)
        A = lo.rfft(n, norm)
        want = scipy.fft.fft(x, axis=0, norm=norm)[: n // 2 + 1]
        got = np.asarray(A @ xp.asarray(x))
        assert got.dtype == want.dtype
        assert_near(got, want, x)
        y = probe(n // 2 + 1, dtype)
        filled = np.concatenate([y, np.zeros((n - len(y), 3), dtype)])
        other = {"backward": "forward", "forward": "backward"}.get(norm, norm)
        assert_near(np.asarray(A.H @ xp.asarray(y)), scipy.fft.ifft(filled, axis=0, norm=other), y)
        assert_near(np.asarray(A.T @ xp.asarray(y)), scipy.fft.fft(filled, axis=0, norm=norm), y)
        assert_near(np.asarray(A.conj() @ xp.asarray(x)), (A @ x.conj()).conj(), x)


@pytest.mark.parametrize("n", SIZES)
def test_pairs_equal_scipy(n, xp):
    norm = NORMS[n % 3]
    half = n // 2 + 1
    for dtype in DTYPES:
        x, p = probe(n, dtype), probe(2 * half, dtype)
        A, B = lo.rfft(n, norm, pairs=True), lo.irfft(n, norm)
        want = on_parts(lambda t: as_pairs(scipy.fft.rfft(t, axis=0, norm=norm)), x)
        got = np.asarray(A @ xp.asarray(x))
        assert got.dtype == np.dtype(dtype)
        assert_near(got, want, x)
        back = lambda t: scipy.fft.irfft(t[0::2] + 1j * t[1::2], n, axis=0, norm=norm)
        assert_near(np.asarray(B @ xp.asarray(p)), on_parts(back, p), p)


@pytest.mark.parametrize("n", SIZES[:22])
def test_pairs_are_undone_and_transposed(n):
    """The transposes by their matrices, of which SciPy gives one column after the other."""
    for norm in NORMS:
        A, B = lo.rfft(n, norm, pairs=True), lo.irfft(n, norm)
        eye, units = np.eye(n), np.eye(2 * (n // 2 + 1))
        M = as_pairs(scipy.fft.rfft(eye, axis=0, norm=norm))
        N = scipy.fft.irfft(units[0::2] + 1j * units[1::2], n, axis=0, norm=norm)
        assert_near(A.T.to_dense(), M.T, units)
        assert_near(B.T.to_dense(), N.T, eye)
        assert repr(lo.simplify(B @ A)) == repr(lo.simplify(A.T @ B.T)) == f"I{n}"
        x = probe(n, "float64")
        assert_near(B @ (A @ x), x, x)


def test_one_vector_is_the_view_of_scipy():
    x = np.random.default_rng(0).standard_normal(10)
    np.testing.assert_array_equal(lo.rfft(10, pairs=True) @ x, scipy.fft.rfft(x).view(float))
    np.testing.assert_array_equal(lo.irfft(10) @ scipy.fft.rfft(x).view(float),
                                  scipy.fft.irfft(scipy.fft.rfft(x), 10))  # fmt: skip
    with pytest.raises(
        ValueError, match=r"cannot multiply irfft\(10\) \(10x12\) by rfft\(10\) \(6x10\)"
    ):
        lo.irfft(10) @ lo.rfft(10)


def test_real_signals_take_half_the_work(monkeypatch):
    """A real x never meets the complex FFT."""
    for name in ("fft", "ifft"):
        monkeypatch.setattr(scipy.fft, name, lambda *a, **k: pytest.fail("a complex FFT"))
    x = np.ones((6, 2))
    for A in (lo.rfft(6), lo.rfft(6).conj(), lo.rfft(6, pairs=True), lo.hartley(6)):
        A @ x


@pytest.mark.parametrize("n", SIZES)
def test_hartley(n, xp):
    for norm in NORMS:
        A = lo.hartley(n, norm)
        for dtype in DTYPES:
            x = probe(n, dtype)
            F = lambda t, norm=norm: scipy.fft.fft(t, axis=0, norm=norm)
            want = on_parts(lambda t, F=F: F(t).real - F(t).imag, x)
            got = np.asarray(A @ xp.asarray(x))
            assert got.dtype == np.dtype(dtype)
            assert_near(got, want, x)
    assert A.H is A
    assert repr(lo.simplify(lo.hartley(n, "ortho") @ lo.hartley(n, "ortho"))) == f"I{n}"


ND = [
    (lo.fftn, scipy.fft.fftn, {}),
    (lo.ifftn, scipy.fft.ifftn, {}),
    (lo.dctn, scipy.fft.dctn, {"type": 4}),
    (lo.dstn, scipy.fft.dstn, {"type": 3}),
    (lo.dctn, scipy.fft.dctn, {"type": 2}),
]


@pytest.mark.parametrize(("make", "f", "options"), ND)
@pytest.mark.parametrize("shape", [(5,), (3, 4), (8, 6), (3, 1, 4), (2, 3, 4, 5)])
def test_nd_transforms_equal_scipy(make, f, options, shape, xp):
    n = int(np.prod(shape))
    axes = tuple(range(len(shape)))
    for norm in NORMS:
        A = make(shape, norm=norm, **options)
        for dtype in DTYPES:
            x = probe(n, dtype)
            if f in (scipy.fft.dctn, scipy.fft.dstn) and np.iscomplexobj(x) and xp is not np:
                continue  # one axis after the other, as everywhere: see test_transforms
            want = f(x.reshape(*shape, 3), axes=axes, norm=norm, **options).reshape(n, 3)
            got = np.asarray(A @ xp.asarray(x))
            assert got.dtype == want.dtype
            assert_near(got, want, 2 ** len(shape) * x)


def counted(monkeypatch, *names):
    calls = []
    for name in names:
        f = getattr(scipy.fft, name)
        wrap = lambda *a, name=name, f=f, **k: (calls.append((name, k.get("axes"))), f(*a, **k))[1]
        monkeypatch.setattr(scipy.fft, name, wrap)
    return calls


def test_transforms_of_one_family_run_in_one_call(monkeypatch):
    calls = counted(monkeypatch, "fft", "fftn", "ifftn", "dctn", "dct")
    x = np.random.default_rng(0).standard_normal(2 * 3 * 4 * 5 * 2)
    parts = [lo.fft(2), lo.dct(3), lo.fft(4), lo.ifft(5), lo.Identity(2)]
    A = lo.kron(*parts)
    y = A @ x
    assert calls == [("fftn", (0, 2)), ("dctn", (1,)), ("ifftn", (3,))]
    dense = np.eye(1)
    for part in parts:
        dense = np.kron(dense, part.to_dense())
    np.testing.assert_allclose(y, dense @ x, atol=1e-12)
    check_operator(A, dense=dense)


def test_families_are_those_of_the_x_at_hand():
    """A real x first, then a complex one: Hartley transforms are one family for real x alone."""
    A = lo.kron(lo.hartley(3), lo.hartley(4))
    x = probe(12, "complex128")
    real, imag, both = A @ x.real.copy(), A @ x.imag.copy(), A @ x
    assert_near(both, real + 1j * imag, 4 * x)
    dense = np.kron(lo.hartley(3).to_dense(), lo.hartley(4).to_dense())
    assert_near(both, dense @ x, 4 * x)


def test_fft2_of_an_image_and_back():
    x = np.random.default_rng(0).standard_normal((6, 10))
    F = lo.fftn(x.shape, "ortho")
    np.testing.assert_allclose((F @ x.reshape(-1)).reshape(6, 10), scipy.fft.fft2(x, norm="ortho"),
                               atol=1e-14)  # fmt: skip
    assert F.is_unitary
    assert repr(lo.simplify(F.H @ F)) == "I60"


@given(st.integers(1, 40), st.integers(0, 10**6), st.sampled_from(NORMS), st.booleans())
def test_shifts_and_flips_pass_through_a_transform(n, s, norm, flipped):
    """``F P F^-1`` is phases times a reordering, for every affine permutation and norm."""
    index = (s - np.arange(n)) % n if flipped else (np.arange(n) - s) % n
    A = lo.fft(n, norm) @ lo.Permutation(index) @ lo.ifft(n, norm)
    simple = lo.simplify(A)
    x = probe(n, "complex128")
    assert_near(simple @ x, A @ x, n * x)
    assert simple.result_dtype("complex64") == "complex64"
    assert "fft" not in repr(simple) or n == 1


@given(st.integers(2, 30), st.sampled_from(NORMS), st.sampled_from(NORMS), st.booleans())
def test_circulants_are_diagonal_between_transforms(n, one, other, real):
    """``F D F^-1 -> C`` and back, for every pair of norms."""
    c = probe(n, "float64" if real else "complex128")[:, 0]
    D, x = lo.Diagonal(scipy.fft.fft(c)), probe(n, "complex128")
    A = lo.ifft(n, one) @ D @ lo.fft(n, other)
    C = lo.simplify(A)
    assert repr(C) == f"circulant({n})"
    assert C.dtype == (np.float64 if real else np.complex128)
    assert_near(C @ x, A @ x, np.abs(c).sum() * n * x)
    back = lo.simplify(lo.fft(n, other) @ C @ lo.ifft(n, other))
    assert repr(back) == f"D{n}"
    power = {"backward": 0, "ortho": 0.5, "forward": 1}
    scale = float(n) ** (power[one] - power[other])
    assert_near(back.values[:, None], scale * D.values[:, None], n * scale * np.abs(c)[:, None])


def test_what_the_family_refuses():
    with pytest.raises(ValueError, match="a real Fourier transform takes a size from 1 on, got 0"):
        lo.rfft(0)
    with pytest.raises(ValueError, match="a Hartley transform takes a size from 1 on, got 0"):
        lo.hartley(0)
    with pytest.raises(ValueError, match="norm is one of backward, ortho, forward, got 'both'"):
        lo.irfft(4, "both")


def test_gradients_flow_through_the_family():
    torch = pytest.importorskip("torch")
    makers = (lo.rfft(6), lo.rfft(5).H, lo.rfft(6, pairs=True), lo.irfft(5), lo.irfft(6).T)
    for A in (*makers, lo.hartley(5), lo.fftn((2, 3)), lo.dctn((2, 3))):
        x = torch.randn(A.shape[1], 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda z, A=A: A @ z, x)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own
def test_columns_of_the_cpu_take_scipys_transform(monkeypatch):
    """What tensors in memory give by SciPy is what torch gives; gradients and layouts too."""
    torch = pytest.importorskip("torch")
    asked = []
    inner = fourier.by_scipy
    for module in (fourier, real_fourier, cosine, hartley):
        monkeypatch.setattr(module, "by_scipy", lambda op, x: asked.append(op) or inner(op, x))
    monkeypatch.setattr(fourier, "MANY", 1)
    makers = (lo.fft(12), lo.ifft(12), lo.rfft(12), lo.rfft(11).H, lo.rfft(12, pairs=True))
    for A in (*makers, lo.irfft(11), lo.irfft(12).T, lo.hartley(12), *map(lo.dct, range(8, 12))):
        for dtype in DTYPES:
            x = probe(A.shape[1], dtype)
            t, weights = torch.from_numpy(x), torch.from_numpy(probe(A.shape[0], dtype))
            asked.clear()
            got = A @ t
            assert asked == [A]
            assert got.is_contiguous()
            back = gradient(A, t, weights)
            with monkeypatch.context() as patch:
                patch.setattr(fourier, "readable", lambda x: False)
                want, other = A @ t, gradient(A, t, weights)
            assert got.dtype == want.dtype
            assert_near(got.numpy(), want.numpy(), x)
            assert_near(back.numpy(), other.numpy(), weights.numpy())
    asked.clear()
    z = torch.randn(12, 3, dtype=torch.float64)
    torch.func.vmap(lambda t: lo.fft(12) @ t, in_dims=1)(z)
    lo.fft(12) @ torch.empty(3, 12, dtype=torch.float64).T  # one column after the other
    lo.fft(12) @ z[:, :1]
    assert not asked


def gradient(A, x, weights):
    """Of ``Re <weights, A x>``."""
    x = x.clone().requires_grad_()
    y = A @ x
    (weights.conj() * y).real.sum().backward()
    return x.grad
