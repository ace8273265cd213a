"""Rules of circulant matrices and convolutions: products of filters are filters."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._array import dtype_name, is_numpy
from ..operators import Circulant, Convolution, Diagonal, Fourier, LinearOperator, Scalar
from .engine import Rules
from .fusion import _scaled, one_place

RULES = Rules()


@RULES.product(Circulant, Circulant)
def circulant_circulant(left, right):
    """C1 C2 = C, its column the circular convolution of both"""
    if not one_place(left, right):
        return None
    column = right.column
    return Circulant(left._matmat(column[:, None])[:, 0], copy=False)


@RULES.product(Convolution, Convolution)
def convolution_convolution(left, right):
    """(rows of h1 *) (h2 *) = rows of (h1 * h2) *, where no row is missing between them"""
    m = left.kernel.shape[0]
    full = right.start == 0 and right.rows == right.n + right.kernel.shape[0] - 1
    valid = left.start == m - 1 and left.rows == left.n - m + 1
    if not (full or valid) or not one_place(left, right):
        return None
    both = Convolution(left.kernel, right.kernel.shape[0], 0, m + right.kernel.shape[0] - 1)
    kernel = both._matmat(right.kernel[:, None])[:, 0]
    method = left.method if left.method == right.method else "auto"
    return Convolution(kernel, right.n, left.start + right.start, left.rows, method, copy=False)


@RULES.product(Scalar, Circulant)
def scalar_circulant(left, right):
    """(alpha I) C = alpha C"""
    column = _scaled(left, right, right.column)
    return None if column is None else Circulant(column, copy=False)


@RULES.product(Scalar, Convolution)
def scalar_convolution(left, right):
    """(alpha I) (h *) = (alpha h) *"""
    kernel = _scaled(left, right, right.kernel)
    return None if kernel is None else _like(right, kernel)


@RULES.sum(Circulant, Circulant)
def circulant_plus_circulant(left, right):
    """C1 + C2 = C, its column the sum of both"""
    if not one_place(left, right):
        return None
    return Circulant(left.column + right.column, copy=False)


@RULES.sum(Convolution, Convolution)
def convolution_plus_convolution(left, right):
    """(h1 *) + (h2 *) = (h1 + h2) *, of one length and window"""
    same = left.kernel.shape == right.kernel.shape and left.start == right.start
    if not same or left.rows != right.rows or not one_place(left, right):
        return None
    return _like(left, left.kernel + right.kernel)


@RULES.product(Fourier, Diagonal, Fourier)
def fourier_diagonal_fourier(left, middle, right):
    """F^-1 D F = C, the circulant matrix with this spectrum, by the factors of both"""
    if left.inverse == right.inverse or not is_numpy(middle.values):
        return None
    n = left.n
    power = -left.divides - right.divides  # of n; F^-1 divides by n once
    values = middle.values if left.inverse else middle.values[-np.arange(n) % max(n, 1)]
    return Circulant(_column_of(values) * float(n) ** (1 + power), copy=False) if n else None


def _column_of(spectrum: np.ndarray) -> np.ndarray:
    """The inverse FFT, in at least double precision; real where the spectrum says so exactly."""
    import scipy.fft

    n, name = len(spectrum), dtype_name(spectrum.dtype)
    mirrored = spectrum[-np.arange(n) % n].conj()
    if np.array_equal(spectrum, mirrored):
        column = scipy.fft.irfft(spectrum[: n // 2 + 1].astype(np.complex128), n)
        return column.astype("float32") if name in ("float32", "complex64") else column
    column = scipy.fft.ifft(spectrum.astype(np.complex128))
    return column.astype("complex64") if name in ("float32", "complex64") else column


@RULES.product(Fourier, Circulant)
def fourier_circulant(left, right):
    """F C = D F, D the spectrum of C: one FFT in place of three"""
    spectrum = _spectrum_of(right, left.inverse)
    return None if spectrum is None else (Diagonal(spectrum, copy=False), left)


@RULES.product(Circulant, Fourier)
def circulant_fourier(left, right):
    """C F = F D, D the spectrum of C: one FFT in place of three"""
    spectrum = _spectrum_of(left, not right.inverse)
    return None if spectrum is None else (right, Diagonal(spectrum, copy=False))


def _spectrum_of(op: Circulant, inverse: bool) -> np.ndarray | None:
    """Of the column, with the sign of the transform that stands on the left of C."""
    import scipy.fft

    if not is_numpy(op.column):
        return None
    wide = op.column.astype(np.result_type(op.column.dtype, np.float64), copy=False)
    found = scipy.fft.ifft(wide, norm="forward") if inverse else scipy.fft.fft(wide)
    single = dtype_name(op.column.dtype) in ("float32", "complex64")
    return found.astype("complex64") if single else found


def _like(op: Convolution, kernel: Any) -> LinearOperator:
    return Convolution(kernel, op.n, op.start, op.rows, op.method, copy=False)
