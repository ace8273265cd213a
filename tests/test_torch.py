"""torch: products and their gradients on the compiled kernels, modules, compression."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from theory import assert_within

import lazyops as lo

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # its own

from lazyops.kernels import (  # noqa: E402
    torch_cpu,
    torch_library,
)
from lazyops.kernels import torch_ops as ops  # noqa: E402
from lazyops.torch import ButterflyLinear, compress_, round_through  # noqa: E402

CHAINS = {
    "dyadic": lo.Chain.square_dyadic(16),
    "rising": lo.Chain([p.T for p in reversed(list(lo.Chain.square_dyadic(8)))]),
    "mixed": lo.Chain([lo.Pattern(1, 3, 2, 5), lo.Pattern(2, 5, 7, 1)]),
    "large": lo.Chain([lo.Pattern(1, 6, 5, 3), lo.Pattern(5, 3, 9, 1)]),
}
DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def values_of(name, dtype, grad=False):
    torch.manual_seed(1)
    return [torch.randn(tuple(p), dtype=dtype).requires_grad_(grad) for p in CHAINS[name]]


def product_of(values):
    return lo.Product([lo.KroneckerSparse(v) for v in values])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHAINS)
def test_products_equal_those_of_numpy(name, dtype):
    values = values_of(name, dtype)
    A, B = product_of(values), product_of([v.numpy() for v in values])
    x = torch.randn(A.shape[1], 5, dtype=dtype)
    assert_within(A @ x, B @ x.numpy(), B, x.numpy())
    assert_within(A @ x.T.contiguous().T, B @ x.numpy(), B, x.numpy())
    assert_within(A @ x[:, 0], B @ x[:, 0].numpy(), B, x[:, 0].numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients(name, dtype):
    values = values_of(name, dtype, grad=True)
    n = product_of(values).shape[1]
    scale = torch.randn(n, dtype=dtype, requires_grad=True)
    P = lo.Permutation(np.random.default_rng(0).permutation(n))
    x = torch.randn(n, 2, dtype=dtype, requires_grad=True)

    def f(x, scale, *values):
        A = product_of(values) @ lo.Diagonal(scale) @ P * 2.5
        return A @ x, A.conj() @ x, A.H @ (A @ x)

    assert torch.autograd.gradcheck(f, (x, scale, *values), fast_mode=True)
    assert torch.autograd.gradgradcheck(f, (x, scale, *values), fast_mode=True)


def by_factors(g, x, values):
    """Gradients of ``K_1 ... K_L x``, factor by factor: of x, and of the values of each."""
    inputs = [x]
    for v in reversed(values[1:]):
        a, b, c, d = v.shape
        y = torch.einsum("abcd,acdn->abdn", v, inputs[-1].reshape(a, c, d, -1))
        inputs.append(y.reshape(a * b * d, -1))
    found = []
    for v in values:
        a, b, c, d = v.shape
        g, x_in = g.reshape(a, b, d, -1), inputs.pop().reshape(a, c, d, -1)
        found.append(torch.einsum("abdn,acdn->abcd", g, x_in.conj()))
        g = torch.einsum("abcd,abdn->acdn", v.conj(), g)
    return [g.reshape(x.shape), *found]


@pytest.mark.parametrize("columns", [1, 31, 32, 100])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHAINS)
def test_the_compiled_gradient_is_that_of_the_stages(name, dtype, columns):
    wide = torch.complex128 if dtype.is_complex else torch.float64
    values = values_of(name, dtype, grad=True)
    A = product_of(values)
    x = torch.randn(A.shape[1], columns, dtype=dtype, requires_grad=True)
    g = torch.randn(A.shape[0], columns, dtype=dtype)
    for turned in (False, True):
        one = x.T.contiguous().T if turned else x
        found = torch.autograd.grad(A @ one, (x, *values), g)
        args = g.to(wide), x.to(wide), [v.to(wide) for v in values]
        want = by_factors(*args)
        majorant = by_factors(args[0].abs(), args[1].abs(), [v.abs() for v in args[2]])
        # roundings on a path: the entries of a row of every factor, and the columns of a sum
        count = sum(max(p.b, p.c) + 2 for p in CHAINS[name]) + columns + 4
        bound = 4 * count * torch.finfo(dtype).eps / 2
        for got, exact, most in zip(found, want, majorant, strict=True):
            assert got.dtype == dtype
            assert bool(((got.to(wide) - exact).abs() <= bound * most.abs()).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*CHAINS, "long"])
def test_sums_have_one_order_whatever_the_threads(name, dtype):
    """Bits of the gradients are those of one thread; compiled, in either order of the columns."""
    chain = lo.Chain.square_dyadic(256) if name == "long" else CHAINS[name]
    torch.manual_seed(0)
    values = [torch.randn(tuple(p), dtype=dtype, requires_grad=True) for p in chain]
    A = product_of(values)
    wide = 4000 if name == "long" else 20000  # enough for threads to be worth it
    x = torch.randn(A.shape[1], wide, dtype=dtype)
    g = torch.randn(A.shape[0], wide, dtype=dtype)
    found = {}
    try:
        for threads in (1, 2, 3, 5):
            lo.set_num_threads(threads)
            found[threads] = torch.autograd.grad(A @ x, values, g)
    finally:
        lo.set_num_threads(None)
    for other in found.values():
        assert all(map(torch.equal, other, found[1]))
    if torch_cpu.obstacle() is None:  # sums of the reference kernels follow the memory
        turned = torch.autograd.grad(A @ x.T.contiguous().T, values, g)
        assert all(map(torch.equal, turned, found[1]))


@pytest.mark.parametrize("columns", [0, 3])
@pytest.mark.parametrize("learns", ["nothing", "x", "values"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_the_operations_keep_torchs_rules(dtype, learns, columns):
    """In either order of columns: schema, fake tensors, autograd, tracing of unknown sizes."""
    torch.manual_seed(0)
    of = torch_library
    forms = [0, 1, of.SCALE, 2, 3, of.DIAGONAL, of.INDEX]
    held = [*values_of("dyadic", dtype), torch.randn(16, dtype=dtype)]
    arrays = [
        *(v.requires_grad_(learns == "values") for v in held),
        torch.arange(15, -1, -1),
    ]
    for turned in (False, True):
        g = (
            torch.randn(columns, 16, dtype=dtype).T
            if turned
            else torch.randn(16, columns, dtype=dtype)
        )
        x = g.clone(memory_format=torch.preserve_format).requires_grad_(learns == "x")
        torch.library.opcheck(of.CHAIN, (x, arrays, forms, [2.0, 0.0]))
        torch.library.opcheck(of.CHAIN, (x, arrays[:4], [0, 1, 2, 3], []))
        wanted = [True] * 6 + [False]
        torch.library.opcheck(of.GRAD, (g, x, arrays, forms, [2.0, 0.0], wanted))


def test_gradients_of_no_columns():
    """A batch may be empty: nothing is divided by its size."""
    values = values_of("mixed", torch.float64, grad=True)
    x = torch.randn(14, 0, dtype=torch.float64, requires_grad=True)
    (product_of(values) @ x).sum().backward()
    assert x.grad.shape == (14, 0)
    assert all(v.grad.shape == v.shape and not v.grad.any() for v in values)


def test_tangents_of_values_alone_are_seen():
    values = values_of("dyadic", torch.float64)
    tangents = [torch.randn_like(v) for v in values]
    x = torch.randn(16, 3, dtype=torch.float64)
    with torch.autograd.forward_ad.dual_level():
        duals = [
            torch.autograd.forward_ad.make_dual(v, t) for v, t in zip(values, tangents, strict=True)
        ]
        tangent = torch.autograd.forward_ad.unpack_dual(product_of(duals) @ x).tangent
    _, want = torch.func.jvp(lambda *v: product_of(v) @ x, tuple(values), tuple(tangents))
    torch.testing.assert_close(tangent, want)


def test_batches_samples_and_tangents():
    values = values_of("dyadic", torch.float64)
    A = product_of(values)
    x = torch.randn(5, 16, 3, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(lambda x: A @ x)(x), A @ x)

    def loss(values, x):
        return ops.chain(x, values, [0] * 4, []).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(values, x)
    for i in range(5):
        for one, want in zip(each, torch.func.grad(loss)(values, x[i]), strict=True):
            torch.testing.assert_close(one[i], want)
    _, tangent = torch.func.jvp(lambda x: A @ x, (x[0],), (x[1],))
    torch.testing.assert_close(tangent, A @ x[1])


def test_values_changed_in_place_are_seen():
    values = values_of("dyadic", torch.float64)
    A, x = product_of(values), torch.randn(16, 3, dtype=torch.float64)
    before = A @ x
    values[1].mul_(2)
    torch.testing.assert_close(A @ x, 2 * before, rtol=0, atol=0)
    layer = ButterflyLinear(CHAINS["dyadic"], bias=False).requires_grad_(True)
    rows = torch.randn(4, 16)
    before = layer(rows)
    layer.factors[0].data.mul_(2)  # not counted by torch
    torch.testing.assert_close(layer(rows), 2 * before, rtol=0, atol=0)


def test_a_layer_is_its_operator():
    torch.manual_seed(0)
    layer = ButterflyLinear(lo.Product([lo.Permutation.bit_reversal(16), *product_of(
        [v.numpy() for v in values_of("dyadic", torch.float32)]).factors]))  # fmt: skip
    x = torch.randn(2, 3, 16)
    y = layer(x)
    A = layer.to_operator().to_dense()
    torch.testing.assert_close(y, x @ A.T + layer.bias)
    other = ButterflyLinear(layer.to_operator())
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x), y, rtol=0, atol=0)
    assert sorted(layer.state_dict()) == sorted([
        "bias", "index0", "factors.0", "factors.1", "factors.2", "factors.3",
    ])  # fmt: skip
    torch.testing.assert_close(copy.deepcopy(layer)(x), y, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low, y.to(torch.bfloat16), rtol=2**-7, atol=2**-7)
    with pytest.raises(TypeError, match=r"D16 is neither"):
        ButterflyLinear(lo.Diagonal(np.ones(16)) @ lo.Permutation.bit_reversal(16))


@pytest.mark.filterwarnings("ignore")
def test_a_layer_is_compiled_whole():
    layer = ButterflyLinear(CHAINS["dyadic"])
    x = torch.randn(4, 16, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    y, want = compiled(x), layer(x)
    torch.testing.assert_close(y, want)
    got = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
    exact = torch.autograd.grad(want.square().sum(), [x, *layer.parameters()])
    for one, other in zip(got, exact, strict=True):
        torch.testing.assert_close(one, other)


def test_layers_of_a_model():
    torch.manual_seed(0)
    wanted = ButterflyLinear(CHAINS["dyadic"]).to_operator().to_dense()
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    with torch.no_grad():
        model[0].weight.copy_(wanted)
    layer = ButterflyLinear.from_linear(model[0], chain=CHAINS["dyadic"])
    x = torch.randn(8, 16)
    torch.testing.assert_close(layer(x), model[0](x), rtol=1e-4, atol=1e-4)
    y = model(x)
    table = compress_(model, lambda m, name: m.in_features == 16, tol=1e-3, calibration=x)
    assert [r.name for r in table.rows] == ["0", "2"]
    for row in table.rows:
        assert isinstance(model.get_submodule(row.name), ButterflyLinear) == row.replaced
        if row.replaced:
            assert row.error <= 1e-3 + 16 * 2**-23
            assert row.seconds_after < row.seconds
    torch.testing.assert_close(model(x), y, rtol=1e-2, atol=1e-2)
    assert str(table).startswith("0: ")
    with pytest.raises(TypeError, match="from_linear"):
        compress_(nn.Linear(4, 4))


def test_rounding_lets_gradients_through():
    x = torch.tensor([1.06, 500.0, -0.3], requires_grad=True)
    y = round_through(x, "e4m3")
    assert y.tolist() == [1.0, 448.0, -0.3125]
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(TypeError, match="takes a FloatFormat, got int8"):
        round_through(x, "int8")
    layer = ButterflyLinear(CHAINS["dyadic"], number_format="bf16")
    target, rows = torch.randn(64, 16), torch.randn(64, 16)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        loss = (layer(rows) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    held = layer.to_operator().factors[0].stored
    assert torch.equal(held, held.bfloat16().float())
