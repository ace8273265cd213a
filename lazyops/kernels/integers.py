"""Integers of few bits with a scale for each block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._array import Array, array_namespace, convert, is_numpy, to_numpy
from .coded import Coded, as_float64, look_up


@dataclass(frozen=True)
class ScaledInteger(Coded):
    """Signed integers times a scale that the caller keeps, one for each block.

    Codes are two's complement in the low `bits`; the least integer is not used, so that the range
    is symmetric.

    Examples
    --------
    >>> int4 = ScaledInteger(4)
    >>> x = np.array([[7.0, -3.2], [70.0, 12.0]])
    >>> scale = int4.scale(np.abs(x).max(axis=1, keepdims=True))
    >>> int4.decode(int4.encode(x, scale), scale).tolist()
    [[7.0, -3.0], [70.0, 10.0]]
    """

    bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ValueError(f"a ScaledInteger has 2 to 16 bits, got {self.bits}")

    def __repr__(self) -> str:
        return f"int{self.bits}"

    @property
    def max(self) -> int:
        """Largest integer; ``-max`` is the least."""
        return 2 ** (self.bits - 1) - 1

    def value_of(self, codes: np.ndarray) -> np.ndarray:
        """The integers of codes, in float64."""
        codes = np.asarray(codes, np.int64)
        return np.where(codes > self.max, codes - 2**self.bits, codes).astype(float)

    def scale(self, largest: Array) -> np.ndarray:
        """Float32 scales for blocks with these largest magnitudes; 1 for blocks of zeros.

        The least of 8 significant bits that fit, at most ``2**-7`` of it too large: two bytes hold
        such a scale, and its products with integers of up to 16 bits are exact in float32.
        """
        return self._scale(largest, short=True)

    def scale_for(self, x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
        """Float32 scales for blocks of numbers `x`, one for all along `axis`.

        Those of `scale`, unless any float32 would leave less than half of the error: so what is a
        few levels apart, as the entries of a Hadamard matrix are, stays as it is.
        """
        x = as_float64(x)
        largest = np.abs(x).max(axis=axis)
        both = [self._scale(largest, short) for short in (True, False)]
        short, long = (np.linalg.norm(self.round(x, np.expand_dims(s, axis)) - x) for s in both)
        return both[0] if short <= 2 * long else both[1]

    def _scale(self, largest: Array, short: bool) -> np.ndarray:
        largest = np.asarray(to_numpy(largest), np.float64)
        if not np.isfinite(largest).all():
            raise ValueError(f"{self} holds finite values: the largest of a block is not")
        found = largest / self.max
        if short:
            significand, exponent = np.frexp(found)
            found = np.ldexp(np.ceil(significand * 256), exponent - 8)
        found = found.astype(np.float32)
        return np.where(found > 0, found, np.float32(1))

    def encode(self, x: Array, scale: Array) -> Array:
        """Codes of the nearest multiples of `scale`, which broadcasts against `x`; saturates."""
        if not is_numpy(x):
            codes = self.encode(to_numpy(x), to_numpy(scale))
            return convert(codes, array_namespace(x), getattr(x, "device", None))
        codes = self._integers(x, scale).astype(np.int64) % 2**self.bits
        return codes.astype(self.code_dtype)

    def decode(self, codes: Array, scale: Array, dtype: str = "float32") -> Array:
        """``integer * scale``, in float32 or float64."""
        return look_up(self.table, codes, dtype) * scale

    def round(self, x: Array, scale: Array) -> Array:
        """The nearest multiples of `scale`, in float64."""
        return self._integers(to_numpy(x), scale) * np.asarray(scale, np.float64)

    def _integers(self, x: np.ndarray, scale: Array) -> np.ndarray:
        units = np.rint(as_float64(x) / np.asarray(scale, np.float64))
        if np.isnan(units).any():
            raise ValueError(f"{self} has no NaN: some of the values are")
        return np.clip(units, -self.max, self.max) + 0.0  # integers have no -0
