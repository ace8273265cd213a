"""Operators known by their products only: Python callables, and operators of other libraries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse.linalg

from .._array import (
    NUMPY,
    Array,
    array_namespace,
    can_meet,
    cast,
    conj,
    copied,
    dtype_name,
    has_complex_values,
    is_array,
    is_complex_name,
    is_numpy,
    place,
    to_numpy,
)
from .base import LinearOperator
from .law import Law
from .scalar import check_shape


@dataclass(eq=False, repr=False, init=False)
class Function(LinearOperator):
    """An operator given by callables.

    Parameters
    ----------
    size : (int, int)
        Rows and columns.
    matmat, rmatmat : callable, optional
        ``matmat(x)`` gets an array of shape (columns, k) and returns (rows, k); ``rmatmat``
        is the same for the adjoint.
    matvec, rmatvec : callable, optional
        The same for one vector of shape (columns,); used where the block form is missing.
    dtype : dtype, optional
        Of the matrix.  None: real, in the precision of `x`; the callable is not probed.
    conjugated : bool
        The operator is the conjugate of what the callables do.

    Raises
    ------
    NotImplementedError
        When the adjoint is asked for and was not given.
    """

    size: tuple[int, int]
    forward: Callable | None
    backward: Callable | None
    forward_vector: Callable | None
    backward_vector: Callable | None
    value_dtype: Any
    conjugated: bool
    makes_new = True

    def __init__(
        self,
        size: tuple[int, int],
        matmat: Callable | None = None,
        rmatmat: Callable | None = None,
        *,
        matvec: Callable | None = None,
        rmatvec: Callable | None = None,
        dtype: Any = None,
        conjugated: bool = False,
    ):
        fields = (size, matmat, rmatmat, matvec, rmatvec, dtype, conjugated)
        for f, value in zip(dataclasses.fields(self), fields, strict=True):
            object.__setattr__(self, f.name, value)
        self.__post_init__(False)

    @classmethod
    def _restore(cls, fields):
        size, matmat, rmatmat, matvec, rmatvec, dtype, conjugated = fields.values()
        return cls(
            size, matmat, rmatmat,
            matvec=matvec, rmatvec=rmatvec, dtype=dtype, conjugated=conjugated,
        )  # fmt: skip

    def _check(self):
        object.__setattr__(self, "size", check_shape(self.size, "Function"))
        for f in (self.forward, self.backward, self.forward_vector, self.backward_vector):
            if f is not None and not callable(f):
                raise TypeError(f"Function takes callables, got {type(f).__name__}")
        if self.forward is None and self.forward_vector is None:
            raise TypeError("Function needs matmat= or matvec=: neither was given")
        if self.value_dtype is not None:
            object.__setattr__(self, "value_dtype", dtype_name(self.value_dtype))

    def _shape(self):
        return self.size

    def _law_of(self, operands):
        if self.value_dtype is None:
            return Law(frozenset(), "float")
        return Law(frozenset({self.value_dtype}), "bool")

    def _matmat(self, x):
        x = conj(x) if self.conjugated else x
        if self.forward is not None:
            y = self.forward(x)
        elif self.forward_vector is not None:
            y = by_columns(self.forward_vector, x, self.size[0])
        y = self._checked(y, x)
        return conj(y) if self.conjugated else y

    def _checked(self, y: Any, x: Array) -> Array:
        wanted = (self.size[0], int(x.shape[1]))
        if not is_array(y) or not can_meet(place(y), place(x)):
            what = f"array of {place(y)}" if is_array(y) else type(y).__name__
            raise TypeError(f"the callable of {self!r} was given {place(x)}, returned {what}")
        if tuple(y.shape) != wanted:
            raise ValueError(
                f"the callable of {self!r} returned shape {tuple(y.shape)}, not {wanted}"
            )
        name = self._law.result(dtype_name(x.dtype))
        if has_complex_values(y) and not is_complex_name(name):
            raise TypeError(
                f"the callable of {self!r} returned {dtype_name(y.dtype)} where {name} is "
                f"declared: give Function a complex dtype="
            )
        if is_numpy(y):  # a copy: the callable may use one buffer again and again
            return np.array(y, dtype=name)
        return cast(copied(y), name)

    def _adjoint(self):
        if self.backward is None and self.backward_vector is None:
            raise NotImplementedError(
                f"{self!r} knows no adjoint: give Function rmatmat= or rmatvec="
            )
        m, n = self.size
        return Function(
            (n, m), self.backward, self.forward,
            matvec=self.backward_vector, rmatvec=self.forward_vector,
            dtype=self.value_dtype, conjugated=self.conjugated,
        )  # fmt: skip

    def _conj(self):
        return Function(
            self.size, self.forward, self.backward,
            matvec=self.forward_vector, rmatvec=self.backward_vector,
            dtype=self.value_dtype, conjugated=not self.conjugated,
        )  # fmt: skip

    @property
    def _is_complex(self):
        return self.value_dtype is not None and is_complex_name(self.value_dtype)

    def _label(self):
        first = self.forward if self.forward is not None else self.forward_vector
        name = getattr(first, "__name__", type(first).__name__).strip("<>")
        m, n = self.size
        return f"{name}[{m}]" if m == n else f"{name}[{m}x{n}]"


def by_columns(f: Callable, x: Array, m: int) -> Array:
    """`f` of each column of x, shape (m, k)."""
    xp = array_namespace(x)
    if x.shape[1] == 0:
        return xp.zeros((m, 0), dtype=x.dtype, device=x.device)
    columns = [xp.reshape(f(x[:, i]), (m,)) for i in range(x.shape[1])]
    return xp.stack(columns, axis=1)


@dataclass(eq=False, repr=False)
class Foreign(LinearOperator):
    """An operator of SciPy, PyLops or another library, by what they share: NumPy products.

    Parameters
    ----------
    operator : object with ``shape``, and ``matmat`` or ``matvec``; with ``rmatmat`` or ``rmatvec``
        if the adjoint is to be used
    reversed, conjugated : bool
        The operator is the adjoint, the conjugate, or both.
    """

    operator: Any
    reversed: bool = False
    conjugated: bool = False
    makes_new = True

    def _shape(self):
        m, n = map(int, self.operator.shape)
        return (n, m) if self.reversed else (m, n)

    def _law_of(self, operands):
        dtype = getattr(self.operator, "dtype", None)
        if dtype is None:
            return Law(frozenset(), "float")
        return Law(frozenset({np.dtype(dtype).name}), "bool")

    def _matmat(self, x):
        if not can_meet(place(x), NUMPY):
            raise TypeError(f"{self!r} works on NumPy arrays only, x is {place(x)}")
        host = to_numpy(x)
        host = conj(host) if self.conjugated else host
        name = self._law.result(host.dtype.name)
        if host.shape[1] == 0:  # many operators stumble over no columns
            y = np.zeros((self.shape[0], 0), name)
        else:
            y = self._linear(host)
            if np.iscomplexobj(y) and not is_complex_name(name):
                raise TypeError(f"{self!r} returned {y.dtype} where {name} is declared")
            y = np.array(y, dtype=name)
        y = conj(y) if self.conjugated else y
        return y if is_numpy(x) else array_namespace(x).asarray(y)

    def _linear(self, x: np.ndarray) -> np.ndarray:
        """The product; real operators see real numbers, since some drop the imaginary part."""
        if self._is_complex or x.dtype.kind != "c":
            return self._product(x)
        k = x.shape[1]
        y = self._product(np.concatenate([x.real, x.imag], axis=1))
        return y[:, :k] + 1j * y[:, k:]

    def _product(self, x: np.ndarray) -> np.ndarray:
        block, single = ("rmatmat", "rmatvec") if self.reversed else ("matmat", "matvec")
        if self.reversed and not self._has_adjoint():
            raise NotImplementedError(
                f"{self!r} knows no adjoint: {type(self.operator).__name__} has no working "
                f"{block} or {single}"
            )
        if (f := getattr(self.operator, block, None)) is not None:
            return f(x)
        return by_columns(getattr(self.operator, single), x, self.shape[0])

    def _has_adjoint(self) -> bool:
        """SciPy's own operators have the methods even where no adjoint was given: one product
        of zeros tells."""
        if "adjoint" not in self._cache:
            self._cache["adjoint"] = self._try_adjoint()
        return self._cache["adjoint"]

    def _try_adjoint(self) -> bool:
        found = [getattr(self.operator, name, None) for name in ("rmatvec", "rmatmat")]
        if not isinstance(self.operator, scipy.sparse.linalg.LinearOperator):
            return any(f is not None for f in found)
        try:
            self.operator.rmatvec(np.zeros(self.shape[1], self.dtype))
        except (NotImplementedError, TypeError):  # which one differs between versions of SciPy
            return False
        return True

    def _adjoint(self):
        return Foreign(self.operator, not self.reversed, self.conjugated)

    def _conj(self):
        return Foreign(self.operator, self.reversed, not self.conjugated)

    def _label(self):
        m, n = self.shape
        name = type(self.operator).__name__.strip("_")
        text = f"{name}[{m}]" if m == n else f"{name}[{m}x{n}]"
        return f"{text}.H" if self.reversed else text
