"""From an operator to an array, only when asked."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .._array import Array, array_namespace, cast, convert, dtype_name, is_numpy, real_dtype
from .base import LinearOperator
from .tree import fold

PANEL = 1024  # columns computed at once: bounds what is held beside the result


def to_dense(op: LinearOperator, like: Array | None, force: bool) -> Array:
    """See `LinearOperator.to_dense`."""
    _check_memory(op, force)
    if like is None and (dense := op._dense()) is not None:
        return dense
    n = op.shape[1]
    panels = [
        op.matmat(unit_columns(op, np.arange(start, min(start + PANEL, n)), like))
        for start in range(0, n, PANEL)
    ]
    if len(panels) == 1:
        return panels[0]
    if not panels:
        return op.matmat(unit_columns(op, np.arange(0), like))
    return array_namespace(panels[0]).concat(panels, axis=1)


def unit_columns(op: LinearOperator, which: np.ndarray, like: Array | None = None) -> Array:
    """The columns `which` of the identity, shape (n, len(which)), where `op` (or `like`) lives."""
    name = real_dtype(op.dtype.name) if like is None else dtype_name(like.dtype)
    units = np.zeros((op.shape[1], len(which)), np.float32)
    units[which, np.arange(len(which))] = 1
    example = first_values(op) if like is None else like
    if example is None or is_numpy(example):
        return units.astype(name)
    xp = array_namespace(example)
    return cast(convert(units, xp, example.device), name)


def first_values(op: LinearOperator) -> Array | None:
    """One of the arrays of values held: it shows where the operator lives; None without any."""
    if not op._places:
        return None
    return fold(op, _first_of)


def _first_of(op: LinearOperator, below: tuple[Any, ...]) -> Array | None:
    own = (a for f, a in op._arrays() if not f.metadata)
    return next((a for a in (*own, *below) if a is not None), None)


def _check_memory(op: LinearOperator, force: bool) -> None:
    m, n = op.shape
    wanted, limit = m * n * op.dtype.itemsize, max(2**30, total_memory() // 4)
    if wanted > limit and not force:
        raise MemoryError(
            f"{op!r} as a dense {m}x{n} array takes {wanted / 2**30:.1f} GiB, more than "
            f"{limit / 2**30:.1f} GiB: pass force=True if you mean it"
        )


def total_memory() -> int:
    """Bytes of memory of the machine; 4 GiB where it cannot be asked."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30
