"""Modulation: the phases by which a shift shows in the spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._array import dtype_name, with_complex
from .base import LinearOperator
from .roots import column_on, roots_of_unity
from .scalar import check_size


@dataclass(eq=False, repr=False)
class Modulation(LinearOperator):
    """``y[q] = exp(-2 pi i step q / n) x[q]``, in the precision of `x`; no values are held.

    ``fft(n)`` of a signal moved by `step` places is this times its ``fft(n)``.
    """

    n: int
    step: int
    kind = "complex"
    makes_new = True

    def _check(self):
        object.__setattr__(self, "n", check_size(self.n, "the size of a modulation"))
        object.__setattr__(self, "step", int(self.step) % max(self.n, 1))

    def _shape(self):
        return self.n, self.n

    def _matmat(self, x):
        if "phases" not in self._cache:
            turns = np.arange(self.n, dtype=np.int64) * self.step  # below n^2
            self._cache["phases"] = roots_of_unity(turns, max(self.n, 1))
        name = with_complex(dtype_name(x.dtype))
        return column_on(x, self._cache["phases"], name, self._cache, "column") * x

    def _adjoint(self):
        return Modulation(self.n, -self.step)

    def _conj(self):
        return Modulation(self.n, -self.step)

    def _facts(self):
        return {"unitary": True, "hermitian": True if 2 * self.step % max(self.n, 1) == 0 else None}

    def _flops(self):
        return 6 * self.n

    def _label(self):
        return f"W{self.n}^{self.step}"
