"""Aligned memory; and that of large results, which is used again.

The pages of a large fresh array are given by the system one by one and cleared, which costs as
much as a product at the speed of memory.  What the large results of products used is therefore
kept for the next one, up to a thirty-second of the machine's memory.
"""

from __future__ import annotations

import math
import os

import numpy as np

__all__ = ["LARGE", "aligned", "empty", "result"]

LARGE = 8 << 20  # bytes of a result from which its memory is kept
WORK = 1 << 20  # the same for arrays between two steps
LINE = 64


def _limit() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 32
    except (AttributeError, ValueError, OSError):
        return 256 << 20


LIMIT = _limit()
free: list[np.ndarray] = []  # appending and popping are atomic; what is lost to a race is freed


class Lease:
    """Lends memory to an array, as its base; when the last view of it is gone it comes back."""

    def __init__(self, raw: np.ndarray, nbytes: int):
        self.raw = raw
        start = -raw.ctypes.data % LINE
        self.__array_interface__ = {**raw[start : start + nbytes].__array_interface__}

    def __del__(self):
        if sum(a.nbytes for a in tuple(free)) + self.raw.nbytes <= LIMIT:
            free.append(self.raw)


def aligned(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An empty array that begins at a cache line."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.empty(count * dtype.itemsize + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + count * dtype.itemsize].view(dtype).reshape(shape)


def result(shape: tuple[int, int], dtype: np.dtype, turned: bool) -> np.ndarray:
    """An empty writable array that begins at a cache line, in C or (turned) Fortran order."""
    nbytes = shape[0] * shape[1] * dtype.itemsize
    flat = _lent(nbytes).view(dtype)
    return flat.reshape(shape[::-1]).T if turned else flat.reshape(shape)


def empty(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """An empty array in C order; of a large one the memory is that of an earlier one, if it can."""
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < WORK:
        return np.empty(shape, dtype)
    return _lent(nbytes).view(dtype).reshape(shape)


def _lent(nbytes: int) -> np.ndarray:
    """Bytes on loan, from a cache line on."""
    raw = _again(nbytes + LINE)
    return np.asarray(Lease(np.empty(nbytes + LINE, np.uint8) if raw is None else raw, nbytes))


def _again(nbytes: int) -> np.ndarray | None:
    """Memory of that size, or a little more, that is free.  If there is none, the piece that has
    been free longest goes back to the system."""
    others: list[np.ndarray] = []
    found = None
    while free and found is None:
        try:
            raw = free.pop()
        except IndexError:
            break
        if nbytes <= raw.nbytes <= nbytes + nbytes // 8:
            found = raw
        else:
            others.append(raw)
    free.extend(reversed(others[: None if found is not None else -1]))
    return found
