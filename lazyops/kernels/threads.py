"""How many threads large products use: OpenMP's number (threadpoolctl sees it), or one set here.

Results do not depend on it, bit by bit: threads share out tiles, never sums.
"""

from __future__ import annotations

import operator

from . import cpu

__all__ = ["num_threads", "set_num_threads"]


def set_num_threads(n: int | None) -> None:
    """Use `n` threads for large products from now on; None goes back to OpenMP's number.

    The environment variable LAZYOPS_NUM_THREADS sets it at import.

    Raises
    ------
    TypeError, ValueError
        If `n` is no integer from 1 to 4096.
    """
    try:
        count = 0 if n is None else operator.index(n)
    except TypeError:
        raise TypeError(f"the number of threads is an integer, got {n!r}") from None
    if n is not None and not 1 <= count <= 4096:
        raise ValueError(f"the number of threads is from 1 to 4096, got {n}")
    found = cpu.library()
    if not isinstance(found, str):
        found.set_threads(count)


def num_threads() -> int:
    """Threads that a large product uses."""
    found = cpu.library()
    return 1 if isinstance(found, str) else found.threads()
