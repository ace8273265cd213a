"""Kronecker-sparse factor."""

from __future__ import annotations

from dataclasses import dataclass

from .._array import Array, array_namespace, conj, has_complex_values, is_numpy
from ..kernels import Stage, ks_dense, ks_matmat
from ..pattern import Pattern
from .base import LinearOperator
from .chain import tensors_for
from .diagonal import in_one_dtype, require_array


@dataclass(eq=False, repr=False)
class KroneckerSparse(LinearOperator):
    """Kronecker-sparse factor of pattern (a, b, c, d): an (a*b*d) x (a*c*d) matrix.

    Parameters
    ----------
    stored : array of shape (a, b, c, d)
        The values: ``K[(i, j, l), (i, k, l)] = values[i, j, k, l]``; all else is zero.
    transposed, conjugated : bool
        The operator is the transpose, the conjugate, or both, of the factor with the values
        `stored`: this is how ``A`` and ``A.H`` share one array.

    Raises
    ------
    ValueError
        If `stored` does not have four axes, each from 1 on.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> K = lo.KroneckerSparse(np.ones((2, 3, 4, 5)))
    >>> K, K.shape, K.H.pattern
    (K(2,3,4,5), (30, 40), Pattern(a=2, b=4, c=3, d=5))
    """

    stored: Array
    transposed: bool = False
    conjugated: bool = False
    makes_new = True

    def _check(self):
        sentence = "KroneckerSparse takes values of shape (a, b, c, d)"
        require_array(self.stored, 4, sentence)
        if min(self.stored.shape) < 1:
            raise ValueError(f"{sentence}, each from 1 on, got shape {tuple(self.stored.shape)}")
        if self.conjugated and not has_complex_values(self.stored):
            object.__setattr__(self, "conjugated", False)

    @property
    def pattern(self) -> Pattern:
        pattern = Pattern(*map(int, self.stored.shape))
        return pattern.T if self.transposed else pattern

    @property
    def values(self) -> Array:
        """The values of the factor as it acts, shape `pattern`: a view or a conjugate."""
        values = conj(self.stored) if self.conjugated else self.stored
        if self.transposed:
            values = array_namespace(values).permute_dims(values, (0, 2, 1, 3))
        return values

    def _shape(self):
        return self.pattern.shape

    def _matmat(self, x):
        if not is_numpy(x) and (tensors := tensors_for(self, 0, (self,), x)) is not None:
            y = tensors(x)
            if y is not None:  # a device declines what wants a gradient
                return y
        values, x = in_one_dtype(self.stored, x)
        return ks_matmat(values, x, self.transposed, self.conjugated)

    def _stage(self):
        return Stage(self.stored, self.pattern, None, None, self.transposed, self.conjugated)

    def _adjoint(self):
        conjugated = self._is_complex and not self.conjugated
        return KroneckerSparse(self.stored, not self.transposed, conjugated, copy=False)

    def _conj(self):
        return KroneckerSparse(self.stored, self.transposed, not self.conjugated, copy=False)

    def _dense(self):
        return ks_dense(self.values)

    def _label(self):
        return "K({},{},{},{})".format(*self.pattern)
