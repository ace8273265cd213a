"""torch.compile(fullgraph=True) of what is written with operators, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES

import lazyops as lo

torch = pytest.importorskip("torch")
torch_cpu = pytest.importorskip("lazyops.kernels.torch_cpu")
# torch's own: it warns of what it does itself while it traces
pytestmark = pytest.mark.filterwarnings("ignore")

N = 16


def compiled(f):
    torch._dynamo.reset()
    return torch.compile(f, fullgraph=True, backend="aot_eager")


def assert_same(f, x, *held):
    """Values and gradients of ``f(x)``, compiled whole, are those of the same code run."""
    got, want = compiled(f)(x), f(x)
    torch.testing.assert_close(got, want)
    leaves = [x, *held]
    for one, other in zip(gradients(got, leaves), gradients(want, leaves), strict=True):
        torch.testing.assert_close(one, other)


def gradients(outputs, leaves):
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    loss = sum(y.abs().square().sum() for y in outputs if y.requires_grad)
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, found, strict=True)]


@pytest.fixture
def held():
    torch.manual_seed(0)
    values = [torch.randn(tuple(p), dtype=torch.float64) for p in lo.Chain.square_dyadic(N)]
    return [v.requires_grad_() for v in values]


def chain(values):
    return lo.Product([lo.KroneckerSparse(v) for v in values])


@pytest.mark.parametrize("part", range(4))
def test_operators_of_all_kinds(part):
    """In few graphs, each takes a quarter of a second.  (Code of the user's in a Function may close
    over tensors of its own: torch names them.)"""
    import array_api_compat.torch as xp

    ops = [CASES[name][0](xp.asarray) for name in sorted(set(CASES) - {"function"})[part::4]]
    widest = max(op.shape[1] for op in ops)
    x = torch.randn(widest, 2, dtype=torch.float64, requires_grad=True)
    assert_same(lambda x: [op(x[: op.shape[1]]) for op in ops], x)


def test_algebra_of_operators(held):
    A, F = chain(held), lo.fft(N)
    D = lo.Diagonal(torch.randn(N, dtype=torch.float64, requires_grad=True))
    P, M = lo.Permutation.bit_reversal(N), lo.Diagonal(np.arange(16.0))
    forms = [
        lambda x: A.H(x),
        lambda x: A.T(A.conj()(x)),
        lambda x: (A + D)(x),
        lambda x: A.dot(F).dot(P).dot(D)(x),
        lambda x: (2 * A - D.dot(P) + A**2).H(x),
        lambda x: (-A / 2).dot(M)(x),
        lambda x: A.matvec(x.T),
        lambda x: A.rmatvec(x[:, 0]),
        lambda x: A.rdot(x.T),
        lambda x: A(torch.stack([x, x])),
        lambda x: F.real(x),
    ]
    x = torch.randn(N, 3, dtype=torch.float64, requires_grad=True)
    assert_same(lambda x: [f(x) for f in forms], x, D.values, *held)


def test_a_module_that_holds_an_operator(held):
    class Filter(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(N, dtype=torch.float64))
            self.op = lo.Diagonal(self.weight) @ lo.dct(N)

        def forward(self, x):
            return self.op.H(self.op(x))

    layer = Filter()
    x = torch.randn(N, 3, dtype=torch.float64, requires_grad=True)
    assert_same(layer, x, layer.weight)


def test_a_trace_leaves_nothing_behind(held):
    """Operators cache what they compute: stand-ins of a trace are not to be found later, values
    changed in place are."""
    A = chain(held) @ lo.dct(N) @ lo.fft(N)
    x = torch.randn(N, 2, dtype=torch.float64)
    want = A @ x
    f = compiled(lambda x: A(x))
    torch.testing.assert_close(f(x), want)
    torch.testing.assert_close(A @ x, want, rtol=0, atol=0)
    with torch.no_grad():
        held[0].mul_(2)
    torch.testing.assert_close(f(x), A @ x)
    torch.testing.assert_close(A @ x, 2 * want)


def test_another_operator_is_traced_again(held):
    f = compiled(lambda A, x: A(x))
    x = torch.randn(N, 2, dtype=torch.float64)
    for A in (chain(held), lo.dct(N), chain(held[:1]), lo.dct(N, type=3)):
        torch.testing.assert_close(f(A, x), A @ x)


def test_at_between_objects_is_torchs_to_learn(held):
    """Dynamo looks into no ``@`` of classes that are not its own; when it does, the docs change."""
    A = chain(held)
    x = torch.randn(N, 2, dtype=torch.float64)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="proxy"):
        compiled(lambda x: A @ x)(x)
    broken = torch.compile(lambda x: 2 * (A @ x), backend="aot_eager")  # the graph is cut there
    torch.testing.assert_close(broken(x), 2 * (A @ x))


def test_transforms_in_a_graph(held):
    """vmap, grad and jvp of torch.func, traced whole."""
    A, F = chain(held) * 2, lo.fft(N)
    x, xs = torch.randn(N, 2, dtype=torch.float64), torch.randn(3, N, 2, dtype=torch.float64)
    func = torch.func
    forms = [
        lambda xs: func.vmap(lambda x: A.H(A(x)))(xs),
        lambda xs: func.vmap(lambda x: F(x).abs())(xs),
        lambda xs: func.vmap(func.grad(lambda x: A(x).square().sum()))(xs),
    ]
    if torch_cpu.obstacle() is None:  # einsum's views end forward mode with an assertion of torch's
        forms.append(lambda xs: func.jvp(lambda x: A(x).square(), (xs[0],), (x,))[1])
    for f in forms:
        torch.testing.assert_close(compiled(f)(xs), f(xs))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_numbers_of_columns_are_no_constants(held, backend):
    A = chain(held)
    torch._dynamo.reset()
    f = torch.compile(lambda x: A(x), fullgraph=True, backend=backend, dynamic=True)
    for columns in (2, 3, 7):
        x = torch.randn(N, columns, dtype=torch.float64)
        torch.testing.assert_close(f(x), A @ x)


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_layer_is_one_operation_and_learns(strict):
    from lazyops.torch import ButterflyLinear

    layer = ButterflyLinear(lo.Chain.square_dyadic(N))
    rows = {0: torch.export.Dim("rows")}
    program = torch.export.export(
        layer, (torch.randn(4, N),), dynamic_shapes=(rows,), strict=strict
    )
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert names.count("lazyops.chain.default") == 1
    x = torch.randn(9, N, requires_grad=True)
    y, want = program.module()(x), layer(x)
    torch.testing.assert_close(y, want)
    for one, other in zip(*(torch.autograd.grad(t.square().sum(), x, create_graph=True)
                            for t in (y, want)), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other)
        second = (torch.autograd.grad(t.square().sum(), x)[0] for t in (one, other))
        torch.testing.assert_close(next(second), next(second))
