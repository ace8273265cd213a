"""tune(A, like=x): plans for a device, measured; what is fastest is kept for later plans."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass
from typing import Any

from ._array import Array, is_array, place
from .io.atomic import replacing
from .kernels.cuda import table
from .kernels.cuda.chain import Measured
from .operators import LinearOperator
from .operators.chain import columns_like, device_chains


@dataclass(frozen=True)
class Tuning:
    """What `tune` measured.

    Attributes
    ----------
    measured : tuple, for each piece of the expression that kernels run as one
        A tuple of ``(seconds, bias, plan)``, the model's choice in front: the median time of the
        plan, what it may do, and its steps in words.
    reason : str
        What was kept, or why nothing was.
    path : str or None
        The table that was written.
    """

    measured: tuple[tuple[Measured, ...], ...]
    reason: str
    path: str | None = None

    def __str__(self) -> str:
        lines = [self.reason]
        for piece in self.measured:
            best = min(piece)
            for number, found in enumerate(piece):
                told = [
                    w for w, is_so in (("model", number == 0), ("kept", found is best)) if is_so
                ]
                first = found.plan.partition("\n")[0]
                lines.append(f"{1e6 * found.seconds:10.2f} us  {'/'.join(told):10}  {first}")
        return "\n".join(lines)


def tune(A: LinearOperator, like: Array, time_limit: float = 2.0) -> Tuning:
    """Measure the plans for ``A @ like`` on its device, and keep the fastest.

    Parameters
    ----------
    A : LinearOperator
        With its values on the device: ``A.to(like=x)``.
    like : array of shape (n,) or (n, k)
        Library, device, dtype, order and number of columns (up to a factor of two) to tune for;
        its numbers do not count.
    time_limit : float
        Seconds, compiling included; the model's own plan is always measured.

    Returns
    -------
    Tuning

    Notes
    -----
    The table lies in the cache folder of the user, or in ``LAZYOPS_CACHE``, as JSON: kept by
    device, library, dtype, order, columns and patterns; replaced in one piece.  Where it cannot be
    written, a warning says so and this process still uses what it found.

    On the CPU there is nothing to be tuned: the kernel is compiled for several levels of processors
    and cuts chains by constants, and `lo.set_num_threads` says how many threads it takes.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> print(lo.tune(lo.butterfly.hadamard(64), like=np.ones(64)))
    nothing is to be tuned for numpy on cpu: the CPU kernel has one plan for each product
    """
    if not is_array(like) or like.ndim not in (1, 2) or like.shape[0] != A.shape[1]:
        got = f"shape {tuple(like.shape)}" if is_array(like) else type(like).__name__
        raise ValueError(f"like is an array of shape ({A.shape[1]},) or (.., k), got {got}")
    chains = list(device_chains(A, like))
    if not chains:
        return Tuning((), _why_not(like))
    columns = like.shape[1] if like.ndim == 2 else 1
    until = time.monotonic() + time_limit
    measured, entries = [], {}
    for number, (chain, rows) in enumerate(chains):
        x = columns_like(like, rows, columns)
        share = time.monotonic() + (until - time.monotonic()) / (len(chains) - number)
        found = tuple(chain.measure(x, share, time.monotonic))
        best = min(found)
        entries[chain.use(x, best)] = _entry(best)
        measured.append(found)
    path = _write(entries)
    where = f"in {path}" if path else "for this process"
    return Tuning(tuple(measured), f"{len(entries)} plans kept {where}", path)


def _why_not(like: Array) -> str:
    here = place(like)
    if here.device == "cpu":
        return f"nothing is to be tuned for {here}: the CPU kernel has one plan for each product"
    return f"nothing is to be tuned for {here}: no part of A is run by kernels of the device"


def _entry(best: Measured) -> dict[str, Any]:
    return {"bias": best.bias._asdict(), "seconds": best.seconds}


def _write(entries: dict[str, dict[str, Any]]) -> str | None:
    """Add to the table what is there by now; None where it cannot be written."""
    path = table.path()
    table.read.cache_clear()
    known = table.read(path)
    try:
        os.makedirs(path.parent, exist_ok=True)
        with replacing(path) as file:
            file.write(table.text_of({**known, **entries}).encode())
    except OSError as error:
        warnings.warn(f"the plans are not kept: {error}", RuntimeWarning, stacklevel=3)
        return None
    table.read.cache_clear()
    return str(path)
