"""The Walsh-Hadamard transform of size 2^k, in the natural order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .._array import (
    Array,
    array_namespace,
    cast,
    dtype_name,
    is_inexact_name,
    is_numpy,
    namespace_of,
)
from .base import LinearOperator
from .fourier import call, check_norm
from .permutation import Permutation
from .scalar import check_size

RADIX = 5  # bits at once, by a product with a small matrix of signs
ORDERS = ("natural", "sequency", "dyadic")


@dataclass(eq=False, repr=False)
class Hadamard(LinearOperator):
    """``y[q] = s sum_k (-1)^(bits that q and k share) x[k]``; see `lazyops.hadamard`."""

    n: int
    norm: str = "backward"
    kind = "float"

    def _check(self):
        n = check_size(self.n, "the size of a Hadamard transform")
        if n < 1 or n & (n - 1):
            raise ValueError(f"a Hadamard transform takes a power of two, got {n}")
        object.__setattr__(self, "n", n)
        object.__setattr__(self, "norm", check_norm(self.norm))

    def _shape(self):
        return self.n, self.n

    def _matmat(self, x):
        return self._between(x[None, :, :])[0, :, :]

    def _between(self, x):
        if not is_inexact_name(dtype_name(x.dtype)):
            x = cast(x, "float64")
        bits = self.n.bit_length() - 1
        if 0 in x.shape or bits == 0:
            return x
        y, xp, done = x, array_namespace(x), 0
        while done < bits:  # the lowest bits first
            now = min(RADIX, bits - done)
            signs = self._signs(x, now, last=done + now == bits)
            block = (1 << done) * x.shape[2]  # numbers that one entry of the small matrix meets
            if block == 1:
                y = xp.reshape(y, (-1, 1 << now)) @ signs
            else:
                y = signs @ xp.reshape(y, (-1, 1 << now, block))
            done += now
        return xp.reshape(y, x.shape)

    def _signs(self, x: Array, bits: int, last: bool) -> Array:
        """The small matrix in the dtype and place of `x`; the last one carries the factor."""
        key = (bits, last, dtype_name(x.dtype), array_namespace(x), str(x.device))
        if key not in self._cache:
            power = {"backward": 0.0, "ortho": -0.5, "forward": -1.0}[self.norm] if last else 0.0
            host = scipy.linalg.hadamard(1 << bits) * float(self.n) ** power
            host = host.astype(key[2] if key[2] in np.sctypeDict else "float32")
            moved = host if is_numpy(x) else namespace_of(x).asarray(host, device=x.device)
            self._cache[key] = cast(moved, key[2])
        return self._cache[key]

    def _adjoint(self):
        return self

    def _conj(self):
        return self

    def _facts(self):
        return {"hermitian": True, "unitary": True if self.norm == "ortho" else None}

    def _flops(self):
        return self.n * (self.n.bit_length() - 1)

    def _label(self):
        return call("hadamard", self.n, self.norm)


def walsh_order(n: int, order: str) -> Permutation | None:
    """What brings the rows of the natural order into `order`; None for the natural one."""
    if order not in ORDERS:
        raise ValueError(f"order is one of {', '.join(ORDERS)}, got {order!r}")
    if order == "natural":
        return None
    i = np.arange(n)
    if order == "sequency":
        i = i ^ (i >> 1)  # Gray code: one more sign change from each row to the next
    return Permutation(np.asarray(Permutation.bit_reversal(n).index)[i])
