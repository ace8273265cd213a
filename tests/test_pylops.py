"""Operators and matrices of other libraries: they convert, and take part in products and sums."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg as sla
from cases import c, r

import lazyops as lo
from lazyops.testing import check_operator

N = 6
OURS = {"dense": lo.Dense(c(N, N)), "diagonal": lo.Diagonal(r(N)), "identity": lo.Identity(N)}


class Duck:
    """As SciPy asks of a duck: shape, dtype and products with vectors."""

    def __init__(self, matrix):
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype

    def matvec(self, x):
        return self.matrix @ x

    def rmatvec(self, x):
        return self.matrix.conj().T @ x


class Blocks(Duck):
    def matmat(self, x):
        return self.matrix @ x

    def rmatmat(self, x):
        return self.matrix.conj().T @ x


class Own(sla.LinearOperator):
    """SciPy's base class, with the least it asks for."""

    def __init__(self, matrix):
        super().__init__(matrix.dtype, matrix.shape)
        self.matrix = matrix

    def _matvec(self, x):
        return self.matrix @ x

    def _rmatvec(self, x):
        return self.matrix.conj().T @ x


def assert_takes_part(other, matrix):
    """As an operator, and on both sides of our operators."""
    A = lo.aslinearoperator(other)
    assert isinstance(A, lo.LinearOperator)
    assert A.shape == matrix.shape
    check_operator(A, dense=matrix)
    x = c(N, 3)
    for ours in OURS.values():
        M = ours.to_dense()
        for made, exact in [
            (A @ ours, matrix @ M),
            (ours @ A, M @ matrix),
            (A + ours, matrix + M),
            (ours - A, M - matrix),
            ((ours @ A).H, (M @ matrix).conj().T),
        ]:
            np.testing.assert_allclose(made @ x, exact @ x, rtol=1e-12, atol=1e-12)


def assert_meets(other, matrix, directions):
    """By the operators @ and +, without asking for a conversion."""
    x = c(N, 3)
    for ours in OURS.values():
        M = ours.to_dense()
        for direction in directions:
            op, exact = {
                "ours @": lambda a, b, p, q: (a @ b, p @ q),
                "@ ours": lambda a, b, p, q: (b @ a, q @ p),
                "ours +": lambda a, b, p, q: (a + b, p + q),
                "+ ours": lambda a, b, p, q: (b + a, q + p),
            }[direction](ours, other, M, matrix)
            np.testing.assert_allclose(op @ x, exact @ x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [Duck, Blocks, Own, sla.aslinearoperator])
@pytest.mark.parametrize("matrix", [r(N, N), c(N, N)], ids=["real", "complex"])
def test_operators_of_scipy_and_ducks(kind, matrix):
    assert_takes_part(kind(matrix), matrix)
    assert_meets(kind(matrix), matrix, ["ours @", "@ ours", "ours +", "+ ours"])


def test_special_matrices_of_scipy():
    L = sla.LaplacianNd((2, 3))
    assert L.dtype == np.int8
    assert_takes_part(L, L.toarray().astype(float))
    assert (lo.aslinearoperator(L) @ np.ones(N)).dtype == np.float64


def test_a_scipy_operator_without_adjoint_says_so():
    A = lo.aslinearoperator(sla.LinearOperator((N, N), matvec=lambda x: 2 * x, dtype=float))
    np.testing.assert_array_equal(A @ np.ones(N), 2)
    with pytest.raises(NotImplementedError):
        A.H @ np.ones(N)
    with pytest.raises(NotImplementedError):
        A.H @ np.ones((N, 2))


FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]


@pytest.mark.parametrize("dtype", ["int8", "float32", "float64", "complex128"])
@pytest.mark.parametrize("array", [True, False], ids=["array", "matrix"])
@pytest.mark.parametrize("format", FORMATS)
def test_sparse_matrices_of_every_format(format, array, dtype):
    entries = np.where(np.arange(N * N) % 3, 0, np.arange(N * N) + 1).reshape(N, N)
    entries = entries.astype(dtype) * (1 + 1j if dtype == "complex128" else 1)
    name = f"{format}_array" if array else f"{format}_matrix"
    sparse = getattr(scipy.sparse, name)(entries)
    matrix = entries.astype(np.result_type(dtype, np.float64))
    assert_takes_part(sparse, matrix)
    assert_meets(sparse, matrix, ["ours @", "@ ours", "ours +"])
    full = np.full((N, N), 127, np.int8)
    y = lo.aslinearoperator(getattr(scipy.sparse, name)(full)) @ np.full(N, 127, np.int8)
    np.testing.assert_array_equal(y, N * 127.0**2)  # int8 does not overflow


def test_nested_lists_and_numpy_matrices():
    matrix = r(N, N)
    assert_takes_part(matrix.tolist(), matrix)
    assert_takes_part(tuple(map(tuple, matrix.tolist())), matrix)
    with pytest.warns(PendingDeprecationWarning):
        old = np.matrix(matrix)
    assert_takes_part(old, matrix)
    x = np.arange(N)
    np.testing.assert_array_equal(lo.aslinearoperator(np.eye(N, dtype=np.int8)) @ x, x)
    assert type(lo.aslinearoperator(old) @ x) is np.ndarray


def test_pylops_operators():
    pylops = pytest.importorskip("pylops")
    matrix = r(N, N)
    ops = [
        (pylops.MatrixMult(matrix), matrix),
        (pylops.Diagonal(matrix[0]), np.diag(matrix[0])),
        (pylops.FirstDerivative(N, dtype="float64"), None),
        (pylops.MatrixMult(matrix) @ pylops.Diagonal(matrix[0]), matrix * matrix[0]),
    ]
    for op, exact in ops:
        exact = op.todense() if exact is None else exact
        assert_takes_part(op, np.asarray(exact))
        assert_meets(op, np.asarray(exact), ["ours @", "ours +"])


def test_pylops_transforms():
    pylops = pytest.importorskip("pylops")
    F = pylops.signalprocessing.FFT(N, norm="ortho", dtype="complex128")
    D = np.fft.fft(np.eye(N), norm="ortho")
    check_operator(lo.aslinearoperator(F), dense=D)
    x = c(N)
    A = lo.Diagonal(np.arange(N)) @ F
    np.testing.assert_allclose(A @ x, np.arange(N) * np.fft.fft(x, norm="ortho"), rtol=1e-12)


def test_pylops_takes_our_operators():
    pylops = pytest.importorskip("pylops")
    A = lo.Dense(r(N, N)) @ lo.Diagonal(r(N))
    wrapped = pylops.aslinearoperator(A)
    x = r(N)
    np.testing.assert_allclose(wrapped @ x, A @ x, rtol=1e-13)
    np.testing.assert_allclose(wrapped.H @ x, A.H @ x, rtol=1e-13)
    both = wrapped @ pylops.Diagonal(np.arange(1.0, N + 1))
    np.testing.assert_allclose(both @ x, A @ (np.arange(1, N + 1) * x), rtol=1e-13)
