"""The discrete Fourier transform, by the FFT of the library that `x` comes from."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._array import Array, array_namespace, cast, dtype_name, is_numpy, with_complex
from .base import LinearOperator
from .host import readable, through_host
from .scalar import check_size

NORMS = ("backward", "ortho", "forward")  # which direction is divided by n
SCIPYS = ("float32", "float64", "complex64", "complex128")
MANY = 1 << 17  # numbers from which a transform is worth a copy less and a thread more
SWAPPED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}  # of the other direction


def check_norm(norm: Any) -> str:
    if norm is None:
        return "backward"
    if norm not in NORMS:
        raise ValueError(f"norm is one of {', '.join(NORMS)}, got {norm!r}")
    return norm


@dataclass(eq=False, repr=False)
class Fourier(LinearOperator):
    """``y[q] = s sum_k x[k] exp(-+ 2 pi i q k / n)``; see `lazyops.fft`.

    Parameters
    ----------
    n : int
    inverse : bool
        The sign: + where it is set.
    norm : {"backward", "ortho", "forward"}
        As in SciPy: s is 1, ``n**-0.5`` and ``1/n`` forward, and the other way round inverse.
    """

    n: int
    inverse: bool = False
    norm: str = "backward"
    kind = "complex"
    makes_new = True

    def _check(self):
        object.__setattr__(self, "n", check_size(self.n, "the size of a Fourier transform"))
        object.__setattr__(self, "norm", check_norm(self.norm))

    def _shape(self):
        return self.n, self.n

    def _matmat(self, x):
        if 0 in x.shape:
            return array_namespace(x).zeros_like(cast(x, with_complex(dtype_name(x.dtype))))
        if for_scipy(x):
            return by_scipy(self, x)
        fft = fft_of(x)
        return down_columns(
            fft.ifft if self.inverse else fft.fft, complex_for_fft(x), norm=self.norm
        )

    def _family(self, x):
        return "fft", self.inverse, self.norm

    def _along(self, x, axes):
        fft = fft_of(x)
        f = fft.ifftn if self.inverse else fft.fftn
        return f(complex_for_fft(x), axes=axes, norm=self.norm)

    def _between(self, x):
        if 0 in x.shape:
            return array_namespace(x).zeros_like(cast(x, with_complex(dtype_name(x.dtype))))
        if x.shape[2] == 1:  # SciPy runs faster along what is the last axis indeed
            return self._along(x[:, :, 0], (1,))[:, :, None]
        return self._along(x, (1,))

    def _adjoint(self):
        """F.H is the transform of the other sign with the same factor s."""
        return Fourier(self.n, not self.inverse, SWAPPED[self.norm])

    def _conj(self):
        return self._adjoint()  # F is symmetric

    def _facts(self):
        return {"unitary": True} if self.norm == "ortho" or self.n <= 1 else {}

    def _flops(self):
        return 5 * self.n * max(self.n - 1, 1).bit_length()

    def _label(self):
        return call("ifft" if self.inverse else "fft", self.n, self.norm)

    @property
    def divides(self) -> float:
        """The power of n that is divided by: 0, 1/2 or 1."""
        if self.norm == "ortho":
            return 0.5
        return float((self.norm == "backward") == self.inverse)


def call(name: str, n: int, norm: str, **more: Any) -> str:
    """How the constructor of a transform is written."""
    if norm != "backward":
        more["norm"] = norm
    return f"{name}({', '.join([str(n), *(f'{k}={v!r}' for k, v in more.items())])})"


def fft_of(x: Array) -> Any:
    """The module of FFTs for the library of `x`; SciPy's for NumPy."""
    return _scipys() if is_numpy(x) else array_namespace(x).fft


@functools.cache  # the statement alone takes half a microsecond
def _scipys() -> Any:
    import scipy.fft

    return scipy.fft


def for_scipy(x: Array) -> bool:
    """Whether `x` is a large tensor of the CPU whose columns lie side by side.

    SciPy transforms several such columns at once, where they lie; torch copies them to one after
    the other, and leaves the result so.
    """
    many = x.shape[1] > 1 and math.prod(x.shape) >= MANY
    return many and not is_numpy(x) and host_has_it(x) and x.stride(0) != 1


def host_has_it(x: Array) -> bool:
    """Whether `x` is a tensor in memory and of numbers that SciPy's FFTs take."""
    return dtype_name(x.dtype) in SCIPYS and readable(x)


def by_scipy(op: LinearOperator, x: Array) -> Array:
    """The product with a tensor by SciPy, on the threads that torch has; with gradients."""
    import torch

    with _scipys().set_workers(torch.get_num_threads() if x.numel() >= MANY else 1):
        return through_host(op, op._matmat, x)


def complex_for_fft(x: Array) -> Array:
    """`x` as complex FFTs take it: SciPy's are faster on real numbers, others refuse them."""
    return x if is_numpy(x) else cast(x, with_complex(dtype_name(x.dtype)))


def down_columns(f: Callable, x: Array, **options: Any) -> Array:
    """`f` of each column; with NumPy's column order, one column after the other, and kept."""
    if is_numpy(x) and x.flags.f_contiguous:
        return f(x.T, axis=-1, **options).T
    return f(x, axis=0, **options)


def by_parts(f: Callable, x: Array) -> Array:
    """A real operator on a complex `x`: `f` sees real and imaginary parts as columns."""
    xp, k = array_namespace(x), x.shape[1]
    both = f(xp.concat([xp.real(x), xp.imag(x)], axis=1))
    name = with_complex(dtype_name(both.dtype))
    return cast(both[:, :k], name) + 1j * cast(both[:, k:], name)


def columns_of(x: Array, n: int, before: int, after: int) -> Array:
    """`x` of shape (n, k) with rows of zeros before and after."""
    xp = array_namespace(x)
    zeros = [xp.zeros((m, x.shape[1]), dtype=x.dtype, device=x.device) for m in (before, after)]
    return xp.concat([zeros[0], x, zeros[1]], axis=0) if before + after else x
