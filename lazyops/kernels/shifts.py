"""Sums of shifted copies of a vector, by the compiled library: stencils away from their ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import cpu

__all__ = ["add_shifted", "obstacle"]

MOST_TERMS = 64  # src/shifts.cpp


def obstacle(x: np.ndarray, terms: int) -> str | None:
    """Why the compiled kernel does not take this array and number of terms; None if it does."""
    if x.dtype.char not in "fdFD" or not x.dtype.isnative:
        return f"it takes float32, float64, complex64 and complex128, got {x.dtype}"
    if terms > MOST_TERMS:
        return f"it takes {MOST_TERMS} terms at most, got {terms}"
    return cpu.missing()


def add_shifted(
    x: np.ndarray,
    y: np.ndarray,
    offsets: Sequence[int],
    weights: Sequence[float],
    scale: float,
    start: int,
    stop: int,
) -> None:
    """Write ``y[i] = scale * sum_j weights[j] * x[i + offsets[j]]`` for ``start <= i < stop``.

    Parameters
    ----------
    x, y : contiguous vectors of one dtype: float32, float64, complex64 or complex128
    offsets, weights : sequences of one length, 64 at most

    Raises
    ------
    ValueError, TypeError
        If they do not fit, or an index lies outside `x`.
    """
    found = cpu.library()
    if isinstance(found, str):
        raise RuntimeError(found)
    if x.dtype.kind == "c":
        x, y = x.view(x.real.dtype), y.view(y.real.dtype)
        offsets, start, stop = [2 * o for o in offsets], 2 * start, 2 * stop
    arrays = np.array(offsets, np.int64), np.array([*weights, scale], np.float64)
    outcome = found.add_shifted(x, y, *arrays, start, stop)
    if outcome == cpu.BAD_DTYPE:
        raise TypeError(f"vectors of {x.dtype} and {y.dtype} do not fit")
    if outcome:
        raise ValueError(
            f"{x.shape}, {y.shape}, {len(arrays[0])} offsets and {len(weights)} weights do not "
            f"fit, are not contiguous, or x ends before what {start} .. {stop} reads"
        )
