"""Both bounds of the certificate, and the theorems of algorithms.md a.2, against plain SVDs."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyops.butterfly import factorize
from lazyops.butterfly.hierarchical import Cores, Splitting
from lazyops.butterfly.orders import splits_in_order
from lazyops.butterfly.splits import Matrix, embedded
from lazyops.butterfly.svd import Want, by_sketch, tails
from lazyops.pattern import Chain, Pattern

ORDERS = ["balanced", "left-to-right", "right-to-left"]
UNIT = 2.0**-53


def dense(values):
    """Product of factors, by dense matrices: shares no code with the factorizer's own."""
    matrices = [embedded(v, *Pattern(*v.shape).shape) for v in values]
    return functools.reduce(np.matmul, matrices)


def split_errors(A, chain):
    """Every ``E_q(A)`` of a full chain: plain SVDs of explicit blocks, in a loop."""
    errors = []
    for q in range(1, len(chain)):
        D, gamma = chain[q - 1].d, chain[q].a
        wide = A.shape[1] // gamma
        total = 0.0
        for alpha, delta in itertools.product(range(gamma), range(D)):
            s = np.linalg.svd(A[delta::D, alpha * wide : (alpha + 1) * wide], compute_uv=False)
            total += float((s[chain.ranks[q - 1] :] ** 2).sum())
        errors.append(math.sqrt(total))
    return errors


def noisy(chain, noise, seed, dtype=np.float64, draw="uniform"):
    """Product of random factors plus Gaussian noise of relative norm `noise`."""
    rng = np.random.default_rng(seed)
    values = []
    for p in chain:
        v = rng.random(p) if draw == "uniform" else rng.standard_normal(p)
        if np.dtype(dtype).kind == "c":
            v = v + 1j * rng.standard_normal(p)
        values.append(v)
    A = dense(values)
    N = rng.standard_normal(A.shape)
    A = A + noise * np.linalg.norm(A) / np.linalg.norm(N) * N
    return A.astype(dtype)


CHAINS = [
    Chain.square_dyadic(32),
    Chain.from_cores([(2, 3), (3, 2), (2, 2)], [2, 2]),
    Chain.from_cores([(4, 2), (2, 4), (2, 2), (3, 1)], [2, 3, 1]),
    Chain.monarch(36, 24),
]


def is_nested(order, chain):
    return order != "balanced" or len(chain) <= 3


@pytest.mark.parametrize("noise", [1e-6, 0.1, 1.0])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("chain", CHAINS, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32])
def test_bounds_against_independent_svds(chain, order, noise, dtype):
    A = noisy(chain, noise, 3, dtype)
    norm = np.linalg.norm(A.astype(complex))
    E = [e / norm for e in split_errors(A.astype(complex), chain)]
    f = factorize(A, chain, order=order, permutation=None)
    error = np.linalg.norm(A - np.asarray(f.operator.to_dense()).astype(complex)) / norm
    slack = len(chain) * (4 * UNIT + (2.0**-24 if dtype == np.float32 else 0)) + 1e-13
    assert f.relative_error == pytest.approx(error, rel=1e-6, abs=slack)
    assert f.lower_bound <= max(E) + slack
    assert f.lower_bound >= 0.5 * max(E) - slack
    assert f.upper_bound <= sum(E) + slack
    assert f.lower_bound <= f.relative_error + slack <= f.upper_bound + 2 * slack
    if is_nested(order, chain):
        assert f.relative_error <= math.hypot(*E) + slack
        assert f.upper_bound <= math.hypot(*E) + slack


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-2])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_sketched_splits_keep_proven_bounds(order, noise, dtype):
    chain = Chain.from_cores([(40, 4), (4, 40)], [4])  # blocks of 40x40: sketched unless noisy
    A = noisy(chain, noise, 1, dtype)
    (E,) = (e / np.linalg.norm(A) for e in split_errors(A, chain))
    f = factorize(A, chain, order=order, permutation=None)
    assert 0.9 * E - 2e-15 <= f.lower_bound <= E + 2e-15
    assert E - 4e-15 <= f.relative_error <= f.upper_bound <= 1.01 * E + 1e-14


@pytest.mark.parametrize("power", [False, True])
def test_a_sketch_bounds_the_optimal_tail_from_below(power):
    rng = np.random.default_rng(0)
    T = rng.standard_normal((3, 40, 50)) * 0.7 ** np.arange(50)
    exact = tails((np.linalg.svd(T, compute_uv=False) ** 2).sum(axis=0))
    piece = by_sketch((slice(0, 3),), T, 12, power, rng)
    kept = piece.kept(5)
    sketched = tails(piece.energy)[5]
    error2 = np.linalg.norm(T - kept.U @ kept.V) ** 2
    assert sketched <= exact[5] <= error2 * (1 + 1e-12)
    assert error2 == pytest.approx(sketched + piece.residual**2, rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    cores=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=4),
    ranks=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    order=st.sampled_from(ORDERS),
    dtype=st.sampled_from([np.float32, np.float64, np.complex64, np.complex128]),
    seed=st.integers(0, 10),
)
def test_theorems_over_drawn_chains(cores, ranks, order, dtype, seed):
    chain = Chain.from_cores(cores, ranks[: len(cores) - 1])
    rng = np.random.default_rng(seed)
    A = (rng.standard_normal(chain.shape) + 1j * rng.standard_normal(chain.shape)).astype(
        dtype if np.dtype(dtype).kind == "c" else np.complex128
    )
    A = A if np.dtype(dtype).kind == "c" else A.real.astype(dtype)
    norm = np.linalg.norm(A)
    single = np.dtype(dtype).name in ("float32", "complex64")
    slack = 4 * len(chain) * (2.0**-24 if single else 2e-15)
    E = [e / norm for e in split_errors(A.astype(np.complex128), chain)]
    f = factorize(A, chain, order=order, permutation=None)
    assert f.chain == chain
    assert f.operator.dtype == dtype
    assert f.lower_bound <= max(E) + slack
    assert f.lower_bound <= f.relative_error + slack
    assert f.relative_error <= f.upper_bound + slack
    assert f.upper_bound <= sum(E) + slack
    if is_nested(order, chain):
        assert f.upper_bound <= math.hypot(*E) + slack


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("chain", CHAINS[:3], ids=str)
def test_no_split_error_grows_after_a_step(chain, order):
    """T5: each step is an orthogonal projection for every other split."""
    A = noisy(chain, 0.5, 7)
    splitting = Splitting(Matrix(A, A.dtype), Cores.of(chain), UNIT, np.random.default_rng(0))
    steps = splits_in_order(order, len(chain) - 1)
    before = split_errors(A, chain)
    for i, q in enumerate(steps):
        side = "left" if i + 1 < len(steps) and steps[i + 1] > q else "right"
        splitting.split(q, Want(rank=chain.ranks[q - 1]), side)
        after = split_errors(dense(splitting.values), chain)
        for e, old in zip(after, before, strict=True):
            assert e <= old * (1 + 1e-12) + 1e-12 * np.linalg.norm(A)
        before = after


@pytest.mark.parametrize("order", ORDERS)
def test_the_centre_carries_the_whole_norm(order):
    chain = CHAINS[2]
    A = noisy(chain, 0.3, 5)
    splitting = Splitting(Matrix(A, A.dtype), Cores.of(chain), UNIT, np.random.default_rng(0))
    for q in splits_in_order(order, len(chain) - 1):
        splitting.split(q, Want(rank=chain.ranks[q - 1]))
        centre = splitting.values[splitting.centre]
        assert np.linalg.norm(centre) == pytest.approx(np.linalg.norm(dense(splitting.values)))


def smallest_monotone(r, n):
    """Chains of the published Fig. 4 (algorithms.md, a.3)."""
    return Chain(
        {
            (2, 128): [(1, 4, 8, 32), (4, 4, 4, 16), (8, 4, 4, 8), (16, 16, 8, 1)],
            (2, 256): [(1, 4, 8, 64), (4, 4, 4, 32), (8, 8, 8, 8), (32, 16, 8, 1)],
            (4, 128): [(1, 4, 16, 32), (4, 8, 8, 16), (8, 8, 8, 8), (16, 32, 8, 1)],
            (4, 256): [(1, 8, 32, 32), (8, 8, 8, 16), (16, 8, 8, 8), (32, 32, 8, 1)],
        }[r, n]
    )


@pytest.mark.parametrize(
    ("r", "n", "order", "published"),
    [
        (2, 128, "left-to-right", 0.08812),
        (2, 128, "balanced", 0.08851),
        (2, 256, "left-to-right", 0.09279),
        (2, 256, "balanced", 0.09292),
        (4, 128, "left-to-right", 0.05899),
        (4, 128, "balanced", 0.05899),
        (4, 256, "left-to-right", 0.07588),
        (4, 256, "balanced", 0.07632),
    ],
)
def test_published_errors_of_figure_4(r, n, order, published):
    chain = smallest_monotone(r, n)
    errors = [
        factorize(noisy(chain, 0.1, seed, np.float32), chain, order=order).relative_error
        for seed in range(5)
    ]
    assert np.mean(errors) == pytest.approx(published, abs=1e-3)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("J", [5, 7])
def test_noisy_random_butterflies_are_denoised(order, J):
    chain = Chain.square_dyadic(2**J)
    for seed in range(3):
        A = noisy(chain, 0.07, seed, draw="normal")
        assert factorize(A, chain, order=order).relative_error <= 0.07


@pytest.mark.parametrize("order", ORDERS)
def test_exactness(order):
    """T7: what is on the chain comes back to rounding."""
    for chain in CHAINS:
        A = noisy(chain, 0.0, 2, np.complex128)
        f = factorize(A, chain, order=order)
        assert f.relative_error <= 3e-15
        assert f.lower_bound == 0
        assert f.upper_bound <= 1e-14


def test_what_the_support_leaves_out_counts():
    chain = Chain([(2, 2, 2, 6), (4, 2, 2, 3)])  # I_2 (x) 1 (x) I_3
    inside = noisy(chain, 0.0, 1)
    rng = np.random.default_rng(0)
    outside = np.where(inside == 0, rng.standard_normal(chain.shape), 0) * 1e-3
    f = factorize(inside + outside, chain)
    share = np.linalg.norm(outside) / np.linalg.norm(inside + outside)
    assert f.lower_bound <= share + 1e-15
    assert f.lower_bound == pytest.approx(share, rel=1e-10)
    assert f.relative_error == pytest.approx(share, rel=1e-10)
    assert f.upper_bound == pytest.approx(share, rel=1e-10)
