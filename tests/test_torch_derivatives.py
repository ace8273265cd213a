"""Every kind of operator under torch: derivatives of all orders, batches, sizes, precisions.

What is differentiated by is `x`, and the arrays an operator is made of: each case is built again
of the tensors that autograd gives.
"""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES
from theory import assert_within

import lazyops as lo

torch = pytest.importorskip("torch")
pytestmark = [  # torch's own: of conj, in a vmap, the second
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]

from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

DYADIC = [
    np.random.default_rng(i).standard_normal(p) for i, p in enumerate(lo.Chain.square_dyadic(8))
]
TURNED = [v * (1 - 0.5j) for v in DYADIC]
BITS = lo.Permutation.bit_reversal(8)


def chain(f, values=DYADIC):
    return lo.Product([lo.KroneckerSparse(f(v)) for v in values])


MORE = {  # what the compiled kernels take whole: chains, and what stands between their factors
    "chain": chain,
    "chain_complex": lambda f: chain(f, TURNED),
    "chain_adjoint": lambda f: chain(f, TURNED).H,
    "chain_transposed": lambda f: chain(f, TURNED).T,
    "chain_conjugated": lambda f: chain(f, TURNED).conj(),
    "chain_mixed": lambda f: BITS @ chain(f) @ lo.Diagonal(f(TURNED[0].ravel()[:8])) @ BITS * 2.5,
    "chain_and_transform": lambda f: chain(f) @ lo.fft(8) + lo.dct(8) @ chain(f, TURNED).H,
    "chain_quantized": lambda f: lo.quantize(chain(np.asarray), "bf16").operator,
}
BUILT = {name: build for name, (build, _) in CASES.items()} | MORE
SCALES = {"quantized_integers"}  # floats of single precision: too short for differences


class Case:
    """An operator of tensors, and the same one of other tensors in place of its floating ones."""

    def __init__(self, name):
        self.name, self.build, self.arrays = name, BUILT[name], []
        self.op = self.build(self._kept)
        floating = lambda a: a.is_floating_point() or a.is_complex()
        self.at = [] if name in SCALES else [i for i, a in enumerate(self.arrays) if floating(a)]
        self.values = [self.arrays[i] for i in self.at]

    def _kept(self, array):
        self.arrays.append(torch.asarray(np.array(array)))
        return self.arrays[-1]

    def apply(self, x, *values):
        given = dict(zip(self.at, values, strict=True))
        following = iter([given.get(i, a) for i, a in enumerate(self.arrays)])
        return self.build(lambda _: next(following)) @ x

    def x(self, dtype=torch.float64, columns=2, grad=False):
        """Columns one after the other where numbers are complex, rows where they are not."""
        torch.manual_seed(0)
        x = torch.randn(self.op.shape[1], columns, dtype=dtype)
        return (x.T.contiguous().T if dtype.is_complex else x).requires_grad_(grad)

    def leaves(self):
        return [v.clone().requires_grad_() for v in self.values]


@pytest.fixture(params=BUILT)
def case(request):
    return Case(request.param)


def squares(y):
    return y.abs().square()


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives_by_x(case, dtype):
    x = case.x(dtype, grad=True)
    assert gradcheck(lambda x: case.op @ x, (x,), fast_mode=True, check_forward_ad=True)
    assert gradgradcheck(lambda x: squares(case.op @ x + x[:1]), (x,), fast_mode=True)


@pytest.mark.parametrize("form", ["H", "T", "conj"])
def test_derivatives_of_adjoints(case, form):
    turned = case.op.conj() if form == "conj" else getattr(case.op, form)
    torch.manual_seed(0)
    x = torch.randn(turned.shape[1], 2, dtype=torch.complex128, requires_grad=True)
    assert gradcheck(lambda x: turned @ x, (x,), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives_by_values(case, dtype):
    if not case.values:
        pytest.skip("it holds none")
    values, x = case.leaves(), case.x(dtype)
    assert gradcheck(case.apply, (x, *values), fast_mode=True)
    x = case.x(dtype, grad=True)
    assert gradcheck(case.apply, (x, *values), fast_mode=True, check_forward_ad=True)
    assert gradgradcheck(lambda *a: squares(case.apply(*a)), (x, *values), fast_mode=True)


def test_batches_of_x(case):
    op, x = case.op, torch.stack([case.x() * k for k in range(1, 7)])
    want = torch.stack([op @ one for one in x])
    for axis in (0, 1, 2):
        got = torch.func.vmap(lambda x: op @ x, in_dims=axis)(x.movedim(0, axis))
        torch.testing.assert_close(got, want)
    nested = torch.func.vmap(torch.func.vmap(lambda x: op @ x))(x.unflatten(0, (2, 3)))
    torch.testing.assert_close(nested.flatten(0, 1), want)


def test_batches_of_values(case):
    if not case.values:
        pytest.skip("it holds none")
    x = case.x()
    several = [torch.stack([v * k for k in (1, -2, 3)]) for v in case.values]
    want = torch.stack([case.apply(x, *(v[i] for v in several)) for i in range(3)])
    f = torch.func.vmap(case.apply, in_dims=(None, *(0 for _ in several)))
    torch.testing.assert_close(f(x, *several), want)
    both = torch.func.vmap(case.apply)(torch.stack([x, 2 * x, -x]), *several)
    torch.testing.assert_close(both, want * torch.tensor([1, 2, -1])[:, None, None])


def test_batches_of_none():
    case = Case("chain_mixed")  # (FFTs of torch take no empty batch)
    x, values = case.x(), [v[None][:0] for v in case.values]
    m, k = case.op.shape[0], x.shape[1]
    assert torch.func.vmap(lambda x: case.op @ x)(x[None][:0]).shape == (0, m, k)
    dims = (None, *(0 for _ in values))
    assert torch.func.vmap(case.apply, in_dims=dims)(x, *values).shape == (0, m, k)
    loss = lambda x, *values: squares(case.apply(x, *values)).sum()
    found = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=dims)(x, *values)
    assert [g.shape for g in found] == [(0, *x.shape), values[0].shape]


def test_gradients_of_each_sample(case):
    """The gradients of a batch of losses, by `x` and by all values: those of one by one."""
    x, values = torch.stack([case.x() * k for k in (1, 2, 3)]), tuple(case.values)

    def loss(x, values):
        return squares(case.apply(x, *values)).sum()

    each = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(0, None))(x, values)
    for i in range(3):
        of_x, of_values = torch.func.grad(loss, argnums=(0, 1))(x[i], values)
        torch.testing.assert_close(each[0][i], of_x)
        for got, want in zip(each[1], of_values, strict=True):
            torch.testing.assert_close(got[i], want)


def test_jacobians_are_the_matrix(case):
    op, x = case.op, case.x()[:, 0]
    parts = lambda x: torch.view_as_real((op @ x).to(torch.complex128))
    with torch.no_grad():
        want = torch.view_as_real((op @ torch.eye(len(x), dtype=x.dtype)).to(torch.complex128))
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(jacobian(parts)(x).mT, want)  # (rows, parts, columns)


def test_second_derivatives_by_torch_func(case):
    """Backward twice, forward over backward, and forward twice agree."""
    x = case.x()[:, 0]
    loss = lambda x: squares(squares(case.op @ x)).sum()
    func = torch.func
    want = func.hessian(loss)(x)
    torch.testing.assert_close(func.jacrev(func.jacrev(loss))(x), want)
    torch.testing.assert_close(func.jacfwd(func.jacfwd(loss))(x), want)


@pytest.mark.parametrize("columns", [0, 1])
def test_few_columns(case, columns):
    x, values = case.x(torch.complex128, columns, grad=True), case.leaves()
    y = case.apply(x, *values)
    assert y.shape == (case.op.shape[0], columns)
    if isinstance(case.op, lo.Zero):
        return  # it depends on nothing
    found = torch.autograd.grad(y.sum().abs(), [x, *values], allow_unused=True)
    assert found[0] is not None
    for g, t in zip(found, (x, *values), strict=True):
        assert g is None or (g.shape, g.dtype) == (t.shape, t.dtype)
        assert g is None or columns or not g.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_gradients_in_single_precision(case, dtype):
    """Within the bound of the adjoint, in the dtype of `x`."""
    op = case.op.astype("float32")
    x = case.x(dtype, 3, grad=True)
    y = op @ x
    torch.manual_seed(1)
    g = torch.randn(y.shape, dtype=y.dtype)
    if not y.requires_grad:
        assert isinstance(op, lo.Zero)
        return
    (found,) = torch.autograd.grad(y, x, g)
    assert found.dtype == dtype
    want = op.astype("float64").H @ g.to(torch.promote_types(g.dtype, torch.float64))
    want = want if dtype.is_complex else want.real
    assert_within(found, want.numpy(), op.H, g.numpy(), times=2)


def test_rows_vectors_and_strides(case):
    op, x = case.op, case.x(columns=6)
    apart = torch.zeros(2 * len(x), 12, dtype=x.dtype)[::2, ::2].copy_(x).requires_grad_()
    forms = {
        "vector": (lambda x: op @ x[:, 1], lambda x: (op @ x)[:, 1]),
        "rows": (lambda x: op.matvec(x.T).T, lambda x: op @ x),
        "stack": (
            lambda x: op @ x.T.reshape(2, 3, -1).mT,
            lambda x: (op @ x).T.reshape(2, 3, -1).mT,
        ),
    }
    for one, other in forms.values():
        got, want = one(apart), other(x.clone().requires_grad_())
        torch.testing.assert_close(got, want)
        if got.requires_grad:
            leaf = x.clone().requires_grad_()
            (a,) = torch.autograd.grad(squares(got).sum(), apart)
            (b,) = torch.autograd.grad(squares(other(leaf)).sum(), leaf)
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("form", ["A", "H", "T", "conj"])
def test_nothing_of_a_transform_is_kept(case, form):
    """Constants made under torch.func die with it: an operator first used there, and its adjoint,
    are as good as new afterwards."""
    turned = {
        "A": lambda A: A, "H": lambda A: A.H, "T": lambda A: A.T, "conj": lambda A: A.conj()
    }[form]  # fmt: skip
    torch.manual_seed(0)
    x = torch.randn(turned(case.op).shape[1], 2, dtype=torch.complex128)
    op, new = Case(case.name).op, turned(case.op) @ x
    torch.func.vmap(lambda x: turned(op) @ x)(torch.stack([x, x]))
    torch.func.grad(lambda x: squares(turned(op) @ x).sum())(x)
    torch.testing.assert_close(turned(op) @ x, new)
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(turned(op) @ leaf, new.detach())
