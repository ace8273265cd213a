"""The laws every kind of operator obeys, on every array library."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from cases import CASES, NUMPY_ONLY, c, r
from theory import assert_within, gamma, majorant

import lazyops as lo
import lazyops.operators
from lazyops._array import dtype_name
from lazyops.operators import fold

ALL = {**CASES, **NUMPY_ONLY}


@pytest.mark.parametrize("name", CASES)
def test_products(name, xp):
    build, matrix = CASES[name]
    op = build(xp.asarray)
    m, n = op.shape
    assert op.shape == matrix.shape
    assert len(xp.asarray(matrix).shape) == 2
    x, y = c(n, 3), c(m, 3)
    f, ah, same = xp.asarray, matrix.conj().T, build(np.asarray)
    within = lambda got, want, given=x: assert_within(got, want, same, given)
    back = lambda got, want, given=y: assert_within(got, want, same, given, adjoint=True)
    within(op @ f(x), matrix @ x)
    within(op @ f(x[:, 0].copy()), matrix @ x[:, 0], x[:, 0])
    within(op.matvec(f(x.T.copy())).T, matrix @ x)
    within(op.matvec(f(x[:, :1].copy())), matrix @ x[:, :1], x[:, :1])
    stacked = op @ f(np.stack([x, 2 * x]))
    within(stacked[0, ...], matrix @ x)
    within(stacked[1, ...], 2 * matrix @ x, 2 * x)
    within(op.conj() @ f(x), matrix.conj() @ x)
    within(op.H.H @ f(x), matrix @ x)
    within(op @ f(np.zeros((n, 0))), np.zeros((m, 0)), np.zeros((n, 0)))
    within(op.to_dense(like=f(x)), matrix, np.eye(n))
    within(lo.simplify(op) @ f(x), matrix @ x)
    back(op.rmatvec(f(y[:, 0].copy())), ah @ y[:, 0], y[:, 0])
    back(op.rmatmat(f(y)), ah @ y)
    back(op.H @ f(y), ah @ y)
    back(op.T @ f(y), matrix.T @ y)
    back(lo.simplify(op.H) @ f(y), ah @ y)


@pytest.mark.parametrize("name", ALL)
def test_numpy_products(name):
    build, matrix = ALL[name]
    op = build(np.asarray)
    m, n = op.shape
    x, y = c(n, 2), c(m, 2)
    within = lambda got, want, given=x: assert_within(got, want, op, given)
    back = lambda got, want, given=y: assert_within(got, want, op, given, adjoint=True)
    within(op @ x, matrix @ x)
    within(op.to_dense(), matrix, np.eye(n))
    within(op.real @ x, matrix.real @ x)
    within(op.imag @ x, matrix.imag @ x)
    back(op.H @ y, matrix.conj().T @ y)
    back(op.T @ y, matrix.T @ y)
    back((y.T @ op).T, matrix.T @ y)
    back(y[:, 0] @ op, matrix.T @ y[:, 0], y[:, 0])
    back(op.real.H @ y, matrix.real.T @ y)
    back(op.imag.T @ y, matrix.imag.T @ y)
    diagonal = np.diagonal(matrix)
    assert op.diagonal().shape == diagonal.shape
    bound, count = majorant(op)
    assert (np.abs(op.diagonal() - diagonal) <= 4 * gamma(count, float) * np.diagonal(bound)).all()


@pytest.mark.parametrize("name", ALL)
def test_partners_are_the_same_objects(name):
    op = ALL[name][0](np.asarray)
    assert op.H.H is op
    assert op.T.T is op
    assert op.conj().conj() is op
    assert op.H is op.H
    assert op.adjoint() is op.H
    assert op.transpose() is op.T


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "int64"])
def test_declared_dtype_is_delivered_fresh(name, dtype):
    op = ALL[name][0](np.asarray)
    x = (10 * r(op.shape[1], 2)).astype(dtype)
    kept = x.copy()
    for given in (x, x[:, 0], np.asfortranarray(x), x[::-1][::-1]):
        y = op @ given
        assert y.flags.forc
        assert y.dtype.name == op.result_dtype(dtype)
        assert y.flags.writeable
        assert not np.may_share_memory(y, x)
        np.testing.assert_array_equal(x, kept)
    assert (op @ x).flags.c_contiguous
    assert (op @ np.stack([x, x, x])).flags.c_contiguous
    if op.shape[1] > 1:  # else `x` is in both orders
        assert (op @ np.asfortranarray(x)).flags.f_contiguous
    assert isinstance(op.dtype, np.dtype)


@pytest.mark.parametrize("name", CASES)
def test_declared_dtype_is_delivered_by_every_library(name, xp):
    op = CASES[name][0](xp.asarray)
    for dtype in ("float32", "float64", "complex64", "complex128"):
        x = xp.asarray(r(op.shape[1], 2).astype(dtype))
        y = op @ x
        assert dtype_name(y.dtype) == op.result_dtype(dtype)
        assert type(y) is type(x)


@pytest.mark.parametrize("name", ALL)
def test_pickle_and_copies(name):
    op = ALL[name][0](np.asarray)
    x = c(op.shape[1])
    if name != "function":  # holds lambdas
        again = pickle.loads(pickle.dumps(op))
        np.testing.assert_array_equal(again @ x, op @ x)
        assert repr(again) == repr(op)
        assert type(again) is type(op)
    assert copy.copy(op) is op
    np.testing.assert_array_equal(copy.deepcopy(op) @ x, op @ x)


@pytest.mark.parametrize("name", ALL)
def test_immutable(name):
    op = ALL[name][0](np.asarray)
    with pytest.raises(AttributeError, match="operators are immutable"):
        op.shape = (1, 1)
    for _, array in op._arrays():
        if isinstance(array, np.ndarray) and array.ndim and array.size:
            with pytest.raises(ValueError, match="read-only"):
                array[(0,) * array.ndim] = 0


@pytest.mark.parametrize("name", ALL)
def test_norms_and_facts(name):
    build, matrix = ALL[name]
    op = build(np.asarray)
    size = max(matrix.shape)
    eps = np.finfo(float).eps
    frobenius = np.linalg.norm(matrix)
    assert abs(lo.norm(op, "fro") - frobenius) <= 10 * size * eps * frobenius
    if matrix.size:
        spectral = np.linalg.norm(matrix, 2)
        assert abs(lo.norm(op, 2) - spectral) <= 1e-9 * spectral  # its stated stopping rule
    square = matrix.shape[0] == matrix.shape[1]
    if square:
        assert abs(lo.trace(op) - np.trace(matrix)) <= 10 * size * eps * np.abs(matrix).sum() + eps
        hermitian = bool(np.allclose(matrix, matrix.conj().T, atol=1e-12))
        unitary = bool(np.allclose(matrix.conj().T @ matrix, np.eye(size), atol=1e-12))
        assert op.is_hermitian in (None, hermitian)
        assert op.is_unitary in (None, unitary)
        if op.is_positive:
            assert np.linalg.eigvalsh(matrix).min() >= -1e-12
    else:
        assert (op.is_hermitian, op.is_unitary, op.is_positive) == (False, False, False)


def test_every_kind_has_a_case():
    kinds = {
        kind
        for _, kind in inspect.getmembers(lazyops.operators, inspect.isclass)
        if issubclass(kind, lo.LinearOperator) and kind is not lo.LinearOperator
    }
    seen = set()
    for build, _ in ALL.values():
        fold(build(np.asarray), lambda node, below: seen.add(type(node)))
    assert kinds <= seen, f"no line in cases.py for {sorted(k.__name__ for k in kinds - seen)}"
    walked, todo = set(), [lo.LinearOperator]
    while todo:
        for kind in todo.pop().__subclasses__():
            if kind.__module__.startswith("lazyops."):
                walked.add(kind)
                todo.append(kind)
    assert walked <= seen, f"no line in cases.py for {sorted(k.__name__ for k in walked - seen)}"
