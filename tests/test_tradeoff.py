"""tradeoff(): the front is monotone, its bounds hold for factorizations on its chains."""

import math
import sys

import numpy as np
import pytest
import scipy.fft
import scipy.sparse.linalg
from hypothesis import given
from hypothesis import strategies as st
from test_butterfly_certificate import noisy, split_errors

import lazyops as lo
from lazyops.butterfly.hierarchical import Cores
from lazyops.butterfly.splits import Matrix
from lazyops.butterfly.survey import candidates
from lazyops.butterfly.svd import WEAK

SKETCHED = math.sqrt(1 + WEAK)  # times the exact truncation error: what sketches may make


def kernel(m, n):
    x, y = np.linspace(0, 1, m), np.linspace(0, 1, n)
    return 1 / (1 + abs(x[:, None] - y) ** 1.5)


def is_front(front):
    entries = [p.entries for p in front]
    errors = [p.upper_bound for p in front]
    assert entries == sorted(set(entries))
    assert errors == sorted(set(errors), reverse=True)
    assert all(p.lower_bound <= p.upper_bound for p in front)
    assert all(p.chain is None or p.chain.entries == p.entries for p in front)
    assert all(p.entries <= front.shape[0] * front.shape[1] for p in front)


@pytest.mark.parametrize("shape", [(64, 64), (36, 24), (24, 30), (31, 31)])
def test_bounds_hold_on_every_chain_of_the_front(shape):
    A = kernel(*shape)
    front = lo.tradeoff(A, lo.Chain.monarch(*shape) if shape == (31, 31) else None)
    is_front(front)
    orders = {order.name: order for order in candidates(*shape)}
    assert front.shape == shape
    for point in front:
        if point.chain is None:
            assert point == front[-1]
            assert (point.entries, point.upper_bound) == (A.size, 0)
            continue
        order = orders[point.permutation]
        W = order.matrix(Matrix(A, A.dtype), Cores.of(point.chain))
        W = W.entries(np.arange(shape[0])[:, None], np.arange(shape[1]))
        found = lo.factorize(W, point.chain, order="left-to-right", permutation=None)
        assert point.lower_bound <= found.relative_error + 1e-14
        assert found.relative_error <= SKETCHED * point.upper_bound
        E = [e / np.linalg.norm(A) for e in split_errors(W, point.chain)]
        assert point.lower_bound <= max(E, default=0)
        assert point.upper_bound >= math.hypot(*E)


@given(
    cores=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=4),
    noise=st.sampled_from([0.0, 1e-6, 1e-2, 1.0]),
    seed=st.integers(0, 5),
    dtype=st.sampled_from([np.float32, np.float64, np.complex128]),
)
def test_monotone_over_drawn_chains(cores, noise, seed, dtype):
    chain = lo.Chain.from_cores(cores)
    A = noisy(chain, noise, seed, dtype)
    front = lo.tradeoff(A, chain)
    is_front(front)
    assert front[-1].upper_bound <= 1e-6
    for point in front[:-1]:
        found = lo.factorize(A, point.chain, order="left-to-right", permutation=None)
        assert found.relative_error <= SKETCHED * point.upper_bound
        assert point.lower_bound <= found.relative_error + 2.0**-50


def test_hidden_structure_is_on_the_front():
    n = 128
    M = np.random.default_rng(0).permutation(n)[:, None] * scipy.fft.fft(np.eye(n), axis=0)
    M = M + 1e-5 * np.random.default_rng(1).standard_normal((n, n))
    front = lo.tradeoff(M)
    is_front(front)
    point = front.within(1e-3)
    assert point.entries < 0.15 * n * n
    found = lo.factorize(M, point.chain, order="left-to-right")
    assert point.lower_bound <= found.relative_error <= SKETCHED * point.upper_bound


def test_asking_the_front():
    front = lo.tradeoff(kernel(48, 48))
    for error in (0.1, 1e-2, 1e-4):
        point = front.within(error)
        assert point.upper_bound <= error
        assert all(p.upper_bound > error for p in front if p.entries < point.entries)
        assert front.of_entries(point.entries) == point
        assert front.of_entries(point.entries + 1).upper_bound <= point.upper_bound
    with pytest.raises(ValueError, match="no point has as few as 3 entries: the smallest has"):
        front.of_entries(3)
    with pytest.raises(ValueError, match=r"no point has an error up to 1e-09: the least is"):
        front[:2].within(1e-9)
    assert repr(front).startswith(f"<Front 48x48: {len(front)} points, from error ")


def test_an_operator_is_factorized_at_several_tolerances():
    n = 64
    F = scipy.sparse.linalg.LinearOperator(
        (n, n), matvec=scipy.fft.fft, rmatvec=lambda y: n * scipy.fft.ifft(y), dtype=complex
    )
    front = lo.tradeoff(F)
    is_front(front)
    assert front.within(1e-10).entries < 0.3 * n * n


def test_noise_and_zeros_have_a_front_too():
    noise = lo.tradeoff(np.random.default_rng(0).standard_normal((16, 16)))
    is_front(noise)
    assert noise[-1].chain is None
    zero = lo.tradeoff(np.zeros((4, 6)))
    assert [p.entries for p in zero] == [24]


def test_plot():
    pytest.importorskip("matplotlib")
    front = lo.tradeoff(kernel(32, 32))
    axes = front.plot()
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_xdata(), [p.entries / 1024 for p in front])
    shown = [p.upper_bound for p in front if p.upper_bound]
    np.testing.assert_allclose(line.get_ydata()[: len(shown)], shown)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert front.plot(axes) is axes


def test_plot_asks_for_matplotlib(monkeypatch):
    front = lo.tradeoff(kernel(8, 8))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="matplotlib"):
        front.plot()


def test_errors():
    with pytest.raises(ValueError, match="this one is empty"):
        lo.tradeoff(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="the chain is 4x4, the matrix is 3x3"):
        lo.tradeoff(np.eye(3), lo.Chain.square_dyadic(4))
    with pytest.raises(ValueError, match="a = 1 first and d = 1 last"):
        lo.tradeoff(np.eye(8), [(2, 2, 2, 2), (4, 2, 2, 1)])
    with pytest.raises(ValueError, match="not finite"):
        lo.tradeoff(np.full((4, 4), np.nan))
