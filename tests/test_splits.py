"""Index maps of a split, against dense matrices."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyops.butterfly import factorize, splits
from lazyops.butterfly.hierarchical import Cores, padded
from lazyops.butterfly.orders import balanced, splits_in_order
from lazyops.butterfly.splits import (
    Matrix,
    Values,
    block_diagonal_part,
    chunks,
    digit_reversal,
    embedded,
    from_left_blocks,
    from_right_blocks,
    fuse,
    left_blocks,
    right_blocks,
    spread,
)
from lazyops.butterfly.svd import adjoint, singular_values, triangle
from lazyops.pattern import Chain, Pattern

PAIRS = [
    (Pattern(1, 2, 2, 4), Pattern(2, 2, 2, 2)),
    (Pattern(1, 3, 4, 6), Pattern(2, 4, 5, 3)),
    (Pattern(2, 3, 6, 4), Pattern(6, 4, 2, 2)),
    (Pattern(3, 2, 8, 4), Pattern(6, 8, 3, 2)),
]


def dense(values):
    return embedded(values, *Pattern(*values.shape).shape)


def drawn(rng, pattern):
    return rng.standard_normal(pattern) + 1j * rng.standard_normal(pattern)


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_fuse_is_the_product(p, q):
    rng = np.random.default_rng(0)
    X, Y = drawn(rng, p), drawn(rng, q)
    A, D = q.a // p.a, p.d // q.d
    fused = fuse(X, Y, A, D)
    assert fused.shape == p.fused_with(q)
    np.testing.assert_allclose(dense(fused), dense(X) @ dense(Y), atol=1e-12)


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_maps_undo_each_other(p, q):
    rng = np.random.default_rng(0)
    A, D = q.a // p.a, p.d // q.d
    X, Y = drawn(rng, p), drawn(rng, q)
    np.testing.assert_array_equal(from_left_blocks(left_blocks(X, A, D)), X)
    np.testing.assert_array_equal(from_right_blocks(right_blocks(Y, A, D)), Y)
    np.testing.assert_allclose(
        spread(fuse(X, Y, A, D), A, D), left_blocks(X, A, D) @ right_blocks(Y, A, D), atol=1e-12
    )


def test_a_block_takes_strided_rows_and_contiguous_columns():
    A = np.arange(6 * 8).reshape(6, 8)
    T = spread(A.reshape(1, 6, 8, 1), 4, 3)  # 4 column classes, 3 row classes
    for alpha, delta in itertools.product(range(4), range(3)):
        np.testing.assert_array_equal(T[0, alpha, delta, 0], A[delta::3, 2 * alpha : 2 * alpha + 2])


@pytest.mark.parametrize("budget", [1, 7, 30, 100, 10**6])
@pytest.mark.parametrize("grid", [(1, 4, 6), (5, 2, 3), (1, 1, 1)])
def test_chunks_cover_the_grid_once(grid, budget):
    seen = np.zeros(grid, int)
    for at in chunks(*grid, 5, budget):
        seen[at] += 1
        assert seen[at].size * 5 <= max(budget, 5)
    assert (seen == 1).all()


def test_matrix_gathers_what_permuting_first_would(monkeypatch):
    rng = np.random.default_rng(0)
    A = rng.integers(-9, 9, (12, 18))
    rows, columns = rng.permutation(12), rng.permutation(18)
    for r, c in itertools.product((None, rows), (None, columns)):
        W = A if r is None else A[r]
        W = W if c is None else W[:, c]
        source = Matrix(A, np.dtype(float), 3, r, c)
        expected = spread(W.reshape(1, 12, 18, 1) / 8.0, 6, 4)
        for budget in (10, 40, 10**6):
            monkeypatch.setattr(chunks, "__defaults__", (budget,))
            for at, T in source.block_chunks(6, 4):
                np.testing.assert_array_equal(T, expected[at])
                assert T.dtype == float
                assert T.flags.c_contiguous


def test_values_give_fresh_blocks():
    F = np.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    for at, T in Values(F).block_chunks(3, 2):
        np.testing.assert_array_equal(T, spread(F, 3, 2)[at])
        assert not np.may_share_memory(T, F)


def test_block_diagonal_part_undoes_embedding():
    values = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    np.testing.assert_array_equal(block_diagonal_part(dense(values), 2, 5), values)


def test_digit_reversal_of_twos_is_bit_reversal():
    index = digit_reversal([2] * 5)
    assert index.tolist() == [int(f"{i:05b}"[::-1], 2) for i in range(32)]


@pytest.mark.parametrize("radices", [(2, 3), (3, 2, 2), (5,), (2, 3, 5)])
def test_digit_reversal_is_undone_by_the_reversed_radices(radices):
    index, back = digit_reversal(radices), digit_reversal(radices[::-1])
    np.testing.assert_array_equal(index[back], np.arange(math.prod(radices)))


@pytest.mark.parametrize(
    "chain",
    [
        Chain.square_dyadic(16),
        Chain([(2, 3, 4, 12), (4, 6, 5, 4)]),
        Chain.from_cores([(2, 3), (3, 1), (1, 2)], [2, 4]),
    ],
)
def test_cores_and_ranks_give_the_chain_back(chain):
    cores = Cores.of(chain)
    r = (1, *chain.ranks, 1)
    for i, p in enumerate(chain):
        assert p.b == r[i] * cores.rows[i]
        assert p.c == r[i + 1] * cores.columns[i]
        assert p.a == cores.a * math.prod(cores.columns[:i])
        assert p.d == cores.d * math.prod(cores.rows[i + 1 :])
    assert cores.shape == chain.shape


def test_merged_cores():
    cores = Cores((2, 2, 3), (5, 2, 2))
    assert cores.merged((2,)) == Cores((4, 3), (10, 2))
    assert cores.merged((1, 2)) == cores


@pytest.mark.parametrize("splits", range(12))
def test_orders_visit_every_split_once(splits):
    for order in ("balanced", "left-to-right", "right-to-left"):
        assert sorted(splits_in_order(order, splits)) == list(range(1, splits + 1))
    if splits > 2:
        assert abs(balanced(splits)[0] - splits / 2) <= 1


def test_padding_with_zeros_keeps_the_product():
    rng = np.random.default_rng(0)
    small = Chain.from_cores([(2, 3), (4, 2), (3, 5)], [2, 3])
    large = Chain.from_cores([(2, 3), (4, 2), (3, 5)], [4, 5])
    cores = Cores.of(small)
    values = [rng.standard_normal(p) for p in small]
    wide = [
        padded(v, (b, c), p)
        for v, b, c, p in zip(values, cores.rows, cores.columns, large, strict=True)
    ]
    assert [w.shape for w in wide] == list(large)
    product = np.linalg.multi_dot([dense(v) for v in values])
    np.testing.assert_allclose(np.linalg.multi_dot([dense(w) for w in wide]), product, atol=1e-12)


def test_a_huge_matrix_is_prepared_in_pieces(monkeypatch):
    A = drawn(np.random.default_rng(0), (6, 40)).T
    whole = Matrix(A, A.dtype, 3).prepared(A)
    monkeypatch.setattr(splits, "CHUNK", 7)
    pieces = Matrix(A, A.dtype, 3).prepared(A)
    np.testing.assert_array_equal(pieces, A / 8)
    np.testing.assert_array_equal(pieces, whole)
    assert pieces.flags.c_contiguous
    assert not np.may_share_memory(pieces, A)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_triangles_of_long_blocks(b, c, complex_, seed):
    """``R^H R = T^H T`` whatever the pieces (Higham, Theorem 19.4: ``gamma_bc`` for each QR)."""
    rng = np.random.default_rng(seed)
    T = rng.standard_normal((3, b, c)) + (1j * rng.standard_normal((3, b, c)) if complex_ else 0)
    R = triangle(T)
    assert R.shape == (3, min(b, c), c)
    assert (np.tril(R, -1) == 0).all()
    gap = np.linalg.norm(adjoint(R) @ R - adjoint(T) @ T, axis=(1, 2))
    assert (gap <= 8 * b * c * 2.0**-53 * np.linalg.norm(T, axis=(1, 2)) ** 2).all()


def test_long_sums_of_equal_terms_keep_their_accuracy():
    T = np.ones((1, 2**14, 2)) * [1.0, -1.0]
    s = singular_values(T)[0]
    assert abs(s[0] / 2**7.5 - 1) <= 8 * 2.0**-53
    assert s[1] <= 8 * 2.0**-53 * s[0]  # in one piece: 1e-14
    found = factorize(scipy.linalg.hadamard(4096).astype(float), order="left-to-right")
    assert found.relative_error <= 2e-15
