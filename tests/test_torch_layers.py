"""ButterflyLinear, a module among others: shapes, dtypes, devices, states, few bits."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
from theory import assert_within

import lazyops as lo
from lazyops.kernels.formats import FloatFormat

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = [  # torch's own
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Complex modules are a new feature:UserWarning"),
]

from lazyops.torch import ButterflyLinear, round_through  # noqa: E402

SQUARE = lo.Chain.square_dyadic(16)
WIDE = lo.Chain([lo.Pattern(1, 3, 2, 5), lo.Pattern(2, 5, 7, 1)])  # 15 x 14
ANY = pytest.mark.parametrize("dtype", [
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
])  # fmt: skip


def layer_with_index(dtype=torch.float32):
    torch.manual_seed(0)
    factors = ButterflyLinear(SQUARE, dtype=dtype).to_operator().factors
    layer = ButterflyLinear(lo.Product([lo.Permutation.bit_reversal(16), *factors]))
    with torch.no_grad():
        layer.bias.normal_()
    return layer


# -- what it takes --------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (5,), (2, 3), (2, 0, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("chain", [SQUARE, WIDE, WIDE[:1]], ids=["square", "wide", "one factor"])
def test_batches_of_any_shape(chain, shape, bias):
    torch.manual_seed(0)
    layer = ButterflyLinear(lo.Chain(chain), bias=bias)
    x = torch.randn(*shape, layer.in_features, requires_grad=True)
    y = layer(x)
    assert y.shape == (*shape, layer.out_features)
    A = layer.to_operator()
    columns = x.detach().reshape(-1, layer.in_features).T.numpy()
    want = A.astype("float64") @ columns.astype("float64")
    assert_within(y.detach().reshape(-1, layer.out_features).T, want, A, columns)
    y.sum().backward()
    assert all(t.grad.shape == t.shape for t in (x, *layer.parameters()))
    assert (layer.bias is not None) == bias


@ANY
def test_dtypes(dtype):
    """Half precision is computed in float32 and rounded once; what is mixed is joined."""
    layer = layer_with_index().to(dtype)
    torch.manual_seed(1)
    x = torch.randn(5, 16, dtype=dtype, requires_grad=True)
    y = layer(x)
    assert y.dtype == dtype
    wide = torch.promote_types(dtype, torch.float32)
    want = copy.deepcopy(layer).to(wide)(x.to(wide)).to(dtype)
    torch.testing.assert_close(y, want, rtol=0, atol=0)
    y.abs().sum().backward()
    assert x.grad.dtype == dtype
    assert all(p.grad.dtype == dtype for p in layer.parameters())
    assert layer(torch.randn(5, 16)).dtype == torch.promote_types(dtype, torch.float32)
    assert layer(torch.ones(5, 16, dtype=torch.int64)).dtype == dtype


@ANY
def test_operators_of_a_dtype_and_back(dtype):
    layer = layer_with_index().to(dtype)
    A = layer.to_operator()
    assert A.factors[1].stored.data_ptr() == layer.factors[0].data_ptr()
    other = ButterflyLinear(A, bias=False)
    for one, two in zip(other.factors, layer.factors, strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, two)
        assert one.data_ptr() != two.data_ptr()
    again = ButterflyLinear(A.H, bias=False, dtype=torch.complex128)
    x = torch.randn(3, 16, dtype=torch.complex128)
    torch.testing.assert_close(again(x), (A.to(dtype="float64").H @ x.T).T)


def test_of_operators_of_numpy_and_of_codes():
    A = lo.factorize(np.fft.fft(np.eye(16))).operator
    layer = ButterflyLinear(A, bias=False)
    assert layer.factors[0].is_complex()
    x = torch.randn(3, 16, dtype=torch.complex128)
    torch.testing.assert_close(layer(x), torch.fft.fft(x))
    codes = lo.quantize(ButterflyLinear(SQUARE).to_operator(), "bf16").operator
    layer = ButterflyLinear(codes, bias=False)
    np.testing.assert_array_equal(layer.to_operator().to_dense(), codes.to_dense())


def test_autocast_as_a_linear_layer_has_it():
    layer, linear = layer_with_index(), nn.Linear(16, 16)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.randn(4, 16, dtype=dtype, requires_grad=True)
        one, two = layer.to(dtype), linear.to(dtype)
        with torch.autocast("cpu", torch.bfloat16):
            y = one(x)
            assert y.dtype == two(x).dtype
        y.sum().backward()
        assert x.grad.dtype == one.factors[0].grad.dtype == dtype
        layer.zero_grad()
    layer.to(torch.complex64)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(4, 16)).dtype == torch.complex64


def test_on_meta():
    """Shapes and dtypes without values; what comes to be there is loaded."""
    layer = layer_with_index()
    empty = copy.deepcopy(layer).to("meta")
    y = empty(torch.empty(3, 16, device="meta"))
    assert (y.shape, y.dtype, y.is_meta) == ((3, 16), torch.float32, True)
    y.sum().backward()
    assert empty.factors[0].grad.is_meta
    built = ButterflyLinear(layer.to_operator(), device="meta")
    assert all(t.is_meta for t in built.state_dict().values())
    built.to_empty(device="cpu").load_state_dict(layer.state_dict())
    x = torch.randn(3, 16)
    assert torch.equal(built(x), layer(x))
    assigned = ButterflyLinear(layer.to_operator(), device="meta")
    assigned.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(assigned(x), layer(x))


def test_what_it_refuses():
    layer = ButterflyLinear(WIDE)
    for shape, found in (((4, 28), "28 columns"), ((2, 7), "7 columns"), ((), "no columns")):
        with pytest.raises(
            ValueError, match=rf"\(14, 15\) takes rows, .* \(\.\.\., 14\), .*{found}"
        ):
            layer(torch.zeros(shape))
    with pytest.raises(TypeError, match=r"on cpu, x on meta: move one, layer\.to"):
        layer(torch.zeros(3, 14, device="meta"))
    with pytest.raises(TypeError, match=r"takes a Chain or an operator, got list: lo\.Chain"):
        ButterflyLinear([(1, 2, 2, 1)])
    with pytest.raises(TypeError, match=r"K\(1,2,2,1\).*complex128, which torch\.float32 does not"):
        ButterflyLinear(lo.KroneckerSparse(np.ones((1, 2, 2, 1), complex)), dtype=torch.float32)
    with pytest.raises(
        TypeError, match=r"ButterflyLinear takes a FloatFormat, got int8: .*lo\.quan"
    ):
        ButterflyLinear(WIDE, number_format="int8")
    with pytest.raises(ValueError, match="unknown format 'bf15'"):
        ButterflyLinear(WIDE, number_format="bf15")
    with pytest.raises(ValueError, match="give it a number_format"):
        layer.to_quantized()


# -- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number_format", [None, "bf16", FloatFormat(4, 3)])
def test_copies_are_equal_and_apart(number_format):
    layer = ButterflyLinear(layer_with_index().to_operator(), number_format=number_format).eval()
    stream = io.BytesIO()
    torch.save(layer, stream)
    stream.seek(0)
    x = torch.randn(4, 16)
    want = layer(x)
    copies = [
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(stream, weights_only=False),
    ]
    for other in copies:
        assert torch.equal(other(x), want)
        assert not other.training
        assert repr(other) == repr(layer)
        with torch.no_grad():
            other.factors[0].zero_()
        assert not other(x).any()
    assert torch.equal(layer(x), want)


def test_a_state_goes_there_and_back():
    layer, other = layer_with_index(), ButterflyLinear(layer_with_index().to_operator())
    stream = io.BytesIO()
    torch.save(layer.state_dict(), stream)
    stream.seek(0)
    with torch.no_grad():
        for p in other.parameters():
            p.fill_(0.5)
    result = other.load_state_dict(torch.load(stream, weights_only=True))
    assert result.missing_keys == result.unexpected_keys == []
    x = torch.randn(4, 16)
    assert torch.equal(other(x), layer(x))


def test_states_that_do_not_fit():
    state = layer_with_index().state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"index0\""):
        ButterflyLinear(SQUARE).load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"bias\""):
        ButterflyLinear(SQUARE).load_state_dict(ButterflyLinear(SQUARE, bias=False).state_dict())
    with pytest.raises(RuntimeError, match=r"size mismatch for factors\.0"):
        ButterflyLinear(SQUARE[::-1]).load_state_dict(ButterflyLinear(SQUARE).state_dict())


def test_an_index_that_is_no_permutation_is_found():
    """It comes of a file: no memory is read that is not ours."""
    layer = layer_with_index()
    for wrong in (
        torch.full((16,), 1 << 40),
        torch.zeros(16, dtype=torch.int64),
        -torch.arange(16),
    ):
        layer.load_state_dict({**layer.state_dict(), "index0": wrong})
        with pytest.raises(ValueError, match=r"16 entries .* 0 to 15 once: load the state"):
            layer(torch.randn(4, 16))


def test_of_a_linear_layer():
    torch.manual_seed(0)
    exact = ButterflyLinear(SQUARE).to_operator().to_dense()
    linear = nn.Linear(16, 16)
    with torch.no_grad():
        linear.weight.copy_(exact)
    linear.bias.requires_grad_(False)
    linear.eval()
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        same = copy.deepcopy(linear).to(dtype)
        layer = ButterflyLinear.from_linear(same, chain=SQUARE)
        assert {p.dtype for p in layer.parameters()} == {dtype}
        assert not layer.training
        assert layer.factors[0].requires_grad
        assert not layer.bias.requires_grad
        assert torch.equal(layer.bias, same.bias)
        # what the certificate says, and each entry of each factor rounded to the dtype
        weight = same.weight.detach().to(torch.promote_types(dtype, torch.float32)).numpy()
        certified = lo.factorize(weight, SQUARE).upper_bound * np.linalg.norm(weight)
        values = [v.detach().double() for v in layer.factors]
        majorant = lo.Product([lo.KroneckerSparse(v.abs()) for v in values]).to_dense()
        k, u = len(SQUARE), torch.finfo(dtype).eps / 2
        bound = certified + k * u / (1 - k * u) * float(torch.linalg.norm(majorant))
        found = lo.Product([lo.KroneckerSparse(v) for v in values]).to_dense().numpy()
        assert np.linalg.norm(found - weight) <= bound
    by_tol = ButterflyLinear.from_linear(linear, tol=1e-4)
    assert sum(v.numel() for v in by_tol.factors) < 256
    low = ButterflyLinear.from_linear(linear, chain=SQUARE, number_format="bf16")
    assert low.to_quantized().factors[0].format_name == "e8m7"
    with pytest.raises(ValueError, match="this weight has no smaller butterfly"):
        ButterflyLinear.from_linear(nn.Linear(16, 16), tol=1e-6)
    with pytest.raises(ValueError, match="lies on meta and has no values: load"):
        ButterflyLinear.from_linear(nn.Linear(16, 16, device="meta"), chain=SQUARE)
    with torch.no_grad():
        linear.weight[2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"\(2, 3\)|\[2, 3\]|2, 3"):
        ButterflyLinear.from_linear(linear, chain=SQUARE)


def test_a_layer_of_many_states_at_once():
    """An ensemble: torch.func.functional_call over stacked parameters, and its gradients."""
    layers = [layer_with_index() for _ in range(3)]
    for i, layer in enumerate(layers):
        with torch.no_grad():
            layer.factors[0].mul_(i + 1)
    stacked, buffers = torch.func.stack_module_state(layers)
    call = torch.func.functional_call
    x = torch.randn(4, 16)
    f = lambda p, b: call(layers[0], (p, b), (x,))
    want = torch.stack([layer(x) for layer in layers])
    torch.testing.assert_close(torch.func.vmap(f)(stacked, buffers), want)
    loss = lambda p, b: f(p, b).square().sum()
    each = torch.func.vmap(torch.func.grad(loss))(stacked, buffers)
    for i, layer in enumerate(layers):
        found = torch.autograd.grad(layer(x).square().sum(), layer.factors[1])
        torch.testing.assert_close(each["factors.1"][i], found[0])


# -- training on few bits -------------------------------------------------------------------------


FORMATS = [
    FloatFormat(e, m) for e in range(2, 9) for m in (1, 2, 3, 7, 10) if 1 + e + m <= 16
] + [FloatFormat(4, 3, "finite"), FloatFormat(7, 3, "fn"), FloatFormat(None, 5)]  # fmt: skip


@pytest.mark.parametrize("number_format", FORMATS, ids=str)
def test_rounding_is_that_of_the_format(number_format):
    """Bit for bit, from any bits: subnormals, infinities, NaN, signs of zeros."""
    rng = np.random.default_rng(0)
    bits = rng.integers(-(2**63), 2**63 - 1, 20000, dtype=np.int64).view(np.float64)
    near = rng.standard_normal(20000) * 2.0 ** rng.integers(-40, 40, 20000)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, number_format.smallest / 2, number_format.max]
    for dtype in (np.float64, np.float32):
        with np.errstate(all="ignore"):
            x = np.concatenate([bits, near, special]).astype(dtype)
            if number_format.specials == "finite":
                x = x[~np.isnan(x)]
            want = number_format.round(x, saturate=True)
        got = round_through(torch.from_numpy(x.copy()), number_format).numpy()
        nan = np.isnan(want)
        assert got.dtype == dtype
        np.testing.assert_array_equal(nan, np.isnan(got))
        np.testing.assert_array_equal(got[~nan], want[~nan])
        np.testing.assert_array_equal(np.signbit(got[~nan]), np.signbit(want[~nan]))


def test_rounding_under_transforms():
    x = torch.tensor([1.06, 500.0, -0.3, float("inf"), -0.0])
    y = round_through(x, "e4m3")
    assert y.tolist() == [1.0, 448.0, -0.3125, 448.0, 0.0]
    assert torch.signbit(y[4])
    f = lambda x: round_through(x, "e4m3")
    assert torch.equal(torch.func.vmap(f)(x.expand(3, 5)), y.expand(3, 5))
    primal, tangent = torch.func.jvp(f, (x[:3],), (torch.ones(3),))
    assert torch.equal(primal, y[:3])
    assert torch.equal(tangent, torch.ones(3))
    assert torch.equal(torch.func.jacrev(f)(x[:3]), torch.eye(3))
    z = torch.complex(x[:3], -x[:3]).requires_grad_()
    low = round_through(z, "e4m3")
    assert torch.equal(low, torch.complex(y[:3], -y[:3]))
    (g,) = torch.autograd.grad(low.real.sum(), z)
    assert torch.equal(g, torch.ones_like(z))
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(round_through(x.to(dtype), "e4m3")[:3], y[:3].to(dtype))
    with pytest.raises(TypeError, match=r"takes floating numbers, got torch\.int64"):
        round_through(torch.arange(3), "e4m3")


@pytest.mark.filterwarnings("ignore")  # torch's own, while it traces
def test_rounding_is_compiled_whole():
    torch._dynamo.reset()
    layer = ButterflyLinear(SQUARE, number_format="e4m3")
    x = torch.randn(4, 16, requires_grad=True)
    y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    want = layer(x)
    torch.testing.assert_close(y, want)
    for one, two in zip(*(torch.autograd.grad(t.square().sum(), [x, *layer.parameters()])
                          for t in (y, want)), strict=True):  # fmt: skip
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("number_format", ["e4m3", "bf16", "e2m1", FloatFormat(5, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_gradients_go_straight_through(number_format, dtype):
    """They are those of a layer that has the rounded values, which are on the grid."""
    torch.manual_seed(0)
    layer = ButterflyLinear(SQUARE, number_format=number_format, dtype=dtype)
    with torch.no_grad():
        layer.factors[0].mul_(3)
    form = layer.number_format
    plain = ButterflyLinear(layer.to_operator())
    for v in plain.factors:
        parts = torch.view_as_real(v.detach()) if v.is_complex() else v.detach()
        assert torch.equal(torch.from_numpy(form.decode(form.encode(parts.numpy()))), parts)
    x = torch.randn(4, 16, dtype=dtype)
    assert torch.equal(layer(x), plain(x))
    for one, two in zip(*(torch.autograd.grad(f(x).abs().square().sum(), list(f.factors))
                          for f in (layer, plain)), strict=True):  # fmt: skip
        torch.testing.assert_close(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("number_format", ["e4m3", "bf16", "e2m1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_export_to_codes(number_format, dtype):
    """The values of the codes are those of the forward product, after training as well."""
    torch.manual_seed(0)
    layer = ButterflyLinear(layer_with_index().to_operator(), False, number_format=number_format)
    layer.to(dtype)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.02)
    x, target = torch.randn(32, 16, dtype=dtype), torch.randn(32, 16, dtype=dtype)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(x) - target).abs().square().mean().backward()
        optimizer.step()
    Q, A = layer.to_quantized(), layer.to_operator()
    assert repr(Q).count(f":{layer.number_format.name}") == 4
    for q, k in zip(Q.factors[1:], A.factors[1:], strict=True):
        assert torch.equal(torch.from_numpy(np.array(q.dequantized().values)), k.values)
        assert q.values_nbytes * 8 == k.values.numel() * layer.number_format.bits * (
            1 + dtype.is_complex
        )
    columns = x.numpy().T
    assert_within(layer(x).detach().numpy().T, Q @ columns, A, columns)
    unbounded = ButterflyLinear(SQUARE, number_format=FloatFormat(None, 3))
    with pytest.raises(ValueError, match="exponents without bounds"):
        unbounded.to_quantized()


def test_training_on_few_bits_beats_rounding_afterwards():
    """A target on the grid is found by training through the rounding."""
    torch.manual_seed(0)
    truth = ButterflyLinear(SQUARE, False, number_format="e4m3").to_operator()
    layer = ButterflyLinear(truth, False, number_format="e4m3")
    with torch.no_grad():
        for v in layer.factors:
            v.add_(0.03 * torch.randn_like(v))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.005)
    x = torch.randn(128, 16)
    target = (truth @ x.T).T
    losses = []
    for _ in range(150):
        loss = (layer(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses) < 0.5 * losses[0]
