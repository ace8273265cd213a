"""On a CUDA device, with CuPy: ``pytest -m gpu``.  Skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from theory import gamma

import lazyops as lo
from lazyops.kernels import cuda

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(cuda.missing() is not None, reason=str(cuda.missing())),
]
DTYPES = ["float32", "float64", "complex64", "complex128"]


def on_device(library, x):
    if library == "cupy":
        import cupy

        return cupy.asarray(x, order="A")
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.ascontiguousarray(x)).cuda()


def back(y):
    return y.cpu().numpy() if hasattr(y, "cpu") else y.get()


def draw(shape, dtype, seed=0):
    rng = np.random.default_rng([seed, *shape])
    z = rng.standard_normal(shape)
    return (z + 1j * rng.standard_normal(shape) if "complex" in dtype else z).astype(dtype)


def chains():
    P = lo.Permutation(np.random.default_rng(0).permutation(256))
    K = lo.KroneckerSparse(draw((2, 40, 24, 3), "float64"))
    return {
        "hadamard": lo.butterfly.hadamard(1024),
        "dft": lo.butterfly.dft(360),
        "permuted": P @ lo.butterfly.hadamard(256) @ P,
        "diagonal": lo.butterfly.hadamard(64) @ lo.Diagonal(np.arange(1.0, 65)),
        "one factor": K,
        "terms side by side": lo.KroneckerSparse(draw((3, 40, 50, 1), "float64")),
    }


@pytest.mark.parametrize("library", ["cupy", "torch"])
@pytest.mark.parametrize("columns", [1, 3, 64])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", list(chains()))
def test_products_equal_those_on_the_cpu(name, dtype, columns, library):
    A = chains()[name]
    x = draw((A.shape[1], columns), dtype)
    B = A.to(like=on_device(library, x))
    for op, host in ((B, A), (B.H, A.H)):
        x = draw((host.shape[1], columns), dtype, 1)
        got = back(op @ on_device(library, x))
        want = host @ x.astype("complex128")
        most = np.abs(host.to_dense()) @ np.abs(x)
        precision = "float32" if got.dtype.name in ("float32", "complex64") else "float64"
        bound = 8 * gamma(400, precision) * np.maximum(most, most.max())
        assert (np.abs(got - want) <= bound).all()


def test_the_callers_stream_and_no_wait():
    """A product is captured into a graph: nothing in it waits or moves to the host."""
    torch = pytest.importorskip("torch")
    A = lo.butterfly.hadamard(1024)
    x = torch.randn(1024, 64, device="cuda")
    B = A.to(like=x)
    want = B @ x
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        B @ x
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = B @ x
    y.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(y, want)


def test_two_libraries_on_one_device():
    import cupy

    torch = pytest.importorskip("torch")
    A, x = lo.butterfly.hadamard(512), draw((512, 16), "float32")
    first = A.to(like=cupy.asarray(x)) @ cupy.asarray(x)
    second = A.to(like=torch.from_numpy(x).cuda()) @ torch.from_numpy(x).cuda()
    np.testing.assert_array_equal(back(first), back(second))


def test_codes_on_a_device():
    A = lo.butterfly.hadamard(256)
    Q = lo.butterfly.quantize(A, "e4m3").operator
    x = draw((256, 32), "float32")
    got = back(Q.to(like=on_device("torch", x)) @ on_device("torch", x))
    np.testing.assert_allclose(got, Q @ x, rtol=0, atol=1e-4 * np.abs(Q @ x).max())


def test_gradients_flow():
    torch = pytest.importorskip("torch")
    A = lo.butterfly.hadamard(64).to(like=torch.zeros(1, device="cuda", dtype=torch.float64))
    x = torch.randn(64, 3, device="cuda", dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: A @ z, x)
