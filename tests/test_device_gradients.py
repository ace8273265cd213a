"""Gradients of tensors on a device: the fused kernel emulated, against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import COMPILER, EmulatedTorch, stand_in
from theory import gamma

import lazyops as lo
from lazyops import kernels
from lazyops.kernels.cuda.backward import KEPT, THREADS, cuts
from lazyops.kernels.cuda.cost import Case
from lazyops.kernels.cuda.tiles import geometry
from lazyops.pattern import Chain, Pattern

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="the emulator is built by g++"),
    pytest.mark.skipif(kernels.FORCED == "reference", reason="devices are not used"),
]


@pytest.fixture
def device(monkeypatch, tmp_path):
    """Torch tensors of the CPU are on a device, and so are the registered operations."""
    from lazyops.kernels import torch_library

    monkeypatch.setenv("LAZYOPS_CACHE", str(tmp_path))
    monkeypatch.setattr(torch_library, "CHAIN", torch_library._chain_cuda)
    monkeypatch.setattr(torch_library, "GRAD", torch_library._chain_grad_cuda)
    return stand_in(monkeypatch, EmulatedTorch())


def draw(shape, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=dtype, generator=g)


def kinds(device):
    return [launch if launch == "matmul" else launch.variant.kernel for launch in device.launches]


def build(name, v):
    """A product of the values v, in several shapes."""
    P = lo.Permutation(np.random.default_rng(0).permutation(16))
    K = [lo.KroneckerSparse(a, copy=False) for a in v[:-1]]
    D = lo.Diagonal(v[-1], copy=False)
    return {
        "chain": lambda: K[0] @ K[1] @ K[2] @ K[3],
        "adjoint": lambda: (K[0] @ K[1] @ K[2] @ K[3]).H,
        "permutations": lambda: P @ K[0] @ K[1] @ P @ K[2] @ P,
        "diagonal and scalar": lambda: (2 - 1j) * D @ K[0] @ D @ K[1],
        "transpose": lambda: K[3].T @ K[1].conj() @ P.T,
        "one factor": lambda: K[2].H,
    }[name]()


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize(
    "name",
    ["chain", "adjoint", "permutations", "diagonal and scalar", "transpose", "one factor"],
)
def test_gradients_equal_finite_differences(device, name, fortran):
    real = name in ("chain", "permutations")
    dtype = torch.float64 if real else torch.complex128
    v = [draw(p, dtype, 7 * k) for k, p in enumerate(Chain.square_dyadic(16))]
    v = [a.requires_grad_() for a in (*v, draw((16,), dtype, 99))]
    x = draw((16, 3), dtype, 5)
    x = (x.mT.contiguous().mT if fortran else x).requires_grad_()

    def apply(x, *v):
        return build(name, v) @ x

    assert torch.autograd.gradcheck(apply, (x, *v), fast_mode=True)
    assert "gradient" in kinds(device)


def test_real_values_and_complex_x(device):
    """The gradient of what is real is real."""
    v = [draw(p, seed=k).requires_grad_() for k, p in enumerate(Chain.square_dyadic(8))]
    x = draw((8, 2), torch.complex128).requires_grad_()
    apply = lambda x, *v: lo.Product([lo.KroneckerSparse(a, copy=False) for a in v]) @ x
    assert torch.autograd.gradcheck(apply, (x, *v), fast_mode=True)
    y = apply(x, *v)
    y.abs().square().sum().backward()
    assert all(a.grad.dtype == torch.float64 for a in v)


def test_large_blocks_take_matmul_for_their_values(device):
    """With permutations at both ends of a lone factor, and beside a run."""
    rng = np.random.default_rng(2)
    big, small = draw((2, 12, 10, 1), seed=1), draw((20, 1, 1, 1), seed=2)
    P, Q = (lo.Permutation(rng.permutation(n)) for n in (24, 20))
    leaves = [big.requires_grad_(), small.requires_grad_()]
    x = draw((20, 3)).requires_grad_()

    def apply(x, big, small):
        K, S = (lo.KroneckerSparse(a, copy=False) for a in (big, small))
        return P @ K @ Q @ S @ x

    assert torch.autograd.gradcheck(apply, (x, *leaves), fast_mode=True)
    lone = lambda x, big: P @ lo.KroneckerSparse(big, copy=False) @ Q @ x
    assert torch.autograd.gradcheck(lone, (x, leaves[0]), fast_mode=True)
    tiny = (draw((2, 2)).requires_grad_(), draw((1, 2, 1, 2)).requires_grad_())
    swap = lo.Permutation([3, 0, 2, 1])
    twice = lambda x, v: swap @ lo.KroneckerSparse(v, copy=False) @ x
    assert torch.autograd.gradgradcheck(twice, tiny, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_a_chain_in_one_kernel_each_run(device, dtype):
    """Sums over columns in float32: within gamma of what double precision gives."""
    v = [(draw(p, seed=k) / 2**0.5).to(dtype) for k, p in enumerate(Chain.square_dyadic(64))]
    x, g = draw((64, 40), seed=8).to(dtype), draw((64, 40), seed=9).to(dtype)
    found = []
    for of in (dtype, torch.float64):
        leaves = [a.to(of).detach().requires_grad_() for a in (*v, x)]
        A = lo.Product([lo.KroneckerSparse(a, copy=False) for a in leaves[:-1]])
        (A @ leaves[-1]).backward(g.to(of))
        found.append([a.grad for a in leaves])
        device.launches.clear() if of is torch.float64 else None
    most = [float(a.abs().max()) for a in found[1]]
    roundings = 2 * (2 * 6 + 40)
    bound = 64 * gamma(roundings, "float32") + (8 * 2.0**-8 if dtype == torch.bfloat16 else 0)
    for got, want, size in zip(*found, most, strict=True):
        assert got.dtype == dtype
        assert float((got.double() - want).abs().max()) <= bound * max(size, 1)


def test_a_pass_forward_and_back_is_few_kernels(device):
    v = [draw(p, torch.float32, k).requires_grad_() for k, p in enumerate(Chain.square_dyadic(256))]
    x = draw((256, 16), torch.float32)
    A = lo.Product([lo.KroneckerSparse(a, copy=False) for a in v])
    y = A @ x
    forward = len(device.launches)
    y.sum().backward()
    assert all(a.grad is not None for a in v)
    runs = len(cuts(tuple(Chain.square_dyadic(256))[::-1], Case(16, "float32")))
    assert runs <= 2
    assert kinds(device)[forward:] == ["chain"] * (runs - 1) + ["gradient"] * runs


def test_of_x_alone_it_is_the_adjoint(device):
    """Values that want nothing: no sums are made."""
    v = [draw(p, torch.float32, k) for k, p in enumerate(Chain.square_dyadic(64))]
    A = lo.Product([lo.KroneckerSparse(a, copy=False) for a in v])
    x = draw((64, 8), torch.float32).requires_grad_()
    (A @ x).sum().backward()
    assert "gradient" not in kinds(device)
    torch.testing.assert_close(x.grad, A.H @ torch.ones(64, 8))
    assert all(launch == "matmul" for launch in device.launches)  # packed: 64 is one matrix
    z = draw((64, 2)).requires_grad_()
    B = A.astype("float64")
    assert torch.autograd.gradcheck(lambda z: B @ z, (z,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda z: B @ z, (z,), fast_mode=True)


def test_no_columns_and_no_gradients(device):
    """Through the operation itself, as torch.compile would call it."""
    from lazyops.kernels import torch_ops

    K = lo.KroneckerSparse(draw((1, 2, 2, 4)).requires_grad_(), copy=False)
    chain = torch_ops.Chain([K._stage(), lo.Permutation(np.arange(8)[::-1])._stage()])
    x = draw((8, 0)).requires_grad_()
    chain.record(x).sum().backward()
    assert x.grad.shape == (8, 0)
    assert not K.stored.grad.any()


def test_where_gradients_are_off_values_are_packed(device):
    v = [draw(p, torch.float32, k).requires_grad_() for k, p in enumerate(Chain.square_dyadic(256))]
    A = lo.Product([lo.KroneckerSparse(a, copy=False) for a in v])
    x = draw((256, 8), torch.float32)
    recorded = A @ x
    with torch.no_grad():
        device.launches.clear()
        y = A @ x
        assert any(launch.variant.known("PACKED") for launch in device.launches)
        v[0].mul_(2)
        torch.testing.assert_close(A @ x, 2 * y)
    assert recorded.requires_grad
    assert not y.requires_grad
    torch.testing.assert_close(recorded.detach(), y)


def test_tensors_that_are_yet_to_be_conjugated(device):
    """Torch keeps a bit for it; kernels read memory."""
    v = [draw(p, torch.complex128, k) for k, p in enumerate(Chain.square_dyadic(256))]
    A = lo.Product([lo.KroneckerSparse(a, copy=False) for a in v])
    x = draw((256, 8), torch.complex128)
    lazy = x.conj()
    assert lazy.is_conj()
    torch.testing.assert_close(A @ lazy, A @ lazy.resolve_conj())
    B = lo.Product([lo.KroneckerSparse(a.conj(), copy=False) for a in v])
    torch.testing.assert_close(B @ x, (A @ lazy).conj().resolve_conj())
    leaf = x.clone().requires_grad_()
    (A @ leaf.conj()).abs().square().sum().backward()
    assert leaf.grad is not None


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_maps_over_batches_and_forward_derivatives(device):
    v = [draw(p, seed=k) for k, p in enumerate(Chain.square_dyadic(8))]
    A = lo.Product([lo.KroneckerSparse(a, copy=False) for a in v])
    x = draw((5, 8, 2))
    want = torch.stack([A @ z for z in x])
    torch.testing.assert_close(torch.func.vmap(lambda z: A @ z)(x), want)
    y, t = torch.func.jvp(lambda z: A @ z, (x[0],), (x[1],))
    torch.testing.assert_close(t, A @ x[1])
    torch.testing.assert_close(y, A @ x[0])


def test_runs_of_a_backward_pass_fit():
    """Inputs of all stages in shared memory, sums of values in registers, large blocks alone."""
    for dtype in ("float32", "complex64", "bfloat16", "complex128"):
        for n, columns in ((1024, 4096), (4096, 16), (1 << 20, 64)):
            case = Case(columns, dtype)
            patterns = tuple(Chain.square_dyadic(n))[::-1]
            found = cuts(patterns, case)
            assert [c.start for c in found[1:]] == [c.stop for c in found[:-1]]
            for cut in found:
                shape = geometry(patterns[cut.start : cut.stop])
                held = {"complex64": 8, "complex128": 16}.get(dtype, 4)
                buffers = cut.stop - cut.start + 1
                size = buffers * shape.most_rows * cut.tile_n * cut.tile_k * held
                assert 0 < size <= case.device.shared_block
                sums = sum(-(-a * d * cut.tile_k // THREADS) * b * c for a, b, c, d in shape.stages)
                assert sums * held // 4 <= KEPT
    (alone,) = cuts((Pattern(1, 64, 64, 64),), Case(512, "float32"))
    assert alone.tile_n == 0
