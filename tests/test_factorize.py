"""factorize(): what goes in, what comes out, what is found."""

import pickle

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.sparse

import lazyops as lo
from lazyops.butterfly import factorize, relative_error
from lazyops.operators import Dense, KroneckerSparse
from lazyops.pattern import Chain

ORDERS = ["balanced", "left-to-right", "right-to-left"]


def dft(n):
    return scipy.fft.fft(np.eye(n), axis=0)


def fio(N):
    """Fourier integral operator exp(2 pi i (x k + c(x) |k|))."""
    x, k = np.arange(N) / N, np.arange(-N // 2, N // 2)
    c = (2 + np.sin(2 * np.pi * x)) / 8
    return np.exp(2j * np.pi * (np.outer(x, k) + np.outer(c, abs(k))))


def random_butterfly(n, rng):
    B = np.eye(n)
    for p in Chain.square_dyadic(n):
        B = B @ KroneckerSparse(rng.standard_normal(p)).to_dense()
    return B


def error(A, f):
    return np.linalg.norm(A - f.operator.to_dense()) / np.linalg.norm(A)


# -- structure that nobody names -----------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("make", [dft, lambda n: scipy.linalg.hadamard(n).astype(float)])
def test_transforms_of_1024_come_out_exact(make, order):
    A = make(1024)
    for chain in (None, Chain.square_dyadic(1024)):
        f = factorize(A, chain, order=order)
        assert f.relative_error <= 3e-15
        assert f.chain.entries == 20 * 1024
        assert relative_error(A, f.operator) <= 3e-15
        assert f.operator.dtype == A.dtype


def test_a_chain_with_a_tolerance_takes_the_permutation_of_fewest_entries():
    x, k = np.arange(256) / 256, np.arange(-128, 128)
    phase = np.outer(x, k) + np.outer((2 + np.sin(2 * np.pi * x)) / 8, abs(k))
    K = np.exp(2j * np.pi * phase)
    chain = lo.Chain.square_dyadic(256)
    rows = lo.Permutation.bit_reversal(256).index
    found = lo.factorize(K, chain, 1e-3)
    bare = lo.factorize(K[rows], chain, 1e-3, permutation=None)
    assert found.upper_bound <= 1e-3
    assert found.entries <= 1.05 * bare.entries


def test_hidden_structures():
    rng = np.random.default_rng(0)
    bits = [int(f"{i:08b}"[::-1], 2) for i in range(256)]
    B = random_butterfly(256, rng)
    left, right = np.exp(2j * np.pi * rng.random(256)), rng.standard_normal(256)
    cases = {
        "diagonals": (left[:, None] * dft(256) * right, 0.07),
        "butterfly": (B, 0.07),
        "butterfly behind": (B[:, bits], 0.07),
        "butterfly before": (B[bits], 0.07),
        "butterfly between": (B[bits][:, bits], 0.07),
        "kron": (np.kron(dft(8), scipy.linalg.hadamard(16)), 0.13),
        "columns": (dft(1024)[:, :256], 0.07),
        "rows": (dft(1024)[:128], 0.12),
        "low rank": (rng.standard_normal((90, 3)) @ rng.standard_normal((3, 70)), 0.08),
    }
    for name, (A, share) in cases.items():
        f = factorize(A)
        assert f.relative_error <= 3e-15, name
        assert f.chain.entries <= share * A.size, name
        assert error(A, f) <= 3e-15, name
        assert f.lower_bound <= f.relative_error <= f.upper_bound <= 1e-10, name


@pytest.mark.parametrize("n", [48, 96, 1000])
def test_dft_of_mixed_sizes(n):
    f = factorize(dft(n))
    assert f.relative_error <= 3e-15
    assert f.chain.entries <= 0.23 * n * n
    assert f.reason.startswith("digit reversal of columns; ")


def test_single_precision_stays_single():
    A = dft(256).astype(np.complex64)
    f = factorize(A)
    assert f.operator.dtype == np.complex64
    assert f.chain.entries <= 0.07 * A.size
    assert f.lower_bound <= f.relative_error <= f.upper_bound <= 1e-6


def test_the_fourier_integral_operator():
    A = fio(1024)
    f = factorize(A, tol=1e-6)
    assert f.chain.entries <= 0.55 * A.size
    assert 0 < f.lower_bound <= f.relative_error <= f.upper_bound <= 1e-6
    assert error(A, f) == pytest.approx(f.relative_error, rel=1e-6)
    assert relative_error(A, f.operator) == pytest.approx(f.relative_error, rel=1e-6)
    assert f.reason.startswith("digit reversal of rows; ")


def test_no_structure_is_said():
    A = np.random.default_rng(0).standard_normal((96, 128))
    f = factorize(A)
    assert isinstance(f.operator, Dense)
    assert f.chain is None
    assert (f.relative_error, f.lower_bound, f.upper_bound) == (0, 0, 0)
    assert f.reason.startswith(
        f"no structure at tol 1e-10: tried {len(f.tried)} orders of rows and columns; the "
        "smallest chain ("
    )
    names = [t.permutation for t in f.tried]
    assert len(set(names)) == len(names)
    for wanted in ("no permutation", "digit reversal of rows and columns"):
        assert wanted in names
    assert any("bit-reversal class" in name for name in names)
    assert any("perfect shuffle" in name for name in names)
    assert all(len(t.nodes) == len(t.ranks) == len(t.errors) >= 1 for t in f.tried)
    np.testing.assert_array_equal(f.operator.to_dense(), A)


def test_a_permutation_matrix_is_treated_correctly():
    A = np.eye(64)[np.random.default_rng(0).permutation(64)]
    f = factorize(A)
    np.testing.assert_allclose(f.operator.to_dense(), A, atol=1e-15)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-6, 1e-9])
def test_the_tolerance_is_kept(order, tol):
    A = fio(128)
    f = factorize(A, tol=tol, order=order)
    assert f.upper_bound <= tol
    assert error(A, f) <= f.upper_bound + 1e-14


# -- edges ---------------------------------------------------------------------------------

EDGES = {
    "1x1": np.full((1, 1), 3.0),
    "1xN": np.arange(12.0)[None],
    "Nx1": np.arange(12.0)[:, None],
    "zero": np.zeros((48, 32)),
    "constant": np.full((60, 60), 2.5),
    "prime": np.random.default_rng(0).standard_normal((17, 13)),
    "prime rank 1": np.outer(np.arange(97.0), np.ones(101)),
    "identity": np.eye(96),
    "zero blocks": np.kron(np.diag([1.0, 0, 0, 2]), np.ones((8, 8))),
    "repeated": scipy.linalg.hadamard(64).astype(float),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("order", ORDERS)
def test_edges(name, order):
    A = EDGES[name]
    f = factorize(A, order=order)
    assert f.operator.shape == A.shape
    np.testing.assert_allclose(f.operator.to_dense(), A, atol=1e-13 * max(1, np.abs(A).max()))
    assert f.lower_bound <= f.relative_error <= f.upper_bound <= 1e-10
    assert f.reason


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_empty(shape):
    f = factorize(np.zeros(shape))
    assert f.operator.shape == shape
    assert f.chain is None
    assert f.reason == "the matrix is empty"


def test_zero_has_no_error():
    f = factorize(np.zeros((16, 16)), Chain.square_dyadic(16))
    assert (f.relative_error, f.lower_bound, f.upper_bound) == (0, 0, 0)
    assert not f.operator.to_dense().any()


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [
        (1e150, float),
        (1e-150, float),
        (1e300, complex),
        (1e-310, float),
        (1e36, np.float32),
        (1e-36, np.float32),
        (1e-43, np.float32),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_extreme_scales(scale, dtype, order):
    A = (dft(64).astype(dtype) if dtype is complex else scipy.linalg.hadamard(64)) * scale
    A = A.astype(dtype)
    f = factorize(A, order=order)
    exact = 1e-6 if dtype == np.float32 else 1e-14
    assert f.relative_error <= exact
    values = [K.values for K in f.operator.factors if isinstance(K, KroneckerSparse)]
    assert all(np.isfinite(v).all() for v in values)
    np.testing.assert_allclose(f.operator @ np.eye(64, dtype=A.real.dtype), A, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        (bool, np.float64),
        (np.int8, np.float64),
        (np.uint64, np.float64),
        (np.float16, np.float32),
        (">f4", np.float32),
        (">c16", np.complex128),
        (np.complex64, np.complex64),
    ],
)
def test_dtypes(dtype, result):
    A = np.asfortranarray((scipy.linalg.hadamard(32) > 0).astype(dtype))
    before = A.copy()
    for chain in (None, Chain.square_dyadic(32)):
        f = factorize(A, chain)
        assert f.operator.dtype == result
        np.testing.assert_array_equal(A, before)
    np.testing.assert_allclose(factorize(A).operator.to_dense(), A.astype(result), atol=1e-6)
    G = np.asfortranarray(np.random.default_rng(0).integers(0, 2, (11, 13)).astype(dtype))
    assert factorize(G).operator.dtype == result


def test_a_memory_map_is_left_alone(tmp_path):
    A = np.lib.format.open_memmap(tmp_path / "A.npy", "w+", np.complex128, (64, 64))
    A[:] = dft(64)
    A.flush()
    before = (tmp_path / "A.npy").read_bytes()
    for mode in ("r", "r+"):
        f = factorize(np.load(tmp_path / "A.npy", mmap_mode=mode))
        assert f.relative_error <= 3e-15
    assert (tmp_path / "A.npy").read_bytes() == before


def test_other_libraries_come_back_as_they_came():
    torch = pytest.importorskip("torch")
    A = torch.asarray(dft(64))
    f = factorize(A)
    y = f.operator @ torch.ones(64, dtype=A.dtype)
    assert isinstance(y, torch.Tensor)
    assert torch.allclose(y, A @ torch.ones(64, dtype=A.dtype))


# -- a given chain -------------------------------------------------------------------------


def test_chain_alone_keeps_its_ranks():
    A = np.random.default_rng(0).standard_normal((64, 64))
    f = factorize(A, Chain.monarch(64, 64))
    assert f.chain == Chain.monarch(64, 64)
    assert f.relative_error > 0.5


def test_chain_may_be_plain_tuples():
    f = factorize(np.eye(4), [(1, 2, 2, 2), (2, 2, 2, 1)])
    assert f.chain == Chain.square_dyadic(4)


def test_chain_and_tol_chooses_ranks():
    A = fio(64)
    chain = Chain.from_cores([(8, 8), (8, 8)])
    f = factorize(A, chain, tol=1e-3)
    assert f.upper_bound <= 1e-3
    assert f.chain.ranks > (1,)
    assert [p.a for p in f.chain] == [1, 8]
    assert [p.d for p in f.chain] == [8, 1]
    assert f.splits[0].rank == f.chain.ranks[0]


def test_redundant_junctions_are_padded_with_zeros():
    chain = Chain.from_cores([(2, 2)] * 4, [5, 9, 3])
    assert chain.redundant
    A = np.random.default_rng(0).standard_normal((16, 16))
    for order in ORDERS:
        f = factorize(A, chain, order=order)
        assert f.chain == chain
        np.testing.assert_allclose(f.operator.to_dense(), A, atol=1e-13)


def test_rank_deficient_blocks_keep_the_shape():
    chain = Chain.from_cores([(4, 4)] * 2, [3])
    f = factorize(np.ones((16, 16)), chain)
    assert f.chain == chain
    assert f.relative_error <= 1e-15


def test_a_chain_of_one():
    A = np.random.default_rng(0).standard_normal((4, 6))
    f = factorize(A, [(1, 4, 6, 1)])
    np.testing.assert_array_equal(f.operator.to_dense(), A)
    assert f.splits == ()
    assert f.relative_error == f.upper_bound == 0


def test_permutation_can_be_forbidden():
    f = factorize(dft(64), Chain.square_dyadic(64), permutation=None)
    assert f.relative_error > 0.5
    assert factorize(dft(64), Chain.square_dyadic(64)).relative_error <= 3e-15


def test_positions_and_errors_of_the_splits():
    f = factorize(np.random.default_rng(0).standard_normal((16, 16)), Chain.square_dyadic(16))
    assert [s.position for s in f.splits] == [2, 1, 3]
    assert all(s.rank == 1 for s in f.splits)
    assert max(s.error for s in f.splits) == pytest.approx(f.lower_bound)


# -- watching and stopping -----------------------------------------------------------------


def test_callback_sees_every_split_and_may_stop():
    A, seen = dft(64), []
    chain = Chain.square_dyadic(64)
    factorize(A, chain, callback=seen.append)
    assert [s.step for s in seen] == [1, 2, 3, 4, 5]
    assert all(s.steps == 5 and s.rank == 1 for s in seen)
    assert seen[-1].entries == chain.entries
    assert seen[0].error <= seen[-1].error <= 1e-14
    f = factorize(A, chain, callback=lambda step: step.step == 2)
    assert len(f.chain) == 3
    assert len(f.splits) == 2
    assert f.chain.obstacle is None
    assert error(A, f) <= 3e-15
    assert f.reason.startswith("stopped by the callback after 2 splits: ")
    assert len(factorize(A, callback=lambda step: True).chain) == 2


def test_progress_goes_to_stderr_and_is_cleared(capsys):
    factorize(dft(32), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\rfactorize: looking for structure" in err
    assert err.endswith("\r")
    assert err.rstrip("\r").endswith(" ")
    factorize(dft(32))
    assert capsys.readouterr() == ("", "")


def test_the_same_bits_again():
    A = fio(512)
    one, two = factorize(A, tol=1e-3), factorize(A, tol=1e-3, rng=0)
    for K, L in zip(one.operator.factors, two.operator.factors, strict=True):
        if isinstance(K, KroneckerSparse):
            np.testing.assert_array_equal(K.values, L.values)


def test_a_factorization_pickles_and_prints():
    f = factorize(dft(64))
    g = pickle.loads(pickle.dumps(f))
    assert (g.chain, g.splits, g.upper_bound) == (f.chain, f.splits, f.upper_bound)
    np.testing.assert_array_equal(g.operator.to_dense(), f.operator.to_dense())
    assert repr(f).startswith("<Factorization 64x64: 3 factors, 0.188 of the entries, error 0 <= ")
    with pytest.raises(AttributeError):
        f.reason = ""


# -- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "name"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_not_finite_names_the_first(bad, name):
    A = np.ones((9, 7))
    A[4, 3] = A[4, 5] = A[6, 0] = bad
    message = rf"the matrix is not finite: entry \(4, 3\) is {name}; factorize needs finite"
    for B in (A, np.asfortranarray(A), A.astype(np.float32)):
        with pytest.raises(ValueError, match=message):
            factorize(B)
    with pytest.raises(ValueError, match=r"entry \(4, 3\) is "):
        factorize(A.astype(complex))


@pytest.mark.parametrize(
    ("args", "kind", "message"),
    [
        ((np.ones(3),), ValueError, r"factorize takes a 2-D array, got 1-D of shape \(3,\)"),
        ((np.ones((2, 2), object),), TypeError, "real or complex numbers, got dtype object"),
        ((scipy.sparse.eye_array(3),), TypeError, r"takes a dense matrix: pass A.toarray\(\)"),
        ((np.ones((4, 6)), Chain.square_dyadic(4)), ValueError, "chain is 4x4, the matrix is 4x6"),
        (
            (np.ones((4, 4)), [(2, 2, 2, 1), (1, 2, 2, 2)]),
            ValueError,
            r"chain is not chainable: factors 1 and 2, \(2, 2, 2, 1\) and \(1, 2, 2, 2\): a = 2",
        ),
        ((np.eye(2), None, -1), ValueError, "tol is a relative error from 0 on, got -1"),
        ((np.eye(2), None, np.nan), ValueError, "tol is a relative error from 0 on, got nan"),
    ],
)
def test_refusals(args, kind, message):
    with pytest.raises(kind, match=message):
        factorize(*args)


def test_unknown_choices():
    with pytest.raises(ValueError, match="order is one of balanced, left-to-right, right-to-left"):
        factorize(np.eye(4), order="sideways")
    with pytest.raises(ValueError, match="permutation is 'search' or None, got 'all'"):
        factorize(np.eye(4), permutation="all")


# -- relative_error ------------------------------------------------------------------------


def test_relative_error_is_exact():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 30, 20))
    expected = np.linalg.norm(A - B) / np.linalg.norm(A)
    assert relative_error(A, B) == pytest.approx(expected, rel=1e-14)
    assert relative_error(A, Dense(B)) == pytest.approx(expected, rel=1e-14)
    assert relative_error(A * 1e200, B * 1e200) == pytest.approx(expected, rel=1e-14)
    assert relative_error(A, A + 1e-200j) == 0
    assert relative_error(np.zeros((2, 2)), np.zeros((2, 2))) == 0
    assert relative_error(np.zeros((2, 2)), np.eye(2)) == np.inf
    with pytest.raises(ValueError, match=r"one shape, got \(30, 20\) and \(20, 30\)"):
        relative_error(A, B.T)
