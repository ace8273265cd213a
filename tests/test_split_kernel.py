"""The compiled rank-one approximations of blocks, against NumPy's SVD in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazyops as lo
from lazyops.butterfly import factorize, rank_one_splits
from lazyops.butterfly.halves import split
from lazyops.butterfly.splits import Matrix, Values
from lazyops.butterfly.svd import Want
from lazyops.kernels import num_threads, set_num_threads, split_obstacle
from lazyops.kernels.split import NEAR, ONE_LANE, TALLEST, obstacle, rank_one
from lazyops.pattern import Chain

why = split_obstacle(np.zeros((1, 1, 1, 1, 2, 2)))
pytestmark = pytest.mark.skipif(why is not None, reason=f"no compiled splits: {why}")

DTYPES = ["float32", "float64", "complex64", "complex128"]
UNIT = 2.0**-53


def blocks(kind, grid, b, c, dtype, rng):
    """Blocks (*grid, b, c) of one kind of spectrum."""
    draw = lambda *shape: (
        rng.standard_normal(shape)
        + (1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else 0)
    )
    shape = (*grid, b, c)
    if kind == "zero":
        return np.zeros(shape, dtype)
    if kind == "gaussian":
        return draw(*shape).astype(dtype)
    if kind == "repeated":  # all singular values equal: no direction is the leading one
        Q = np.linalg.qr(draw(*grid, max(b, c), min(b, c)))[0]
        return np.ascontiguousarray(Q if b >= c else Q.swapaxes(-1, -2), dtype)
    if kind == "two":  # the first two are equal, the others zero
        L, R = (
            np.linalg.qr(draw(*grid, b, min(2, b)))[0],
            np.linalg.qr(draw(*grid, c, min(2, c)))[0],
        )
        r = min(b, c, 2)
        return (L[..., :r] @ R[..., :r].swapaxes(-1, -2)).astype(dtype)
    exact = draw(*grid, b, 1) * draw(*grid, 1, c)
    return (exact + (1e-2 * draw(*shape) if kind == "noisy" else 0)).astype(dtype)


KINDS = ["gaussian", "exact", "noisy", "repeated", "two", "zero"]


def run(T, mirrored=False, exponent=0):
    wide = np.result_type(T.dtype, np.float64)
    left = np.full((*T.shape[:-1], 1), np.nan, wide)
    right = np.full((*T.shape[:-2], 1, T.shape[-1]), np.nan, wide)
    facts = np.full((*T.shape[:4], 4, 1), np.nan)
    rank_one(T, left, right, facts, mirrored, exponent)
    return left, right, facts[..., 0]


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    grid=st.tuples(*[st.integers(1, 4)] * 4),
    b=st.integers(1, 40),
    c=st.integers(1, 70),
    dtype=st.sampled_from(DTYPES),
    mirrored=st.booleans(),
    scale=st.sampled_from([0, 0, 100, -100, -140]),
    seed=st.integers(0, 10**6),
)
def test_halves_and_what_is_proven(kind, grid, b, c, dtype, mirrored, scale, seed):
    T = blocks(kind, grid, b, c, dtype, np.random.default_rng(seed))
    if scale and np.dtype(dtype).itemsize // (1 + (T.dtype.kind == "c")) == 8:
        scale *= 3  # squares overflow and underflow in double precision too
    T = (T * 2.0 ** (scale // 2) * 2.0 ** (scale - scale // 2)).astype(dtype)
    left, right, facts = run(T, mirrored)
    S = T.astype(left.dtype) * 2.0**-scale  # exact
    unit, other = (right * 1, left * 2.0**-scale) if mirrored else (left * 1, right * 2.0**-scale)
    norm2 = (abs(S) ** 2).sum((-1, -2))
    proven = facts[..., 2] >= 0
    assert np.isfinite(left).all()
    assert np.isfinite(right).all()
    length = np.sqrt((abs(unit) ** 2).sum((-1, -2)))[proven]
    np.testing.assert_allclose(length, 1, atol=8 * (b + c) * UNIT)
    # the other half is the product with the unit vector: rounding of one dot product
    exact = S @ unit.conj().swapaxes(-1, -2) if mirrored else unit.conj().swapaxes(-1, -2) @ S
    gamma = 4 * (b + c) * UNIT * np.sqrt(norm2)[..., None, None]
    assert (abs(other - exact) <= gamma)[proven].all()
    # the error is what it is said to be, and the smallest possible one is at least what is proven
    error2 = (abs(S - (other if mirrored else unit) @ (unit if mirrored else other)) ** 2).sum(
        (-1, -2)
    )
    told, lower, turn = (np.ldexp(facts[..., i], -2 * scale) for i in (1, 2, 3))
    slack = 8 * (b + c) * UNIT * norm2
    assert (abs(told - error2) <= slack + 1e-12 * error2)[proven].all()
    best2 = (np.linalg.svd(S, compute_uv=False)[..., 1:] ** 2).sum(-1)
    assert (lower <= best2 * (1 + 1e-12) + slack)[proven].all()
    small = np.dtype(dtype).itemsize > 4 * (1 + (T.dtype.kind == "c")) and b * c <= ONE_LANE
    near = 0 if small else NEAR
    assert (lower >= (1 - near) * told - slack - 1e-13 * norm2)[proven].all()
    assert (told <= best2 * (1 + 1e-12) / (1 - near) + slack + 1e-13 * norm2)[proven].all()
    # what is between the two forms of the projection
    u = (
        unit
        if not mirrored
        else other / np.maximum(np.sqrt((abs(other) ** 2).sum((-1, -2), keepdims=True)), 1e-300)
    )
    v = (
        unit
        if mirrored
        else other / np.maximum(np.sqrt((abs(other) ** 2).sum((-1, -2), keepdims=True)), 1e-300)
    )
    one, two = u @ (u.conj().swapaxes(-1, -2) @ S), (S @ v.conj().swapaxes(-1, -2)) @ v
    between2 = (abs(one - two) ** 2).sum((-1, -2))
    assert (np.sqrt(between2) <= np.sqrt(turn) * (1 + 1e-6) + 1e-7 * np.sqrt(norm2))[proven].all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["gaussian", "exact", "noisy", "repeated"])
def test_large_blocks_are_proven_without_lapack(kind, dtype):
    rng = np.random.default_rng(0)
    for b, c in [(64, 64), (32, 64), (64, 32), (48, 200)]:
        *_, facts = run(blocks(kind, (1, 4, 4, 1), b, c, dtype, rng))
        assert (facts[..., 2] >= 0).all(), (b, c)


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_is_as_near_to_the_best_as_is_said(dtype):
    T = blocks("gaussian", (1, 8, 8, 1), 64, 64, dtype, np.random.default_rng(5))
    *_, facts = run(T)
    best2 = (
        np.linalg.svd(T.astype(np.result_type(dtype, float)), compute_uv=False)[..., 1:] ** 2
    ).sum(-1)
    assert (facts[..., 2] >= 0).all()
    assert (facts[..., 2] <= best2 * (1 + 1e-12)).all()
    assert (facts[..., 1] * (1 - NEAR) <= best2 * (1 + 1e-12)).all()
    assert (facts[..., 2] >= facts[..., 1] * (1 - NEAR) * (1 - 1e-12)).all()


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(2, 2), (8, 8), (3, 20), (20, 3), (32, 32)])
@pytest.mark.parametrize("kind", ["gaussian", "repeated", "two"])
def test_small_blocks_are_exact_with_and_without_a_gap(kind, shape, dtype):
    T = blocks(kind, (2, 6, 6, 2), *shape, dtype, np.random.default_rng(3))
    *_, facts = run(T)
    s2 = np.linalg.svd(T, compute_uv=False) ** 2
    norm2, best2 = s2.sum(-1), s2[..., 1:].sum(-1)
    assert (facts[..., 2] >= 0).all()
    assert (abs(facts[..., 1] - best2) <= 2e-13 * norm2).all()
    assert (facts[..., 2] <= best2 + 2e-14 * norm2).all()


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("kind", ["exact", "noisy"])
def test_small_blocks_with_a_leading_direction_are_proven_to_be_exact(kind, dtype):
    rng = np.random.default_rng(0)
    for b, c in [(1, 5), (2, 2), (8, 8), (16, 8), (4, 30)]:
        *_, facts = run(blocks(kind, (1, 4, 4, 2), b, c, dtype, rng))
        assert (facts[..., 2] >= facts[..., 1] - 1e-13 * facts[..., :2].sum(-1)).all(), (b, c)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_blocks_come_out_at_the_rounding_of_the_data(dtype):
    T = blocks("exact", (1, 3, 3, 1), 64, 64, dtype, np.random.default_rng(1))
    left, right, _ = run(T)
    single = np.finfo(dtype).bits == 32
    error = np.linalg.norm(T - left @ right) / np.linalg.norm(T)
    assert error <= (2.0**-24 if single else 8 * 64 * UNIT)


def test_blocks_that_are_not_finite_are_told():
    T = np.ones((1, 2, 2, 1, 32, 48), np.float32)
    T[0, 1, 0, 0, 5, 7] = np.inf
    T[0, 0, 1, 0, 31, 47] = np.nan
    *_, facts = run(T)
    np.testing.assert_array_equal(np.isnan(facts[0, :, :, 0, 0]), [[False, True], [True, False]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_whatever_the_number_of_threads(dtype):
    rng = np.random.default_rng(0)
    wide = blocks("noisy", (1, 16, 16, 1), 32, 32, dtype, rng)
    small = blocks("gaussian", (4, 16, 16, 4), 8, 8, np.result_type(dtype, float), rng)
    before = num_threads()
    try:
        found = []
        for threads in (1, 2, 3, 7):
            set_num_threads(threads)
            found.append([x.tobytes() for T in (wide, small) for x in run(T)])
    finally:
        set_num_threads(before)
    assert all(f == found[0] for f in found)


def test_what_it_does_not_take_is_said():
    T = np.zeros((1, 1, 1, 1, 64, 64))
    assert obstacle(T) is None
    assert obstacle(T.astype(int)).startswith("it takes float32")
    assert obstacle(T.swapaxes(-1, -2)) == "the rows of its blocks are not contiguous"
    assert "at most 512 rows" in obstacle(np.zeros((1, 1, 1, 1, TALLEST + 1, 2)))
    left, right, facts = (
        np.zeros((1, 1, 1, 1, 64, 1)),
        np.zeros((1, 1, 1, 1, 1, 64)),
        np.zeros((1, 1, 1, 1, 4, 1)),
    )
    with pytest.raises(ValueError, match=r"do not fit: .*63, 1"):
        rank_one(T, left[..., :63, :], right, facts)
    with pytest.raises(TypeError, match="do not fit by dtype: float64, float32"):
        rank_one(T, left.astype("f4"), right, facts)


@pytest.mark.parametrize("orthonormal", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_split_is_as_good_as_that_of_lapack(kind, orthonormal, monkeypatch):
    rng = np.random.default_rng(2)
    T = blocks(kind, (2, 3, 4, 3), 5, 7, "float64", rng)
    F = T.transpose(0, 4, 2, 1, 5, 3).reshape(2, 20, 21, 3)
    options = {"orthonormal": orthonormal, "unit": UNIT, "rng": rng}
    got = split(Values(F), 3, 4, Want(rank=1), **options)
    monkeypatch.setattr("lazyops.butterfly.halves.rank_one_split", lambda *args: None)
    want = split(Values(F), 3, 4, Want(rank=1), **options)
    assert got.left.shape == want.left.shape
    assert got.right.shape == want.right.shape
    slack = 1e-14 * np.linalg.norm(F)
    assert want.lower - slack <= got.upper <= want.upper + slack
    assert got.upper**2 - 1e-13 * np.linalg.norm(F) ** 2 <= got.lower**2 <= got.upper**2


@pytest.mark.parametrize("orthonormal", ["left", "right"])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("kind", ["gaussian", "exact"])
def test_tall_blocks_are_worked_on_as_their_transposes(kind, dtype, orthonormal):
    rng = np.random.default_rng(2)
    A = blocks(kind, (1, 1, 1, 1), 2 * (TALLEST + 8), 6, dtype, rng)[0, 0, 0, 0]
    wide = np.result_type(dtype, float)
    got = split(Matrix(A, wide), 3, 2, Want(rank=1), orthonormal=orthonormal, unit=UNIT, rng=rng)
    best2 = sum(
        (np.linalg.svd(A[i::2, 2 * j : 2 * j + 2], compute_uv=False)[1:].astype(float) ** 2).sum()
        for i in range(2)
        for j in range(3)
    )
    slack = (1e-6 if dtype == "float32" else 1e-12) * got.norm**2  # of NumPy's norm
    assert got.norm == pytest.approx(np.linalg.norm(A), rel=1e-6)
    assert got.lower**2 - slack <= best2 <= got.upper**2 + slack
    assert (1 - NEAR) * got.upper**2 - slack <= got.lower**2


def test_what_is_not_proven_goes_to_lapack_piece_by_piece(monkeypatch):
    rng = np.random.default_rng(4)
    F = rng.standard_normal((2, 20, 21, 3))
    options = {"orthonormal": "left", "unit": UNIT, "rng": rng}
    want = split(Values(F), 3, 4, Want(rank=1), **options)

    def unproven(T, left, right, facts, mirrored, exponent):
        rank_one(T, left, right, facts, mirrored, exponent)
        facts[..., 2, :] = -1

    pieces = []
    by_lapack = rank_one_splits.left_vectors
    monkeypatch.setattr(rank_one_splits, "rank_one", unproven)
    monkeypatch.setattr(rank_one_splits, "CHUNK", 400)
    monkeypatch.setattr(
        rank_one_splits, "left_vectors", lambda B: pieces.append(B.size) or by_lapack(B)
    )
    got = split(Values(F), 3, 4, Want(rank=1), **options)
    assert max(pieces) <= 400 < sum(pieces) == F.size
    assert got.upper == pytest.approx(want.upper, rel=1e-12)
    assert got.lower == pytest.approx(got.upper, rel=1e-12)


def test_rank_one_is_given_up_after_a_few_blocks_that_need_more(monkeypatch):
    rng = np.random.default_rng(4)
    seen = []
    spied = lambda T, *rest: seen.append(T.size) or rank_one(T, *rest)
    monkeypatch.setattr(rank_one_splits, "rank_one", spied)
    A = rng.standard_normal((64, 64))
    want = Want(error=1e-3, guess=1)
    got = split(Matrix(A, np.dtype(float)), 16, 4, want, orthonormal="left", unit=UNIT, rng=rng)
    assert got.rank == 4
    assert got.upper <= 1e-3
    assert seen == [A.size // 16]


@pytest.mark.parametrize("order", ["F", "strided", "permuted"])
def test_any_memory_order_of_the_matrix(order):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((64, 64))
    B = {
        "F": np.asfortranarray(A),
        "strided": np.repeat(A, 2, axis=1)[:, ::2],
        "permuted": A,
    }[order]
    rows = np.arange(64) if order == "permuted" else None
    options = {"orthonormal": "left", "unit": UNIT, "rng": rng}
    got = split(Matrix(B, np.dtype(float), 0, rows), 8, 8, Want(rank=1), **options)
    want = split(Matrix(A, np.dtype(float)), 8, 8, Want(rank=1), **options)
    np.testing.assert_allclose(got.left, want.left, atol=1e-14)
    np.testing.assert_allclose(got.right, want.right, atol=1e-13)


# -- one read of the matrix ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30, 1e150, 1e-150])
def test_the_first_split_measures_the_matrix(dtype, scale):
    rng = np.random.default_rng(0)
    double = np.finfo(dtype).bits == 64
    if abs(np.log10(scale)) > 100:  # squares out of range; denormal numbers
        scale = (scale if scale > 1 else 1e-311) if double else 1e-42
    A = (rng.standard_normal((64, 64)) * scale).astype(dtype)
    chain = Chain.square_dyadic(64)
    once = factorize(A, chain, permutation=None, measure=False)
    twice = factorize(A, chain, permutation=None)
    assert np.isnan(once.relative_error)
    assert once.lower_bound <= twice.relative_error <= once.upper_bound
    assert all(np.isfinite(f.values).all() for f in once.operator.factors)
    np.testing.assert_array_equal(once.operator.to_dense(), twice.operator.to_dense())


@pytest.mark.parametrize("ranks", [[1, 1], [4, 4]])  # read by the split, and before it
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_named_all_the_same(bad, ranks):
    A = np.ones((64, 64), np.float32)
    A[5, 6] = bad
    chain = Chain.from_cores([(4, 4)] * 3, ranks)
    with pytest.raises(ValueError, match=rf"not finite: entry \(5, 6\) is {bad}"):
        factorize(A, chain, permutation=None)


def test_a_zero_matrix():
    f = factorize(np.zeros((16, 16)), Chain.square_dyadic(16), permutation=None)
    assert f.relative_error == f.lower_bound == f.upper_bound == 0
    assert not lo.relative_error(np.zeros((16, 16)), f.operator)
