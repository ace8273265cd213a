"""Nonuniform Fourier sums: the direct ones equal their formula, the fast ones to their eps."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from theory import gamma

import lazyops as lo
from lazyops._array import Place
from lazyops.operators import nonuniform
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
    assert np.linalg.norm(A @ x - first) <= 2 * A.eps * np.linalg.norm(first)
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


@pytest.mark.parametrize(("name", "extra"), [("finufft", "nufft"), ("cufinufft", "nufft-cuda")])
def test_without_its_library_it_names_the_extra(name, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    x = np.ones(4)
    if name == "cufinufft":
        x = on_a_device(x)
    with pytest.raises(
        ImportError, match=rf"lo.nufft needs {name} for x on .*: pip install 'lazyops\[{extra}\]'"
    ):
        lo.nufft([0.5], 4) @ x


# -- on a GPU: the same plans, by a module that stands in for cufinufft ----------------------------


def on_a_device(x):
    strict = pytest.importorskip("array_api_strict")
    return strict.asarray(x, device=strict.Device("device1"))


def brought_home(x):
    strict = pytest.importorskip("array_api_strict")
    return np.asarray(x.to_device(strict.Device("CPU_DEVICE")))


class StandIn(types.ModuleType):
    """cufinufft's plans as its documentation states them, on arrays of "device1"."""

    def __init__(self):
        super().__init__("cufinufft")
        self.made = []
        self.finufft = pytest.importorskip("finufft")

    def Plan(self, nufft_type, n_modes, n_trans=1, eps=1e-6, isign=None, dtype="complex64"):
        outer, plan = self, types.SimpleNamespace()
        inner = self.finufft.Plan(nufft_type, n_modes, n_trans, eps, isign, dtype=dtype)
        real = "float32" if dtype == "complex64" else "float64"

        def host(x, name):
            assert "device1" in str(x.device)
            assert str(x.dtype).endswith(name)
            return brought_home(x)

        def setpts(x, y=None, z=None, s=None, t=None, u=None):
            axes = {"x": x, "y": y, "z": z, "s": s, "t": t, "u": u}
            inner.setpts(**{k: host(v, real) for k, v in axes.items() if v is not None})

        plan.setpts = setpts
        plan.execute = lambda data: on_a_device(inner.execute(host(data, dtype)))
        outer.made.append((nufft_type, dtype))
        return plan


@pytest.mark.parametrize("sizes", [(7,), (4, 5), (3, 4, 2)])
@pytest.mark.parametrize("type", [1, 2, 3])
@pytest.mark.parametrize("columns", [1, 3])
def test_arrays_on_a_device_go_to_cufinufft(type, sizes, columns, monkeypatch):
    module = StandIn()
    monkeypatch.setitem(sys.modules, "cufinufft", module)
    t = draw(20, len(sizes))
    n = sizes if type < 3 else draw(11, len(sizes), 2) * 3
    for dtype in ("complex64", "complex128"):
        A = lo.nufft(t, n, type, 1e-5)
        for op in (A, A.H):
            x = np.random.default_rng(0).standard_normal((op.shape[1], columns)).astype(dtype)
            there = on_a_device(x)
            got = op @ there
            assert got.device == there.device
            # Not bit for bit: FINUFFT adds in the order in which its threads come.
            want = op @ x
            assert np.linalg.norm(brought_home(got) - want) <= 2 * 1e-5 * np.linalg.norm(want)
        assert [made for _, made in module.made[-2:]] == [dtype] * 2
    before = len(module.made)
    A @ on_a_device(np.ones(A.shape[1]))
    A @ on_a_device(np.ones(A.shape[1]))
    assert len(module.made) == before + 1  # kept, after the one of the CPU had taken its place


def test_cufinufft_is_told_the_device_and_the_stream(monkeypatch):
    stream = types.SimpleNamespace(ptr=1234)
    cupy = types.SimpleNamespace(cuda=types.SimpleNamespace(get_current_stream=lambda: stream))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(nonuniform, "place", lambda x: Place("cupy", "1"))
    x = types.SimpleNamespace(__cuda_array_interface__={}, device=types.SimpleNamespace(id=1))
    assert nonuniform._device_options(x) == {"gpu_device_id": 1, "gpu_stream": 1234}


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
