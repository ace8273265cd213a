"""Signals at another sampling rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..operators import (
    Diagonal,
    Identity,
    LinearOperator,
    RealFourier,
    Sparse,
    Weak,
    compose,
    restrict,
)
from ..operators.scalar import check_size
from .windows import as_window


def resample(n: int, m: int) -> LinearOperator:
    """`m` samples of the trigonometric interpolant of `n`: ``scipy.signal.resample(x, m)``.

    The signal is taken for one period; going down, frequencies that `m` samples cannot show are cut
    off.

    Returns
    -------
    operator of shape (m, n), real; complex `x` is taken by parts

    Raises
    ------
    ValueError
        Where one of them is below 1.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> (lo.resample(4, 8) @ np.array([2., 1., 0., 1.])).round(3)
    array([2.   , 1.707, 1.   , 0.293, 0.   , 0.293, 1.   , 1.707])
    """
    n, m = check_size(n, "n of resample"), check_size(m, "m of resample")
    if n < 1 or m < 1:
        raise ValueError(f"resample takes sizes from 1 on, got n = {n}, m = {m}")
    if n == m:
        return Identity(n)
    # Pairs (re, im) of the frequencies 0 .. half.  That of half an even size is alone in the
    # smaller of the two transforms and one of two in the larger.
    half = min(n, m) // 2
    weights = np.ones(2 * (half + 1))
    if min(n, m) % 2 == 0:
        weights[-2:] = 0.5 if n < m else 2.0
    kept = slice(0, 2 * (half + 1))
    return compose(
        RealFourier(m, inverse=True, norm="forward"),
        restrict(kept, 2 * (m // 2 + 1)).H,
        Weak(Diagonal(weights)),
        restrict(kept, 2 * (n // 2 + 1)),
        RealFourier(n, norm="forward"),
    )


def resample_poly(n: int, up: int, down: int, window: Any = ("kaiser", 5.0)) -> LinearOperator:
    """`up` times as many samples, filtered, every `down`-th kept.

    ``resample_poly(n, up, down) @ x`` equals ``scipy.signal.resample_poly(x, up, down)``; the
    signal is zero beyond its ends.

    Parameters
    ----------
    n, up, down : int
        From 1 on.
    window : array, or name as in ``scipy.signal.get_window``
        The coefficients of the filter, of odd length to be symmetric; or the window by which
        SciPy designs it.

    Returns
    -------
    operator of shape (ceil(n up / down), n), real: a sparse matrix

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.resample_poly(6, 3, 2).shape
    (9, 6)
    """
    n, up, down = (check_size(v, f"{k} of resample_poly") for v, k in
                   ((n, "n"), (up, "up"), (down, "down")))  # fmt: skip
    if min(n, up, down) < 1:
        raise ValueError(f"resample_poly takes numbers from 1 on, got {n}, up {up}, down {down}")
    common = math.gcd(up, down)
    up, down = up // common, down // common
    if up == down:
        return Identity(n)
    h, half = _filter(window, up, down)
    m = -(-n * up // down)
    # y[i] = sum_j h[i down + half - j up] x[j]
    reach = -(-len(h) // up)
    last = (np.arange(m) * down + half) // up
    j = last[:, None] - np.arange(reach)[::-1]
    tap = (np.arange(m) * down + half)[:, None] - j * up
    used = (j >= 0) & (j < n) & (tap < len(h))
    indptr = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return Weak(Sparse(h[tap[used]], j[used], indptr, (m, n)))


def _filter(window: Any, up: int, down: int) -> tuple[np.ndarray, int]:
    """The low pass of `scipy.signal.resample_poly`, and its middle."""
    if isinstance(window, (str, tuple)):
        from scipy.signal import firwin

        half = 10 * max(up, down)
        return up * firwin(2 * half + 1, 1 / max(up, down), window=window), half
    h = as_window(window)
    return up * h, (len(h) - 1) // 2
