"""Discrete cosine and sine transforms of types I to IV, by `scipy.fft` or by an FFT.

Every one of them is ``s diag(out) 2K diag(in)`` with K the cosines or sines alone; what differs
between norms, and between a transform and its adjoint, are the weights of the edges.  K of types I
and IV is symmetric, those of II and III are transposes of each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._array import (
    Array,
    array_namespace,
    cast,
    dtype_name,
    has_complex_values,
    is_numpy,
    with_complex,
)
from .base import LinearOperator
from .fourier import by_parts, by_scipy, call, check_norm, columns_of, down_columns, host_has_it
from .roots import column_on, roots_of_unity
from .scalar import check_size

PARTNER = {1: 1, 2: 3, 3: 2, 4: 4}  # the type of the transpose


@dataclass(eq=False, repr=False)
class Cosine(LinearOperator):
    """A cosine or sine transform, or the transpose of one; see `lazyops.dct` and `lazyops.dst`."""

    n: int
    sine: bool = False
    type: int = 2
    norm: str = "backward"
    transposed: bool = False
    kind = "float"

    def _check(self):
        name = "a sine transform" if self.sine else "a cosine transform"
        object.__setattr__(self, "n", check_size(self.n, f"the size of {name}"))
        object.__setattr__(self, "norm", check_norm(self.norm))
        if self.type not in PARTNER:
            raise ValueError(f"the type of {name} is 1, 2, 3 or 4, got {self.type!r}")
        least = 2 if self.type == 1 and not self.sine else 1
        if self.n < least:
            raise ValueError(f"{name} of type {self.type} takes {least} or more, got {self.n}")

    def _shape(self):
        return self.n, self.n

    def _matmat(self, x):
        if x.shape[1] == 0:
            return x
        if is_numpy(x):
            return self._by_scipy(x)
        return by_scipy(self, x) if host_has_it(x) else self._by_fft(x)

    def _between(self, x):
        if not is_numpy(x) or self.transposed or 0 in x.shape:
            return None
        import scipy.fft

        f = scipy.fft.dst if self.sine else scipy.fft.dct
        if x.shape[2] == 1:
            return f(x[:, :, 0], self.type, norm=self.norm)[:, :, None]
        return f(x, self.type, axis=1, norm=self.norm)

    def _by_scipy(self, x: np.ndarray) -> np.ndarray:
        import scipy.fft

        f = scipy.fft.dst if self.sine else scipy.fft.dct
        if not self.transposed:
            return down_columns(f, x, type=self.type, norm=self.norm)
        edges, before, after = self.edge_weights
        own = 0.5 if PARTNER[self.type] in (1, 3) else 1.0  # what SciPy gives the edges by itself
        x = x.copy()
        x[edges] *= before / own
        y = f(x, PARTNER[self.type], axis=0)
        y[edges] *= after
        y *= self._factor
        return y

    def _family(self, x):
        if self.transposed or not is_numpy(x):
            return None
        return "dst" if self.sine else "dct", self.type, self.norm

    def _along(self, x, axes):
        import scipy.fft

        f = scipy.fft.dstn if self.sine else scipy.fft.dctn
        return f(x, self.type, axes=axes, norm=self.norm)

    def _by_fft(self, x: Array) -> Array:
        xp = array_namespace(x)
        if has_complex_values(x):
            return by_parts(self._by_fft, x)
        plan = _kernel(self.n, self.sine, PARTNER[self.type] if self.transposed else self.type)
        edges, before, after = self.edge_weights
        pre, post = plan.pre.copy(), plan.post.copy()
        pre[edges] *= before
        post[edges] *= after
        post *= 2 * self._factor
        if self.sine:
            post *= 1j  # the part wanted is minus the imaginary one: Re(i z) = -Im(z)
        name = with_complex(dtype_name(x.dtype))
        z = cast(x, name) * column_on(x, pre, name, self._cache, "pre")
        z = columns_of(z, self.n, plan.into, plan.length - self.n - plan.into)
        z = xp.fft.fft(z, axis=0)[plan.out : plan.out + self.n, :]
        return xp.real(z * column_on(x, post, name, self._cache, "post"))

    @property
    def edge_weights(self) -> tuple[list[int], float, float]:
        """The entries at the edge, and their weights in x and in y."""
        edges = [] if self.type == 4 or (self.sine and self.type == 1) else [0]
        if edges and self.sine:
            edges = [self.n - 1]
        elif edges and self.type == 1:
            edges = [0, self.n - 1]
        root = math.sqrt(0.5)
        if self.norm == "ortho":
            before, after = {1: (root, root), 2: (1.0, root), 3: (root, 1.0), 4: (1.0, 1.0)}[
                self.type
            ]
        else:
            before, after = (0.5 if self.type in (1, 3) else 1.0), 1.0
        return edges, *((after, before) if self.transposed else (before, after))

    @property
    def _factor(self) -> float:
        period = self.period
        return {"backward": 1.0, "ortho": period**-0.5, "forward": 1 / period}[self.norm]

    @property
    def period(self) -> int:
        """Of the rows, if they went on: what the norms are powers of."""
        return 2 * (self.n + (0 if self.type > 1 else 1 if self.sine else -1))

    def _adjoint(self):
        if self.norm == "ortho" or self.type == 4:
            return Cosine(self.n, self.sine, PARTNER[self.type], self.norm)
        return Cosine(self.n, self.sine, self.type, self.norm, not self.transposed)

    def _conj(self):
        return self

    def _facts(self):
        symmetric = self.type == 4 or (self.type == 1 and (self.sine or self.norm == "ortho"))
        facts: dict[str, bool | None] = {"hermitian": True} if symmetric else {}
        return {**facts, "unitary": True} if self.norm == "ortho" else facts

    def _flops(self):
        return 3 * self.n * max(self.n - 1, 1).bit_length()

    def _label(self):
        more: dict[str, Any] = {} if self.type == 2 else {"type": self.type}
        text = call("dst" if self.sine else "dct", self.n, self.norm, **more)
        return f"{text}.T" if self.transposed else text


class Kernel(NamedTuple):
    """K x = Re (or -Im) of ``post * FFT(pre * x, begun at `into`)``, read from `out` on."""

    length: int
    pre: np.ndarray
    post: np.ndarray
    into: int
    out: int


def _kernel(n: int, sine: bool, type: int) -> Kernel:
    j, one = np.arange(n), np.ones(n, np.complex128)
    s = int(sine)
    if type == 1:
        return Kernel(2 * (n + 1 if sine else n - 1), one, one, s, s)
    if type == 2:  # angle 2 pi (k + s) j / 2n + pi (k + s) / 2n
        return Kernel(2 * n, one, roots_of_unity(j + s, 4 * n), 0, s)
    if type == 3:
        return Kernel(2 * n, roots_of_unity(j + s, 4 * n), one, s, 0)
    return Kernel(2 * n, roots_of_unity(j, 4 * n), roots_of_unity(2 * j + 1, 8 * n), 0, 0)
