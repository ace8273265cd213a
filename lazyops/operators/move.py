"""Operators to another library, device or precision; memoised per place."""

from __future__ import annotations

from typing import Any

from .._array import (
    Array,
    array_namespace,
    convert,
    dtype_name,
    is_array,
    is_complex_name,
    is_inexact_name,
    is_numpy,
    namespace_of,
    real_dtype,
    with_complex,
)
from .base import LinearOperator
from .tree import fold


def move(
    op: LinearOperator, like: Array | None, namespace: Any, device: Any, dtype: Any
) -> LinearOperator:
    """See `LinearOperator.to`."""
    if like is not None:
        if not is_array(like):
            raise TypeError(f"like= takes an array, got {type(like).__name__}")
        if namespace is not None or device is not None:
            raise TypeError("give like=, or namespace= and device=, not both")
        namespace = array_namespace(like)
        device = None if is_numpy(like) else like.device
    xp = None if namespace is None else namespace_of(namespace)
    name = None if dtype is None else _float_name(dtype)
    key = ("to", xp, str(device), name)
    if key not in op._cache:
        moved = fold(op, lambda node, operands: _move_node(node, operands, xp, device, name))
        op._cache.setdefault(key, None if moved is op else moved)  # None: no cycle to itself
    known = op._cache[key]
    return op if known is None else known


def _move_node(op, operands, xp, device, name):
    if operands:
        return op._with_operands(operands)
    return op._moved(xp, device, name)


def moved_values(op, xp, device, name):
    """A leaf with its values elsewhere; indices follow x by themselves."""
    return op._map_arrays(lambda a: convert(a, xp, device, _target(a, name)), lambda index: index)


def _target(a: Array, name: str | None) -> str | None:
    """Precision changes, kind stays: complex values asked for in float32 become complex64."""
    held = dtype_name(a.dtype)
    if name is None or held == name:
        return None
    if is_complex_name(held):
        return with_complex(name)
    return name if is_complex_name(name) else real_dtype(name)


def _float_name(dtype: Any) -> str:
    name = dtype_name(dtype)
    if not is_inexact_name(name):
        raise TypeError(f"operators are cast to floating dtypes, got {name}")
    return name
