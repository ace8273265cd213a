"""certificate(A, B): every single-split error against plain SVDs, and what the ratio promises."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_butterfly_certificate import noisy, split_errors

import lazyops as lo
from lazyops.butterfly.svd import WEAK

ORDERS = ["balanced", "left-to-right", "right-to-left"]


def random_factors(chain, rng, dtype=np.float64):
    complex_too = np.dtype(dtype).kind == "c"
    draw = rng.standard_normal
    return [(draw(p) + 1j * draw(p) if complex_too else draw(p)).astype(dtype) for p in chain]


def product(values):
    factors = [lo.KroneckerSparse(v) for v in values]
    return factors[0] if len(factors) == 1 else lo.Product(factors)


chains = st.builds(
    lambda cores, ranks: lo.Chain.from_cores(cores, ranks[: len(cores) - 1]),
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=4),
    st.lists(st.integers(1, 3), min_size=3, max_size=3),
)
dtypes = st.sampled_from([np.float32, np.float64, np.complex64, np.complex128])


@given(chain=chains, dtype=dtypes, seed=st.integers(0, 9), permuted=st.booleans())
def test_split_errors_against_plain_svds(chain, dtype, seed, permuted):
    rng = np.random.default_rng(seed)
    (m, n), B = chain.shape, product(random_factors(chain, rng))
    W = rng.standard_normal((m, n)).astype(dtype)
    P, Q = rng.permutation(m), rng.permutation(n)
    A = W[P][:, np.argsort(Q)] if permuted else W  # W seen through P @ B @ Q
    judged = lo.certificate(A, lo.Permutation(P) @ B @ lo.Permutation(Q) if permuted else B)
    norm = np.linalg.norm(W.astype(complex))
    expected = [e / norm for e in split_errors(W.astype(complex), chain)]
    slack = 8 * len(chain) * 2.0**-53
    assert judged.chain == chain
    np.testing.assert_allclose(judged.split_errors, expected, rtol=1e-12, atol=slack)
    assert max(expected) - 2 * slack <= judged.lower_bound <= max(expected)
    assert math.hypot(*expected) - slack <= judged.attainable <= math.hypot(*expected) + 2 * slack


@given(chain=chains, order=st.sampled_from(ORDERS), seed=st.integers(0, 9), dtype=dtypes)
def test_no_butterfly_is_below_the_lower_bound(chain, order, seed, dtype):
    rng = np.random.default_rng(seed)
    A = noisy(chain, 0.3, seed, dtype)
    found = lo.factorize(A, chain, order=order, permutation=None)
    judged = lo.certificate(A, found)
    assert judged.lower_bound <= found.relative_error + judged.rounding
    assert judged.relative_error == pytest.approx(
        found.relative_error, rel=1e-9, abs=judged.rounding
    )
    assert found.lower_bound <= judged.lower_bound + judged.rounding  # the steps' own is weaker
    if order == "left-to-right":
        sketched = math.sqrt(1 + WEAK)
        assert found.relative_error <= sketched * judged.attainable + len(chain) * 2.0**-23
    other = lo.certificate(A, random_factors(chain, rng))  # same chain, same bound; a bad one
    assert other.split_errors == judged.split_errors
    assert other.relative_error >= judged.lower_bound


def test_the_ratio_is_proven():
    chain = lo.Chain.square_dyadic(32)
    A = noisy(chain, 0.1, 4)
    good = lo.certificate(A, lo.factorize(A, chain, permutation=None))
    worse = [v * 1.01 for v in (f.values for f in lo.factorize(A, chain).operator.factors)]
    bad = lo.certificate(A, worse)
    assert 1 <= good.optimality < bad.optimality
    assert good.optimality == good.relative_error / good.lower_bound
    assert f"at most {good.optimality:.3g} x the best" in repr(good)


def test_an_exact_butterfly_is_optimal_and_a_wrong_one_is_not():
    chain = lo.Chain.square_dyadic(16)
    B = product(random_factors(chain, np.random.default_rng(0)))
    assert lo.certificate(B.to_dense(), B).optimality == 1
    assert lo.certificate(B.to_dense(), B.astype("float32")).optimality == 1  # to its rounding
    wrong = lo.certificate(B.to_dense(), 2 * B)
    assert wrong.relative_error == pytest.approx(1)
    assert (wrong.lower_bound, wrong.optimality) == (0, math.inf)
    assert wrong.attainable <= 1e-14


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_huge_scales(scale):
    chain = lo.Chain.monarch(12, 12)
    A = noisy(chain, 0.2, 1)
    plain, scaled = (
        lo.certificate(s * A, [v * s**0.5 for v in random_factors(chain, np.random.default_rng(1))])
        for s in (1.0, scale)
    )
    np.testing.assert_allclose(scaled.split_errors, plain.split_errors, rtol=1e-12)
    assert scaled.relative_error == pytest.approx(plain.relative_error, rel=1e-12)


def test_what_the_support_leaves_out_is_in_every_error():
    chain = lo.Chain([(2, 2, 2, 6), (4, 2, 2, 3)])  # I_2 (x) 1 (x) I_3
    values = random_factors(chain, np.random.default_rng(0))
    inside = product(values).to_dense()
    outside = np.where(inside == 0, 1e-2, 0.0)
    judged = lo.certificate(inside + outside, values)
    share = np.linalg.norm(outside) / np.linalg.norm(inside + outside)
    assert judged.lower_bound == pytest.approx(share, rel=1e-10)
    assert judged.optimality == pytest.approx(1, rel=1e-10)
    assert judged.attainable == pytest.approx(share, rel=1e-10)


def test_transposes_and_inverses_are_butterflies():
    chain = lo.Chain.from_cores([(2, 2), (3, 3), (2, 2)])
    B = product(random_factors(chain, np.random.default_rng(3), np.complex128))
    for X in (B.H, B.T, lo.inverse(B), (2j * B.H) @ lo.Diagonal(np.arange(1.0, 13))):
        judged = lo.certificate(X.to_dense(), X)
        assert max(judged.split_errors) <= 1e-14
        assert judged.optimality == 1


def test_zero_and_single_factors():
    zeros = lo.certificate(np.zeros((4, 4)), [np.zeros(p) for p in lo.Chain.square_dyadic(4)])
    assert (zeros.split_errors, zeros.relative_error, zeros.optimality) == ((0.0,), 0.0, 1.0)
    A = np.random.default_rng(0).standard_normal((3, 5))
    whole = lo.certificate(A, lo.KroneckerSparse(A.reshape(1, 3, 5, 1)))
    assert (whole.split_errors, whole.optimality) == ((), 1.0)
    assert "splits: none" in repr(whole)


def test_torch():
    torch = pytest.importorskip("torch")
    chain = lo.Chain.square_dyadic(8)
    A = noisy(chain, 0.1, 0)
    values = random_factors(chain, np.random.default_rng(0))
    there = lo.certificate(torch.asarray(A), [torch.asarray(v) for v in values])
    assert there.split_errors == lo.certificate(A, values).split_errors


def test_errors():
    K = lo.KroneckerSparse(np.ones((1, 2, 2, 2)))
    A = np.ones((4, 4))
    with pytest.raises(ValueError, match="matrices of one shape, got 4x5 and 4x4"):
        lo.certificate(np.ones((4, 5)), K)
    with pytest.raises(ValueError, match="no butterfly: its factors do not chain: factors 2 and 3"):
        lo.certificate(A, K @ lo.KroneckerSparse(np.ones((2, 2, 2, 1))) @ K)
    with pytest.raises(ValueError, match="a permutation stands between two factors"):
        lo.certificate(A, K @ lo.Permutation([1, 0, 2, 3]) @ K)
    with pytest.raises(ValueError, match=r"M4 is no Kronecker-sparse factor.*recompress"):
        lo.certificate(A, lo.Dense(A))
    with pytest.raises(TypeError, match=r"pass A\.to_dense\(\)"):
        lo.certificate(lo.Dense(A), K)
    with pytest.raises(TypeError, match=r"a list of arrays of shape \(a, b, c, d\), got int"):
        lo.certificate(A, 3)
    with pytest.raises(ValueError, match=r"not finite: its value \(0, 1, 0, 1\) is nan"):
        lo.certificate(A, [np.where(np.arange(8).reshape(1, 2, 2, 2) == 5, np.nan, 1.0)])
