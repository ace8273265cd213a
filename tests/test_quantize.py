"""Optimal rounding of rank-one pairs and butterflies: the theorems, against independent oracles."""

from __future__ import annotations

import itertools
import math
import pickle
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazyops as lo
from lazyops.butterfly.quantize.bounds import error_of, nearest_bound
from lazyops.butterfly.quantize.chains import inner, relative_distance
from lazyops.butterfly.quantize.cheapest import cheapest
from lazyops.butterfly.quantize.descent import improved
from lazyops.butterfly.quantize.rank_one import rank_one
from lazyops.butterfly.quantize.sweeps import (
    left_to_right,
    met_at,
    nearest,
    right_to_left,
    snapped,
)
from lazyops.kernels.formats import FloatFormat, format_named, round_to
from lazyops.operators import QuantizedKroneckerSparse

METHODS = ["optimal", "left-to-right", "right-to-left", "pairwise", "nearest"]


def rounded(z, t):
    return round_to(z.real, t) + 1j * round_to(z.imag, t) if np.iscomplexobj(z) else round_to(z, t)


def distance(x, y, xh, yh):
    """Relative errors of outer products, pair by pair, from the matrices themselves."""
    outer = x[:, :, None] * y[:, None, :]
    error = np.linalg.norm(outer - xh[:, :, None] * yh[:, None, :], axis=(1, 2))
    return error / np.linalg.norm(outer, axis=(1, 2))


def draw(rng, *shape, dtype=float):
    z = rng.standard_normal(shape)
    return z + 1j * rng.standard_normal(shape) if dtype is complex else z


def butterfly(patterns, rng, dtype=float):
    return lo.Product([lo.KroneckerSparse(draw(rng, *p, dtype=dtype)) for p in patterns])


def dense(A):
    return np.asarray(A @ np.eye(A.shape[1]))


def error_between(A, B):
    M = dense(A)
    return np.linalg.norm(M - dense(B)) / np.linalg.norm(M)


# -- rank one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [2, 3, 4, 6, 8, 11])
@pytest.mark.parametrize("shape", [(2, 2), (2, 7), (7, 2)])
def test_no_scale_beats_the_rank_one_optimum(t, shape):
    rng = np.random.default_rng(t)
    form, count = FloatFormat(None, t - 1), 40
    x, y = draw(rng, count, shape[0]), draw(rng, count, shape[1])
    xh, yh = rank_one(x, y, form)
    assert np.array_equal(rounded(xh, t), xh)
    assert np.array_equal(rounded(yh, t), yh)
    rho = distance(x, y, xh, yh)
    assert np.all(rho <= math.sqrt(2) * 2.0**-t)
    u = 2.0**-t
    plain = distance(x, y, rounded(x, t), rounded(y, t))
    assert np.all(plain <= 2 * u + u * u)
    for scale in 2.0 ** rng.random(500):
        left = rounded(scale * x, t)
        mu = (left * x).sum(axis=1) / (left * left).sum(axis=1)
        other = distance(x, y, left, rounded(mu[:, None] * y, t))
        assert np.all(rho <= other * (1 + 1e-12) + 1e-15)


def test_the_optimum_is_that_of_all_vectors_of_few_bits():
    """Every xh of two bits with exponents in a wide range, whatever scale it comes from."""
    rng = np.random.default_rng(0)
    numbers = np.unique([m * 2.0**e for m in (2, 3) for e in range(-6, 1)])
    numbers = np.concatenate([-numbers, [0.0], numbers])
    every = np.array([p for p in itertools.product(numbers, repeat=2) if any(p)])
    for _ in range(20):
        x, y = draw(rng, 1, 2), draw(rng, 1, 3)
        c = (every @ x[0]) / (every * every).sum(axis=1)
        right = rounded(c[:, None] * y, 2)
        best = distance(np.repeat(x, len(every), 0), np.repeat(y, len(every), 0), every, right)
        found = distance(x, y, *rank_one(x, y, FloatFormat(None, 1)))
        assert found[0] == pytest.approx(best.min(), rel=1e-12)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 8),
    st.integers(1, 5),
    st.integers(1, 5),
    st.floats(1e-3, 1e3),
    st.integers(-30, 30),
)
def test_scales_and_the_order_of_the_two_do_not_matter(seed, t, m, n, alpha, power):
    """Scales that cancel to a power of two: for other products the target itself is another."""
    beta = -(2.0**power) / alpha
    rng = np.random.default_rng(seed)
    x, y, form = draw(rng, 1, m), draw(rng, 1, n), FloatFormat(None, t - 1)
    rho = distance(x, y, *rank_one(x, y, form))
    assert distance(x, y, *rank_one(y, x, form)[::-1]) == pytest.approx(rho, rel=1e-9, abs=1e-14)
    scaled = distance(alpha * x, beta * y, *rank_one(alpha * x, beta * y, form))
    assert scaled == pytest.approx(rho, rel=1e-9, abs=1e-14)


@given(st.integers(0, 2**32 - 1), st.integers(2, 11), st.floats(1e-3, 1e3), st.booleans())
def test_multiples_of_what_is_representable_lose_nothing(seed, t, alpha, complex_ones):
    rng = np.random.default_rng(seed)
    dtype = complex if complex_ones else float
    x, y = (rounded(draw(rng, 3, k, dtype=dtype), t) for k in (2, 4))
    x, y = (z + (z == 0) for z in (x, y))
    if complex_ones:  # drawn scalars find 1, not every multiple
        alpha = 1.0
    found = distance(
        alpha * x, y / alpha, *rank_one(alpha * x, y / alpha, FloatFormat(None, t - 1))
    )
    assert np.all(found <= 4e-16)


def test_zeros_stay_zeros():
    x = np.array([[0.0, 0.0], [1.1, 0.0], [0.0, -2.3]])
    y = np.array([[1.3, 2.0], [0.0, 0.0], [0.7, 0.0]])
    xh, yh = rank_one(x, y, FloatFormat(None, 3))
    assert np.isfinite(xh).all()
    assert np.isfinite(yh).all()
    assert np.all((xh[:, :, None] * yh[:, None, :] == 0) == (x[:, :, None] * y[:, None, :] == 0))
    with pytest.raises(ValueError, match=r"as many x as y, got shapes \(3, 2\), \(2, 2\)"):
        rank_one(x, y[:2], FloatFormat(None, 3))


@pytest.mark.parametrize(("m", "n", "published"), [(2, 2, 0.00593), (2, 32, 0.0195)])
def test_complex_pairs_are_as_good_as_published(m, n, published):
    """hal-05520926 with eight exponents, t = 4, normal entries: mean of rho."""
    rng = np.random.default_rng(0)
    x, y = draw(rng, 300, m, dtype=complex), draw(rng, 300, n, dtype=complex)
    rho = distance(x, y, *rank_one(x, y, FloatFormat(None, 3)))
    assert rho.mean() <= published * (1 + 3 * rho.std() / rho.mean() / math.sqrt(300))
    assert np.all(rho <= distance(x, y, rounded(x, 4), rounded(y, 4)))


# -- butterflies -------------------------------------------------------------------------------


@st.composite
def chains(draw_, most=4):
    """Chains from cores and ranks, some of them redundant."""
    count = draw_(st.integers(1, most))
    cores = [(draw_(st.integers(1, 3)), draw_(st.integers(1, 3))) for _ in range(count)]
    ranks = [draw_(st.integers(1, 2)) for _ in range(count - 1)]
    return lo.Chain.from_cores(cores, ranks)


FORMATS = st.sampled_from(["fp16", "bf16", "e4m3", "e5m2", "e3m2", "e2m3", "e2m1", "int8", "int4"])


@settings(max_examples=60)
@given(chains(), FORMATS, st.sampled_from(METHODS), st.integers(0, 2**32 - 1), st.booleans())
def test_rounding_to_nearest_is_never_better(chain, name, method, seed, complex_ones):
    rng = np.random.default_rng(seed)
    A = butterfly(chain, rng, complex if complex_ones else float)
    plain, found = lo.quantize(A, name, "nearest"), lo.quantize(A, name, method)
    assert found.relative_error <= plain.relative_error
    assert plain.relative_error <= plain.bound
    assert found.relative_error <= found.bound
    measured = error_between(A, found.operator)
    assert found.relative_error == pytest.approx(measured, rel=1e-9, abs=1e-14)
    assert found.confidence == 1
    assert found.formats == (format_named(name),) * len(chain)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(2, 9), st.integers(0, 2**32 - 1), st.booleans())
def test_a_sweep_is_within_the_root_of_the_sum_of_squares(levels, t, seed, complex_ones):
    """The steps' errors are orthogonal: ``sqrt(L) u`` where rounding to nearest has ``L u``."""
    rng = np.random.default_rng(seed)
    dtype = complex if complex_ones else float
    values = [draw(rng, *p, dtype=dtype) for p in lo.Chain.square_dyadic(2**levels)]
    forms, u = [FloatFormat(None, t - 1)] * levels, 2.0**-t
    A = lo.Product([lo.KroneckerSparse(v) for v in values])
    for sweep in (left_to_right, right_to_left):
        got = sweep(values, forms, 256)
        assert all(np.array_equal(rounded(v, t), v) for v in got)
        B = lo.Product([lo.KroneckerSparse(v) for v in got])
        assert error_between(A, B) <= math.sqrt(levels) * u / (1 + u) * (1 + 1e-12)
    B = lo.Product([lo.KroneckerSparse(v) for v in nearest(values, forms)])
    assert error_between(A, B) <= (1 + u / (1 + u)) ** levels - 1 + 1e-14


@settings(max_examples=40)
@given(chains(), st.integers(2, 9), st.integers(0, 2**32 - 1), st.booleans())
def test_sweeps_that_meet_anywhere_have_the_same_bound(chain, t, seed, complex_ones):
    rng = np.random.default_rng(seed)
    values = [draw(rng, *p, dtype=complex if complex_ones else float) for p in chain]
    if any(r > 1 for r in chain.ranks) or len(values) == 1:
        values = [draw(rng, *p) for p in lo.Chain.square_dyadic(8)]
    forms, v = [FloatFormat(None, t - 1)] * len(values), 2.0**-t / (1 + 2.0**-t)
    A = lo.Product([lo.KroneckerSparse(k) for k in values])
    for place in range(len(values) - 1):
        got = met_at(values, forms, 256, place)
        B = lo.Product([lo.KroneckerSparse(k) for k in got])
        assert error_between(A, B) <= math.sqrt(len(values)) * v * (1 + 1e-12)


@settings(max_examples=60)
@given(chains(), FORMATS, st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 4))
def test_descent_never_loses_and_stays_in_the_format(chain, name, seed, complex_ones, turns):
    rng = np.random.default_rng(seed)
    values = [draw(rng, *p, dtype=complex if complex_ones else float) for p in chain]
    forms = [format_named(name)] * len(values)
    A = lo.Product([lo.KroneckerSparse(k) for k in values])
    for begun in (nearest(values, forms), right_to_left(values, forms, 64)):
        before = [k.copy() for k in begun]
        got = improved(values, begun, forms, 64, turns)
        assert all(np.array_equal(k, b) for k, b in zip(begun, before, strict=True))
        assert all(np.array_equal(snapped(k, f), k) for k, f in zip(got, forms, strict=True))
        first, last = (
            error_between(A, lo.Product([lo.KroneckerSparse(k) for k in found]))
            for found in (begun, got)
        )
        assert last <= first * (1 + 1e-12) + 1e-15
        assert relative_distance(values, got) == pytest.approx(last, rel=1e-6, abs=1e-7)


def test_no_scale_of_a_junction_is_better_where_descent_ends():
    """The others fixed, each pair is at the best of all scales: looked at in the whole product."""
    rng = np.random.default_rng(1)
    form = FloatFormat(None, 2)
    values = [draw(rng, *p) for p in lo.Chain.square_dyadic(8)]
    got = improved(values, nearest(values, [form] * 3), [form] * 3, 4096, 100)
    A = lo.Product([lo.KroneckerSparse(k) for k in values])
    least = error_between(A, lo.Product([lo.KroneckerSparse(k) for k in got]))
    for q, column in itertools.product(range(2), range(8)):
        X, Y = (lo.KroneckerSparse(k) for k in got[q : q + 2])
        M, N = dense(X), dense(Y)
        for scale in 2.0 ** np.linspace(-0.5, 0.5, 41):
            one, two = M.copy(), N.copy()
            one[:, column] = round_to(scale * M[:, column], 3)
            two[column] = round_to(N[column] / scale, 3)
            parts = [lo.Dense(one), lo.Dense(two)]
            others = [lo.KroneckerSparse(k) for k in got]
            B = lo.Product([*others[:q], *parts, *others[q + 2 :]])
            assert error_between(A, B) >= least * (1 - 1e-12)


def test_optimal_is_far_below_a_single_sweep():
    """Also where exponents are few, and bounded scales leave sweeps without a gain."""
    rng = np.random.default_rng(0)
    drawn = [butterfly(lo.Chain.square_dyadic(16), rng) for _ in range(4)]
    for name in ("e2m1", "e2m3", "e4m3", "bf16"):
        errors = [
            [lo.quantize(A, name, m).relative_error for m in ("optimal", "left-to-right")]
            for A in drawn
        ]
        best, sweep = np.mean(errors, axis=0)
        assert best < 0.75 * sweep
        assert all(b <= s for b, s in errors)


# -- bounds ------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(chains(), chains(), FORMATS, st.integers(0, 2**32 - 1), st.booleans())
def test_every_product_of_factors_has_a_bound(one, two, name, seed, complex_ones):
    """Ranks above one, factors that do not chain, and operators between."""
    rng = np.random.default_rng(seed)
    left, right = (butterfly(c, rng, complex if complex_ones else float) for c in (one, two))
    M = draw(rng, left.shape[1], 3)
    stays = lo.Function((3, right.shape[0]), lambda x: 2 * x[[0, -1, 0]], dtype=float)
    A = lo.Product([*left.factors, lo.Dense(M) + lo.Dense(2 * M), lo.fft(3), stays, *right.factors])
    found = lo.quantize(A, name, "nearest")
    assert math.isfinite(found.bound)
    assert found.relative_error <= found.bound


@settings(max_examples=60)
@given(chains(), st.sampled_from(["fp16", "e4m3", "e2m1", "int4"]), st.integers(0, 2**32 - 1))
def test_the_bound_is_that_of_the_worst_rounding(chain, name, seed):
    """All entries moved outwards by as much as rounding may move them: attained, for any ranks."""
    rng = np.random.default_rng(seed)
    values = [np.abs(draw(rng, *p)) + 0.1 for p in chain]
    forms = [format_named(name)] * len(values)
    moved = [v + error_of(v, f) for v, f in zip(values, forms, strict=True)]
    A, B = (lo.Product([lo.KroneckerSparse(v) for v in z]) for z in (values, moved))
    assert nearest_bound(values, forms) == pytest.approx(error_between(A, B), rel=1e-5, abs=1e-6)


@given(chains(), st.integers(0, 2**32 - 1))
def test_inner_products_of_chains(chain, seed):
    rng = np.random.default_rng(seed)
    one, two = ([draw(rng, *p, dtype=complex) for p in chain] for _ in range(2))
    A, B = (dense(lo.Product([lo.KroneckerSparse(v) for v in z])) for z in (one, two))
    size = np.linalg.norm(A) * np.linalg.norm(B) + 1
    assert abs(inner(one, two) - np.vdot(A, B)) <= 1e-12 * size * 10


def test_a_bound_is_infinite_where_there_is_nothing_to_say():
    cancels = [
        np.ones((1, 2, 2, 1)),
        np.array([1.0, -1.0])[None, :, None, None] * np.ones((1, 2, 3, 1)),
    ]
    A = lo.Product([lo.KroneckerSparse(v) for v in cancels])
    assert not dense(A).any()
    assert lo.quantize(A, "e4m3").bound == math.inf
    assert lo.quantize(A, "e4m3").relative_error == 0


def hadamard(n):
    H = np.array([[1.0, 1.0], [1.0, -1.0]])
    return [np.broadcast_to(H[None, :, :, None], p).copy() for p in lo.Chain.square_dyadic(n)]


@pytest.mark.parametrize("name", ["e2m1", "e4m3", "bf16", "int4"])
@pytest.mark.parametrize("method", METHODS)
def test_hadamard_loses_nothing(name, method):
    H = lo.Product([lo.KroneckerSparse(v) for v in hadamard(64)])
    found = lo.quantize(H, name, method)
    if name != "int4":  # 1/7 is no float
        assert found.relative_error == 0
    assert found.relative_error <= 1e-6
    scaled = lo.quantize(lo.Product([*H.factors, lo.Scalar(64, 0.25)]), name, method)
    assert scaled.relative_error == found.relative_error


def test_errors_against_published_ones():
    """Real Gaussian dyadic factors, n = 256, t = 4; a mean of ten, as rounding is."""
    rng = np.random.default_rng(0)
    form = FloatFormat(None, 3)
    errors = {m: [] for m in ("left-to-right", "pairwise", "nearest")}
    for _ in range(10):
        A = butterfly(lo.Chain.square_dyadic(256), rng)
        for method, found in errors.items():
            found.append(lo.quantize(A, form, method).relative_error)
    best, pairs, plain = (np.mean(e) for e in errors.values())
    assert best <= 0.0151 / 0.0623 * plain  # as shares: these draws are not those of the table
    assert pairs <= 0.0240 / 0.0623 * plain
    assert best <= 0.0151
    assert plain == pytest.approx(math.sqrt(8 * 0.000648), rel=0.1)  # E (error / number)^2, t = 4


def test_factors_of_wildly_different_scales_do_not_overflow():
    rng = np.random.default_rng(0)
    A = butterfly(lo.Chain.square_dyadic(32), rng)
    scales = [1e20, 1e-25, 1e9, 3e-7, 1e4]
    B = lo.Product(
        [lo.KroneckerSparse(s * k.values) for s, k in zip(scales, A.factors, strict=True)]
    )
    for name in ("e4m3", "fp16"):
        # the scales of factors that are not powers of two make other roundings, of the same size
        one, other = (lo.quantize(M, name).relative_error for M in (A, B))
        assert other < 2 * one
        powers = lo.Product([lo.KroneckerSparse(2.0**40 * k.values) for k in A.factors])
        assert lo.quantize(powers, name).relative_error == one


def test_permutations_stay_and_diagonals_go_into_factors():
    rng = np.random.default_rng(0)
    core = butterfly(lo.Chain.square_dyadic(16), rng)
    left, right = lo.Diagonal(rng.standard_normal(16)), lo.Diagonal(draw(rng, 16, dtype=complex))
    P, Q = lo.Permutation(rng.permutation(16)), lo.Permutation(rng.permutation(16))
    A = P @ left @ core @ right @ (2.5 * Q)
    found = lo.quantize(A, "bf16")
    kinds = [type(f) for f in found.operator.factors]
    assert kinds.count(lo.Permutation) == 2
    assert kinds.count(QuantizedKroneckerSparse) == 4
    assert lo.Diagonal not in kinds
    assert found.relative_error == pytest.approx(error_between(A, found.operator), rel=1e-9)
    assert found.relative_error <= found.bound < 0.05
    plain = lo.quantize(A, "bf16", "nearest")
    assert found.relative_error < 0.5 * plain.relative_error


def test_factors_that_do_not_chain_are_quantized_apart():
    rng = np.random.default_rng(0)
    one = butterfly(lo.Chain.square_dyadic(8), rng)
    A = one @ one
    found = lo.quantize(A, "e4m3")
    assert len(found.formats) == 6
    plain = lo.quantize(A, "e4m3", "nearest")
    assert found.relative_error <= plain.relative_error <= plain.bound < 1
    assert found.relative_error <= found.bound <= plain.bound


@pytest.mark.parametrize("rank", [2, 3])
def test_ranks_above_one_gain_too(rank):
    rng = np.random.default_rng(rank)
    chain = lo.Chain.from_cores([(4, 4)] * 3, [rank] * 2)
    errors = []
    for _ in range(5):
        A = butterfly(chain, rng)
        errors.append([lo.quantize(A, "e4m3", m).relative_error for m in ("optimal", "nearest")])
    best, plain = np.mean(errors, axis=0)
    assert best < 0.85 * plain


def test_dense_operators_and_factorizations_are_taken():
    rng = np.random.default_rng(0)
    M = rng.standard_normal((6, 9))
    found = lo.quantize(lo.Dense(M), "fp16")
    assert np.array_equal(dense(found.operator), M.astype(np.float16).astype(float))
    F = lo.factorize(dense(butterfly(lo.Chain.square_dyadic(32), rng)))
    assert lo.quantize(F, "bf16").relative_error < 2.0**-8
    again = lo.quantize(found.operator, "fp16")
    assert again.relative_error == 0


def test_single_precision_and_torch_stay_what_they_are():
    rng = np.random.default_rng(0)
    A = butterfly(lo.Chain.square_dyadic(16), rng).astype(np.float32)
    assert lo.quantize(A, "e4m3").operator.dtype == np.float32
    assert lo.quantize(A, FloatFormat(None, 7)).operator.dtype == np.float32
    torch = pytest.importorskip("torch")
    T = A.to(namespace="torch")
    found = lo.quantize(T, "e4m3")
    y = found.operator @ torch.ones(16)
    assert type(y) is torch.Tensor
    assert np.allclose(y.numpy(), lo.quantize(A, "e4m3").operator @ np.ones(16, np.float32))


def test_an_eight_bit_chain_is_a_quarter_of_the_bytes(tmp_path):
    rng = np.random.default_rng(0)
    A = butterfly(lo.Chain.square_dyadic(1024), rng).astype(np.float32)
    found = lo.quantize(A, "e4m3")
    assert found.operator.values_nbytes <= 0.26 * A.values_nbytes
    lo.save(tmp_path / "q.safetensors", found.operator)
    lo.save(tmp_path / "a.safetensors", A)
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in "qa"]
    assert sizes[0] <= 0.30 * sizes[1]  # headers weigh at this size
    again = lo.load(tmp_path / "q.safetensors")
    assert np.array_equal(dense(again), dense(found.operator))
    copy = pickle.loads(pickle.dumps(found))
    assert copy.relative_error == found.relative_error


def test_large_ones_are_measured_by_gaussian_columns():
    large = butterfly(lo.Chain.square_dyadic(8192), np.random.default_rng(0))
    found = lo.quantize(large, "e4m3", "left-to-right")
    assert found.confidence == 0.99
    assert found.error_at_most > found.relative_error
    assert found.relative_error < 0.04
    assert "estimated (confidence 0.99)" in repr(found)
    small = lo.quantize(large.factors[0], "e4m3")
    assert small.method == "nearest"


# -- a tolerance, several formats --------------------------------------------------------------


def test_a_tolerance_is_met_with_few_bits():
    rng = np.random.default_rng(0)
    A = butterfly(lo.Chain.square_dyadic(16), rng)
    sizes = []
    for tol in (0.1, 1e-2, 1e-3):
        found = lo.quantize(A, tol=tol)
        assert found.relative_error <= tol
        sizes.append(sum(f.bits for f in found.formats))
        least = min(f.mantissa_bits for f in found.formats)
        if least > 1:
            assert lo.quantize(A, FloatFormat(4, least - 1)).relative_error > tol
    assert sizes == sorted(sizes)
    chosen = lo.quantize(A, ["bf16", "e4m3"], tol=0.01)
    assert {f.name for f in chosen.formats} <= {"e4m3", "e8m7"}


@pytest.mark.parametrize("tol", [0.2, 0.08, 0.03, 0.01])
@pytest.mark.parametrize("cores", [[(2, 2)] * 3, [(2, 3), (4, 2)], [(3, 2), (1, 4), (2, 2)]])
def test_nothing_cheaper_meets_the_tolerance(cores, tol):
    """Against all choices for small chains, factors of several sizes among them."""
    rng = np.random.default_rng(3)
    A = butterfly(lo.Chain.from_cores(cores, [1] * (len(cores) - 1)), rng)
    ladder = [format_named(f) for f in ("e4m1", "e4m3", "e4m5", "e4m7")]
    sizes = [k.values.size for k in A.factors]

    def cost(formats):
        return sum(size * f.bits for size, f in zip(sizes, formats, strict=True))

    met = [
        cost(formats)
        for formats in itertools.product(ladder, repeat=len(sizes))
        if lo.quantize(A, formats).relative_error <= tol
    ]
    found = lo.quantize(A, ladder, tol=tol)
    assert found.relative_error <= tol
    assert cost(found.formats) == min(met)


def test_what_a_tolerance_looks_at_where_choices_are_many():
    """Errors of a model, so that the cheapest is known: the square root of a sum of squares."""

    class Result(NamedTuple):
        formats: tuple
        error_at_most: float

    shares, calls = (1.0, 0.1, 0.01, 1.0), []

    def done_in(formats):
        calls.append(formats)
        parts = [c * 2.0**-f.significand for c, f in zip(shares, formats, strict=True)]
        return Result(tuple(formats), math.hypot(*parts))

    ladder = [FloatFormat(4, m) for m in range(1, 12)]
    found = cheapest(done_in, [10, 10, 10, 10], 0.01, ladder)
    every = (done_in(f) for f in itertools.product(ladder, repeat=4))
    bits = min(sum(f.bits for f in r.formats) for r in every if r.error_at_most <= 0.01)
    assert found.error_at_most <= 0.01
    assert sum(f.bits for f in found.formats) == bits
    calls.clear()
    assert cheapest(done_in, [10_000] * 4, 0.01, ladder).error_at_most <= 0.01
    assert len(calls) <= 8  # two bisections


def test_one_format_for_each_factor():
    A = butterfly(lo.Chain.square_dyadic(8), np.random.default_rng(0))
    found = lo.quantize(A, ["bf16", "e4m3", "fp16"])
    names = [k.format_name for k in found.operator.factors if hasattr(k, "format_name")]
    assert names == [f.name for f in found.formats] == ["e8m7", "e4m3", "e5m10"]


def test_what_is_refused():
    rng = np.random.default_rng(0)
    A = butterfly(lo.Chain.square_dyadic(8), rng)
    refused = [
        ((A,), "takes a format .* or a tol"),
        ((A, "e4m3", "best"), "method is one of optimal, left-to-right, .* got 'best'"),
        ((A, "e9m9"), "exponent bits"),
        ((A, ["e4m3"]), "1 formats are given for 3 factors"),
        ((A, None, "optimal", 0.0), "relative error above 0, got 0.0"),
        ((A, "e2m1", "optimal", 1e-6), "no format meets tol 1e-06: the error in e2m1 is .* wider"),
        ((lo.Identity(4), "e4m3"), "Kronecker-sparse or dense factor, .* factorize it first"),
        (
            (lo.Dense(np.array([[1.0, np.nan]])), "e4m3"),
            "1 values of the factor .* infinite or NaN",
        ),
    ]
    for arguments, message in refused:
        with pytest.raises(ValueError, match=message):
            lo.quantize(*arguments)


def test_zero_is_quantized():
    A = lo.Product([lo.KroneckerSparse(np.zeros(p)) for p in lo.Chain.square_dyadic(8)])
    for name in ("e4m3", "int8"):
        found = lo.quantize(A, name)
        assert (found.relative_error, found.bound) == (0, 0)
        assert not dense(found.operator).any()


@pytest.mark.parametrize("method", ["nearest", "optimal"])
@pytest.mark.parametrize("form", ["bf16", "fp16", "e4m3", "e5m2"])
def test_scales_do_not_overflow_on_the_way(form, method):
    """Values that fit a format stay as they are, and a long product in float32 stays finite."""
    A = lo.butterfly.hadamard(1 << 6)
    A = lo.Product((A, A.H) * 8)  # 96 factors
    Q = lo.butterfly.quantize(A, form, method="nearest" if len(A.factors) > 90 else method)
    x = np.ones((64, 1), np.float32)
    assert np.isfinite(Q.operator @ x).all()
    rng = np.random.default_rng(8)
    H = lo.butterfly.hadamard(256)
    A = lo.Product(
        [lo.KroneckerSparse(f.values * rng.standard_normal(f.values.shape)) for f in H.factors]
    )
    Q = lo.butterfly.quantize(A, form, method=method)
    dense, exact = Q.operator.to_dense(), A.to_dense()
    error = np.linalg.norm(dense - exact) / np.linalg.norm(exact)
    assert abs(error - Q.relative_error) <= 1e-5  # measured in double, multiplied in float32
    if form == "bf16":
        assert isinstance(Q.operator.factors[0], lo.QuantizedKroneckerSparse)  # no scalar in front
