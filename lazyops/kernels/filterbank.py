"""A level of a two-channel filter bank, away from the ends, by the compiled library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import cpu

__all__ = ["decompose", "obstacle", "reconstruct"]

MOST_TAPS = 64  # of each of the four filters (src/filterbank.cpp)


def obstacle(filters: np.ndarray, x: np.ndarray) -> str | None:
    """Why the compiled kernel does not take these arrays; None if it does."""
    if x.dtype.char not in "fd" or not x.dtype.isnative:
        return f"it takes float32 and float64, got {x.dtype}"
    if filters.shape[-1] > MOST_TAPS:
        return f"it takes {MOST_TAPS} taps at most, got {filters.shape[-1]}"
    return cpu.missing()


def decompose(
    x: np.ndarray,
    filters: np.ndarray,
    bands: Sequence[np.ndarray],
    start: int,
    first: int,
    rows: int,
) -> None:
    """Write `rows` rows of both bands, from `first` on.

    ``bands[o][:, first + i]`` is the sum over j and e = 0, 1 of
    ``filters[o, e, j] * x[:, start + 2 (i + j) + e]``.

    Parameters
    ----------
    x : array of shape (p, n, q), float32 or float64, in C order
    filters : float64 array of shape (2, 2, taps)
    bands : two arrays of shape (p, k, q), written

    Raises
    ------
    ValueError, TypeError
        If shapes or dtypes do not fit, or a window reaches beyond `x`.
    """
    found = cpu.library()
    if isinstance(found, str):
        raise RuntimeError(found)
    _check(found.decompose(x, filters, *bands, start, first, rows), x, filters, *bands)


def reconstruct(
    bands: Sequence[np.ndarray],
    filters: np.ndarray,
    x: np.ndarray,
    start: int,
    first: int,
    rows: int,
) -> None:
    """Write ``2 rows`` rows of `x`, from `first` on, with the shapes of `decompose`.

    ``x[:, first + 2 i + e]`` is the sum over j and b = 0, 1 of
    ``filters[e, b, j] * bands[b][:, start + i + j]``.
    """
    found = cpu.library()
    if isinstance(found, str):
        raise RuntimeError(found)
    _check(found.reconstruct(*bands, filters, x, start, first, rows), x, filters, *bands)


def _check(outcome: int, *arrays: np.ndarray) -> None:
    if outcome == cpu.BAD_DTYPE:
        names = ", ".join(str(a.dtype) for a in arrays)
        raise TypeError(f"signal, filters and bands do not fit by dtype: {names}")
    if outcome:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(f"signal, filters and bands do not fit: {shapes}, or are not in C order")
