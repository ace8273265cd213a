"""What the commands do, as functions that return plain data; `__main__` prints them."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import numpy as np

from . import io
from .butterfly import Factorization, factorize, quantize
from .io.atomic import check_writable
from .operators import LinearOperator
from .pattern import Chain
from .versions import versions as versions


def open_matrix(path: str) -> np.ndarray:
    """The matrix of an .npy file, memory-mapped and read-only.

    Raises
    ------
    OSError
        If it cannot be opened.
    ValueError
        If it is no .npy file, is truncated, or holds no 2-D array of numbers.
    """
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic != b"\x93NUMPY":
        raise ValueError(f"{path} is not a .npy file")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # NumPy's parser raises what the header provokes
        raise ValueError(f"cannot read {path}: {error or type(error).__name__}") from None
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16:
        raise ValueError(f"{path} holds {array.dtype}, not real or complex numbers")
    if array.ndim != 2:
        raise ValueError(
            f"{path} holds a {array.ndim}-D array of shape {array.shape}, not a matrix"
        )
    return array


def chain_of(name: str | None, shape: tuple[int, int]) -> Chain | None:
    """The chain called `name` on the command line."""
    m, n = shape
    if name is None:
        return None
    if name == "monarch":
        return Chain.monarch(m, n)
    if m != n:
        raise ValueError(f"the chain square-dyadic is for square matrices, this one is {m} x {n}")
    return Chain.square_dyadic(n)


def factorize_file(
    source: str,
    target: str,
    tol: float | None,
    chain: str | None,
    progress: bool,
    resume: str | None = None,
) -> dict[str, Any]:
    """Factorize the matrix in the file `source` into the file `target`, and say what came out.

    `resume`: a folder for finished panels; the matrix is then read once, panel by panel, and a run
    that was killed goes on from there.
    Nothing is written where no structure is found (``found`` is False).
    """
    array = open_matrix(source)
    wanted = chain_of(chain, array.shape)
    if os.path.exists(target) and os.path.samefile(source, target):
        raise ValueError(f"{target} is the matrix itself: name another file with -o")
    check_writable(target)  # now, not after the work
    start = time.perf_counter()
    found = factorize(array, wanted, tol, progress=progress, checkpoint=resume)
    seconds = time.perf_counter() - start
    report = {
        "input": source,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        **certificate(found),
        "seconds": seconds,
    }
    if report["found"]:
        start = time.perf_counter()
        io.save(target, found)
        saving = time.perf_counter() - start
        report |= {"output": target, "bytes": os.path.getsize(target), "save_seconds": saving}
    return report


def quantize_file(
    source: str, target: str, format: str | None, tol: float | None, method: str
) -> dict[str, Any]:
    """Quantize the operator in the file `source` into the file `target`, and say what came out."""
    if os.path.exists(target) and os.path.samefile(source, target):
        raise ValueError(f"{target} is the operator itself: name another file with -o")
    loaded = io.load(source)
    operator = loaded.operator if isinstance(loaded, Factorization) else loaded
    check_writable(target)  # now, not after the work
    start = time.perf_counter()
    found = quantize(operator, format, method, tol)
    seconds = time.perf_counter() - start
    io.save(target, found.operator)
    return {
        "input": source,
        "shape": list(operator.shape),
        "dtype": str(operator.dtype),
        "formats": [f.name for f in found.formats],
        "method": found.method,
        "relative_error": finite(found.relative_error),
        "bound": finite(found.bound),
        "confidence": found.confidence,
        "input_values_nbytes": operator.values_nbytes,
        "values_nbytes": found.operator.values_nbytes,
        "output": target,
        "input_bytes": os.path.getsize(source),
        "bytes": os.path.getsize(target),
        "seconds": seconds,
    }


def certificate(found: Factorization) -> dict[str, Any]:
    """A factorization in numbers."""
    m, n = found.operator.shape
    entries = m * n if found.chain is None else found.chain.entries
    return {
        "found": found.chain is not None,
        "reason": found.reason,
        "chain": None if found.chain is None else [list(p) for p in found.chain],
        "entries": entries,
        "share": entries / (m * n) if m * n else 1.0,
        "relative_error": finite(found.relative_error),
        "lower_bound": finite(found.lower_bound),
        "upper_bound": finite(found.upper_bound),
    }


def finite(x: float) -> float | None:
    """JSON has no infinity: None stands for it."""
    return float(x) if math.isfinite(x) else None


def describe(path: str) -> tuple[dict[str, Any], LinearOperator]:
    """What a saved file holds: numbers, and the operator."""
    found = io.load(path)
    operator = found.operator if isinstance(found, Factorization) else found
    counts = operator.info()
    report = {
        "file": path,
        "bytes": os.path.getsize(path),
        "shape": list(operator.shape),
        "dtype": str(operator.dtype),
        "entries": counts.entries,
        "dense_entries": counts.dense_entries,
        "values_nbytes": counts.values_nbytes,
        "flops": counts.flops,
        "nodes": counts.nodes,
        "depth": counts.depth,
        "certificate": certificate(found) if isinstance(found, Factorization) else None,
    }
    return report, operator
