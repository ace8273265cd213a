"""Roots of unity to the last bit: angles are reduced as integers, never by recurrence."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._array import Array, array_namespace, is_numpy, namespace_of

PI = np.longdouble("3.14159265358979323846264338327950288")


def roots_of_unity(k: np.ndarray, n: int, dtype: Any = np.complex128) -> np.ndarray:
    """``exp(-2 pi i k / n)``; `k` integers of any size below 2^60 / 8.

    In complex128, or in `dtype`: what is taken from ``numpy.clongdouble`` is rounded once, where
    that is longer.  The angle is brought into the first eighth of the circle exactly, so that sine
    and cosine are taken of a number whose own error is one rounding, and axes and diagonals come
    out exact.

    Examples
    --------
    >>> roots_of_unity(np.arange(4), 4)
    array([ 1.+0.j,  0.-1.j, -1.+0.j,  0.+1.j])
    """
    k = np.asarray(k, dtype=np.int64) % n
    eighth, rest = np.divmod(8 * k, n)  # the angle is 2 pi (eighth n + rest) / 8 n
    rest = np.where(eighth % 2 == 1, n - rest, rest)  # from the nearest axis
    real_dtype = np.dtype(dtype).type(0).real.dtype.type
    angle = rest.astype(real_dtype) * (real_dtype(PI) / (4 * n))
    half_right, diagonal = rest == n, np.sqrt(real_dtype(0.5))
    near = np.where(half_right, diagonal, np.cos(angle))
    far = np.where(half_right, diagonal, np.sin(angle))
    # by eighths: which of the two is the real part, and the signs of both
    upright = np.isin(eighth, (1, 2, 5, 6))
    real = np.where(upright, far, near) * np.where(np.isin(eighth, (2, 3, 4, 5)), -1.0, 1.0)
    imag = np.where(upright, near, far) * np.where(eighth < 4, -1.0, 1.0)
    return (real + 0.0) + 1j * (imag + 0.0)  # no -0


def column_on(x: Array, host: np.ndarray, name: str, cache: dict[Any, Any], which: Any) -> Array:
    """Constants as a column of dtype `name` where `x` lives; kept in `cache` under `which`."""
    key = (which, array_namespace(x), str(x.device), name)
    if key not in cache:
        column = host.astype(name).reshape(-1, 1)
        moved = column if is_numpy(x) else namespace_of(x).asarray(column, device=x.device)
        cache[key] = moved
    return cache[key]
