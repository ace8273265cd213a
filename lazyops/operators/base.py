"""LinearOperator: what every operator offers its users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse.linalg

from .._array import Array, dtype_name, is_array
from . import door
from .node import Node, paired
from .tracing import apart, at_once


@dataclass(eq=False, repr=False)
class LinearOperator(Node):
    """A matrix known by its action; immutable, lazy, and a SciPy ``LinearOperator``.

    A new kind is a dataclass (``eq=False, repr=False``) that defines ``_shape()``,
    ``_matmat(x)`` for a checked `x` of shape (columns, k), and ``_adjoint()``.  All the rest
    is derived.  A kind made of operators holds them in fields (alone or in tuples) and
    defines ``_steps(x)``, a generator that yields ``(operand, array)`` and is sent the
    product, in place of ``_matmat``; its ``_adjoint`` is given the operands' adjoints.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    dtype : numpy.dtype
        Joined from the values held; without any, what a float64 `x` gives.
    """

    __array_ufunc__ = None  # so that ``ndarray @ operator`` reaches __rmatmul__
    ndim = 2

    # -- adjoint, transpose, conjugate: pairs that know each other --------------------------

    @property
    def H(self) -> LinearOperator:
        """Adjoint (conjugate transpose); ``A.H.H is A``."""
        return adjoint(self)

    @property
    def T(self) -> LinearOperator:
        """Transpose; ``A.T.T is A``."""
        if not self._is_complex:
            return self.H
        return transpose(self)

    def conj(self) -> LinearOperator:
        """Entrywise complex conjugate; `self` where it is known to be real."""
        if not self._is_complex:
            return self
        return conjugate(self)

    conjugate = conj

    def adjoint(self) -> LinearOperator:
        """`self.H`, by SciPy's name."""
        return self.H

    def transpose(self) -> LinearOperator:
        """`self.T`, by SciPy's name."""
        return self.T

    _transpose = transpose

    @property
    def _is_complex(self) -> bool:
        """Whether the matrix may hold numbers that are not real."""
        return self.dtype.kind == "c"

    # -- action: see door.py for the shapes --------------------------------------------------

    def matvec(self, x: Array, out: Array | None = None) -> Array:
        """``self @ x`` for a vector.

        Parameters
        ----------
        x : array of shape (n,) or (n, 1), or rows of shape (..., n)
        out : array, optional
            Receives the result; never overlaps `x`.

        Returns
        -------
        fresh array of shape (m,), (m, 1) or (..., m), of the library, device and order of `x`
        """
        return door.matvec(self, x, out)

    def matmat(self, x: Array, out: Array | None = None) -> Array:
        """``self @ x`` for an `x` of shape (n, k) or (..., n, k); see `matvec`."""
        return door.matmat(self, x, out)

    def rmatvec(self, x: Array) -> Array:
        """``self.H @ x`` for a vector `x`, with the shapes of `matvec`."""
        return door.matvec(self.H, x, None)

    def rmatmat(self, x: Array) -> Array:
        """``self.H @ x`` for a matrix `x`, with the shapes of `matmat`."""
        return door.matmat(self.H, x, None)

    # SciPy's own expressions call these where a NumPy array is already at hand.
    def _matvec(self, x):
        return self.matvec(x)

    def _rmatvec(self, x):
        return self.rmatvec(x)

    def _rmatmat(self, x):
        return self.rmatmat(x)

    def dot(self, x: Any) -> Any:
        """``self @ x``: an operator, an array, or a scalar (SciPy's rule)."""
        if _is_scalar(x):
            return self * x
        y = self.__matmul__(x)  # by name: torch.compile follows no ``@`` of objects
        return self @ x if y is NotImplemented else y

    def __call__(self, x: Any) -> Any:
        """``self.dot(x)``: what torch.compile can follow, of an operator or an array."""
        return self.dot(x)

    def rdot(self, x: Any) -> Any:
        """``x @ self``."""
        return self * x if _is_scalar(x) else self.__rmatmul__(x)

    def result_dtype(self, dtype: Any) -> str:
        """Name of the dtype of ``self @ x`` for an `x` of `dtype`; integers count as float64.

        >>> import numpy as np, lazyops as lo
        >>> lo.Diagonal(np.ones(3, np.float32)).result_dtype(np.complex64)
        'complex64'
        """
        return self._law.result(dtype_name(dtype))

    # -- algebra -------------------------------------------------------------------------

    def __matmul__(self, other):
        if type(other) is np.ndarray:
            return door.apply(self, other)
        from .convert import as_operand

        if (operand := as_operand(other)) is not None:
            from .algebra import compose

            return compose(self, operand)
        x = door.as_array(other)
        return NotImplemented if x is None else door.apply(self, x)

    def __rmatmul__(self, other):
        from .convert import as_operand

        if (operand := as_operand(other)) is not None:
            from .algebra import compose

            return compose(operand, self)
        x = door.as_array(other)
        return NotImplemented if x is None else door.apply_to_rows(self, x)

    def __add__(self, other):
        from .algebra import add, as_term

        term = as_term(self, other)
        return NotImplemented if term is None else add(self, term)

    def __radd__(self, other):
        from .algebra import add, as_term

        if type(other) is int and other == 0:  # so that sum([A, B]) works
            return self
        term = as_term(self, other)
        return NotImplemented if term is None else add(term, self)

    def __sub__(self, other):
        from .algebra import add, as_term

        term = as_term(self, other)
        return NotImplemented if term is None else add(self, -term)

    def __rsub__(self, other):
        from .algebra import add, as_term

        term = as_term(self, other)
        return NotImplemented if term is None else add(term, -self)

    def __mul__(self, alpha):
        from .algebra import scale

        if _is_scipys(alpha):  # SciPy before 1.17 writes products of its own with *
            return self @ alpha
        return scale(self, alpha)

    __rmul__ = __mul__

    def __truediv__(self, alpha):
        from .algebra import divide

        return divide(self, alpha)

    def __rtruediv__(self, other):
        raise TypeError(
            f"cannot divide by {self!r}: solve with it (scipy.sparse.linalg.lsmr), "
            f"or try lo.inverse(A)"
        )

    def __neg__(self):
        return self * -1

    def __pos__(self):
        return self

    def __pow__(self, k):
        from .algebra import power

        return power(self, k)

    def __bool__(self):
        raise TypeError(f"the truth of {self!r} is not defined; test `A is not None`")

    def __iter__(self):
        raise TypeError(f"{self!r} is not iterated over; A.to_dense() gives its entries")

    def __getitem__(self, key):
        from .index import getitem

        return getitem(self, key)

    @property
    def real(self) -> LinearOperator:
        """The entrywise real part."""
        from .parts import real_part

        return real_part(self)

    @property
    def imag(self) -> LinearOperator:
        """The entrywise imaginary part."""
        from .parts import imaginary_part

        return imaginary_part(self)

    # -- places and dtypes -----------------------------------------------------------------

    @property
    def places(self) -> tuple[str, ...]:
        """Library and device of the values held, as text; none where no values are held."""
        return tuple(sorted(map(str, self._places)))

    def to(
        self,
        like: Array | None = None,
        *,
        namespace: Any = None,
        device: Any = None,
        dtype: Any = None,
    ) -> LinearOperator:
        """The same operator with its values elsewhere, or in another precision.

        Parameters
        ----------
        like : array, optional
            Go where this array lives (its dtype does not count).
        namespace : module or str, optional
            ``'numpy'``, ``'torch'``, ``'cupy'``, or any array-API module.
        device, dtype : optional
            As the namespace names them; dtypes also by name, ``'float32'``.

        Returns
        -------
        LinearOperator, kept by `self`: asking again gives the same one.
        """
        from .move import move

        return move(apart(self), like, namespace, device, dtype)

    def astype(self, dtype: Any) -> LinearOperator:
        """The same operator with its values in `dtype`."""
        return self.to(dtype=dtype)

    def to_cupyx(self) -> Any:
        """This operator as a ``cupyx.scipy.sparse.linalg.LinearOperator``, for CuPy's solvers.

        Its values stay where they are: move them first, ``A.to(like=x).to_cupyx()``.

        Raises
        ------
        ImportError
            Without CuPy.
        """
        from .cupyx import to_cupyx

        return to_cupyx(self)

    # -- looking inside ----------------------------------------------------------------------

    def to_dense(self, like: Array | None = None, *, force: bool = False) -> Array:
        """The matrix as an array of shape (m, n).

        Parameters
        ----------
        like : array, optional
            Library, device and dtype to compute in; by default those of the values held.
        force : bool
            Needed above max(1 GiB, a quarter of the memory of the machine).

        Raises
        ------
        MemoryError
            If the array would be larger than that and `force` is not given.
        """
        from .densify import to_dense

        return to_dense(self, like, force)

    toarray = to_dense

    def diagonal(self) -> Array:
        """The entries ``A[i, i]``, shape (min(m, n),)."""
        from .quantities import diagonal

        return diagonal(self)

    @property
    def nbytes(self) -> int:
        """Bytes of all the arrays held, each counted once."""
        from .info import held_bytes

        return held_bytes(self, indices=True)

    @property
    def values_nbytes(self) -> int:
        """Bytes of the values held, index arrays left out."""
        from .info import held_bytes

        return held_bytes(self, indices=False)

    def info(self):
        """Entries, bytes, flops per column, depth, and the dense equivalent."""
        from .info import info

        return info(self)

    def tree(self) -> str:
        """The expression as an indented tree: shape, dtype, place, entries of each node."""
        from .show import tree

        return tree(self)

    def __repr__(self) -> str:
        from .show import expression

        return expression(self)

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        from .show import html

        return html(self)

    # -- facts -----------------------------------------------------------------------------

    @property
    def is_hermitian(self) -> bool | None:
        """``A == A.H``: True, False, or None where it is not known."""
        from .facts import facts

        return facts(self)["hermitian"]

    @property
    def is_unitary(self) -> bool | None:
        """``A.H @ A == I`` and square: True, False, or None where it is not known."""
        from .facts import facts

        return facts(self)["unitary"]

    @property
    def is_positive(self) -> bool | None:
        """Hermitian and ``x.H A x >= 0``: True, False, or None where it is not known."""
        from .facts import facts

        return facts(self)["positive"]

    def assume(self, **facts: bool) -> LinearOperator:
        """The same operator with facts you know: ``hermitian=``, ``unitary=``, ``positive=``."""
        from .facts import assume

        return assume(self, facts)


@at_once
def adjoint(op: LinearOperator) -> LinearOperator:
    return paired(op, "H", lambda op, operands: op._adjoint(*operands))


@at_once
def transpose(op: LinearOperator) -> LinearOperator:
    return paired(op, "T", lambda op, _: op.H.conj(), deep=False)


@at_once
def conjugate(op: LinearOperator) -> LinearOperator:
    return paired(op, "conj", lambda op, operands: op._conj(*operands))


def _is_scipys(x: Any) -> bool:
    return isinstance(x, scipy.sparse.linalg.LinearOperator) and not isinstance(x, LinearOperator)


def _is_scalar(x: Any) -> bool:
    return isinstance(x, (int, float, complex, np.generic)) or (is_array(x) and x.ndim == 0)
