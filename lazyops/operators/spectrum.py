"""Filters by their spectrum: ``IFFT(FFT(kernel) FFT(x))``, the spectrum of the kernel kept."""

from __future__ import annotations

from typing import Any

from .._array import (
    Array,
    array_namespace,
    cast,
    dtype_name,
    has_complex_values,
    is_complex_name,
    is_numpy,
    needs_grad,
)
from .fourier import fft_of


def fast_length(least: int, is_real: bool) -> int:
    """The next size from `least` on without large prime factors."""
    import scipy.fft

    return scipy.fft.next_fast_len(max(least, 1), is_real)


def filtered(x: Array, kernel: Array, length: int, cache: dict[Any, Any], axis: int = 0) -> Array:
    """The circular convolution of `length` along `axis`; kernel and `x` of one precision.

    Both are filled up with zeros to that length.  Real where both are real: half the work.
    """
    fft = fft_of(x)
    is_complex = has_complex_values(kernel) or has_complex_values(x)
    H = _spectrum(kernel, length, is_complex, x.ndim - axis - 1, cache)
    n = None if x.shape[axis] == length else length  # SciPy compares and pads for 0.5 us
    if is_numpy(x):  # SciPy takes names of arguments 0.5 us later than places
        if is_complex:
            return fft.ifft(_times(fft.fft(x, n, axis), H), None, axis)
        return fft.irfft(_times(fft.rfft(x, n, axis), H), length, axis)
    if is_complex:
        x = cast(x, dtype_name(H.dtype))
        return fft.ifft(_times(fft.fft(x, n=n, axis=axis), H), axis=axis)
    return fft.irfft(_times(fft.rfft(x, n=n, axis=axis), H), n=length, axis=axis)


def _times(X: Array, H: Array) -> Array:
    if not is_numpy(X) or X.dtype != H.dtype:
        return X * H
    X *= H  # fresh memory of the transform before
    return X


def _spectrum(kernel: Array, length: int, is_complex: bool, behind: int, cache: dict) -> Array:
    """Of `kernel` as a column with `behind` axes behind it; kept while no gradient is asked for."""
    key = ("spectrum", length, is_complex, behind, kernel.dtype)
    version = getattr(kernel, "_version", 0)  # torch counts the changes of a tensor
    if (found := cache.get(key)) is not None and found[0] == version:
        return found[1]
    fft, xp = fft_of(kernel), array_namespace(kernel)
    if not is_complex:
        H = fft.rfft(kernel, n=length)
    else:
        wide = kernel if has_complex_values(kernel) or is_numpy(kernel) else _complex(kernel)
        H = fft.fft(wide, n=length)
    H = xp.reshape(H, (-1, *[1] * behind))
    if not needs_grad(kernel):
        cache[key] = version, H
    return H


def _complex(x: Array) -> Array:
    return cast(x, "complex64" if dtype_name(x.dtype) == "float32" else "complex128")


def in_precision(kernel: Array, name: str) -> Array:
    """The kernel in the precision of the dtype `name`; real where it is real."""
    if is_numpy(kernel) and kernel.dtype == name:
        return kernel
    if has_complex_values(kernel) or not is_complex_name(name):
        return cast(kernel, name)
    return cast(kernel, {"complex64": "float32"}.get(name, "float64"))
