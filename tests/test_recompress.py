"""recompress(): expressions of butterflies back to butterflies, against dense arithmetic."""

import math
import tracemalloc

import numpy as np
import pytest
import scipy.fft
import scipy.sparse.linalg
from hypothesis import given
from hypothesis import strategies as st
from test_butterfly_certificate import split_errors
from test_certificate import dtypes, product, random_factors

import lazyops as lo
from lazyops.butterfly.form import butterfly_of
from lazyops.butterfly.hierarchical import Cores
from lazyops.butterfly.sums import common_cores, norm_of_form

UNIT = 2.0**-53


def checked(X, tol=None, slack=None):
    """recompress(X) with all that its certificate says, verified on the dense matrix."""
    found = lo.recompress(X, tol)
    M = np.asarray(X.to_dense())
    norm = np.linalg.norm(M)
    error = np.linalg.norm(np.asarray(found.operator.to_dense()) - M) / norm
    slack = 1e-13 if slack is None else slack
    assert found.confidence == 1
    assert found.operator.dtype == X.dtype
    assert found.relative_error == pytest.approx(error, rel=1e-6, abs=slack)
    assert found.lower_bound <= found.relative_error <= found.upper_bound + slack
    form = butterfly_of(found).form
    assert form.chain == found.chain
    if form.cores.a * form.cores.d == 1:
        W = M if form.rows is None else M[form.rows]
        W = W if form.columns is None else W[:, form.columns]
        E = [e / norm for e in split_errors(W.astype(complex), found.chain)]
        assert found.lower_bound <= max(E, default=0.0) + slack
    if tol is not None:
        assert found.upper_bound <= tol
    return found


square = st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=4)


def drawn(radices, cut, rank, rng, dtype=np.float64):
    """A random butterfly of square cores; neighbours among them multiplied from `cut` on."""
    cores = [*radices[:cut], math.prod(radices[cut:])] if cut < len(radices) else radices
    chain = lo.Chain.from_cores([(r, r) for r in cores], [rank] * (len(cores) - 1))
    return product(random_factors(chain, rng, dtype))


@given(
    radices=square, cuts=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    ranks=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=st.integers(0, 9), dtype=dtypes, flip=st.booleans(),
)  # fmt: skip
def test_sums(radices, cuts, ranks, seed, dtype, flip):
    """Equal or different cores, a common permutation, a multiple, a diagonal, a transpose."""
    rng = np.random.default_rng(seed)
    n = math.prod(radices)
    A, B = (drawn(radices, cut, r, rng, dtype) for cut, r in zip(cuts, ranks, strict=True))
    P = lo.Permutation(rng.permutation(n))
    D = lo.Diagonal(rng.standard_normal(n).astype(dtype))
    X = P @ (A - 0.5 * B + D) @ P.H
    checked(X.T if flip else X, slack=1e-13 if np.finfo(dtype).eps < 1e-10 else 1e-5)


@given(
    cores=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4),
    rank=st.integers(1, 2), seed=st.integers(0, 9), imaginary=st.booleans(),
)  # fmt: skip
def test_real_and_imaginary_parts(cores, rank, seed, imaginary):
    chain = lo.Chain.from_cores(cores, [rank] * (len(cores) - 1))
    A = product(random_factors(chain, np.random.default_rng(seed), np.complex128))
    found = checked(A.imag if imaginary else A.real)
    assert found.operator.dtype == np.float64


@given(radices=square, seed=st.integers(0, 9), dtype=st.sampled_from([np.float64, np.complex128]))
def test_inverses_and_adjoints_of_square_chains(radices, seed, dtype):
    rng = np.random.default_rng(seed)
    chain = lo.Chain.from_cores([(r, r) for r in radices])
    eyes = (np.eye(p.b)[None, :, :, None] for p in chain)  # blocks near the identity
    values = [
        e + 0.3 / e.shape[1] * v
        for e, v in zip(eyes, random_factors(chain, rng, dtype), strict=True)
    ]
    B = product(values)
    inverse = checked(lo.inverse(B))
    n = B.shape[0]
    error = np.linalg.norm(inverse.operator.to_dense() @ B.to_dense() - np.eye(n))
    assert error <= 1e-12
    assert checked(lo.inverse(2 * B @ lo.Permutation(rng.permutation(n)))).entries
    checked(B.H)


def test_fourier():
    n = 256
    found = lo.factorize(scipy.fft.fft(np.eye(n), axis=0))
    F = found.operator
    for part, exact in ((F.real, np.cos), (F.imag, lambda t: -np.sin(t))):
        angles = 2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
        back = checked(part)
        assert np.linalg.norm(back.operator.to_dense() - exact(angles)) <= 1e-12 * n
        assert back.entries < 0.25 * n * n
        assert back.upper_bound < 1e-14
    assert checked(F + 2 * F - 0.5j * F).entries == found.entries  # the ranks come down again
    assert checked(lo.inverse(F)).entries == found.entries
    inverse = lo.recompress(lo.inverse(F)).operator
    assert np.abs(n * inverse.to_dense() - F.H.to_dense()).max() < 1e-11


@pytest.mark.parametrize("tol", [1e-2, 1e-5])
def test_a_tolerance_lowers_ranks(tol):
    rng = np.random.default_rng(0)
    chain = lo.Chain.from_cores([(4, 4)] * 3)
    A, B, C = (product(random_factors(chain, rng)) for _ in range(3))
    X = A + 1e-3 * B + 1e-7 * C
    found = checked(X, tol)
    assert max(found.chain.ranks) == {1e-2: 1, 1e-5: 2}[tol]
    assert found.lower_bound > 0  # what was left out is seen, and proven
    assert checked(X, 1e-12).entries > found.entries
    assert found.reason.startswith("3 factors of ranks (3, 3) came down to ")


def test_what_is_left_of_cancelling_terms_is_certified_relative_to_itself():
    rng = np.random.default_rng(1)
    chain = lo.Chain.square_dyadic(16)
    values = random_factors(chain, rng)
    A, small = product(values), product([1e-6 * values[0], *random_factors(chain, rng)[1:]])
    K = lo.KroneckerSparse(rng.standard_normal((8, 2, 2, 1)))  # chains with the last factor
    found = checked((A + small) - A, slack=1e-9)
    exact = small.to_dense()
    error = np.linalg.norm(found.operator.to_dense() - exact) / np.linalg.norm(exact)
    assert found.upper_bound > 1e-12
    assert error <= found.upper_bound
    for X in (lo.Diagonal(np.arange(1.0, 17)) @ ((A + small) - A), ((A + small) - A) @ K):
        assert checked(X, slack=1e-9).upper_bound > 1e-12
    imaginary = lo.recompress((A + 1e-3j * small).imag)
    left_out = np.linalg.norm(imaginary.operator.to_dense() - 1e-3 * exact)
    assert imaginary.upper_bound > 1e-10
    assert left_out <= imaginary.upper_bound * np.linalg.norm(1e-3 * exact)
    assert "stays above tol" in imaginary.reason
    zero = lo.recompress(A - A, tol=1e-10)
    assert np.abs(zero.operator.to_dense()).max() <= 1e-13 * np.abs(A.to_dense()).max()


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_scales_that_overflow_squares(scale):
    rng = np.random.default_rng(0)
    chain = lo.Chain.square_dyadic(8)
    one, other = random_factors(chain, rng), random_factors(chain, rng)
    small = lo.recompress(product(one) + product(other))
    big = lo.recompress(
        product([one[0] * scale, *one[1:]]) + product([v * scale ** (1 / 3) for v in other])
    )
    assert big.upper_bound == pytest.approx(small.upper_bound, rel=0.5)
    assert big.relative_error <= big.upper_bound < 1e-13
    np.testing.assert_allclose(
        big.operator.to_dense() / scale, small.operator.to_dense(), rtol=1e-11, atol=1e-12
    )


def test_single_precision_is_computed_in_double():
    rng = np.random.default_rng(0)
    chain = lo.Chain.square_dyadic(64)
    A, B = (product(random_factors(chain, rng, np.float32)) for _ in range(2))
    found = lo.recompress(A + B, 1e-6)
    assert found.operator.dtype == np.float32
    assert found.relative_error <= found.upper_bound <= 1e-6


def test_products_are_known_by_their_products_and_say_so():
    F = lo.factorize(scipy.fft.fft(np.eye(128), axis=0)).operator
    found = lo.recompress(F @ (2 * lo.inverse(F)))
    assert found.confidence == 0.99
    assert found.lower_bound == 0
    assert found.relative_error <= found.upper_bound <= 1e-10
    assert found.entries < 0.2 * 128**2
    assert np.abs(found.operator.to_dense() - 2 * np.eye(128)).max() < 1e-12
    assert found.reason.startswith("known by its products, for its factors do not chain")
    again = lo.recompress(F @ (2 * lo.inverse(F)), rng=0)
    assert np.array_equal(again.operator.to_dense(), found.operator.to_dense())


def test_terms_with_different_permutations_are_known_by_their_products():
    n = 64
    F = lo.factorize(scipy.fft.fft(np.eye(n), axis=0)).operator
    ones = product([np.ones((1, n, 1, 1)), np.ones((1, 1, n, 1))])
    found = lo.recompress(F + ones)
    assert "two terms" in found.reason
    assert found.confidence == 0.99
    assert found.relative_error <= found.upper_bound <= 1e-10
    noise = np.random.default_rng(0).standard_normal((n, n))
    dense = lo.recompress(F + lo.Dense(noise))
    assert dense.chain is None
    assert "no structure" in dense.reason


def test_what_is_merged_exactly_is_exact():
    rng = np.random.default_rng(0)
    chain = lo.Chain.square_dyadic(16)
    B = product(random_factors(chain, rng))
    P, D = lo.Permutation(rng.permutation(16)), lo.Diagonal(rng.uniform(1, 2, 16))
    K = lo.KroneckerSparse(rng.standard_normal((1, 2, 2, 8)))  # chains with B, redundant
    for X in (P @ D @ B @ P @ D, D @ P @ B, K @ B, lo.inverse(D @ P) @ B, (B @ P) @ (P.H @ D)):
        found = checked(X)
        assert found.upper_bound < 1e-14


@pytest.mark.parametrize("name", ["sum", "real", "inverse"])
def test_nothing_is_densified(name):
    n = 2**15  # dense: 8 GiB of float64
    rng = np.random.default_rng(0)
    chain = lo.Chain.square_dyadic(n)
    values = random_factors(chain, rng, np.complex128 if name == "real" else np.float64)
    A = product(values)
    X = {"sum": A - 0.5 * A + 3 * lo.Identity(n), "real": A.real, "inverse": lo.inverse(A)}[name]
    tracemalloc.start()
    found = lo.recompress(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * n / 2  # bytes: a sixteenth of the dense matrix in float64
    assert found.entries < 0.004 * n * n
    assert found.relative_error <= found.upper_bound <= 1e-10
    x = rng.standard_normal((n, 2))
    y = X @ x
    assert np.linalg.norm(found.operator @ x - y) <= 1e-12 * np.linalg.norm(y)


def test_zeros():
    chain = lo.Chain.square_dyadic(8)
    B = product(random_factors(chain, np.random.default_rng(0)))
    assert checked(B + lo.Zero((8, 8)) - 0 * B).entries == chain.entries
    for nothing in (0 * B, lo.Zero((8, 8)) + lo.Zero((8, 8))):
        found = lo.recompress(nothing)
        assert not found.operator.to_dense().any()
        assert (found.relative_error, found.lower_bound, found.upper_bound) == (0, 0, 0)


def test_the_norm_of_a_butterfly_without_its_matrix():
    chain = lo.Chain.from_cores([(2, 3), (4, 2), (2, 2)], [2, 3])
    A = product(random_factors(chain, np.random.default_rng(0), np.complex128))
    form = butterfly_of(A).form
    norm = math.ldexp(norm_of_form(form), form.exponent)
    assert norm == pytest.approx(np.linalg.norm(A.to_dense()), rel=1e-14)


def test_common_cores():
    two, four = Cores((2, 2, 2, 2), (2, 2, 2, 2)), Cores((4, 4), (4, 4))
    assert common_cores(two, four) == two
    assert common_cores(Cores((2, 8), (8, 2)), Cores((2, 2, 4), (8, 1, 2))) == Cores(
        (2, 2, 4), (8, 1, 2)
    )
    assert common_cores(Cores((16, 1), (1, 16)), two) is None
    assert common_cores(two, Cores((4, 4), (4, 4), 2, 1)) is None


def test_torch():
    torch = pytest.importorskip("torch")
    chain = lo.Chain.square_dyadic(16)
    values = [torch.asarray(v) for v in random_factors(chain, np.random.default_rng(0))]
    A = product(values)
    found = lo.recompress(A + A)
    x = torch.ones(16, dtype=torch.float64)
    y = found.operator @ x
    assert isinstance(y, torch.Tensor)
    assert torch.linalg.norm(y - 2 * (A @ x)) <= 1e-13 * torch.linalg.norm(y)
    assert all(isinstance(f.values, torch.Tensor) for f in found.operator.factors)


def test_errors():
    with pytest.raises(TypeError, match="an operator, a Factorization or a list of arrays"):
        lo.recompress(np.eye(4))
    B = product(random_factors(lo.Chain.square_dyadic(4), np.random.default_rng(0)))
    with pytest.raises(ValueError, match="tol is a relative error from 0 on, got -1"):
        lo.recompress(B, -1)
    one_way = lo.Function((4, 4), lambda x: x)
    with pytest.raises(NotImplementedError, match="products with the adjoint"):
        lo.recompress(B + one_way)
    infinite = product([np.full(p, np.inf) for p in lo.Chain.square_dyadic(4)])
    with pytest.raises(ValueError, match=r"not finite: its value \(0, 0, 0, 0\) is inf"):
        lo.recompress(infinite + infinite)
