"""Indexing is exactly NumPy's on the dense matrix."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

import lazyops as lo

M = np.arange(20.0).reshape(4, 5) * (1 + 1j)
A = lo.Dense(M)
NO_ADJOINT = lo.Function((4, 5), lambda x: M @ x, dtype=M.dtype)
MASK = np.array([True, False, True, False])
BOTH = M.real % 3 == 0

KEYS = [
    0, -1, np.int64(2), slice(None), slice(1, 3), slice(None, None, -1), slice(5, 2), Ellipsis,
    (0, 0), (-1, -1), (1, slice(None)), (slice(None), 2), (slice(None), -5), (2, slice(1, 4)),
    (slice(None, None, 2), slice(None, None, -2)), [0, 0, -1], np.array([3, 1, 3]), [], MASK,
    [True, False, False, True], (slice(None), [4, 0, 4]), ([1, 0], slice(2)), (MASK, slice(None)),
    ([0, 1], [1, 2]), (MASK, [1, 2]), ([0, 1], 3), (2, [0, -1]), (np.array([[0], [1]]), [0, 1, 2]),
    BOTH, (Ellipsis, 1), (1, Ellipsis), (Ellipsis, slice(1, 2)), (0, Ellipsis, 1), (), (slice(2),),
    np.array([[0, 1], [2, 3]]), (None, 0), (slice(None), None, 0), None, np.zeros(4, bool),
    (slice(0, 0), [1]), ([], []), (np.array(1), slice(None)),
]  # fmt: skip


def dense(result):
    return result.to_dense() if isinstance(result, lo.LinearOperator) else np.asarray(result)


@pytest.mark.parametrize("key", KEYS, ids=repr)
@pytest.mark.parametrize("op", [A, NO_ADJOINT, A.H.H + lo.Zero((4, 5))], ids=str)
def test_key(op, key):
    want = M[key]
    got = dense(op[key])
    assert got.shape == np.shape(want)
    np.testing.assert_array_equal(got, want)


INTS = st.integers(-4, 3)
SLICES = st.slices(4)
LISTS = st.lists(INTS, max_size=6)
MASKS = hnp.arrays(bool, 4)
AXIS = st.one_of(INTS, SLICES, LISTS, MASKS)


@given(AXIS, AXIS)
def test_pairs_of_keys(rows, columns):
    square = M[:, :4]
    op = lo.Dense(square)
    try:
        want = square[rows, columns]
    except IndexError:
        with pytest.raises(IndexError):
            op[rows, columns]
        return
    np.testing.assert_array_equal(dense(op[rows, columns]), want)


def test_what_stays_lazy():
    for key in (slice(1, 3), [0, 0], (slice(None), [1, 2]), MASK, (slice(2), slice(2))):
        assert isinstance(A[key], lo.LinearOperator)
    assert A[:] is A
    assert A[...] is A
    assert A[:, :] is A
    assert repr(A[[0, 2]]) == "R2x4 @ M4x5"


def test_large_operators_are_indexed_without_their_matrix():
    huge = lo.kron(lo.Identity(2**10), lo.Diagonal(np.arange(2.0**12)))
    assert huge[3, 3] == 3.0
    assert huge[-1, -1] == 2.0**12 - 1
    assert huge[:3, :3].to_dense().tolist() == np.diag([0.0, 1.0, 2.0]).tolist()
