"""Best rank-one approximations of all blocks of a split by the compiled library: one read of them.

A block ``T`` (b, c) becomes ``u w^T`` with one of the two of norm 1 and the other one ``u^H T`` (or
``T conj(w)``), in double precision whatever the dtype of the block.  How, and what is proven, is
told in ``src/split_rows.h`` (one large block at a time) and ``src/split_lanes.h`` (small ones).
"""

from __future__ import annotations

import numpy as np

from . import cpu

__all__ = ["NEAR", "ONE_LANE", "TALLEST", "obstacle", "rank_one"]

MIRRORED = 1
TALLEST = 512  # rows of a block: its Gram matrix is held
LARGEST = 1 << 20  # entries of a block: a thread holds some of them in cache
NEAR = 3e-4  # of a squared error: so far above the smallest one it may be (NEAR in split_rows.h)
ONE_LANE = 1024  # entries of a block up to which it is one lane of many, in double precision


def obstacle(T: np.ndarray) -> str | None:
    """Why the compiled kernel does not take these blocks (a, A, D, d, b, c); None if it does."""
    if (why := cpu.missing()) is not None:
        return why
    if T.dtype.char not in cpu.CHARS or not T.dtype.isnative:
        return f"it takes {cpu.DTYPES}, got {T.dtype}"
    b, c = T.shape[-2:]
    if b > TALLEST or b * c > LARGEST or T.size == 0:
        return f"it takes blocks of at most {TALLEST} rows and {LARGEST} entries, got {b}x{c}"
    small = b * c <= ONE_LANE and T.dtype.char in "dD"
    if not small and T.strides[-1] != T.itemsize:
        return "the rows of its blocks are not contiguous"
    return None


def rank_one(
    T: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    facts: np.ndarray,
    mirrored: bool = False,
    exponent: int = 0,
) -> None:
    """Write the halves of every block of ``T * 2**-exponent``, and what is known about them.

    Parameters
    ----------
    T : array of shape (a, A, D, d, b, c)
        float32, float64, complex64 or complex128; any strides but those `obstacle` names.
    left, right : arrays of shape (a, A, D, d, b, 1) and (a, A, D, d, 1, c)
        float64 or complex128, written.
    facts : float64 array of shape (a, A, D, d, 4, 1)
        Written: ``|left right|^2``; the squared error; what the smallest possible one is proven to
        reach (no less than ``1 - NEAR`` of it), or -1 where that could not be proven;
        ``|u u^H T - T v v^H|^2`` at most, with the unit vectors ``u`` of `left` and ``v`` of
        `right`.  All NaN for a block that is not finite.
    mirrored : bool
        `right` has norm 1 instead of `left`.

    Raises
    ------
    ValueError, TypeError
        If shapes or dtypes do not fit.
    """
    found = cpu.library()
    if isinstance(found, str):
        raise RuntimeError(found)
    outcome = found.split(T, left, right, facts, MIRRORED if mirrored else 0, exponent)
    if outcome == cpu.NO_MEMORY:
        raise MemoryError(f"no memory for blocks of {T.shape[-2]}x{T.shape[-1]}")
    if outcome == cpu.BAD_DTYPE:
        names = ", ".join(str(x.dtype) for x in (T, left, right, facts))
        raise TypeError(f"blocks, halves and facts do not fit by dtype: {names}")
    if outcome:
        shapes = ", ".join(str(x.shape) for x in (T, left, right, facts))
        raise ValueError(f"blocks, halves and facts do not fit: {shapes}, or by their strides")
