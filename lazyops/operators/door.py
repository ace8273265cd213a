"""The door: shapes, dtypes and places of `x` are checked here, once; results leave it fresh.

==============  ========================  ===========================================
call            `x`                       result
==============  ========================  ===========================================
``A @ x``       (n,)  (n, k)  (..., n, k)   (m,)  (m, k)  (..., m, k)
``A.matvec``    (n,)  (n, 1)  (..., n)      (m,)  (m, 1)  (..., m)
``A.matmat``    (n, k)  (..., n, k)         (m, k)  (..., m, k)
``x @ A``       (m,)  (..., k, m)           (n,)  (..., k, n)
==============  ========================  ===========================================
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._array import (
    Array,
    array_namespace,
    can_meet,
    cast,
    dtype_name,
    fresh,
    has_complex_values,
    is_array,
    is_inexact_name,
    is_numpy,
    place,
)
from .tracing import apart, tracing
from .tree import fold

if TYPE_CHECKING:
    from .base import LinearOperator


def apply(op: LinearOperator, x: Array) -> Array:
    """``op @ x``."""
    if x.ndim == 1:
        if x.shape[0] != op.shape[1]:
            raise _wrong_shape(op, x, "(n,) or (..., n, k)")
        return _vector(op, x)
    return matmat(op, x, None)


def matvec(op: LinearOperator, x: Any, out: Array | None) -> Array:
    x = _checked_array(op, x)
    n = op.shape[1]
    if x.ndim == 1 and x.shape[0] == n:
        y = _vector(op, x)
    elif tuple(x.shape) == (n, 1):
        y = _columns(op, x)
    elif x.ndim > 1 and x.shape[-1] == n:
        y = _rows(op, x)
    else:
        raise _wrong_shape(op, x, "(n,), (n, 1) or rows (..., n)")
    return y if out is None else _into(out, y, x)


def matmat(op: LinearOperator, x: Any, out: Array | None) -> Array:
    x = _checked_array(op, x)
    if x.ndim < 2 or x.shape[-2] != op.shape[1]:
        raise _wrong_shape(op, x, "(n, k) or (..., n, k)")
    y = _columns(op, x) if x.ndim == 2 else _stacked(op, x)
    return y if out is None else _into(out, y, x)


def apply_to_rows(op: LinearOperator, x: Array) -> Array:
    """``x @ op``."""
    if x.ndim == 0 or x.shape[-1] != op.shape[0]:
        m, n = op.shape
        raise ValueError(
            f"cannot multiply x of shape {tuple(x.shape)} by {_short(op)} ({m}x{n}): "
            f"{x.shape[-1] if x.ndim else 'no'} columns meet {m} rows"
        )
    return _columns(op.T, x[:, None])[:, 0] if x.ndim == 1 else _rows(op.T, x)


def as_array(x: Any) -> Array | None:
    """`x` where it is an array, the NumPy array of a list of numbers, else None."""
    if is_array(x):
        return x
    return np.asarray(x) if isinstance(x, (list, tuple)) else None


def _checked_array(op: LinearOperator, x: Any) -> Array:
    if type(x) is np.ndarray:
        return x
    found = as_array(x)
    if found is None:
        m, n = op.shape
        raise TypeError(
            f"{_short(op)} is {m}x{n} and takes an array, got {type(x).__name__}; "
            f"sparse matrices and operators are multiplied by @"
        )
    return found


# -- the four forms, all brought to columns --------------------------------------------------


def _vector(op: LinearOperator, x: Array) -> Array:
    """x of shape (n,), the right n: the path that is called most, so it asks little."""
    if type(x) is not np.ndarray:
        return _columns(op, x[:, None])[:, 0]
    ready, dtype = op._cache.get(x.dtype) or _numpy_entry(op, x)
    column = x[:, None] if dtype is None else x.astype(dtype)[:, None]
    y = ready._matmat(column)
    if not ready.makes_new:
        if np.may_share_memory(y, x) or not y.flags.writeable:
            y = y.copy()
        elif not y.flags.c_contiguous:  # the real part of a complex array
            y = np.ascontiguousarray(y)
    return y[:, 0]


def _columns(op: LinearOperator, x: Array) -> Array:
    """x of shape (n, k), the right n."""
    if type(x) is not np.ndarray:
        if tracing():
            from .traced import columns

            return columns(op, x)
        return foreign_columns(apart(op), x)
    ready, dtype = op._cache.get(x.dtype) or _numpy_entry(op, x)
    y = ready._matmat(x if dtype is None else x.astype(dtype))
    if not ready.makes_new and (np.may_share_memory(y, x) or not y.flags.writeable):
        y = y.copy()
    if x.flags.c_contiguous or not x.flags.f_contiguous:
        return y if y.flags.c_contiguous else np.ascontiguousarray(y)
    return np.asfortranarray(y)


def _numpy_entry(op: LinearOperator, x: np.ndarray) -> tuple[LinearOperator, str | None]:
    """What serves NumPy arrays of this dtype: an operator that can, and the dtype it needs."""
    name = _computable(op, x)
    needed = None if name == x.dtype.name and x.dtype.isnative else name
    return op._cache.setdefault(x.dtype, (meeting(op, x), needed))


def foreign_columns(op: LinearOperator, x: Array) -> Array:
    if is_numpy(x):  # a subclass: np.matrix, np.memmap
        return _columns(op, np.asarray(x))
    key = "door", type(x), getattr(x, "device", None), x.dtype
    ready, needed = op._cache.get(key) or _foreign_entry(op, x, key)
    ready = op if ready is None else ready
    if needed is not None:
        x = cast(x, needed)
    y = ready._matmat(x)
    y = y if ready.makes_new else fresh(y, x)
    return y if x.shape[1] else _with_history(y, x, ready)


def _with_history(y: Array, x: Array, op: LinearOperator) -> Array:
    """`y`, which has no columns, as a function of `x` and of the values held: a kind need not
    compute what is empty, and autograd is to find a way back all the same."""
    xp = array_namespace(x)
    held = [x]
    fold(op, lambda node, _: held.extend(a for _, a in node._arrays() if not is_numpy(a)))
    for a in held:
        if is_inexact_name(dtype_name(a.dtype)):
            nothing = xp.sum(xp.reshape(a, (-1,))[:0])
            nothing = (
                nothing if has_complex_values(y) or not has_complex_values(a) else xp.real(nothing)
            )
            y = y + xp.astype(nothing, y.dtype)
    return y


def _foreign_entry(op: LinearOperator, x: Array, key: tuple) -> tuple:
    """What serves arrays of this place and dtype (None: `op` itself), and the dtype it needs."""
    name = _computable(op, x)
    ready = meeting(op, x)
    needed = None if name == dtype_name(x.dtype) else name
    return op._cache.setdefault(key, (None if ready is op else ready, needed))


def _computable(op: LinearOperator, x: Array) -> str:
    """The dtype `x` is computed in: its own, or float64 for integers and booleans."""
    name = dtype_name(x.dtype)
    if is_inexact_name(name):
        return name
    if np.dtype(name).kind in "biu":
        return "float64"
    raise TypeError(f"{_short(op)} takes numbers, got x of dtype {x.dtype}")


def meeting(op: LinearOperator, x: Array) -> LinearOperator:
    """`op`, with its values where `x` is if the two share memory; else the way out is named."""
    here = place(x)
    if op._places <= {here}:
        return op
    if all(can_meet(there, here) for there in op._places):
        return op.to(like=x)
    there = " and ".join(op.places)
    raise TypeError(
        f"{_short(op)} holds values of {there}, x is {here}: move one of them, "
        f"A.to(like=x) once, outside the loop"
    )


def _stacked(op: LinearOperator, x: Array) -> Array:
    """x of shape (..., n, k): the stack becomes columns."""
    xp = array_namespace(x)
    *stack, n, k = x.shape
    columns = xp.moveaxis(xp.reshape(x, (math.prod(stack), n, k)), 1, 0)
    y = _columns(op, xp.reshape(columns, (n, math.prod(stack) * k)))
    y = xp.moveaxis(xp.reshape(y, (op.shape[0], math.prod(stack), k)), 0, 1)
    y = xp.reshape(y, (*stack, op.shape[0], k))
    return np.ascontiguousarray(y) if is_numpy(y) else y


def _rows(op: LinearOperator, x: Array) -> Array:
    """x of shape (..., n): every row becomes a column."""
    xp = array_namespace(x)
    *stack, n = x.shape
    rows = xp.reshape(x, (math.prod(stack), n))
    y = _columns(op, xp.permute_dims(rows, (1, 0)))
    return xp.reshape(xp.permute_dims(y, (1, 0)), (*stack, op.shape[0]))


def _into(out: Array, y: Array, x: Array) -> Array:
    if tuple(out.shape) != tuple(y.shape) or out.dtype != y.dtype:
        raise ValueError(
            f"out has shape {tuple(out.shape)} and dtype {out.dtype}, "
            f"the result has shape {tuple(y.shape)} and dtype {y.dtype}"
        )
    if out is x or (is_numpy(out) and is_numpy(x) and np.may_share_memory(out, x)):
        raise ValueError("out overlaps x: give a separate array")
    out[...] = y
    return out


def _wrong_shape(op: LinearOperator, x: Array, wanted: str) -> ValueError:
    m, n = op.shape
    hint = ""
    if x.ndim == 2 and x.shape[1] == n and x.shape[0] != n:
        hint = "; for rows use A.matvec(x) or x @ A.T"
    return ValueError(
        f"{_short(op)} is {m}x{n} and takes x of shape {wanted} with n = {n}, "
        f"got {tuple(x.shape)}{hint}"
    )


def _short(op: LinearOperator) -> str:
    from .show import short

    return short(op)
