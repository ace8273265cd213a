"""Windows of short-time transforms, and their duals."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._array import is_array, to_numpy


def as_window(window: Any) -> np.ndarray:
    """A window in double precision: an array as it is, or a pair ``(name, length)``.

    The name is whatever ``scipy.signal.get_window`` takes; the window is a periodic one.
    """
    if is_array(window) or (isinstance(window, list) and window):
        found = to_numpy(window) if is_array(window) else np.asarray(window)
        if found.ndim != 1 or not found.size or found.dtype.kind not in "biufc":
            raise ValueError(
                f"a window is a vector of numbers, got shape {found.shape} and dtype {found.dtype}"
            )
        return _finite(found.astype(np.complex128 if found.dtype.kind == "c" else np.float64))
    if isinstance(window, tuple) and len(window) == 2 and isinstance(window[1], (int, np.integer)):
        from scipy.signal import get_window

        if window[1] < 1:
            raise ValueError(f"a window has a length from 1 on, got {window[1]}")
        return _finite(np.asarray(get_window(*window), np.float64))
    raise TypeError(
        f"a window is an array or a pair (name, length) as in ('hann', 256), got {window!r}"
    )


def _finite(window: np.ndarray) -> np.ndarray:
    if not np.isfinite(window).all() or not window.any():
        raise ValueError("a window has finite entries, and not only zeros")
    return window


def dual_window(window: np.ndarray, hop: int) -> np.ndarray:
    """The canonical dual: divided by the sum of its squares over all shifts by `hop`."""
    m, squares = len(window), np.abs(window) ** 2
    total = np.pad(squares, (0, -m % hop)).reshape(-1, hop).sum(axis=0)
    if total.min() <= np.finfo(float).resolution * total.max():
        raise ValueError(
            f"shifts by hop = {hop} of this window of {m} entries leave samples uncovered, so "
            f"that nothing reconstructs them: take a smaller hop"
        )
    return window / np.resize(total, m)


def princen_bradley(window: Any) -> np.ndarray:
    """A window for `mdct`: symmetric, its squares N apart add up to 1.

    By name: ``("sine", 2 N)``, ``("vorbis", 2 N)``, ``(("kaiser_bessel_derived", beta), 2 N)``.
    """
    w = _named(*window) if isinstance(window, tuple) and len(window) == 2 else as_window(window)
    half = len(w) // 2
    if len(w) % 4 or np.iscomplexobj(w):
        raise ValueError(
            f"a window of mdct is real, its length a multiple of 4, got {len(w)} entries of "
            f"dtype {w.dtype}"
        )
    held = getattr(window, "dtype", np.dtype(float))
    eps = 2.0**-23 if "32" in str(held) else 2.0**-52
    if np.abs(w - w[::-1]).max() > 4 * eps or np.abs(w[:half] ** 2 + w[half:] ** 2 - 1).max() > (
        8 * eps
    ):
        raise ValueError(
            "a window of mdct is symmetric and window[j]**2 + window[j + N]**2 is 1 for all j < N "
            "(Princen and Bradley): this one is not, so that nothing would reconstruct; "
            "see ('sine', 2 * N)"
        )
    return w


def _named(name: Any, m: Any) -> np.ndarray:
    if not isinstance(m, (int, np.integer)) or m < 4 or m % 4:
        raise ValueError(f"the length of a window of mdct is a multiple of 4, got {m!r}")
    sine = np.sin(np.pi / m * (np.arange(m) + 0.5))
    match name:
        case "sine":
            w = sine
        case "vorbis":
            w = np.sin(np.pi / 2 * sine**2)
        case ("kaiser_bessel_derived", beta):
            from scipy.signal.windows import kaiser_bessel_derived

            w = kaiser_bessel_derived(m, beta)
        case _:
            raise ValueError(
                "a window of mdct is 'sine', 'vorbis', ('kaiser_bessel_derived', beta) with its "
                f"length, or an array, got {name!r}"
            )
    return np.concatenate([w[: m // 2], w[: m // 2][::-1]])  # symmetric to the last bit
