"""Diagonal operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._array import Array, cast, dtype_name, is_array, is_numpy, join_dtypes
from ..kernels import Stage
from .base import LinearOperator
from .node import flop_weight


@dataclass(eq=False, repr=False)
class Diagonal(LinearOperator):
    """``diag(values)``: scale entry i by ``values[i]``.

    Parameters
    ----------
    values : array of shape (n,)
    """

    values: Array
    makes_new = True

    def _check(self):
        require_array(self.values, 1, "Diagonal takes its diagonal as a vector")
        plain = is_numpy(self.values) and self.values.dtype.kind != "V"
        object.__setattr__(self, "_column", self.values[:, None] if plain else None)

    def _shape(self):
        return self.values.shape[0], self.values.shape[0]

    def _matmat(self, x):
        if self._column is not None and is_numpy(x):
            return self._column * x
        values, x = in_one_dtype(self.values, x)
        return values[:, None] * x

    def _between(self, x):
        return self._matmat(x)  # a column of values meets the middle axis

    def _stage(self):
        return Stage(self.values)

    def _adjoint(self):
        return self._conj()

    def _facts(self):
        if self._is_complex:
            return {}
        if not is_numpy(self.values):
            return {"hermitian": True}  # reading the values would wait for the device
        return {"hermitian": True, "positive": bool((self.values >= 0).all())}

    def _flops(self):
        return flop_weight(self.values) * self.shape[0]

    def _label(self):
        return f"D{self.shape[0]}"


def require_array(values: Any, ndim: int, sentence: str) -> None:
    """Raise where `values` is not an array with `ndim` axes that holds numbers."""
    if not is_array(values):
        raise TypeError(f"{sentence}, got {type(values).__name__}")
    if values.ndim != ndim:
        raise ValueError(f"{sentence}, got shape {tuple(values.shape)}")
    if is_numpy(values) and values.dtype.kind not in "biufc" and values.dtype.kind != "V":
        raise TypeError(f"{sentence} of numbers, got dtype {values.dtype}")


def in_one_dtype(values: Array, x: Array) -> tuple[Array, Array]:
    """Both in the dtype they promote to; NumPy promotes by itself."""
    if is_numpy(x):
        if values.dtype.kind == "V":
            return values.astype(join_dtypes(dtype_name(values.dtype), x.dtype.name)), x
        return values, x
    name = join_dtypes(dtype_name(values.dtype), dtype_name(x.dtype))
    return cast(values, name), cast(x, name)
