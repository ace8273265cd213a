"""Fourier transforms of real signals: half of the spectrum is enough."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._array import (
    Array,
    array_namespace,
    cast,
    conj,
    dtype_name,
    has_complex_values,
    is_numpy,
    with_complex,
)
from .base import LinearOperator
from .fourier import (
    SWAPPED,
    by_parts,
    by_scipy,
    call,
    check_norm,
    complex_for_fft,
    down_columns,
    fft_of,
    for_scipy,
)
from .roots import column_on
from .scalar import check_size

# the dtypes of numbers made of two, by NumPy's letters; half precision has none
PAIRED = {a: np.dtype(b) for a, b in (("f", "F"), ("d", "D"), ("g", "G"))}


def check_real_size(n: int, what: str) -> int:
    """The size of a transform of real signals; SciPy takes none of size 0 either."""
    n = check_size(n, f"the size of {what}")
    if n < 1:
        raise ValueError(f"{what} takes a size from 1 on, got {n}")
    return n


@dataclass(eq=False, repr=False)
class HalfFourier(LinearOperator):
    """The rows 0 .. n//2 of ``Fourier(n, inverse, norm)``, or its transpose; see `lazyops.rfft`.

    A real `x` takes the FFT of real numbers, half the work; a complex one the full FFT.  Where
    `doubled` is set, rows count twice but those of the frequencies 0 and n/2: each stands for its
    conjugate too, and the transpose, of the spectrum of a real signal, has it as its real part.
    """

    n: int
    inverse: bool = False
    norm: str = "backward"
    transposed: bool = False
    doubled: bool = False
    kind = "complex"
    makes_new = True

    def _check(self):
        object.__setattr__(self, "n", check_real_size(self.n, "a real Fourier transform"))
        object.__setattr__(self, "norm", check_norm(self.norm))

    def _shape(self):
        half = self.n // 2 + 1
        return (self.n, half) if self.transposed else (half, self.n)

    def _matmat(self, x):
        if x.shape[1] == 0:
            xp = array_namespace(x)
            name = with_complex(dtype_name(x.dtype))
            return xp.zeros((self.shape[0], 0), dtype=getattr(xp, name), device=x.device)
        if for_scipy(x):
            return by_scipy(self, x)
        if self.transposed:
            return self._from_half(x)
        y = self._half(x)
        return _weighted(y, self.n, 2.0, self._cache) if self.doubled else y

    def _half(self, x: Array) -> Array:
        """The rows 0 .. n//2, in memory of their own."""
        fft = fft_of(x)
        if has_complex_values(x):
            full = fft.ifft if self.inverse else fft.fft
            y = down_columns(full, x, norm=self.norm)[: self.n // 2 + 1, :]
            return y if is_numpy(x) else y + 0  # not half of a larger one
        if self.inverse:  # conj(F x) for a real x
            return conj(down_columns(fft.rfft, x, norm=SWAPPED[self.norm]))
        return down_columns(fft.rfft, x, norm=self.norm)

    def _from_half(self, x: Array) -> Array:
        """The transpose: the missing rows are zero."""
        fft = fft_of(x)
        full = fft.ifft if self.inverse else fft.fft
        if is_numpy(x) and self.doubled:  # weights in the pass that makes room, then in place
            y = _room(self.n, x)
            half = y[: len(x)]
            np.multiply(x, 2, out=half)
            half[0] = x[0]
            if self.n % 2 == 0:
                half[-1] = x[-1]
            return down_columns(full, y, norm=self.norm, overwrite_x=True)
        if self.doubled:
            x = _weighted(x, self.n, 2.0, self._cache)
        return down_columns(full, complex_for_fft(x), n=self.n, norm=self.norm)

    def _conj(self):
        return replace(self, inverse=not self.inverse, norm=SWAPPED[self.norm], copy=False)

    def _adjoint(self):
        return replace(self._conj(), transposed=not self.transposed, copy=False)

    def _flops(self):
        return 5 * self.n * max(self.n - 1, 1).bit_length() // 2

    def _label(self):
        norm = SWAPPED[self.norm] if self.inverse else self.norm
        text = call("rfft", self.n, norm, **({"doubled": True} if self.doubled else {}))
        if self.inverse:
            return f"{text}.H" if self.transposed else f"conj({text})"
        return f"{text}.T" if self.transposed else text


@dataclass(eq=False, repr=False)
class RealFourier(LinearOperator):
    """The real matrix of `scipy.fft.rfft` or `irfft` on pairs (re, im), or its transpose.

    Both are ``C = diag(weights) [cos; -sin]`` up to a factor: ``rfft`` has weights 1, the transpose
    of ``irfft`` weights 2 but at the frequencies 0 and n/2, which stand for themselves alone.
    """

    n: int
    inverse: bool = False
    norm: str = "backward"
    transposed: bool = False
    kind = "float"
    makes_new = True

    def _check(self):
        object.__setattr__(self, "n", check_real_size(self.n, "a real Fourier transform"))
        object.__setattr__(self, "norm", check_norm(self.norm))

    def _shape(self):
        pairs = 2 * (self.n // 2 + 1)
        return (self.n, pairs) if self.inverse != self.transposed else (pairs, self.n)

    def _matmat(self, x):
        if x.shape[1] == 0:
            xp = array_namespace(x)
            return xp.zeros((self.shape[0], 0), dtype=x.dtype, device=x.device)
        if for_scipy(x):
            return by_scipy(self, x)
        if has_complex_values(x):
            return by_parts(self._matmat, x)
        norm, fft = SWAPPED[self.norm] if self.transposed else self.norm, fft_of(x)
        if self.inverse != self.transposed:
            z = from_pairs(x)
            if self.transposed:
                z = _weighted(z, self.n, 0.5, self._cache)
            if is_numpy(x) and x.flags.f_contiguous:
                return fft.irfft(z.T, n=self.n, axis=-1, norm=norm).T
            return fft.irfft(z, n=self.n, axis=0, norm=norm)
        # column by column: pairs of such a result are the numbers where they lie
        z = fft.rfft(x.T, axis=-1, norm=norm).T if is_numpy(x) else fft.rfft(x, axis=0, norm=norm)
        return to_pairs(_weighted(z, self.n, 2.0, self._cache) if self.transposed else z)

    def _adjoint(self):
        return RealFourier(self.n, self.inverse, self.norm, not self.transposed)

    def _conj(self):
        return self

    def _flops(self):
        return 5 * self.n * max(self.n - 1, 1).bit_length() // 2

    def _label(self):
        if self.inverse:
            text = call("irfft", self.n, self.norm)
        else:
            text = call("rfft", self.n, self.norm, pairs=True)
        return f"{text}.T" if self.transposed else text


def _weighted(z: Array, n: int, weight: float, cache: dict) -> Array:
    """Rows of half a spectrum: `weight` times those strictly between the frequencies 0 and n/2."""
    last = (n + 1) // 2
    if is_numpy(z):
        z = z.copy(order="K")
        z[1:last] *= weight
        return z
    weights = np.ones(z.shape[0])
    weights[1:last] = weight
    return z * column_on(z, weights, dtype_name(z.dtype), cache, weight)


def _room(n: int, x: np.ndarray) -> np.ndarray:
    """n rows of zeros, in the order of `x`."""
    turned = x.flags.f_contiguous
    return np.zeros((x.shape[1], n), x.dtype).T if turned else np.zeros((n, x.shape[1]), x.dtype)


def to_pairs(z: Array) -> Array:
    """(m, k) complex to (2 m, k) real: each entry as real part, imaginary part.

    With NumPy in Fortran order, and a view.
    """
    if is_numpy(z):
        return z.T.view(z.real.dtype).T
    xp, (m, k) = array_namespace(z), z.shape
    return xp.reshape(xp.stack([xp.real(z), xp.imag(z)], axis=1), (2 * m, k))


def from_pairs(x: Array) -> Array:
    """The other way round: (2 m, k) real to (m, k) complex; in Fortran order a view."""
    if not is_numpy(x):
        name = with_complex(dtype_name(x.dtype))
        return cast(x[0::2, :], name) + 1j * cast(x[1::2, :], name)
    if x.dtype.char not in PAIRED:
        x = x.astype(np.float32)
    wide, (rows, k) = PAIRED[x.dtype.char], x.shape
    if k == 1 and x.flags.f_contiguous:
        # the stride of an axis of one may be any; pocketfft's heirs refuse some
        return x.reshape(-1).view(wide)[:, None]
    if x.flags.f_contiguous or k <= 8:  # few columns: turned faster than put together
        return np.asfortranarray(x).T.view(wide).T
    z = np.empty((rows // 2, k), wide)
    z.real, z.imag = x[0::2], x[1::2]
    return z
