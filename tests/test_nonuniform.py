"""Nonuniform Fourier sums: the direct ones equal their formula, the fast ones to their eps."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from theory import gamma

import lazyops as lo
from lazyops.testing import check_operator

LONG = np.clongdouble


def formula(points, modes, sign):
    """``exp(sign i <k, t>)`` in extended precision, shape (points, modes)."""
    angles = points.astype(np.longdouble) @ np.asarray(modes, np.longdouble).T
    return np.cos(angles) + 1j * sign * np.sin(angles)


def box(sizes):
    axes = [np.arange(-(n // 2), (n + 1) // 2) for n in sizes]
    return np.stack([g.reshape(-1) for g in np.meshgrid(*axes, indexing="ij")], axis=1)


SHAPES = [(1,), (2,), (7,), (32,), (97,), (4, 5), (3, 4, 2)]


def draw(m, d, seed=0):
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (m, d))


def probe(n, dtype, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    return (x + 1j * rng.standard_normal((n, 2)) if "c" in dtype else x).astype(dtype)


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("type", [1, 2, 3])
def test_direct_sums_equal_the_formula(type, sizes, xp):
    """Each angle is d products and d - 1 sums of numbers up to pi n/2; then one sum of terms."""
    t = draw(20, len(sizes))
    modes = box(sizes) if type < 3 else draw(11, len(sizes), 2) * 3
    n = (sizes[0] if len(sizes) == 1 else sizes) if type < 3 else modes
    for dtype in ("float32", "float64", "complex64", "complex128"):
        for sign in (None, 1, -1):
            A = lo.nudft(t, n, type, sign)
            M = formula(t, modes, sign or (-1 if type == 2 else 1))
            M = M if type == 2 else M.T
            x = probe(A.shape[1], dtype)
            got = np.asarray(A @ xp.asarray(x))
            assert got.dtype == np.result_type(dtype, np.complex64)
            name = "float32" if got.dtype == np.complex64 else "float64"
            angles = np.abs(t) @ np.abs(modes).T.astype(float)
            bound = (
                2 * gamma(2 * A.shape[1] + 4, name) + gamma(3 * len(sizes), float) * angles.max()
            )
            assert (np.abs(got - M @ x.astype(LONG)) <= bound * np.abs(x).sum(axis=0)).all()


@pytest.mark.parametrize("type", [1, 2, 3])
def test_direct_sums_are_cut_into_pieces(type, monkeypatch):
    whole = lo.nudft(draw(50, 1), 9 if type < 3 else draw(9, 1), type)
    x = probe(whole.shape[1], "complex128")
    want = whole @ x
    monkeypatch.setattr(lo.operators.nonuniform, "CHUNK", 30)
    np.testing.assert_allclose(whole @ x, want, atol=1e-13)
    np.testing.assert_allclose(whole.H @ want, whole.to_dense().conj().T @ want, atol=1e-11)


def test_on_a_grid_it_is_the_fft(xp):
    n = 12
    A = lo.nudft(2 * np.pi * np.arange(n) / n, n)
    x = probe(n, "complex128")
    got = np.asarray(A @ xp.asarray(np.fft.fftshift(x, axes=0)))
    np.testing.assert_allclose(got, np.fft.fft(x, axis=0), atol=1e-13)


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("type", [1, 2, 3])
@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-12])
def test_fast_sums_keep_their_eps(eps, type, sizes, xp):
    """In norm, as finufft states it; 10 eps, since it promises "of the order of"."""
    pytest.importorskip("finufft")
    t = draw(200, len(sizes))
    n = sizes if type < 3 else draw(30, len(sizes), 2) * 5
    for dtype in ("float32", "complex128"):
        exact, A = lo.nudft(t, n, type), lo.nufft(t, n, type, eps)
        x = probe(A.shape[1], dtype)
        want = exact @ x.astype(np.complex128)
        got = np.asarray(A @ xp.asarray(x))
        assert got.dtype == exact.result_dtype(dtype)
        least = 1e-6 if dtype == "float32" else 1e-14
        norm = np.linalg.norm(want, axis=0)
        assert (np.linalg.norm(got - want, axis=0) <= 10 * max(eps, least) * norm).all()


@pytest.mark.parametrize("sizes", SHAPES)
def test_types_1_and_2_are_adjoint_to_rounding(sizes):
    """At an eps far above rounding: they use the same kernel."""
    pytest.importorskip("finufft")
    A = lo.nufft(draw(50, len(sizes)), sizes, eps=1e-3)
    dense, adjoint = A.to_dense(), A.H.to_dense()
    exact = lo.nudft(A.points, sizes).to_dense()
    bound = gamma(60 * 4, float) * np.linalg.norm(exact)
    assert np.linalg.norm(adjoint - dense.conj().T) <= bound
    assert repr(A.H.H) == repr(A)


def test_the_kit_takes_them(xp):
    pytest.importorskip("finufft")
    like = xp.asarray(np.zeros(1))
    for type, n in ((1, 7), (2, (3, 4)), (3, draw(11, 1))):
        t = draw(20, 2 if type == 2 else 1)
        check_operator(lo.nudft(t, n, type), like=like)
        check_operator(lo.nufft(t, n, type, eps=1e-14), like=like)


@given(st.integers(1, 12), st.integers(1, 40), st.floats(-1e3, 1e3), st.sampled_from([1, 2]))
def test_moved_points_are_phases(m, n, by, type):
    """``exp(i k (t + s)) = exp(i k s) exp(i k t)``: the shift theorem off the grid."""
    t = draw(m, 1)[:, 0]
    k = np.arange(-(n // 2), (n + 1) // 2)
    moved, still = lo.nudft(t + by, n).to_dense(), lo.nudft(t, n).to_dense()
    bound = gamma(8, float) * (n / 2 + 1) * (abs(by) + np.pi + 1) + gamma(16, float)
    assert (np.abs(moved - still * np.exp(-1j * k * by)) <= bound).all()


def test_one_plan_serves_many_products(monkeypatch):
    finufft = pytest.importorskip("finufft")
    made = []
    plan = finufft.Plan
    monkeypatch.setattr(finufft, "Plan", lambda *a, **k: (made.append(1), plan(*a, **k))[1])
    A = lo.nufft(draw(30, 1), 16)
    x = probe(16, "complex128")
    first = A @ x
    np.testing.assert_array_equal(A @ x, first)
    assert len(made) == 1
    A @ x[:, 0]
    assert len(made) == 2


def test_gradients_flow_through_nonuniform_sums():
    torch = pytest.importorskip("torch")
    pytest.importorskip("finufft")
    for A in (lo.nudft(draw(5, 1), 4), lo.nufft(draw(5, 1), 4), lo.nufft(draw(5, 1), 4, 1)):
        x = torch.randn(A.shape[1], 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda z, A=A: A @ z, x)
        assert torch.autograd.gradgradcheck(lambda z, A=A: A @ z, x)


def test_without_finufft_it_names_the_extra(monkeypatch):
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "finufft":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    A = lo.nufft([0.5], 4)
    with pytest.raises(
        ImportError, match=r"lo.nufft needs finufft: pip install 'lazyops\[nufft\]'"
    ):
        A @ np.ones(4)


def test_what_nonuniform_sums_refuse():
    with pytest.raises(ValueError, match="the type of a nonuniform transform is 1, 2 or 3, got 4"):
        lo.nudft([0.1], 4, 4)
    with pytest.raises(ValueError, match="the points hold NaN or Inf"):
        lo.nudft([np.nan], 4)
    with pytest.raises(ValueError, match="the points have 2 coordinates, the modes 1"):
        lo.nudft(np.zeros((3, 2)), 4)
    with pytest.raises(ValueError, match="sign is 1 or -1, got 2"):
        lo.nudft([0.1], 4, sign=2)
    with pytest.raises(ValueError, match="eps is a relative error between 0 and 1, got 0"):
        lo.nufft([0.1], 4, eps=0)
    with pytest.raises(ValueError, match="finufft takes points of 1 to 3 coordinates, got 4"):
        lo.nufft(np.zeros((3, 4)), (2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"the points are real, of shape .*, got complex128"):
        lo.nudft([1j], 4)
    with pytest.raises(TypeError, match="types 1 and 2 take a number of modes"):
        lo.nudft([0.1], [1, 2])
