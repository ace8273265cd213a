"""How far one matrix is from another, measured exactly, in panels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._array import is_array, to_numpy
from .intake import PANEL, take_in


def relative_error(A: Any, B: Any) -> float:
    """``||A - B|| / ||A||`` in the Frobenius norm; exact, by column panels.

    Parameters
    ----------
    A : 2-D array
    B : 2-D array or operator
        Anything that can do ``B @ panel``.

    Returns
    -------
    float
        0 where both are zero, inf where only `A` is.

    Examples
    --------
    >>> import numpy as np
    >>> relative_error(np.eye(4), 1.5 * np.eye(4))
    0.5
    """
    intake = take_in(A)
    shape = intake.matrix.array.shape
    if tuple(B.shape) != shape:
        raise ValueError(
            f"relative_error compares matrices of one shape, got {shape} and {tuple(B.shape)}"
        )
    other = to_numpy(B) if is_array(B) else None
    wanted = np.result_type(intake.matrix.dtype, _numpy_dtype(B))
    total = []
    for start, stop in column_panels(*shape):
        part = intake.matrix.prepared(intake.matrix.array[:, start:stop])
        got = other[:, start:stop] if other is not None else _columns(B, start, stop, intake.dtype)
        scaled = type(intake.matrix)(got, wanted, intake.matrix.exponent).prepared(got)
        scaled -= part
        total.append(float(np.vdot(scaled, scaled).real))
    error = math.sqrt(math.fsum(total))
    if intake.norm == 0:
        return 0.0 if error == 0 else math.inf
    return error / intake.norm


def column_panels(m: int, n: int) -> list[tuple[int, int]]:
    step = max(1, PANEL // max(m, 1))
    return [(start, min(start + step, n)) for start in range(0, n, step)]


def _numpy_dtype(B: Any) -> np.dtype:
    """A dtype that holds the entries of `B`: complex or not is what matters."""
    return np.dtype(np.complex128 if "complex" in str(B.dtype) else np.float64)


def _columns(B: Any, start: int, stop: int, dtype: np.dtype) -> np.ndarray:
    """Columns of an operator, as products with columns of the identity."""
    unit = np.zeros((B.shape[1], stop - start), np.dtype(dtype).type(0).real.dtype)
    unit[np.arange(start, stop), np.arange(stop - start)] = 1
    return to_numpy(B @ unit)
