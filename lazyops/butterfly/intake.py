"""Bringing the user's matrix to a `Matrix`: dtype, finiteness, scale, norm.  One read of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import is_array, to_numpy
from ..operators import LinearOperator, aslinearoperator
from ..pattern import Chain
from .splits import Matrix

PANEL = 1 << 20  # entries read at a time


@dataclass(frozen=True)
class Intake:
    """The matrix, its Frobenius norm after scaling, and the dtype its factors will have.

    All splits are computed in double precision, of single-precision input as well: a float32 SVD
    would hide errors of 1e-6 behind its own.  `norm` is NaN as long as nobody has read the matrix.
    """

    matrix: Matrix
    norm: float
    dtype: np.dtype

    @property
    def measured(self) -> bool:
        return not math.isnan(self.norm)

    def ordinary(self, norm: float) -> bool:
        """Whether a matrix of this norm needs no scaling; False if it is not finite."""
        most = 2.0**32 if self.dtype in (np.float32, np.complex64) else 2.0**200
        return 1 / most < norm < most

    @property
    def unit(self) -> float:
        """Unit roundoff of the computation."""
        return 2.0**-53

    def rounding(self, factors: int) -> float:
        """Relative error that rounding may add: ``4 L u``, and ``L u`` of a float32 result."""
        single = self.dtype.itemsize // (2 if self.dtype.kind == "c" else 1) == 4
        return 4 * factors * self.unit + (factors * 2.0**-24 if single else 0.0)


def take_in(A: Any) -> Intake:
    """Check `A` and measure it."""
    array = as_matrix(A)
    work = working_dtype(array.dtype)
    double = np.dtype(np.complex128 if work.kind == "c" else np.float64)
    largest, parts = 0.0, []
    for start, stop in row_panels(*array.shape):
        panel = array[start:stop]
        peak = _peak(panel, start)
        if peak > 0:
            parts.append((math.frexp(peak)[1], panel_energy(panel, double, math.frexp(peak)[1])))
            largest = max(largest, peak)
    exponent = _exponent(largest, work)
    power = math.fsum(math.ldexp(e, 2 * max(k - exponent, -1000)) for k, e in parts)
    return Intake(Matrix(array, double, exponent), math.sqrt(power), work)


def unread(A: Any) -> Intake:
    """`A` as it is: its numbers are checked and measured by the split that reads them first."""
    array = as_matrix(A)
    work = working_dtype(array.dtype)
    double = np.dtype(np.complex128 if work.kind == "c" else np.float64)
    return Intake(Matrix(array, double), math.nan, work)


def known_by_products(A: Any) -> LinearOperator | None:
    """`A` as an operator if it is one, of any library; None for what has entries."""
    if is_array(A) or not hasattr(A, "matvec"):
        return None
    return aslinearoperator(A)


def reads_by_panels(A: Any, checkpoint: object) -> bool:
    """Whether `A` is read by panels: chunked (zarr, dask), asked for by a checkpoint, or a memory
    map of more than half the memory that is free."""
    chunked = hasattr(A, "chunks") and not isinstance(A, np.ndarray)
    large = isinstance(A, np.memmap) and A.nbytes > available_memory() / 2
    return chunked or checkpoint is not None or large


def available_memory() -> int:
    """Bytes that can be had without swapping; 4 GiB where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            found = dict(line.split(":", 1) for line in file)
        return int(found["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return 4 << 30


def as_matrix(A: Any) -> np.ndarray:
    """`A` as a 2-D NumPy array of numbers, without a copy where that can be."""
    if known_by_products(A) is not None:
        raise TypeError(
            f"factorize reads the entries of a matrix, and {type(A).__name__} is known by its "
            "products only: pass A.to_dense()"
        )
    if hasattr(A, "toarray"):
        raise TypeError(
            f"factorize takes a dense matrix: pass A.toarray() of this {type(A).__name__}"
        )
    array = np.asarray(to_numpy(A)) if is_array(A) else np.asarray(A)
    if array.ndim != 2:
        raise ValueError(f"factorize takes a 2-D array, got {array.ndim}-D of shape {array.shape}")
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16:
        raise TypeError(f"factorize takes real or complex numbers, got dtype {array.dtype}")
    return array


def fitting(chain: Chain, shape: tuple[int, int]) -> Chain:
    """`chain` if it is chainable and of this shape; otherwise a ValueError says why."""
    if chain.shape != shape:
        m, n = chain.shape
        raise ValueError(f"the chain is {m}x{n}, the matrix is {shape[0]}x{shape[1]}")
    if (why := chain.obstacle) is not None:
        raise ValueError(f"the chain is not chainable: {why}")
    return chain


def working_dtype(dtype: np.dtype) -> np.dtype:
    """dtype of the factors: float32 and float16 -> float32, other reals -> float64, and complex."""
    if dtype.kind == "c":
        return np.dtype(np.complex64 if dtype.itemsize == 8 else np.complex128)
    single = dtype.kind == "f" and dtype.itemsize <= 4
    return np.dtype(np.float32 if single else np.float64)


def row_panels(m: int, n: int) -> list[tuple[int, int]]:
    step = max(1, PANEL // max(n, 1))
    return [(start, min(start + step, m)) for start in range(0, m, step)]


def _peak(panel: np.ndarray, first_row: int) -> float:
    """Largest real or imaginary part; raises ValueError naming the first that is not finite."""
    if panel.size == 0:
        return 0.0
    if panel.dtype.kind == "b":
        return float(panel.any())
    parts = (panel.real, panel.imag) if panel.dtype.kind == "c" else (panel,)
    ends = [float(end) for p in parts for end in (p.max(), p.min())]
    if all(math.isfinite(end) for end in ends):  # NaN survives max and min
        return max(abs(end) for end in ends)
    i, j = np.unravel_index(np.argmin(np.isfinite(panel)), panel.shape)
    raise ValueError(
        f"the matrix is not finite: entry ({first_row + int(i)}, {int(j)}) is {panel[i, j]}; "
        "factorize needs finite numbers"
    )


def panel_energy(panel: np.ndarray, dtype: np.dtype, exponent: int) -> float:
    """Sum of squares of ``panel * 2**-exponent``, which neither overflows nor underflows."""
    flat = Matrix(panel, dtype, exponent).prepared(panel).reshape(-1)
    return float(np.vdot(flat, flat).real)


def _exponent(largest: float, work: np.dtype) -> int:
    """Power of two to divide by so that squares stay in range; 0 for ordinary magnitudes."""
    if largest == 0:
        return 0
    exponent = math.frexp(largest)[1]
    ordinary = 32 if work in (np.float32, np.complex64) else 256
    return 0 if abs(exponent) <= ordinary else exponent
