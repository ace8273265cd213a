"""Libraries and devices: given back as it came, never mixed in silence, gradients kept."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from cases import CASES, c, r
from theory import assert_within

import lazyops as lo
from lazyops._array import Place, dtype_name, place

M = r(4, 6)


def test_numpy_operators_meet_cpu_torch():
    torch = pytest.importorskip("torch")
    op = lo.Dense(M) @ lo.Permutation(np.arange(6)[::-1].copy())
    x = torch.asarray(r(6))
    y = op @ x
    assert isinstance(y, torch.Tensor)
    assert_within(y, op @ x.numpy(), op, x.numpy())
    tensors = lo.Dense(torch.asarray(M))
    assert isinstance(tensors @ r(6), np.ndarray)
    assert op.to(like=x) is op.to(like=x)
    mixed = lo.Dense(M.T.copy()) @ tensors
    assert isinstance(mixed @ x, torch.Tensor)
    assert isinstance(mixed @ x.numpy(), np.ndarray)


def test_cpu_memory_is_shared():
    torch = pytest.importorskip("torch")
    op = lo.Dense(M)
    moved = op.to(namespace="torch")
    assert moved.places == ("torch on cpu",)
    assert moved.array.data_ptr() == op.array.ctypes.data
    assert isinstance(op.to(namespace=torch).array, torch.Tensor)


def test_values_that_require_grad_say_detach():
    torch = pytest.importorskip("torch")
    op = lo.Diagonal(torch.ones(4, dtype=torch.float64, requires_grad=True))
    with pytest.raises(TypeError, match=r"\.detach\(\)"):
        op @ np.ones(4)
    assert (op @ torch.ones(4, dtype=torch.float64)).requires_grad


@pytest.mark.parametrize("name", sorted(set(CASES) - {"function", "scalar_array"}))
def test_gradients_flow_through_torch(name):
    torch = pytest.importorskip("torch")
    op = CASES[name][0](torch.asarray)
    leaves = []

    def tracked(a):
        if a.is_floating_point() or a.is_complex():
            a = a.detach().clone().requires_grad_(True)
            leaves.append(a)
        return a

    op = CASES[name][0](lambda a: tracked(torch.asarray(a)))
    x = torch.asarray(r(op.shape[1], 2)).requires_grad_(True)
    loss = (op @ x).abs().square().sum()
    if name == "zero":
        assert not loss.requires_grad
        return
    loss.backward()
    loss = loss.detach()
    direction = torch.asarray(r(*x.shape))
    with torch.no_grad():
        h = 1e-6
        ahead, behind = ((op @ (x + s * h * direction)).abs().square().sum() for s in (1, -1))
    slope = float((x.grad * direction).sum())
    scale = abs(float(loss)) + abs(slope) + 1
    assert abs(float(ahead - behind) / (2 * h) - slope) <= 1e-7 * scale  # 1e-16 / h, and h^2
    for leaf in leaves:
        if name not in ("sparse", "sparse_complex"):  # these only follow `leaf`
            assert leaf.grad is not None


def test_gradients_reach_sparse_values():
    torch = pytest.importorskip("torch")
    op = lo.Sparse(scipy.sparse.csr_array(M)).to(namespace="torch")
    data = op.data.clone().requires_grad_(True)
    op = lo.Sparse(data, op.indices, op.indptr, op.size)
    x = torch.asarray(r(6))
    torch.sum(op @ x).backward()
    np.testing.assert_allclose(data.grad.numpy().reshape(4, 6), np.tile(x.numpy(), (4, 1)))


def test_devices_never_mix_in_silence():
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    here, there = strict.asarray(M), strict.asarray(M, device=device)
    op = lo.Dense(here)
    x = strict.asarray(r(6), device=device)
    message = r"M4x6 holds values of array_api_strict on cpu, x is array_api_strict on .*device1"
    with pytest.raises(TypeError, match=message + r".*A\.to\(like=x\)"):
        op @ x
    for moved in (op.to(like=x), op.to(device=device), lo.Dense(there)):
        y = moved @ x
        assert y.device == device
        assert moved.H.places == moved.places
        assert (2 * moved + lo.Zero((4, 6))).places == moved.places
        assert moved[1:3].places == moved.places
        assert lo.simplify(moved @ lo.Identity(6)).places == moved.places
    with pytest.raises(TypeError, match=r"array_api_strict on cpu, x is numpy on cpu"):
        op @ r(6)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"function", "scalar_array"}))
def test_every_kind_follows_to_another_device(name):
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    build, matrix = CASES[name]
    op = build(np.asarray)
    for dtype in ("float64", "complex64"):
        x = strict.asarray(r(op.shape[1], 2).astype(dtype), device=device)
        y = op.to(like=x) @ x
        assert y.device == device
        assert y.shape == (matrix.shape[0], 2)
        assert dtype_name(y.dtype) == op.result_dtype(dtype)
        back = op.to(like=x).H @ y
        assert back.device == device


@pytest.mark.parametrize("name", sorted(set(CASES) - {"function", "scalar_array"}))
def test_every_kind_runs_on_meta_tensors(name):
    torch = pytest.importorskip("torch")
    op = CASES[name][0](np.asarray)
    x = torch.empty((op.shape[1], 3), dtype=torch.float32, device="meta")
    y = op.to(like=x) @ x
    assert y.device.type == "meta"
    assert tuple(y.shape) == (op.shape[0], 3)
    assert dtype_name(y.dtype) == op.result_dtype("float32")
    if op.places:
        with pytest.raises(TypeError, match=r"x is torch on meta: move one of them"):
            op @ x


def test_precision():
    op = 2 * lo.Dense(c(3, 3)) @ lo.Diagonal(r(3))
    single = op.astype("float32")
    assert single.dtype == np.complex64
    assert single.astype(np.float64).dtype == np.complex128
    assert op.astype("complex64").dtype == np.complex64
    assert op.astype("complex128") is op.astype(np.complex128)
    assert (single @ np.ones(3, np.float32)).dtype == np.complex64
    assert single.values_nbytes * 2 == op.values_nbytes


def test_low_bit_torch_values_report_what_they_accumulate_in():
    torch = pytest.importorskip("torch")
    op = lo.Diagonal(torch.ones(3, dtype=torch.bfloat16))
    assert op.dtype == np.float32
    assert (op @ torch.ones(3)).dtype == torch.float32
    assert op.values_nbytes == 6


def test_numpy_values_are_copied_unless_told():
    values = np.ones(3)
    kept, held = lo.Diagonal(values), lo.Diagonal(values, copy=False)
    values[:] = 7
    np.testing.assert_array_equal(kept @ np.ones(3), np.ones(3))
    np.testing.assert_array_equal(held @ np.ones(3), np.full(3, 7.0))
    frozen = np.ones(3)
    frozen.flags.writeable = False
    assert np.may_share_memory(lo.Diagonal(frozen).values, frozen)


def test_adjoints_share_values():
    k = lo.KroneckerSparse(c(2, 3, 4, 5))
    m = lo.Dense(c(3, 4))
    s = lo.Sparse(scipy.sparse.csr_array(c(3, 4)))
    assert k.H.stored is k.stored
    assert np.may_share_memory(m.H.array, m.array)
    assert s.H.data is s.data
    np.testing.assert_array_equal(k.H.values, k.values.conj().transpose(0, 2, 1, 3))
    np.testing.assert_array_equal(m.H.values, m.values.conj().T)


def test_nothing_keeps_memory_alive():
    op = lo.Dense(c(50, 50)) @ lo.Diagonal(c(50))
    partners = [op.H, op.T, op.conj(), op.H.conj()]
    alive = weakref.ref(op)
    gc.disable()
    try:
        del op, partners
        assert alive() is None  # freed by counting alone: there is no cycle
    finally:
        gc.enable()


def test_place_reads_well():
    assert str(place(np.ones(2))) == "numpy on cpu"
    assert str(Place("cupy", "cuda:0")) == "cupy on cuda:0"


def test_operators_for_the_solvers_of_cupy(monkeypatch):
    """Its LinearOperator is built as SciPy's is, which stands for it."""
    import sys
    import types

    op = lo.Dense(c(4, 6))
    monkeypatch.setitem(sys.modules, "cupyx", None)
    with pytest.raises(ImportError, match=r"to_cupyx needs CuPy: pip install 'lazyops\[cupy\]'"):
        op.to_cupyx()
    names = ["cupyx", "cupyx.scipy", "cupyx.scipy.sparse", "cupyx.scipy.sparse.linalg"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[names[-1]].LinearOperator = scipy.sparse.linalg.LinearOperator
    theirs = op.to_cupyx()
    assert not isinstance(theirs, lo.LinearOperator)
    assert (theirs.shape, theirs.dtype) == ((4, 6), np.dtype("complex128"))
    x, y = r(6, 2), r(4, 2)
    for got, want in (
        (theirs.matvec(x[:, 0]), op @ x[:, 0]),
        (theirs.matmat(x), op @ x),
        (theirs.rmatvec(y[:, 0]), op.H @ y[:, 0]),
        (theirs.rmatmat(y), op.H @ y),
    ):
        np.testing.assert_array_equal(got, want)
