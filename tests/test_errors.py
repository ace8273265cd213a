"""What is said when something is wrong: built-in types, both shapes or places, the next step."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from cases import c

import lazyops as lo

D4, K2 = lo.Diagonal(c(4)), lo.KroneckerSparse(c(1, 2, 2, 1))
M23 = lo.Dense(c(2, 3))
ONE_WAY = lo.Function((3, 3), lambda x: x)

MESSAGES = [
    (
        lambda: D4 @ K2,
        ValueError,
        r"cannot multiply D4 \(4x4\) by K\(1,2,2,1\) \(2x2\): 4 columns meet 2 rows",
    ),
    (lambda: D4 + lo.Identity(3), ValueError, r"cannot add D4 \(4x4\) and I3 \(3x3\)"),
    (
        lambda: D4 @ c(3),
        ValueError,
        r"D4 is 4x4 and takes x of shape \(n,\) or \(..., n, k\) with n = 4, got \(3,\)",
    ),
    (lambda: M23 @ c(5, 3), ValueError, r"got \(5, 3\); for rows use A.matvec\(x\) or x @ A.T"),
    (lambda: M23 @ [1, 2], ValueError, r"M2x3 is 2x3 .* with n = 3, got \(2,\)"),
    (lambda: c(3) @ M23, ValueError, r"x of shape \(3,\) by M2x3 \(2x3\): 3 columns meet 2 rows"),
    (lambda: M23.matvec(c(4)), ValueError, r"takes x of shape \(n,\), \(n, 1\) or rows"),
    (lambda: M23.matmat(c(3)), ValueError, r"takes x of shape \(n, k\) or \(..., n, k\)"),
    (lambda: M23.matvec("abc"), TypeError, r"M2x3 is 2x3 and takes an array, got str"),
    (
        lambda: M23 @ np.array([None] * 3),
        TypeError,
        r"M2x3 takes numbers, got x of dtype object",
    ),
    (lambda: M23.matvec(np.ones(3), out=np.empty(3)), ValueError, r"out has shape \(3,\)"),
    (
        lambda: M23.matvec(np.ones(3), out=np.empty(2)),
        ValueError,
        r"dtype float64, the result has shape \(2,\) and dtype complex128",
    ),
    (lambda: _overlap(), ValueError, r"out overlaps x: give a separate array"),
    (lambda: lo.KroneckerSparse(c(2, 2, 2)), ValueError, r"values of shape \(a, b, c, d\), got"),
    (lambda: lo.KroneckerSparse(np.zeros((1, 0, 2, 1))), ValueError, r"each from 1 on, got shape"),
    (lambda: lo.Diagonal(c(2, 2)), ValueError, r"its diagonal as a vector, got shape \(2, 2\)"),
    (lambda: lo.Diagonal("x"), TypeError, r"takes its diagonal as a vector, got str"),
    (lambda: lo.Dense(np.array([["a"]])), TypeError, r"of numbers, got dtype <U1"),
    (lambda: lo.Dense(c(3)), ValueError, r"a matrix of shape \(m, n\), got shape \(3,\)"),
    (lambda: lo.Sparse(c(3, 3)), TypeError, r"Sparse takes a scipy.sparse array or matrix, got"),
    (lambda: lo.Permutation([0, 2]), ValueError, r"holds 0 .. 1 once each: index\[1\] is 2"),
    (lambda: lo.Permutation([1, 0, 1]), ValueError, r"once each: 1 stands at 0 and at 2"),
    (lambda: lo.Permutation([0.0, 1.0]), TypeError, r"holds integers, got dtype float64"),
    (lambda: lo.Permutation.bit_reversal(6), ValueError, r"takes a power of two, got 6"),
    (lambda: lo.restrict([0, 4], 4), IndexError, r"index\[1\] is 4, outside an axis of 4 entries"),
    (lambda: lo.restrict([True, False], 4), IndexError, r"mask over 4 entries has shape \(4,\)"),
    (lambda: lo.Identity(-1), ValueError, r"is an integer from 0 on, got -1"),
    (lambda: lo.Identity(2.5), TypeError, r"the size of an identity is an integer, got float"),
    (lambda: lo.Zero(3), TypeError, r"Zero takes \(rows, columns\) first, got 3"),
    (lambda: lo.Scalar(3, "a"), TypeError, r"Scalar takes a number, got str"),
    (lambda: lo.Scalar(3, c(2)), ValueError, r"got an array of shape \(2,\); see lo.Diagonal"),
    (lambda: lo.Product([]), ValueError, r"a product has at least one operator"),
    (lambda: lo.Sum([D4, K2]), ValueError, r"cannot add D4 \(4x4\) and K\(1,2,2,1\) \(2x2\)"),
    (lambda: lo.Product([D4, "x"]), TypeError, r"str is no operator: pass an operator"),
    (lambda: lo.hstack([D4, M23]), ValueError, r"hstack D4 \(4x4\) and M2x3 \(2x3\): 4 rows and 2"),
    (lambda: lo.vstack([D4, M23]), ValueError, r"\(2x3\): 4 columns and 3 columns"),
    (lambda: lo.block([]), ValueError, r"block takes rows of operators"),
    (lambda: lo.block([[None, D4], [None, D4]]), ValueError, r"column 0 of block has no single"),
    (lambda: lo.kronsum(M23), ValueError, r"kronsum takes square operators, M2x3 is 2x3"),
    (lambda: 2 / D4, TypeError, r"cannot divide by D4: solve with it"),
    (lambda: D4 / 0, ZeroDivisionError, r"division of D4 by zero"),
    (lambda: D4 / c(4), TypeError, r"/ divides by a number, got an array of shape \(4,\)"),
    (lambda: D4 * c(4), TypeError, r"\* scales by a number, got an array of shape \(4,\)"),
    (lambda: D4 * D4, TypeError, r"products are written A @ x, A @ B"),
    (lambda: D4 + 2, TypeError, r"cannot add int 2 to D4: for a multiple of the identity write"),
    (lambda: bool(D4), TypeError, r"the truth of D4 is not defined"),
    (lambda: list(D4), TypeError, r"D4 is not iterated over; A.to_dense\(\)"),
    (lambda: D4**-1, ValueError, r"powers are integers from 0 on, got -1; see lo.inverse"),
    (lambda: D4**0.5, TypeError, r"powers are integers from 0 on, got 0.5"),
    (lambda: M23**2, ValueError, r"only square operators have powers, M2x3 is 2x3"),
    (lambda: lo.trace(M23), ValueError, r"only square operators have a trace, M2x3 is 2x3"),
    (lambda: lo.norm(M23, 1), ValueError, r"norm takes 'fro' or 2, got 1"),
    (lambda: lo.inverse(M23), ValueError, r"only square operators have an inverse, M2x3 is 2x3"),
    (lambda: lo.inverse(D4 + D4), ValueError, r"no structure gives the inverse .* lo.solve"),
    (lambda: lo.inverse(lo.Diagonal([1.0])), TypeError, r"as a vector, got list"),
    (
        lambda: lo.inverse(lo.Diagonal(np.array([1.0, 0.0]))),
        ValueError,
        r"D2 is singular: entry 1 of the diagonal is zero",
    ),
    (lambda: ONE_WAY.H, NotImplementedError, r"knows no adjoint: give Function rmatmat= or"),
    (lambda: (ONE_WAY @ ONE_WAY).T, NotImplementedError, r"knows no adjoint: give Function"),
    (lambda: lo.Function((2, 2)), TypeError, r"Function needs matmat= or matvec="),
    (lambda: lo.Function((2, 2), 3), TypeError, r"Function takes callables, got int"),
    (lambda: lo.Function((2, 3), lambda x: x) @ c(3), ValueError, r"returned shape \(3, 1\), not"),
    (lambda: lo.Function((2, 2), list) @ c(2), TypeError, r"given numpy on cpu, returned list"),
    (
        lambda: lo.Function((2, 2), lambda x: 1j * x) @ np.ones(2),
        TypeError,
        r"complex128 where float64 is declared: give Function a complex dtype=",
    ),
    (lambda: D4.assume(unitary=1), TypeError, r"a fact is True or False, got unitary=1"),
    (lambda: D4.assume(nice=True), TypeError, r"'nice' is no fact of operators: there are"),
    (
        lambda: lo.Identity(3).assume(unitary=False),
        ValueError,
        r"I3 cannot be assumed unitary=False: it is True",
    ),
    (lambda: D4.astype("int32"), TypeError, r"cast to floating dtypes, got int32"),
    (lambda: D4.to(3), TypeError, r"like= takes an array, got int"),
    (lambda: D4.to(namespace="jaxx"), ValueError, r"unknown namespace 'jaxx'"),
    (lambda: lo.aslinearoperator(object()), TypeError, r"object is no operator: pass"),
    (lambda: D4[5], IndexError, r"index 5 is out of bounds for axis 0 with size 4"),
    (lambda: D4[0, 7], IndexError, r"out of bounds for axis 1 with size 4"),
    (lambda: D4[1, 2, 3], IndexError, r"too many indices"),
    (lambda: lo.set_num_threads(0), ValueError, r"number of threads is from 1 to 4096, got 0"),
    (lambda: lo.set_num_threads("2"), TypeError, r"the number of threads is an integer, got '2'"),
    (lambda: lo.Chain([]), ValueError, r"a chain holds at least one pattern"),
    (
        lambda: lo.Chain([(1, 2, 2, 2), (1, 2, 2, 1)]),
        ValueError,
        r"\(1, 2, 2, 2\) \(4x4\) cannot meet \(1, 2, 2, 1\) \(2x2\): 4 columns meet 2 rows",
    ),
    (lambda: lo.Chain.square_dyadic(12), ValueError, r"takes a power of two from 2 on, got 12"),
    (lambda: lo.Chain.monarch(12, 12, 5), ValueError, r"p dividing m and q dividing n, got 5"),
    (
        lambda: lo.Chain([(2, 2, 2, 1), (1, 4, 4, 1)]).ranks,
        ValueError,
        r"do not chain: a = 2 does not divide the next a = 1",
    ),
]


def _overlap():
    x = np.ones(4)
    lo.Diagonal(np.ones(4)).matvec(x, out=x)


@pytest.mark.parametrize(("act", "kind", "message"), MESSAGES, ids=[m[2][:40] for m in MESSAGES])
def test_message(act, kind, message):
    with pytest.raises(kind, match=message):
        act()


def test_a_long_expression_is_elided():
    long = lo.Sum([D4] * 1000)
    with pytest.raises(ValueError, match=r"D4 \+ D4 .* \.\.\. \(4x4\)") as caught:
        long @ K2
    assert len(str(caught.value)) < 400


def test_nothing_is_printed(capsys):
    for act, kind, _ in MESSAGES:
        with pytest.raises(kind):
            act()
    assert capsys.readouterr() == ("", "")


def test_sparse_of_objects_is_refused():
    matrix = scipy.sparse.csr_array(np.eye(2))
    matrix.data = matrix.data.astype(object)
    with pytest.raises(TypeError, match="Sparse takes a matrix of numbers, got dtype object"):
        lo.Sparse(matrix)
