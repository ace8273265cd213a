"""The discrete Fourier transform, by the FFT of the library that `x` comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._array import Array, array_namespace, cast, dtype_name, is_numpy, with_complex
from .base import LinearOperator
from .scalar import check_size

NORMS = ("backward", "ortho", "forward")  # which direction is divided by n


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
        if is_numpy(x) and x.flags.f_contiguous:  # one column after the other, the result alike
            return self._along(x.T, 1).T
        return self._along(x, 0)

    def _between(self, x):
        if x.shape[2] == 1:  # SciPy runs faster along what is the last axis indeed
            return self._along(x[:, :, 0], 1)[:, :, None]
        return self._along(x, 1)

    def _along(self, x: Array, axis: int) -> Array:
        name = with_complex(dtype_name(x.dtype))
        if 0 in x.shape:
            return array_namespace(x).zeros_like(cast(x, name))
        if not is_numpy(x):
            fft = array_namespace(x).fft
            f = fft.ifft if self.inverse else fft.fft
            return f(cast(x, name), axis=axis, norm=self.norm)
        import scipy.fft

        f = scipy.fft.ifft if self.inverse else scipy.fft.fft
        return f(x, axis=axis, norm=self.norm)

    def _adjoint(self):
        """F.H is the transform of the other sign with the same factor s."""
        other = {"backward": "forward", "forward": "backward", "ortho": "ortho"}[self.norm]
        return Fourier(self.n, not self.inverse, other)

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


def columns_of(x: Array, n: int, before: int, after: int) -> Array:
    """`x` of shape (n, k) with rows of zeros before and after."""
    xp = array_namespace(x)
    zeros = [xp.zeros((m, x.shape[1]), dtype=x.dtype, device=x.device) for m in (before, after)]
    return xp.concat([zeros[0], x, zeros[1]], axis=0) if before + after else x
