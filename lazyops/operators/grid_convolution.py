"""Convolution over several axes with a filter that need not be a product of filters of one axis."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from .._array import (
    Array,
    array_namespace,
    cast,
    conj,
    dtype_name,
    has_complex_values,
    is_complex_name,
    is_numpy,
    needs_grad,
    with_complex,
)
from ..kernels import memory, shifts, shifts_obstacle
from .base import LinearOperator
from .fourier import fft_of
from .node import flop_weight
from .scalar import check_size
from .spectrum import fast_length, in_precision

METHODS = ("auto", "direct", "fft")
Sizes = tuple[int, ...]


@dataclass(eq=False, repr=False)
class GridConvolution(LinearOperator):
    """A window of the full convolution of a grid, flattened in C order; see `lazyops.convolution`.

    ``y[i] = sum_j kernel[start + i - j] x[j]`` with indices of several axes, and zeros around the
    kernel: rows ``start .. start + rows - 1`` along each axis.  Its adjoint is another one.

    Parameters
    ----------
    kernel : array with an axis for each of the grid
    sizes : tuple of int
        Of the grid of `x`.
    start, rows : tuples of int
        The window; every entry of `x` and of the kernel meets it.
    method : {"auto", "direct", "fft"}
    """

    kernel: Array
    sizes: Sizes
    start: Sizes
    rows: Sizes
    method: str = "auto"
    kind = "float"
    makes_new = True

    def _check(self):
        for name in ("sizes", "start", "rows"):
            values = tuple([check_size(n, f"{name} of a convolution") for n in getattr(self, name)])
            object.__setattr__(self, name, values)
        taps, axes = tuple(getattr(self.kernel, "shape", ())), len(self.sizes)
        if not (0 < axes == len(taps) == len(self.start) == len(self.rows)) or 0 in taps:
            raise ValueError(
                f"a filter of a grid of {axes} axes has as many, none of size 0, got shape {taps}"
            )
        for n, m, start, rows in zip(self.sizes, taps, self.start, self.rows, strict=True):
            if n < 1 or start > m - 1 or not n <= start + rows <= n + m - 1:
                raise ValueError(
                    f"a convolution of {n} entries with {m} has no window of {rows} rows from "
                    f"{start} on that meets them all"
                )
        if self.method not in METHODS:
            raise ValueError(f"method is one of {', '.join(METHODS)}, got {self.method!r}")

    def _shape(self):
        return math.prod(self.rows), math.prod(self.sizes)

    @property
    def _taps(self) -> Sizes:
        return tuple(self.kernel.shape)

    def _matmat(self, x):
        name = self._law.result(dtype_name(x.dtype))
        xp, k = array_namespace(x), x.shape[1]
        if k == 0:
            return xp.zeros((self.shape[0], 0), dtype=getattr(xp, name), device=x.device)
        kernel, x = in_precision(self.kernel, name), in_precision(x, name)
        grid = xp.reshape(x, (*self.sizes, k))
        method = self._chosen(kernel, x) if self.method == "auto" else self.method
        y = self._by_fft(grid, kernel) if method == "fft" else self._directly(grid, kernel)
        return xp.reshape(y, (self.shape[0], k))

    # -- by FFTs over all axes

    def _by_fft(self, grid: Array, kernel: Array) -> Array:
        """So long that what is wrapped around falls outside the window."""
        is_complex = has_complex_values(kernel) or has_complex_values(grid)
        axes, lengths = tuple(range(len(self.sizes))), self._lengths(not is_complex)
        H, fft = self._spectrum(kernel, lengths, is_complex), fft_of(grid)
        if is_complex:
            grid = grid if is_numpy(grid) else cast(grid, with_complex(dtype_name(grid.dtype)))
            y = fft.ifftn(fft.fftn(grid, s=lengths, axes=axes) * H, axes=axes)
        else:
            y = fft.irfftn(fft.rfftn(grid, s=lengths, axes=axes) * H, s=lengths, axes=axes)
        window = [slice(a, a + n) for a, n in zip(self.start, self.rows, strict=True)]
        return y[(*window, ...)]

    def _lengths(self, is_real: bool) -> Sizes:
        each = zip(self.sizes, self._taps, self.start, self.rows, strict=True)
        return tuple([fast_length(max(m, a + r, n + m - 1 - a), is_real) for n, m, a, r in each])

    def _spectrum(self, kernel: Array, lengths: Sizes, is_complex: bool) -> Array:
        """Of the kernel, with an axis of columns; kept while no gradient is asked for."""
        key = "spectrum", is_complex, kernel.dtype
        version = getattr(self.kernel, "_version", 0)  # torch counts the changes of a tensor
        if (found := self._cache.get(key)) is not None and found[0] == version:
            return found[1]
        fft, xp = fft_of(kernel), array_namespace(kernel)
        axes = tuple(range(len(lengths)))
        if is_complex:
            kernel = cast(kernel, with_complex(dtype_name(kernel.dtype)))
            H = fft.fftn(kernel, s=lengths, axes=axes)
        else:
            H = fft.rfftn(kernel, s=lengths, axes=axes)
        H = xp.reshape(H, (*H.shape, 1))
        if not needs_grad(kernel):
            self._cache[key] = version, H
        return H

    # -- as a sum of shifted grids, in zeros wide enough for all shifts

    def _margins(self) -> list[tuple[int, int]]:
        each = zip(self.sizes, self._taps, self.start, self.rows, strict=True)
        return [(max(0, m - 1 - a), max(0, a + r - n)) for n, m, a, r in each]

    def _directly(self, grid: Array, kernel: Array) -> Array:
        if is_numpy(grid) and self._compiled(kernel, grid):
            return self._in_one_pass(grid, kernel)
        xp, margins, y = array_namespace(grid), self._margins(), None
        for axis, (before, after) in enumerate(margins):
            wide = _zeros(grid, axis, before), grid, _zeros(grid, axis, after)
            grid = xp.concat(wide, axis=axis)
        for j in itertools.product(*map(range, self._taps)):
            at = [b + a - i for (b, _), a, i in zip(margins, self.start, j, strict=True)]
            window = [slice(i, i + r) for i, r in zip(at, self.rows, strict=True)]
            piece = grid[(*window, ...)]
            term = kernel[j] * piece
            y = term if y is None else y + term
        return y

    def _compiled(self, kernel: Array, grid: np.ndarray) -> bool:
        if not is_numpy(kernel) or kernel.dtype.kind == "c":
            return False
        return shifts_obstacle(grid, int(np.count_nonzero(kernel))) is None

    def _in_one_pass(self, grid: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """A shift along any axis is one of the flattened grid; what is between rows drops out."""
        k = grid.shape[-1]
        inside, shape, offsets, weights, count = self._terms(kernel, k)
        padded, y = np.zeros(shape, grid.dtype), memory.empty(shape, grid.dtype)
        padded[inside] = grid
        shifts.add_shifted(padded.reshape(-1), y.reshape(-1), offsets, weights, 1.0, 0, count)
        return np.ascontiguousarray(y[tuple([slice(r) for r in self.rows])])

    def _terms(self, kernel: np.ndarray, k: int) -> tuple:
        """Where the grid lies in its zeros, their shape, the flat shifts, their number; kept."""
        key = "terms", kernel.dtype, k
        if key not in self._cache:
            margins = self._margins()
            padded = [n + sum(m) for n, m in zip(self.sizes, margins, strict=True)]
            steps = [math.prod(padded[axis + 1 :]) * k for axis in range(len(padded))]
            first = [b + a for (b, _), a in zip(margins, self.start, strict=True)]
            taps = np.argwhere(kernel)
            offsets = (np.subtract(first, taps) @ np.array(steps)).tolist()
            inside = tuple([slice(b, b + n) for n, (b, _) in zip(self.sizes, margins, strict=True)])
            count = int(np.dot(np.subtract(self.rows, 1), steps)) + k
            weights = kernel[tuple(taps.T)].tolist()
            self._cache[key] = inside, (*padded, k), offsets, weights, count
        return self._cache[key]

    # -- which way

    def _chosen(self, kernel: Array, x: Array) -> str:
        key = "method", is_numpy(x), x.dtype, min(x.shape[1], 16)
        if key not in self._cache:
            self._cache[key] = self._cheapest(kernel, x)
        return self._cache[key]

    def _cheapest(self, kernel: Array, x: Array) -> str:
        """The method with the least estimated time."""
        is_complex = has_complex_values(kernel) or is_complex_name(dtype_name(x.dtype))
        factor = (1 + is_complex) * (0.5 if "32" in real_name(x) else 1.0)  # numbers of 8 bytes
        N = math.prod(self._lengths(not is_complex)) * x.shape[1]
        fft = CALL["fft"] + factor * PER_STEP * N * math.log2(max(N, 2))
        padded = [n + sum(m) for n, m in zip(self.sizes, self._margins(), strict=True)]
        entries = factor * math.prod(padded) * x.shape[1]
        if is_numpy(x) and self._compiled(kernel, np.empty((1, 1), x.dtype)):
            taps = int(np.count_nonzero(kernel))
            direct = CALL["pass"] + entries * (PER_ENTRY + PER_TAP * taps)
        else:
            direct = math.prod(self._taps) * (CALL["shift"] + PER_TERM * entries)
        return "direct" if direct <= fft else "fft"

    def _adjoint(self):
        xp = array_namespace(self.kernel)
        start = tuple([m - 1 - a for m, a in zip(self._taps, self.start, strict=True)])
        kernel = conj(xp.flip(self.kernel))
        return GridConvolution(kernel, self.rows, start, self.sizes, self.method, copy=False)

    def _flops(self):
        return 2 * flop_weight(self.kernel) * math.prod(self._taps) * self.shape[0]

    def _label(self):
        sizes = ["x".join(map(str, s)) for s in (self._taps, self.rows, self.sizes)]
        return f"conv({sizes[0]})[{sizes[1]} from {sizes[2]}]"


def real_name(x: Array) -> str:
    """`x`'s dtype by what its parts are."""
    return {"complex64": "float32"}.get(dtype_name(x.dtype), dtype_name(x.dtype))


def _zeros(x: Array, axis: int, n: int) -> Array:
    shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
    return array_namespace(x).zeros(shape, dtype=x.dtype, device=x.device)


# Nanoseconds for numbers of 8 bytes, from timings on x86-64 at 3 GHz
CALL = {"fft": 35e3, "pass": 20e3, "shift": 6e3}
PER_STEP = 0.5  # FFTs there and back, by N log2(N)
PER_ENTRY, PER_TAP = 1.1, 0.04  # compiled
PER_TERM = 2.0  # by operations of a library
