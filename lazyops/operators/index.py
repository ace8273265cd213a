"""``A[key]``: exactly what the key selects from the dense matrix, as NumPy says."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .._array import Array, array_namespace, is_array, to_numpy
from .base import LinearOperator
from .densify import unit_columns
from .restriction import restrict


def getitem(op: LinearOperator, key: Any) -> LinearOperator | Array:
    """A lazy operator where the result has two axes cut from rows and columns, else an array."""
    rows, columns = _split(key)
    m, n = op.shape
    if _is_axis_key(rows) and _is_axis_key(columns) and slice in (type(rows), type(columns)):
        selected = op
        if not _is_all(columns):
            selected = selected @ restrict(columns, n).H
        if not _is_all(rows):
            selected = restrict(rows, m) @ selected
        return selected
    if _is_integer(rows) and _is_all(columns):
        return _row(op, _one(rows, m, 0))
    if _is_all(rows) and _is_integer(columns):
        return _column(op, _one(columns, n, 1))
    return _entries_by_key(op, key)


def entries(op: LinearOperator, rows: np.ndarray, columns: np.ndarray) -> Array:
    """``A[rows[i], columns[i]]`` for index vectors of one length."""
    unique_rows, row_of = np.unique(rows, return_inverse=True)
    unique_columns, column_of = np.unique(columns, return_inverse=True)
    if len(unique_columns) <= len(unique_rows) or not _has_adjoint(op):
        block = _columns(op, unique_columns)
        flat = rows * len(unique_columns) + column_of
    else:
        block = _columns(op.T, unique_rows)
        flat = columns * len(unique_rows) + row_of
    xp = array_namespace(block)
    flat = np.ascontiguousarray(flat.reshape(-1))
    where = xp.asarray(flat, device=block.device) if xp is not np else flat
    return xp.take(xp.reshape(block, (-1,)), where, axis=0)


def _columns(op: LinearOperator, which: np.ndarray) -> Array:
    """The dense columns `which`, shape (m, len(which))."""
    return op.matmat(unit_columns(op, which))


def _row(op: LinearOperator, i: int) -> Array:
    if _has_adjoint(op):
        return _columns(op.T, np.array([i]))[:, 0]
    return entries(op, np.full(op.shape[1], i), np.arange(op.shape[1]))


def _column(op: LinearOperator, j: int) -> Array:
    return _columns(op, np.array([j]))[:, 0]


def _has_adjoint(op: LinearOperator) -> bool:
    try:
        return op.H is not None
    except NotImplementedError:
        return False


def _entries_by_key(op: LinearOperator, key: Any) -> Array:
    """Everything else: NumPy itself applies the key to two arrays that cost no memory."""
    m, n = op.shape
    rows = np.broadcast_to(np.arange(m)[:, None], (m, n))
    columns = np.broadcast_to(np.arange(n), (m, n))
    key = _to_host(key)
    rows, columns = rows[key], columns[key]
    if np.ndim(rows) > 2 and np.size(rows) == 0:
        return np.zeros(np.shape(rows), op.dtype)
    found = entries(op, np.ravel(rows), np.ravel(columns))
    if np.ndim(rows) == 0:
        return found[0]
    return array_namespace(found).reshape(found, np.shape(rows))


def _to_host(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_to_host(k) for k in key)
    return to_numpy(key) if is_array(key) else key


def _split(key: Any) -> tuple[Any, Any]:
    """Row key and column key; what has no such form is left to `_entries_by_key`."""
    everything = slice(None)
    if not isinstance(key, tuple):
        return (everything, everything) if key is Ellipsis else (key, everything)
    if sum(k is Ellipsis for k in key) == 1 and len(key) <= 3:
        at = next(i for i, k in enumerate(key) if k is Ellipsis)
        filled = [*key[:at], *[everything] * (3 - len(key)), *key[at + 1 :]]
        return tuple(filled) if len(filled) == 2 else (None, None)
    return {0: (everything, everything), 1: (*key, everything), 2: key}.get(len(key), (None, None))


def _is_integer(k: Any) -> bool:
    if isinstance(k, (bool, np.bool_)) or (is_array(k) and k.ndim):
        return False
    try:
        operator.index(k)
    except TypeError:
        return False
    return True


def _is_axis_key(k: Any) -> bool:
    """A slice, or a vector of integers or booleans: it keeps one axis."""
    if isinstance(k, slice):
        return True
    if isinstance(k, list) or is_array(k):
        k = k if is_array(k) else np.asarray(k)
        return k.ndim == 1
    return False


def _is_all(k: Any) -> bool:
    return isinstance(k, slice) and k == slice(None)


def _one(k: Any, n: int, axis: int) -> int:
    i = operator.index(k)
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of bounds for axis {axis} with size {n}")
    return i % n
