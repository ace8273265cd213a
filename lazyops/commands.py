"""What the commands do, as functions that return plain data; `__main__` prints them."""

from __future__ import annotations

import ast
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


CHAINS = "auto, square-dyadic, mixed-radix, monarch, monarch:p,q, smallest:r, a,b,c,d;a,b,c,d;..."


def chain_of(text: str, shape: tuple[int, int]) -> Chain | None:
    """The chain that a word of the command line means for a matrix of this shape; None for auto.

    >>> chain_of("monarch:2,4", (8, 8))
    Chain((1,2,4,4), (4,4,2,1))
    >>> chain_of("1,2,2,2;2,2,2,1", (4, 4))
    Chain((1,2,2,2), (2,2,2,1))
    """
    m, n = shape
    name, _, numbers = text.partition(":")
    if text == "auto":
        return None
    if text in ("square-dyadic", "mixed-radix"):
        if m != n:
            raise ValueError(f"the chain {text} is for square matrices, this one is {m} x {n}")
        return Chain.square_dyadic(n) if text == "square-dyadic" else Chain.mixed_radix(n)
    try:
        if name == "monarch":
            p, q = _integers(numbers, 2) if numbers else (None, None)
        elif name == "smallest":
            ranks = _integers(numbers)
        else:
            patterns = [_integers(word, 4) for word in text.split(";")]
    except ValueError:
        raise ValueError(f"--chain is one of {CHAINS}; got {text!r}") from None
    if name == "monarch":
        return Chain.monarch(m, n, p, q)
    if name == "smallest":
        return Chain.smallest(m, n, ranks[0] if len(ranks) == 1 else ranks)
    return Chain(patterns)


def order_of(text: str | None) -> Any:
    """An order of the splits as `factorize` takes it: a name, or numbers in nested tuples.

    >>> order_of("left-to-right"), order_of("2,1,3"), order_of("(1,2),(3,4)")
    ('left-to-right', (2, 1, 3), ((1, 2), (3, 4)))
    """
    if text is None or not set(text) & set("0123456789(["):
        return text
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = text
    if isinstance(found, int):
        return (found,)
    if not _is_tree(found):
        raise ValueError(
            "--order is balanced, left-to-right, right-to-left, junctions such as 2,1,3, or a tree "
            f"of factors such as (1,2),(3,4); got {text!r}"
        )
    return found


def _is_tree(found: Any) -> bool:
    if isinstance(found, (tuple, list)):
        return all(map(_is_tree, found))
    return type(found) is int


def _integers(text: str, count: int | None = None) -> list[int]:
    found = [int(word) for word in text.split(",")]
    if count is not None and len(found) != count:
        raise ValueError
    return found


def factorize_file(
    source: str,
    target: str,
    *,
    chain: str = "auto",
    order: str | None = None,
    tol: float | None = None,
    max_entries: int | None = None,
    progress: bool = False,
    resume: str | None = None,
) -> dict[str, Any]:
    """Factorize the matrix in the file `source` into the file `target`, and say what came out.

    `chain` and `order` are words of the command line (`chain_of`, `order_of`).  `resume`: a folder
    for finished panels; the matrix is then read once, panel by panel, and a run that was killed
    goes on from there.  Nothing is written where no structure is found (``found`` is False).
    """
    array = open_matrix(source)
    wanted, splits = chain_of(chain, array.shape), order_of(order)
    if os.path.exists(target) and os.path.samefile(source, target):
        raise ValueError(f"{target} is the matrix itself: name another file with -o")
    check_writable(target)  # now, not after the work
    start = time.perf_counter()
    found = factorize(
        array,
        wanted,
        tol,
        max_entries=max_entries,
        order=splits,
        progress=progress,
        checkpoint=resume,
    )
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
        "confidence": found.confidence,
        "splits": [
            {"position": s.position, "rank": s.rank, "error": finite(s.error)} for s in found.splits
        ],
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
