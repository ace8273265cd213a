"""factorize() of operators known by their products, and the estimate of their error."""

import tracemalloc

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.sparse.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import lazyops as lo
from lazyops.butterfly.estimate import error_factor, gaussian_tails

SLOW = settings(deadline=None, max_examples=30)


class Counted:
    """A matrix as an operator that counts the columns it is multiplied with."""

    def __init__(self, forward, backward, shape, dtype):
        self.forward, self.backward = [], []

        def f(x):
            self.forward.append(x.shape[1])
            return forward(x)

        def g(y):
            self.backward.append(y.shape[1])
            return backward(y)

        self.operator = lo.Function(shape, f, g, dtype=dtype)

    @classmethod
    def of(cls, M):
        return cls(lambda x: M @ x, lambda y: M.conj().T @ y, M.shape, M.dtype)

    @property
    def products(self):
        return sum(self.forward) + sum(self.backward)


def fft_of_bit_reversed(n):
    index = np.asarray(lo.Permutation.bit_reversal(n).index)

    def forward(x):
        return scipy.fft.fft(x[index], axis=0)

    def backward(y):
        return scipy.fft.ifft(y, axis=0)[index] * n

    return Counted(forward, backward, (n, n), "complex128")


def error(M, found):
    return np.linalg.norm(found.operator.to_dense() - M) / np.linalg.norm(M)


def butterfly(chain, rng, dtype=np.float64):
    B = np.eye(chain.shape[0])
    for p in chain:
        values = rng.standard_normal(p)
        if dtype == np.complex128:
            values = values + 1j * rng.standard_normal(p)
        B = B @ lo.KroneckerSparse(values).to_dense()
    return B


# -- exact structure -----------------------------------------------------------------------


@pytest.mark.parametrize("n", [256, 1024, 4096])
@pytest.mark.parametrize("told", [True, False])
def test_the_fourier_transform_takes_two_products_a_class(n, told):
    A = fft_of_bit_reversed(n)
    found = lo.factorize(A.operator, lo.Chain.square_dyadic(n) if told else None)
    classes = 2 * int(np.sqrt(n))  # sqrt(n) of columns, as many of rows
    looking, judging = (2, 10) if told else (6, 10)
    assert A.products == 2 * classes + looking + judging
    assert found.relative_error <= 1e-14
    assert found.entries <= 4 * n * np.log2(n) / 2
    x = np.random.default_rng(1).standard_normal((n, 5))
    y = A.operator @ x
    assert np.linalg.norm(found.operator @ x - y) <= 1e-14 * np.linalg.norm(y)


def test_the_certificate_says_what_it_is():
    found = lo.factorize(fft_of_bit_reversed(256).operator)
    assert found.confidence == 0.99
    assert found.lower_bound == 0
    assert found.upper_bound == pytest.approx(found.relative_error * error_factor())
    assert "80 products; bound with 99% confidence, no lower one" in found.reason
    assert repr(found).endswith("confidence 0.99>")


def test_memory_is_not_that_of_the_samples():
    A = fft_of_bit_reversed(4096)
    tracemalloc.start()
    try:
        lo.factorize(A.operator, lo.Chain.square_dyadic(4096))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    samples = 2 * 2 * 64 * 4096 * 16  # two sides, two columns a class, complex128
    assert peak < samples
    assert peak < 4096**2 * 16 / 16


@SLOW
@given(
    st.lists(st.tuples(st.integers(2, 4), st.integers(2, 4)), min_size=2, max_size=4),
    st.data(),
    st.sampled_from([np.float64, np.complex128]),
)
def test_exact_butterflies_come_out_exact(cores, data, dtype):
    ranks = [data.draw(st.integers(1, 2)) for _ in cores[1:]]
    chain = lo.Chain.from_cores(cores, ranks)
    M = butterfly(chain, np.random.default_rng(data.draw(st.integers(0, 99))), dtype)
    found = lo.factorize(Counted.of(M).operator, chain, permutation=None)
    assert found.chain == chain
    assert found.operator.dtype == dtype
    assert error(M, found) <= 1e-9  # blocks of a small butterfly may be ill conditioned
    assert error(M, found) <= max(found.upper_bound, 1e-14)


@pytest.mark.parametrize("chain", [lo.Chain.monarch(36, 64), lo.Chain.monarch(48, 20, 6, 5)])
def test_two_factors(chain):
    M = butterfly(chain, np.random.default_rng(0))
    found = lo.factorize(Counted.of(M).operator, chain)
    assert found.chain == chain
    assert error(M, found) <= 1e-13


@pytest.mark.parametrize("n", [48, 360, 1000])
def test_sizes_that_are_no_powers_of_two_and_a_permutation_to_find(n):
    M = scipy.fft.fft(np.eye(n), axis=0)
    found = lo.factorize(Counted.of(M).operator)
    assert found.reason.startswith("digit reversal of columns; ")
    assert found.entries <= 0.23 * n * n
    assert error(M, found) <= 1e-14


def test_low_rank_is_found():
    rng = np.random.default_rng(0)
    M = rng.standard_normal((300, 5)) @ rng.standard_normal((5, 200))
    found = lo.factorize(Counted.of(M).operator)
    assert found.chain == lo.Chain([(1, 300, 5, 1), (1, 5, 200, 1)])
    assert error(M, found) <= 1e-13


# -- a tolerance, and the best there is ----------------------------------------------------


def fio(n):
    x, k = np.arange(n) / n, np.arange(-n // 2, n // 2)
    return np.exp(2j * np.pi * (np.outer(x, k) + np.outer((2 + np.sin(2 * np.pi * x)) / 8, abs(k))))


@pytest.mark.parametrize(("tol", "share"), [(1e-3, 0.45), (1e-6, 0.6)])
def test_ranks_follow_from_a_tolerance(tol, share):
    M = fio(1024)
    found = lo.factorize(Counted.of(M).operator, tol=tol)
    assert found.upper_bound <= tol
    assert error(M, found) <= found.upper_bound
    assert found.entries <= share * M.size
    assert found.reason.startswith("digit reversal of rows; ")


def test_a_chain_with_a_tolerance_keeps_its_shape():
    M = fio(256)
    chain = lo.Chain.from_cores([(16, 16), (16, 16)])
    found = lo.factorize(Counted.of(M).operator, chain, 1e-3)
    assert len(found.chain) == 2
    assert found.upper_bound <= 1e-3
    assert error(M, found) <= found.upper_bound


def test_near_an_operator_that_is_no_butterfly_more_columns_are_taken():
    rng = np.random.default_rng(0)
    M = scipy.linalg.hadamard(256) / 16 + 0.1 * rng.standard_normal((256, 256))
    chain = lo.Chain.square_dyadic(256)
    A = Counted.of(M)
    found = lo.factorize(A.operator, chain)
    dense = lo.factorize(M, chain)
    assert A.products > 80  # what the exact one takes
    true = error(M, found)
    assert dense.lower_bound <= true <= found.upper_bound
    assert true <= 1.1 * dense.relative_error


def test_no_structure_is_said_and_the_operator_handed_back():
    M = np.random.default_rng(0).standard_normal((96, 128))
    A = Counted.of(M)
    found = lo.factorize(A.operator)
    assert found.operator is A.operator
    assert found.chain is None
    assert found.reason.startswith("no structure at tol 1e-10: tried ")
    assert f"{A.products} products with the adjoint showed no low rank" in found.reason


# -- operators of all kinds ----------------------------------------------------------------


def test_operators_of_scipy_and_products_of_ours():
    n = 64
    M = scipy.linalg.hadamard(n).astype(float)
    rng = np.random.default_rng(0)
    d = rng.standard_normal(n) + 2
    of_scipy = scipy.sparse.linalg.aslinearoperator(M)
    ours = lo.Diagonal(d) @ lo.aslinearoperator(of_scipy)
    assert error(M, lo.factorize(of_scipy)) <= 1e-14
    assert error(d[:, None] * M, lo.factorize(ours)) <= 1e-14


def test_single_precision_gives_single_precision():
    M = scipy.linalg.hadamard(64).astype(np.float32)
    found = lo.factorize(lo.Dense(M))
    assert found.operator.dtype == np.float32
    assert found.entries < M.size
    assert found.upper_bound <= 1e-6


def test_without_an_adjoint_it_says_so_at_once():
    calls = []
    A = lo.Function((64, 64), lambda x: calls.append(1) or x)
    message = "needs products with the adjoint of an operator: .*give Function rmatmat= or rmatvec="
    with pytest.raises(NotImplementedError, match=message):
        lo.factorize(A)
    assert calls == []
    of_scipy = scipy.sparse.linalg.LinearOperator((64, 64), matvec=lambda x: x)
    with pytest.raises(NotImplementedError, match="no working rmatmat or rmatvec"):
        lo.factorize(of_scipy)


def test_what_is_not_finite_is_refused():
    M = scipy.linalg.hadamard(64).astype(float)
    M[3, 5] = np.nan
    with pytest.raises(ValueError, match=r"is not finite: row 5 of a product .* is nan"):
        lo.factorize(Counted.of(M).operator)


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_huge_and_tiny(scale):
    M = scipy.linalg.hadamard(64) * scale
    found = lo.factorize(Counted.of(M).operator)
    x = np.random.default_rng(0).standard_normal(64)
    assert found.relative_error <= 1e-14
    difference = (found.operator @ x - M @ x) / scale
    assert np.linalg.norm(difference) <= 1e-13 * np.linalg.norm(M / scale @ x)


def test_zero():
    A = Counted.of(np.zeros((64, 64))).operator
    found = lo.factorize(A, lo.Chain.square_dyadic(64))
    assert found.relative_error == 0
    assert not found.operator.to_dense().any()
    assert lo.factorize(A).reason == "the matrix is zero"


def test_some_zero_blocks():
    M = scipy.linalg.block_diag(scipy.linalg.hadamard(32), np.zeros((32, 32)))
    M[:, 40] = 0
    found = lo.factorize(Counted.of(M).operator, lo.Chain.square_dyadic(64))
    assert error(M, found) <= 1e-14


def test_same_seed_same_bits():
    M = fio(256)
    one, two = (lo.factorize(Counted.of(M).operator, tol=1e-3, rng=7) for _ in range(2))
    assert one.reason == two.reason
    assert np.array_equal(one.operator.to_dense(), two.operator.to_dense())


def test_a_callback_stops_the_search_for_more():
    M = np.random.default_rng(0).standard_normal((64, 64))
    steps = []
    chain = lo.Chain.square_dyadic(64)
    A = Counted.of(M)
    lo.factorize(A.operator, chain, callback=lambda step: steps.append(step) or True)
    assert len(steps) == 1
    assert A.products == 2 * 16 + 4 + 10  # two ways to class the rows were looked at
    assert 0 < steps[0].error < 2


def test_a_callback_stops_with_the_best_so_far():
    M = fio(256)[lo.Permutation.bit_reversal(256).index]
    steps = []
    found = lo.factorize(
        Counted.of(M).operator, tol=1e-3, callback=lambda step: steps.append(step) or True
    )
    assert len(steps) == 1
    assert found.reason.startswith("stopped by the callback; ")
    assert found.chain.entries == steps[0].entries < 0.9 * M.size
    assert 1e-3 < error(M, found) <= found.upper_bound
    assert found.relative_error == steps[0].error
    whole = lo.factorize(Counted.of(M).operator, tol=1e-3, callback=steps.append)
    assert steps[1:][0] == steps[0]  # the same first step, then better ones
    assert whole.upper_bound <= 1e-3
    assert "stopped" not in whole.reason


def test_refusals():
    A = lo.Function((64, 64), lambda x: x, lambda y: y)
    with pytest.raises(ValueError, match="two factors or more with a = 1 on the left"):
        lo.factorize(A, lo.Chain([(1, 64, 64, 1)]))
    with pytest.raises(ValueError, match="the chain is 8x8, the matrix is 64x64"):
        lo.factorize(A, lo.Chain.square_dyadic(8))
    with pytest.raises(ValueError, match="oversampling is a number of columns from 0 on, got -1"):
        lo.factorize(A, oversampling=-1)


def test_the_confidence_is_saved(tmp_path):
    found = lo.factorize(fft_of_bit_reversed(64).operator)
    lo.save(tmp_path / "A.safetensors", found)
    again = lo.load(tmp_path / "A.safetensors")
    assert again.confidence == found.confidence == 0.99


# -- the estimate --------------------------------------------------------------------------


@given(st.integers(1, 40), st.floats(1e-6, 0.2))
def test_the_tails_hold_for_rank_one_where_the_law_is_known(columns, failure):
    low, high = gaussian_tails(columns, failure)
    law = scipy.stats.chi2(columns)
    assert law.cdf(columns * low) <= failure
    assert law.sf(columns * high) <= failure


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(0, 5))
@settings(deadline=None, max_examples=20)
def test_the_tails_hold_for_other_spectra(weights, seed):
    total = sum(weights)
    if total < 1e-3:
        return
    low, high = gaussian_tails(10, 0.02)
    law = np.random.default_rng(seed).chisquare(10, (20000, len(weights))) / 10
    sums = law @ np.array(weights) / total
    assert (sums <= low).mean() <= 0.02  # Chernoff leaves room for the noise of the sample
    assert (sums >= high).mean() <= 0.02
