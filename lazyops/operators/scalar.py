"""Identity, scalar multiples of it, and zero: operators without values."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import array_namespace, conj, dtype_name, is_array, is_numpy
from ..kernels import Stage
from .base import LinearOperator
from .law import Law, law_of_scalar


def check_size(n: Any, what: str) -> int:
    """`n` as a Python int from 0 on, of any length."""
    try:
        n = operator.index(n)
    except TypeError:
        raise TypeError(f"{what} is an integer, got {type(n).__name__} {n!r}") from None
    if n < 0:
        raise ValueError(f"{what} is an integer from 0 on, got {n}")
    return n


def check_shape(size: Any, who: str) -> tuple[int, int]:
    """`size` as (rows, columns), Python ints from 0 on."""
    try:
        m, n = size
    except (TypeError, ValueError):
        raise TypeError(f"{who} takes (rows, columns) first, got {size!r}") from None
    return check_size(m, "the number of rows"), check_size(n, "the number of columns")


@dataclass(eq=False, repr=False)
class Identity(LinearOperator):
    """``x -> x`` (a copy) for an `x` of length n.

    >>> import lazyops as lo
    >>> lo.Identity(3)
    I3
    """

    n: int

    def _check(self):
        object.__setattr__(self, "n", check_size(self.n, "the size of an identity"))

    def _shape(self):
        return self.n, self.n

    def _matmat(self, x):
        return x

    def _stage(self):
        return Stage()

    def _adjoint(self):
        return self

    def _facts(self):
        return {"hermitian": True, "unitary": True, "positive": True}

    def _label(self):
        return f"I{self.n}"


@dataclass(eq=False, repr=False)
class Scalar(LinearOperator):
    """``x -> alpha x`` for an `x` of length n.

    Parameters
    ----------
    n : int
    alpha : number, NumPy scalar, or 0-d array of any library
        A Python number is weak (float32 stays float32), the others join with their dtype.
    """

    n: int
    alpha: Any = 1
    makes_new = True
    precedence = 1  # written with a *: in a product it needs parentheses

    def _check(self):
        object.__setattr__(self, "n", check_size(self.n, "the size of a scalar operator"))
        alpha = self.alpha
        if is_array(alpha):
            if alpha.ndim:
                raise ValueError(
                    f"Scalar takes one number, got an array of shape {tuple(alpha.shape)}; "
                    f"see lo.Diagonal"
                )
        elif not isinstance(alpha, (int, float, complex, np.generic)):
            raise TypeError(f"Scalar takes a number, got {type(alpha).__name__}")
        if is_numpy(alpha) or isinstance(alpha, np.bool_):
            object.__setattr__(self, "alpha", alpha[()] if is_numpy(alpha) else int(alpha))

    def _shape(self):
        return self.n, self.n

    def _law_of(self, operands):
        if isinstance(self.alpha, np.generic) or is_array(self.alpha):
            return Law(frozenset({dtype_name(self.alpha.dtype)}), "bool")
        return law_of_scalar(self.alpha)

    def _matmat(self, x):
        if is_numpy(x):
            return self.alpha * x
        alpha = self.alpha
        xp = array_namespace(x)
        if not is_array(alpha):
            name = self._law.result(dtype_name(x.dtype))
            x = xp.astype(x, getattr(xp, name), copy=False)
            return (alpha.item() if isinstance(alpha, np.generic) else alpha) * x
        name = self._law.result(dtype_name(x.dtype))
        dtype = getattr(xp, name)
        return xp.astype(alpha, dtype, copy=False) * xp.astype(x, dtype, copy=False)

    _between = _matmat

    def _stage(self):
        return Stage(scale=self.alpha)

    def _adjoint(self):
        return self._conj()

    def _conj(self):
        if not self._is_complex:
            return self
        alpha = conj(self.alpha) if is_array(self.alpha) else self.alpha.conjugate()
        return Scalar(self.n, alpha)

    def _facts(self):
        if is_array(self.alpha) and not is_numpy(self.alpha):
            return {}  # reading it would wait for the device
        alpha = complex(self.alpha)
        real = alpha.imag == 0
        return {
            "hermitian": real,
            "unitary": abs(alpha) == 1 if alpha in (1, -1, 1j, -1j) else None,
            "positive": real and alpha.real >= 0,
        }

    def _label(self):
        return f"{self._text()}*I{self.n}"

    def _text(self) -> str:
        alpha = self.alpha
        if is_array(alpha):
            return "alpha"
        value = alpha.item() if isinstance(alpha, np.generic) else alpha
        return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(eq=False, repr=False)
class Zero(LinearOperator):
    """The m x n matrix of zeros, without storage.

    Parameters
    ----------
    size : (int, int)
        Rows and columns.
    """

    size: tuple[int, int]
    makes_new = True

    def _check(self):
        object.__setattr__(self, "size", check_shape(self.size, "Zero"))

    def _shape(self):
        return self.size

    def _matmat(self, x):
        xp = array_namespace(x)
        shape = (self.size[0], x.shape[1])
        if is_numpy(x):
            return np.zeros(shape, x.dtype)
        return xp.zeros(shape, dtype=x.dtype, device=x.device)

    def _adjoint(self):
        m, n = self.size
        return self if m == n else Zero((n, m))

    def _facts(self):
        m, n = self.size
        if m != n:
            return {}
        return {"hermitian": True, "unitary": m == 0, "positive": True}

    def _label(self):
        m, n = self.size
        return f"0({m}x{n})"


def is_one(op: LinearOperator) -> bool:
    """Whether `op` is known to be the identity."""
    if isinstance(op, Identity):
        return True
    if not isinstance(op, Scalar) or is_array(op.alpha):
        return False
    return bool(op.alpha == 1)
