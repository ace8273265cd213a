"""A dense matrix."""

from __future__ import annotations

from dataclasses import dataclass

from .._array import Array, array_namespace, conj, copied, has_complex_values, is_numpy
from .base import LinearOperator
from .diagonal import in_one_dtype, require_array


@dataclass(eq=False, repr=False)
class Dense(LinearOperator):
    """A matrix given by all its entries.

    Parameters
    ----------
    array : array of shape (m, n)
    conjugated : bool
        The operator is the conjugate of `array`: how an adjoint shares its values.
    """

    array: Array
    conjugated: bool = False
    makes_new = True

    def _check(self):
        require_array(self.array, 2, "Dense takes a matrix of shape (m, n)")
        if self.conjugated and not has_complex_values(self.array):
            object.__setattr__(self, "conjugated", False)

    @property
    def values(self) -> Array:
        """The entries, shape (m, n); `array` itself unless the operator is a conjugate."""
        return conj(self.array) if self.conjugated else self.array

    def _shape(self):
        return int(self.array.shape[0]), int(self.array.shape[1])

    def _matmat(self, x):
        values, x = in_one_dtype(self.array, x)
        if not self.conjugated:
            return values @ x
        return conj(values @ conj(x))

    def _between(self, x):
        if x.shape[2] != 1 or self.conjugated:
            return None
        values, x = in_one_dtype(self.array, x)
        xp = array_namespace(x)
        turned = values.T if is_numpy(values) else xp.permute_dims(values, (1, 0))
        return (x[:, :, 0] @ turned)[:, :, None]  # the last axis, by rows

    def _adjoint(self):
        xp = array_namespace(self.array)
        swapped = self.array.T if is_numpy(self.array) else xp.permute_dims(self.array, (1, 0))
        return Dense(swapped, self._is_complex and not self.conjugated, copy=False)

    def _conj(self):
        return Dense(self.array, not self.conjugated, copy=False)

    def _dense(self):
        return copied(self.values)

    def _label(self):
        m, n = self.shape
        return f"M{m}" if m == n else f"M{m}x{n}"
