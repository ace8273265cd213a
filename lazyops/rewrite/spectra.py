"""Rules of transforms around diagonals and circulant matrices: C = F^-1 D F."""

from __future__ import annotations

import numpy as np

from .._array import (
    Array,
    array_namespace,
    cast,
    conj,
    dtype_name,
    is_numpy,
    needs_grad,
)
from ..operators import Circulant, Diagonal, Fourier, HalfFourier, RealFourier
from ..operators.fourier import fft_of
from .engine import Rules

RULES = Rules()
SINGLE = ("float32", "complex64")


@RULES.product(Fourier, Diagonal, Fourier)
def fourier_diagonal_fourier(left, middle, right):
    """F^-1 D F = C, the circulant matrix with this spectrum, by the factors of both"""
    if left.inverse == right.inverse or not left.n or not _is_floating(middle.values):
        return None
    power = -left.divides - right.divides  # of n; F^-1 divides by n once
    spectrum = middle.values if left.inverse else _mirrored(middle.values)
    return Circulant(_column_of(spectrum) * float(left.n) ** (1 + power), copy=False)


@RULES.product(RealFourier, Diagonal, RealFourier)
def real_fourier_diagonal(left, middle, right):
    """irfft D rfft = C on pairs (re, im), for a D that is alike on both, by the factors of both"""
    if not (left.inverse and not right.inverse) or left.transposed or right.transposed:
        return None
    d, n = middle.values, left.n
    if not is_numpy(d) or d.dtype.kind != "f" or not np.array_equal(d[0::2], d[1::2]):
        return None
    half = d[0::2]
    column = _column_of(np.concatenate([half, half[1 : (n + 1) // 2][::-1]]))
    powers = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}
    return Circulant(column * float(n) ** (powers[left.norm] - powers[right.norm]), copy=False)


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


@RULES.product(HalfFourier, Circulant)
def half_fourier_circulant(left, right):
    """F C = D F for the rows 0 .. n/2 of F, D these of the spectrum of C"""
    spectrum = None if left.transposed else _spectrum_of(right, left.inverse)
    return None if spectrum is None else (Diagonal(spectrum[: left.shape[0]], copy=False), left)


@RULES.product(Circulant, HalfFourier)
def circulant_half_fourier(left, right):
    """C F.T = F.T D for the rows 0 .. n/2 of F, D these of the spectrum of C.T"""
    spectrum = _spectrum_of(left, not right.inverse) if right.transposed else None
    return None if spectrum is None else (right, Diagonal(spectrum[: right.shape[1]], copy=False))


def _mirrored(values: Array) -> Array:
    """``values[-i]``."""
    xp = array_namespace(values)
    return xp.concat([values[:1], xp.flip(values[1:])])


def _is_floating(values: Array) -> bool:
    """Whether its FFT is as precise as the values are; half precision would be widened."""
    return is_numpy(values) or dtype_name(values.dtype) in (*SINGLE, "float64", "complex128")


def _column_of(spectrum: Array) -> Array:
    """The inverse FFT, in double precision; real where the spectrum says so exactly."""
    single, fft = dtype_name(spectrum.dtype) in SINGLE, fft_of(spectrum)
    wide = _double(spectrum)
    if _is_of_real(spectrum):
        n = wide.shape[0]
        column = fft.irfft(wide[: n // 2 + 1], n=n)
        return cast(column, "float32") if single else column
    column = fft.ifft(wide)
    return cast(column, "complex64") if single else column


def _is_of_real(spectrum: Array) -> bool:
    """Whether it is that of a real signal; not asked of what a gradient goes to or no one sees.

    The half of a spectrum would give its gradient to that half alone.
    """
    if needs_grad(spectrum) or (not is_numpy(spectrum) and str(spectrum.device) == "meta"):
        return False
    same = _mirrored(conj(spectrum)) == spectrum
    return bool(array_namespace(same).all(same))


def _spectrum_of(op: Circulant, inverse: bool) -> Array | None:
    """Of the column, with the sign of the transform that stands on the left of C."""
    if not _is_floating(op.column):
        return None
    fft, wide = fft_of(op.column), _double(op.column)
    found = fft.ifft(wide, norm="forward") if inverse else fft.fft(wide)
    return cast(found, "complex64") if dtype_name(op.column.dtype) in SINGLE else found


def _double(x: Array) -> Array:
    """`x` in double precision; complex but for NumPy, whose FFTs take real numbers in half."""
    if is_numpy(x):
        return x.astype(np.result_type(x.dtype, np.float64), copy=False)
    return cast(x, "complex128")
