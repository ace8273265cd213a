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
        xp, m, k = array_namespace(x), kernel.shape[0], x.shape[1]
        length = block_length(m, self.n, self._is_real(x))
        size = length - m + 1
        blocks = -(-self.n // size)
        zeros = lambda *shape: xp.zeros(shape, dtype=x.dtype, device=x.device)
        x = xp.concat([x, zeros(blocks * size - self.n, k)], axis=0)
        y = filtered(xp.reshape(x, (blocks, size, k)), kernel, length, self._cache, axis=1)
        zeros = lambda *shape: xp.zeros(shape, dtype=y.dtype, device=y.device)
        head = xp.reshape(y[:, :size, :], (blocks * size, k))
        if is_numpy(x):
            out = np.concatenate([head, zeros(size, k)])
            later = out[size:].reshape(blocks, size, k)
            later[:, : m - 1] += y[:, size:]
            return out[self.start : self.start + self.rows]
        tail = xp.concat([y[:, size:, :], zeros(blocks, size - m + 1, k)], axis=1)
        tail = xp.reshape(tail, (blocks * size, k))
        full = xp.concat([head, zeros(size, k)], axis=0) + xp.concat([zeros(size, k), tail], axis=0)
        return full[self.start : self.start + self.rows, :]

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


# Nanoseconds, measured by `python benchmarks/transforms.py --costs` (pocketfft, x86-64 at 3 GHz)
CALL = {"direct": 4e3, "shift": 6e3, "fft": 25e3, "overlap-add": 40e3}
PER_PRODUCT = {"float32": 0.06, "float64": 0.2, "complex64": 0.2, "complex128": 0.32}
PER_ROW = {"float32": 7.0, "float64": 7.0, "complex64": 18.0, "complex128": 18.0}  # a dot product
PER_STEP = {"float32": 0.5, "float64": 0.9, "complex64": 0.7, "complex128": 1.2}  # there and back


def cheapest(op: Convolution, on_numpy: bool, name: str, columns: int) -> str:
    """The method with the least estimated time for a result of dtype `name`."""
    m, n, is_real = op.kernel.shape[0], op.n, not is_complex_name(name)
    name = name if name in PER_STEP else "float64"
    steps = lambda length: PER_STEP[name] * length * math.log2(max(length, 2))
    long = steps(op._length(is_real))
    times = {"fft": CALL["fft"] + columns * long}
    if on_numpy:
        row = PER_ROW[name] + PER_PRODUCT[name] * min(m, n) + (3 if columns > 1 else 0)
        times["direct"] = columns * (CALL["direct"] + row * op.rows)
    else:
        times["direct"] = m * (CALL["shift"] + 2 * columns * op.rows)
    if 8 * m < n:
        length = block_length(m, n, is_real)
        blocks = -(-n // (length - m + 1))
        times["overlap-add"] = CALL["overlap-add"] + columns * (blocks * steps(length) + 3 * n)
    return min(times, key=times.__getitem__)
