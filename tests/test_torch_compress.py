"""compress_: which layers are replaced, what the table says, what a model keeps."""

from __future__ import annotations

import copy
import pickle

import pytest

import lazyops as lo

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # its own

from lazyops.torch import ButterflyLinear, compress, compress_  # noqa: E402

CHAIN = lo.Chain.square_dyadic(16)


@pytest.fixture
def faster(monkeypatch):
    """Clocks that find every butterfly twice as fast: what is tested is what follows from it."""
    monkeypatch.setattr(compress, "_seconds", lambda one, two, device: (2.0, 1.0))


@pytest.fixture
def slower(monkeypatch):
    monkeypatch.setattr(compress, "_seconds", lambda one, two, device: (1.0, 2.0))


def linear(seed=0, bias=True, dtype=torch.float32):
    """A layer whose weight is a butterfly."""
    torch.manual_seed(seed)
    layer = nn.Linear(16, 16, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(ButterflyLinear(CHAIN).to_operator().to_dense())
    return layer.to(dtype)


def state_of(model):
    return {name: t.clone() for name, t in model.state_dict().items()}


def assert_untouched(model, before, modules):
    assert list(model.modules()) == modules
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], t) for name, t in before.items())


def test_the_table(faster):
    model = nn.Sequential(linear(), nn.ReLU(), nn.Linear(16, 8), linear(2))
    seen = []
    table = compress_(model, lambda m, name: seen.append(name) or m.out_features == 16, tol=1e-3)
    assert seen == ["0", "2", "3"]
    assert [r.name for r in table.rows] == ["0", "3"]
    for row in table.rows:
        assert row.replaced
        assert (row.entries, row.seconds, row.seconds_after) == (256, 2.0, 1.0)
        assert row.entries_after == sum(v.numel() for v in model[int(row.name)].factors) < 256
        assert row.error <= 1e-3
        assert row.reason.endswith("of its weight, 2.00 times as fast: replaced")
    assert str(table).splitlines()[1].startswith("3: error ")
    assert type(model[2]) is nn.Linear


def test_what_the_clock_says_is_measured():
    """Without a stand-in: a layer is replaced exactly where its row says that it was faster."""
    model = nn.Sequential(linear(), linear(1))
    table = compress_(model, tol=1e-3, batch=16)
    for row, module in zip(table.rows, model, strict=True):
        assert row.seconds > 0 < row.seconds_after
        assert (
            row.replaced == (row.seconds_after < row.seconds) == isinstance(module, ButterflyLinear)
        )


def test_nothing_faster_nothing_replaced(slower):
    model = nn.Sequential(linear(), nn.ReLU(), linear(1))
    before, modules = state_of(model), list(model.modules())
    table = compress_(model, tol=1e-3)
    assert [r.reason.split(": ")[1] for r in table.rows] == ["kept, not faster"] * 2
    assert not any(r.replaced for r in table.rows)
    assert_untouched(model, before, modules)


def test_nothing_close_nothing_replaced(faster):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16))
    before, modules = state_of(model), list(model.modules())
    (row,) = compress_(model, tol=1e-6).rows
    assert row.reason.startswith("kept, this weight has no smaller butterfly")
    assert row.error is row.entries_after is row.seconds is None
    assert_untouched(model, before, modules)


def test_errors_are_those_of_the_inputs_met(faster):
    """A weight far from a butterfly, but not on the inputs: with calibration it is replaced."""
    model = nn.Sequential(linear())
    with torch.no_grad():
        model[0].weight[:, 0] += 0.02 * torch.randn(16)
    x = torch.randn(64, 16)
    x[:, 0] = 0
    blind = compress_(copy.deepcopy(model), tol=0.2).rows[0]
    table = compress_(model, tol=0.2, calibration=x)
    (row,) = table.rows
    assert blind.error > row.error
    assert "of its outputs" in row.reason
    assert "of its weight" in blind.reason
    assert row.error <= 0.2


class Named(nn.Module):
    """Takes arguments of several kinds; one layer is met twice, one never, one by keyword."""

    def __init__(self):
        super().__init__()
        self.twice, self.never, self.keyword = linear(), linear(1), linear(2)
        self.norm, self.drop = nn.BatchNorm1d(16), nn.Dropout(0.5)

    def forward(self, x, y=None):
        y = x if y is None else y
        return self.drop(self.norm(self.twice(self.twice(x)) + self.keyword(input=y)))


@pytest.mark.parametrize("kind", ["tensor", "arguments", "keywords"])
def test_calibration(faster, monkeypatch, kind):
    """One run in the mode of evaluation: nothing of the model changes by it, no number is drawn."""
    met = {}
    monkeypatch.setattr(
        compress, "_relative_error", lambda butterfly, layer, x: met.update({layer: x}) or 0.0
    )
    model = Named().train()
    model.drop.eval()
    layers = model.twice, model.never, model.keyword
    x, y = torch.randn(8, 16), torch.randn(6, 16)
    y = y if kind != "tensor" else x
    given = {"tensor": x, "arguments": (x, y[:1]), "keywords": {"x": x, "y": y[:1]}}[kind]
    norm, drawn = state_of(model.norm), torch.get_rng_state()
    table = compress_(model, tol=1e-3, calibration=given)
    assert torch.equal(torch.get_rng_state(), drawn)
    twice, never, keyword = layers
    assert torch.equal(met[twice], torch.cat([x, twice(x)]))
    assert met[never] is None
    assert torch.equal(met[keyword], x if kind == "tensor" else y[:1])
    assert model.training
    assert not model.drop.training
    assert all(torch.equal(t, norm[name]) for name, t in model.norm.state_dict().items())
    assert [r.replaced for r in table.rows] == [True] * 3
    assert isinstance(model.twice, ButterflyLinear)
    assert model.twice.training
    assert not any(m._forward_pre_hooks for m in (*model.modules(), *layers))


def test_a_shared_layer_stays_shared(faster):
    shared = linear()
    model = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared), shared)
    (row,) = compress_(model, tol=1e-3).rows
    assert row.replaced
    assert row.name == "0"
    assert isinstance(model[0], ButterflyLinear)
    assert model[0] is model[1][1] is model[2]


def test_tied_weights_stay_tied(faster):
    model = nn.ModuleDict({"embed": nn.Embedding(16, 16), "head": linear(), "free": linear(1)})
    model["embed"].weight = model["head"].weight
    pair = nn.Sequential(linear(), linear(1))
    pair[1].weight = pair[0].weight
    head, free = compress_(model, tol=1e-3).rows
    assert head.reason == "kept, it shares memory with embed.weight"
    assert free.replaced
    assert model["embed"].weight is model["head"].weight
    assert [r.reason for r in compress_(pair, tol=1e-3).rows] == [
        "kept, it shares memory with 1.weight", "kept, it shares memory with 0.weight"
    ]  # fmt: skip


def test_what_relies_on_a_weight_keeps_it(faster):
    hooked = linear()
    hooked.register_forward_hook(lambda *_: None)
    block = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True).eval()
    block.linear1, block.linear2 = linear(), linear(1)
    low_rank = type("LowRank", (nn.Linear,), {})(16, 16)
    parametrized = nn.utils.parametrizations.orthogonal(nn.Linear(16, 16))
    model = nn.ModuleList([hooked, block, low_rank, parametrized])
    reasons = {r.name: r.reason for r in compress_(model, tol=1e-3).rows}
    assert reasons["0"] == "kept, it has hooks, which a butterfly would not have"
    assert reasons["1.linear1"] == "kept, TransformerEncoderLayer reads its weight"
    assert "is more than an nn.Linear" in reasons["1.self_attn.out_proj"]
    assert reasons["2"] == "kept, a LowRank is more than an nn.Linear"
    assert reasons["3"] == "kept, a ParametrizedLinear is more than an nn.Linear"
    with torch.no_grad():
        assert block(torch.randn(2, 3, 16)).shape == (2, 3, 16)


def broken(_, name):
    if name == "2":
        raise ZeroDivisionError
    return True


@pytest.mark.parametrize("where", ["filter", "calibration", "factorize", "clock"])
def test_an_error_leaves_the_model_as_it_was(faster, monkeypatch, where):
    model = nn.Sequential(linear(), nn.ReLU(), linear(1)).train()
    before, modules = state_of(model), list(model.modules())
    given = {"tol": 1e-3}
    if where == "filter":
        given["filter_fn"] = broken
    elif where == "calibration":
        given["calibration"] = torch.randn(3, 5)
    else:
        calls = []

        def second(*args, **kwargs):
            calls.append(args)
            if len(calls) == 2:
                raise ZeroDivisionError
            return original(*args, **kwargs)

        owner, name = (
            (compress, "_seconds") if where == "clock" else (ButterflyLinear, "from_linear")
        )
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, second)
    with pytest.raises((ZeroDivisionError, RuntimeError)):
        compress_(model, **given)
    assert_untouched(model, before, modules)
    assert all(m.training and not m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes_modes_and_frozen_layers(faster, dtype):
    model = nn.Sequential(linear(dtype=dtype), linear(1, bias=False, dtype=dtype)).eval()
    model[0].requires_grad_(False)
    x = torch.randn(64, 16, dtype=dtype)
    want = model(x)
    table = compress_(model, tol=0.05, calibration=x)
    assert all(r.replaced for r in table.rows)
    assert [p.requires_grad for p in model[0].parameters()] == [False] * 3
    assert all(p.requires_grad for p in model[1].parameters())
    assert model[1].bias is None
    assert not model[0].training
    assert {p.dtype for p in model.parameters()} == {dtype}
    error = torch.linalg.norm((model(x) - want).double()) / torch.linalg.norm(want.double())
    assert error <= 0.3  # of two layers of 0.05 each, which may grow through the second


def test_roundings_of_the_dtype_count(faster):
    """bfloat16 holds no butterfly to 1e-4: its error is measured for the values that it holds."""
    model = nn.Sequential(linear(dtype=torch.bfloat16))
    (row,) = compress_(model, tol=1e-4).rows
    assert not row.replaced
    assert row.error is None or row.error > 1e-4


def test_a_compressed_model_is_a_model(faster):
    """It is copied, pickled, saved, and trained: its loss falls."""
    torch.manual_seed(0)
    model = nn.Sequential(linear(), nn.Tanh(), linear(1))
    compress_(model, tol=1e-3)
    x = torch.randn(128, 16)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    target = torch.tanh(x @ torch.randn(16, 16) / 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = (model(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_what_it_refuses():
    with pytest.raises(TypeError, match=r"layers inside a model: see ButterflyLinear\.from_linear"):
        compress_(nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"tol above 0 and a batch from 1 on, got 0, 256"):
        compress_(nn.Sequential(), tol=0)
    with pytest.raises(ValueError, match=r"got 0.01, 0"):
        compress_(nn.Sequential(), batch=0)
    assert compress_(nn.Sequential()).rows == ()
