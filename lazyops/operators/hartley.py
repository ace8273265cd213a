"""The Hartley transform, by one FFT of real numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._array import Array, array_namespace, has_complex_values, is_numpy
from .base import LinearOperator
from .fourier import by_parts, by_scipy, call, check_norm, fft_of, for_scipy
from .real_fourier import check_real_size


@dataclass(eq=False, repr=False)
class Hartley(LinearOperator):
    """``y[q] = s sum_k x[k] (cos + sin)(2 pi q k / n)``; see `lazyops.hartley`."""

    n: int
    norm: str = "backward"
    kind = "float"
    makes_new = True

    def _check(self):
        object.__setattr__(self, "n", check_real_size(self.n, "a Hartley transform"))
        object.__setattr__(self, "norm", check_norm(self.norm))

    def _shape(self):
        return self.n, self.n

    def _matmat(self, x):
        if x.shape[1] == 0:
            return array_namespace(x).zeros_like(x)
        if for_scipy(x):
            return by_scipy(self, x)
        if has_complex_values(x):
            return by_parts(self._matmat, x)
        if is_numpy(x) and x.flags.f_contiguous:
            return hartley_along(x.T, 1, self.norm).T
        return hartley_along(x, 0, self.norm)

    def _family(self, x):
        return None if has_complex_values(x) else ("hartley", self.norm)

    def _along(self, x, axes):
        for axis in axes:
            x = hartley_along(x, axis, self.norm)
        return x

    def _adjoint(self):
        return self

    def _conj(self):
        return self

    def _facts(self):
        return {"hermitian": True, "unitary": True if self.norm == "ortho" else None}

    def _flops(self):
        return 5 * self.n * max(self.n - 1, 1).bit_length() // 2

    def _label(self):
        return call("hartley", self.n, self.norm)


def hartley_along(x: Array, axis: int, norm: str) -> Array:
    """Of a real `x`: Re - Im of its spectrum, and Re + Im, backwards, where that is mirrored."""
    n = x.shape[axis]
    z = fft_of(x).rfft(x, axis=axis, norm=norm)
    before = (slice(None),) * axis
    after = (slice(None),) * (x.ndim - axis - 1)
    mirrored = (*before, slice(1, (n + 1) // 2), *after)
    if not is_numpy(x):
        xp = array_namespace(x)
        re, im = xp.real(z), xp.imag(z)
        back = xp.flip(re[mirrored] + im[mirrored], axis=axis)
        return xp.concat([re - im, back], axis=axis)
    y = np.empty(x.shape, z.real.dtype)
    half = z.shape[axis]
    np.subtract(z.real, z.imag, out=y[(*before, slice(half), *after)])
    reverse = (*before, slice(None, None, -1), *after)
    z = z[mirrored]
    np.add(z.real, z.imag, out=y[(*before, slice(half, None), *after)][reverse])
    return y
