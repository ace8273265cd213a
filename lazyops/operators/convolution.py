"""Convolution with a filter: full, same, valid, and Toeplitz matrices, which are a part of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .._array import Array, array_namespace, conj, dtype_name, is_complex_name, is_numpy
from .base import LinearOperator
from .node import flop_weight
from .scalar import check_size
from .spectrum import fast_length, filtered, in_precision

METHODS = ("auto", "direct", "fft", "overlap-add")


@dataclass(eq=False, repr=False)
class Convolution(LinearOperator):
    """Rows ``start .. start + rows - 1`` of the full convolution; see `lazyops.convolution`.

    ``y[i] = sum_j kernel[start + i - j] x[j]``, with zeros around the kernel.  A matrix of this
    form is constant along its diagonals: a Toeplitz matrix, and its adjoint is another.

    Parameters
    ----------
    kernel : array of shape (m,)
    n : int
        Length of `x`.
    start, rows : int
        The window; every entry of `x` and of the kernel meets it.
    method : {"auto", "direct", "fft", "overlap-add"}
    """

    kernel: Array
    n: int
    start: int
    rows: int
    method: str = "auto"
    kind = "float"
    makes_new = True

    def _check(self):
        check_kernel(self.kernel)
        for name in ("n", "start", "rows"):
            value = check_size(getattr(self, name), f"{name} of a convolution")
            object.__setattr__(self, name, value)
        m = self.kernel.shape[0]
        end = self.start + self.rows
        if self.n < 1 or self.start > m - 1 or end < self.n or end > self.n + m - 1:
            raise ValueError(
                f"a convolution of {self.n} entries with {m} has no window of {self.rows} rows "
                f"from {self.start} on that meets them all"
            )
        if self.method not in METHODS:
            raise ValueError(f"method is one of {', '.join(METHODS)}, got {self.method!r}")

    def _shape(self):
        return self.rows, self.n

    def _matmat(self, x):
        name, kernel = self._prepared(x)
        if x.shape[1] == 0:
            xp = array_namespace(x)
            return xp.zeros((self.rows, 0), dtype=getattr(xp, name), device=x.device)
        x = in_precision(x, name)
        method = self.method if self.method != "auto" else self._chosen(x, name)
        if method == "direct":
            return self._by_columns(x, kernel) if is_numpy(x) else self._by_shifts(x, kernel)
        if method == "fft":
            return self._by_fft(x, kernel)
        return self._by_blocks(x, kernel)

    def _prepared(self, x: Array) -> tuple[str, Array]:
        """The dtype of the result and the kernel in its precision; kept for NumPy."""
        known = self._cache.get(("kernel", x.dtype)) if is_numpy(x) else None
        if known is None:
            name = self._law.result(dtype_name(x.dtype))
            known = name, in_precision(self.kernel, name)
            if is_numpy(x):
                self._cache["kernel", x.dtype] = known
        return known

    # -- three ways

    def _by_columns(self, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """NumPy's own loop, which stops at the rows that are wanted where they are "valid"."""
        m, n = kernel.shape[0], self.n
        valid = self.start == min(m, n) - 1 and self.rows == abs(m - n) + 1
        window = slice(None) if valid else slice(self.start, self.start + self.rows)
        mode: Literal["valid", "full"] = "valid" if valid else "full"
        if x.shape[1] == 1:
            return np.convolve(x[:, 0], kernel, mode)[window][:, None]
        order: Literal["C", "F"] = "C" if x.flags.c_contiguous else "F"
        y = np.empty((self.rows, x.shape[1]), np.result_type(x, kernel), order)
        for i in range(x.shape[1]):
            y[:, i] = np.convolve(x[:, i], kernel, mode)[window]
        return y

    def _by_shifts(self, x: Array, kernel: Array) -> Array:
        """One multiple of a shifted `x` for each entry of the kernel; any library."""
        xp, m = array_namespace(x), kernel.shape[0]
        before = max(0, m - 1 - self.start)
        after = max(0, self.start + self.rows - self.n)
        zeros = lambda rows: xp.zeros((rows, x.shape[1]), dtype=x.dtype, device=x.device)
        z = xp.concat([zeros(before), x, zeros(after)], axis=0)
        y = None
        for j in range(m):
            first = before + self.start - j
            if first + self.rows > 0 and first < z.shape[0]:
                t = kernel[j] * z[max(first, 0) : first + self.rows, :]
                y = t if y is None else y + t
        return y

    def _by_fft(self, x: Array, kernel: Array) -> Array:
        """One FFT: so long that what is wrapped around falls outside the window."""
        y = filtered_columns(x, kernel, self._length(self._is_real(x)), self._cache)
        return y[self.start : self.start + self.rows, :]

    def _length(self, is_real: bool) -> int:
        m, end = self.kernel.shape[0], self.start + self.rows
        return fast_length(max(m, end, self.n + m - 1 - self.start), is_real)

    def _by_blocks(self, x: Array, kernel: Array) -> Array:
        """Overlap-add: blocks of x, whose results reach into the block behind."""
        m, length = kernel.shape[0], block_length(kernel.shape[0], self.n, self._is_real(x))
        if is_numpy(x):
            return self._by_stretches(x, kernel, length)
        xp, k, size = array_namespace(x), x.shape[1], length - m + 1
        blocks = -(-self.n // size)
        zeros = lambda *shape: xp.zeros(shape, dtype=x.dtype, device=x.device)
        x = xp.concat([x, zeros(blocks * size - self.n, k)], axis=0)
        y = filtered(xp.reshape(x, (blocks, size, k)), kernel, length, self._cache, axis=1)
        zeros = lambda *shape: xp.zeros(shape, dtype=y.dtype, device=y.device)
        head = xp.reshape(y[:, :size, :], (blocks * size, k))
        tail = xp.concat([y[:, size:, :], zeros(blocks, size - m + 1, k)], axis=1)
        tail = xp.reshape(tail, (blocks * size, k))
        full = xp.concat([head, zeros(size, k)], axis=0) + xp.concat([zeros(size, k), tail], axis=0)
        return full[self.start : self.start + self.rows, :]

    def _by_stretches(self, x: np.ndarray, kernel: np.ndarray, length: int) -> np.ndarray:
        """`_by_blocks`, as many at a time as stay in a cache."""
        m, k = kernel.shape[0], x.shape[1]
        size = length - m + 1
        blocks = -(-self.n // size)
        together = max(8, STRETCH // (length * k * x.itemsize))
        full = np.empty((blocks * size + m - 1, k), np.result_type(x, kernel))
        left = np.zeros((m - 1, k), full.dtype)  # what reaches beyond the stretch before
        for first in range(0, blocks, together):
            count = min(together, blocks - first)
            part = x[first * size : (first + count) * size]
            if part.shape[0] < count * size:
                part = np.concatenate([part, np.zeros((count * size - part.shape[0], k), x.dtype)])
            y = filtered(part.reshape(count, size, k), kernel, length, self._cache, axis=1)
            out = full[first * size : (first + count) * size].reshape(count, size, k)
            out[...] = y[:, :size]
            out[0, : m - 1] += left
            out[1:, : m - 1] += y[:-1, size:]
            left = y[-1, size:]
        full[blocks * size :] = left
        return full[self.start : self.start + self.rows]

    # -- which way

    def _is_real(self, x: Array) -> bool:
        return not (self._is_complex or is_complex_name(dtype_name(x.dtype)))

    def _chosen(self, x: Array, name: str) -> str:
        key = ("method", is_numpy(x), name, min(x.shape[1], 16))
        found = self._cache.get(key)
        return found or self._cache.setdefault(key, cheapest(self, *key[1:]))

    def _adjoint(self):
        xp, m = array_namespace(self.kernel), self.kernel.shape[0]
        reversed_ = conj(xp.flip(self.kernel))
        return Convolution(
            reversed_, self.rows, m - 1 - self.start, self.n, self.method, copy=False
        )

    def _flops(self):
        return 2 * flop_weight(self.kernel) * min(self.kernel.shape[0], self.n) * self.rows

    def _label(self):
        return f"conv({self.kernel.shape[0]})[{self.rows}x{self.n}]"


def check_kernel(kernel: Array) -> None:
    if getattr(kernel, "ndim", None) != 1 or kernel.shape[0] == 0:
        shape = tuple(getattr(kernel, "shape", ()))
        raise ValueError(f"a filter has shape (m,) with m from 1 on, got {shape}")


def filtered_columns(x: Array, kernel: Array, length: int, cache: dict) -> Array:
    """`filtered` along the first axis; NumPy's column order is kept."""
    if is_numpy(x) and x.flags.f_contiguous:
        return filtered(x.T, kernel, length, cache, axis=1).T
    return filtered(x, kernel, length, cache)


def block_length(m: int, n: int, is_real: bool) -> int:
    """Of the FFTs of overlap-add: at least twice the kernel, 8 times where there is room."""
    return fast_length(min(max(8 * m, 256), max(n + m - 1, 2 * m)), is_real)


# Nanoseconds, rounded from timings of NumPy 2.4 and SciPy 1.17 (pocketfft) on x86-64 at 3 GHz;
# `python benchmarks/transforms.py --costs` times the methods to check them
CALL = {"direct": 2e3, "column": 2e3, "shift": 6e3, "fft": 15e3, "overlap-add": 22e3}
SHORT, PER_TAP = 11, 0.13  # real filters up to here have loops of their own in NumPy
PER_PRODUCT = {"float32": 0.03, "float64": 0.06, "complex64": 0.07, "complex128": 0.12}
PER_ROW = {"float32": 5.5, "float64": 5.7, "complex64": 7.2, "complex128": 14.0}  # a dot product
# an FFT there and back, by its n log2(n): one alone, and of several, which run in vector lanes
ALONE = {"float32": 0.6, "float64": 0.7, "complex64": 1.2, "complex128": 1.2}
IN_LANES = {"float32": 0.27, "float64": 0.45, "complex64": 0.46, "complex128": 0.87}
CACHE = 1 << 22  # bytes of a signal; beyond them FFTs take about twice as long
STRETCH = 1 << 19  # bytes of the blocks that are transformed together


def cheapest(op: Convolution, on_numpy: bool, name: str, columns: int) -> str:
    """The method with the least estimated time for a result of dtype `name`."""
    m, n, is_real = op.kernel.shape[0], op.n, not is_complex_name(name)
    name = name if name in ALONE else "float64"
    steps = lambda length: length * math.log2(max(length, 2))
    long = op._length(is_real)
    beyond = 2 if on_numpy and long * columns * np.dtype(name).itemsize > CACHE else 1
    each = IN_LANES[name] if columns > 3 else ALONE[name]
    times = {"fft": CALL["fft"] + columns * beyond * each * steps(long)}
    if on_numpy:
        short = is_real and min(m, n) <= SHORT
        row = 0.3 + PER_TAP * min(m, n) if short else PER_ROW[name] + PER_PRODUCT[name] * min(m, n)
        row += 1.5 * (columns > 1)
        times["direct"] = CALL["direct"] + columns * (CALL["column"] + row * op.rows)
    else:
        times["direct"] = m * (CALL["shift"] + 2 * columns * op.rows)
    if 8 * m < n:
        length = block_length(m, n, is_real)
        blocks = -(-n // (length - m + 1))
        each = IN_LANES[name] if columns * blocks > 3 else ALONE[name]
        work = blocks * each * steps(length) + n
        times["overlap-add"] = CALL["overlap-add"] + columns * work
    return min(times, key=times.__getitem__)
