"""What all formats of few bits share: names, the dtype of their codes, tables of their values."""

from __future__ import annotations

import functools

import numpy as np

from .._array import Array, array_namespace, convert, is_numpy


class Coded:
    """A format whose codes are ``0 .. 2**bits - 1``; it is hashable and defines `value_of`."""

    bits: int

    @property
    def name(self) -> str:
        """What `format_named` takes: ``"e4m3"``, ``"int8"``."""
        return repr(self)

    @property
    def code_dtype(self) -> np.dtype:
        """uint8 up to 8 bits, else uint16."""
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16)

    @property
    def table(self) -> np.ndarray:
        """All ``2**bits`` values in the order of their codes: float32, read-only."""
        return _table(self)

    def value_of(self, codes: np.ndarray) -> np.ndarray:
        """The values of codes by the definition, in float64."""
        raise NotImplementedError(f"{type(self).__name__} does not define value_of(codes)")


@functools.lru_cache(maxsize=64)
def _table(form: Coded) -> np.ndarray:
    found = form.value_of(np.arange(2**form.bits)).astype(np.float32)
    found.flags.writeable = False
    return found


def as_float64(x: np.ndarray) -> np.ndarray:
    """Real numbers of up to 64 bits in float64."""
    if x.dtype.kind not in "fiub" or x.dtype.itemsize > 8:
        raise ValueError(f"codes are for real numbers of up to 64 bits, got {x.dtype}")
    return x.astype(np.float64, copy=False)


def look_up(table: np.ndarray, codes: Array, dtype: str) -> Array:
    """``table[codes]`` in float32 or float64, where the codes live."""
    table = table if dtype == "float32" else table.astype(dtype)
    if is_numpy(codes):
        return table[codes]
    xp = array_namespace(codes)
    flat = xp.astype(xp.reshape(codes, (-1,)), xp.int64)
    values = convert(table, xp, getattr(codes, "device", None))
    return xp.reshape(xp.take(values, flat, axis=0), codes.shape)
