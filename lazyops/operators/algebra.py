"""Product and Sum, flat and n-ary, and the arithmetic that builds them."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._array import Array, dtype_name, is_array, is_numpy
from .base import LinearOperator
from .chain import apply_link, links
from .convert import as_operand, aslinearoperator
from .node import known_partner
from .scalar import Identity, Scalar
from .tracing import at_once


@dataclass(eq=False, repr=False)
class Product(LinearOperator):
    """``factors[0] @ factors[1] @ ...``; products among the factors are flattened.

    Parameters
    ----------
    factors : sequence of LinearOperator
    pack : bool
        Whether Kronecker-sparse factors may be copied into the order in which they are read,
        which makes products several times as fast and takes as much memory again.  False where
        memory is short; it stays with what is made of the product.

    Raises
    ------
    ValueError
        If there is no factor or neighbouring sizes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from lazyops import KroneckerSparse
    >>> K = KroneckerSparse(np.ones((2, 2, 2, 2)))
    >>> A = Product((K, K), pack=False)
    >>> y = A @ np.ones(8)
    >>> A.nbytes == A.values_nbytes
    True
    """

    factors: tuple[LinearOperator, ...]
    pack: bool = field(default=True, kw_only=True)
    precedence = 2

    def __post_init__(self, copy: bool):
        given = _operators("a product", self.factors)
        if not all(f.pack for f in given if isinstance(f, Product)):
            self.__dict__["pack"] = False
        factors = _flat(Product, "factors", given)
        for left, right in itertools.pairwise(factors):
            _check_meet(left, right)
        object.__setattr__(self, "factors", factors)
        super().__post_init__(copy)
        self._all_leaves = not any(f._is_composite for f in factors)
        self.makes_new = factors[0].makes_new  # the last to act

    @classmethod
    def _join(cls, left: LinearOperator, right: LinearOperator) -> Product:
        """left @ right, whose sizes are known to meet, at the cost of one tuple copy."""
        self = object.__new__(cls)
        a = left.factors if isinstance(left, Product) else (left,)
        b = right.factors if isinstance(right, Product) else (right,)
        object.__setattr__(self, "factors", a + b)
        object.__setattr__(
            self, "pack", getattr(left, "pack", True) and getattr(right, "pack", True)
        )
        self._settle(*_joined(left, right, (left.shape[0], right.shape[1])))
        self._all_leaves = _leaves_only(left) and _leaves_only(right)
        self.makes_new = a[0].makes_new
        return self

    @property
    def _operands(self):
        return self.factors

    def _with_operands(self, operands):
        if all(new is old for new, old in zip(operands, self.factors, strict=True)):
            return self
        return Product(tuple(operands), pack=self.pack)

    def _shape(self):
        return self.factors[0].shape[0], self.factors[-1].shape[1]

    def _matmat(self, x):
        if not self._all_leaves:
            return super()._matmat(x)
        found = links(self)
        if len(found) == 1 and type(found[0]) is tuple:
            return apply_link(self, 0, x)
        for at, link in reversed(tuple(enumerate(links(self)))):
            x = apply_link(self, at, x) if isinstance(link, tuple) else link._matmat(x)
        return x

    def _steps(self, x):
        for at, link in reversed(tuple(enumerate(links(self)))):
            x = apply_link(self, at, x) if isinstance(link, tuple) else (yield link, x)
        return x

    def _adjoint(self, *adjoints):
        return Product(tuple(reversed(adjoints)), pack=self.pack)

    def _facts(self, *operands):
        unitary = True if all(o["unitary"] for o in operands) else None
        first = self.factors[0]
        if len(operands) == 2 and isinstance(first, Scalar) and not is_array(first.alpha):
            return _scaled_facts(complex(first.alpha), operands[1], unitary)
        middle = self._palindrome(operands)
        return {**middle, "unitary": unitary}

    def _palindrome(self, operands) -> dict[str, bool | None]:
        """``B.H @ M @ B`` is hermitian (positive) where M is; ``B.H @ B`` is positive."""
        half, odd = divmod(len(self.factors), 2)
        for left, right in zip(self.factors[:half], reversed(self.factors), strict=False):
            if known_partner(left, "H") is not right:
                return {}
        if not odd:
            return {"hermitian": True, "positive": True}
        return {name: True if operands[half][name] else None for name in ("hermitian", "positive")}

    def _pieces(self):
        first = self.factors[0]
        if isinstance(first, Scalar) and len(self.factors) > 1:
            text = first._text()
            yield "-" if text == "-1" else f"{text} * "
        else:
            yield (first, 2)
            if len(self.factors) > 1:
                yield " @ "
        for i, factor in enumerate(self.factors[1:]):
            if i:
                yield " @ "
            yield (factor, 2)


@dataclass(eq=False, repr=False)
class Sum(LinearOperator):
    """``terms[0] + terms[1] + ...``; sums among the terms are flattened.

    Raises
    ------
    ValueError
        If there is no term or the shapes differ.
    """

    terms: tuple[LinearOperator, ...]
    precedence = 1
    makes_new = True

    def __post_init__(self, copy: bool):
        terms = _flat(Sum, "terms", _operators("a sum", self.terms))
        for term in terms[1:]:
            _check_same_shape(terms[0], term)
        object.__setattr__(self, "terms", terms)
        super().__post_init__(copy)
        if len(terms) == 1:
            self.makes_new = terms[0].makes_new

    @property
    def _operands(self):
        return self.terms

    def _with_operands(self, operands):
        if all(new is old for new, old in zip(operands, self.terms, strict=True)):
            return self
        return Sum(tuple(operands))

    def _shape(self):
        return self.terms[0].shape

    def _steps(self, x):
        y = yield self.terms[0], x
        if len(self.terms) == 1:
            return y
        new = self.terms[0].makes_new  # else it may be x itself, or memory that the term keeps
        for term in self.terms[1:]:
            y = _accumulate(y, (yield term, x), new)
            new = True
        return y

    def _adjoint(self, *adjoints):
        return Sum(tuple(adjoints))

    def _facts(self, *operands):
        both = {f: True if all(o[f] for o in operands) else None for f in ("hermitian", "positive")}
        return both if len(operands) > 1 else operands[0]

    def _pieces(self):
        yield (self.terms[0], 1)
        for term in self.terms[1:]:
            if (positive := _negated(term)) is not None:
                yield " - "
                yield (positive, 2)
            else:
                yield " + "
                yield (term, 1)

    def _flops(self, *operands):
        return sum(operands) + (len(operands) - 1) * self.shape[0]

    @classmethod
    def _join(cls, left: LinearOperator, right: LinearOperator) -> Sum:
        """left + right, whose shapes are known to agree, at the cost of one tuple copy."""
        self = object.__new__(cls)
        a = left.terms if isinstance(left, Sum) else (left,)
        b = right.terms if isinstance(right, Sum) else (right,)
        object.__setattr__(self, "terms", a + b)
        self._settle(*_joined(left, right, left.shape))
        return self


def _joined(left: LinearOperator, right: LinearOperator, shape: tuple[int, int]) -> tuple:
    """(shape, law, places) of what is made of the two."""
    places = left._places if left._places == right._places else left._places | right._places
    return shape, left._law.join(right._law), places


def _leaves_only(op: LinearOperator) -> bool:
    return op._all_leaves if isinstance(op, Product) else not op._is_composite


def _accumulate(y: Array, t: Array, new: bool) -> Array:
    """y + t, in y itself where that is `new` memory of an array of NumPy."""
    if new and is_numpy(y) and y.dtype == np.result_type(y, t):
        y += t
        return y
    return y + t


def _negated(term: LinearOperator) -> LinearOperator | None:
    """B where `term` is written -1 * B."""
    if isinstance(term, Product) and len(term.factors) > 1:
        first = term.factors[0]
        if isinstance(first, Scalar) and not is_array(first.alpha) and first.alpha == -1:
            return compose(*term.factors[1:])
    return None


def _scaled_facts(alpha: complex, facts: dict, unitary: bool | None) -> dict[str, bool | None]:
    """Of alpha * A, from those of A: 2 U is not unitary, -P and 1j H are nothing known."""
    if facts["unitary"] and abs(alpha) != 1 and abs(abs(alpha) - 1) > 1e-12:
        unitary = False
    hermitian = True if facts["hermitian"] and alpha.imag == 0 else None
    positive = True if facts["positive"] and alpha.imag == 0 and alpha.real >= 0 else None
    return {"hermitian": hermitian, "positive": positive, "unitary": unitary}


# -- building --------------------------------------------------------------------------------


@at_once
def compose(*operators: LinearOperator) -> LinearOperator:
    """The product, left to right; nothing is rewritten."""
    if len(operators) == 1:
        return operators[0]
    if len(operators) == 2:
        _check_meet(*operators)
        return Product._join(*operators)
    return Product(operators)


@at_once
def add(*operators: LinearOperator) -> LinearOperator:
    """The sum; nothing is rewritten."""
    if len(operators) == 1:
        return operators[0]
    if len(operators) == 2:
        _check_same_shape(*operators)
        return Sum._join(*operators)
    return Sum(operators)


def as_term(op: LinearOperator, other: Any) -> LinearOperator | None:
    """What ``op + other`` adds: an operator, a sparse matrix or 2-D array; None if foreign."""
    if (operand := as_operand(other)) is not None:
        return operand
    if is_array(other) and other.ndim == 2:
        return aslinearoperator(other)
    if isinstance(other, (int, float, complex, np.generic)) or is_array(other):
        raise TypeError(
            f"cannot add {_what(other)} to {op!r}: "
            f"for a multiple of the identity write A + alpha * lo.Identity(n)"
        )
    return None


@at_once
def scale(op: LinearOperator, alpha: Any) -> LinearOperator:
    """``alpha * op`` for a scalar."""
    if not is_scalar(alpha):
        what = _what(alpha)
        raise TypeError(f"* scales by a number, got {what}: products are written A @ x, A @ B")
    return Product._join(Scalar(op.shape[0], alpha), op)


def divide(op: LinearOperator, alpha: Any) -> LinearOperator:
    """``op / alpha`` for a scalar."""
    if not is_scalar(alpha):
        raise TypeError(f"/ divides by a number, got {_what(alpha)}")
    if not is_array(alpha) and alpha == 0:
        raise ZeroDivisionError(f"division of {op!r} by zero")
    return scale(op, 1 / alpha)


@at_once
def power(op: LinearOperator, k: Any) -> LinearOperator:
    """``op ** k`` for an integer k from 0 on."""
    m, n = op.shape
    if m != n:
        raise ValueError(f"only square operators have powers, {op!r} is {m}x{n}")
    try:
        k = operator.index(k)
    except TypeError:
        raise TypeError(f"powers are integers from 0 on, got {k!r}") from None
    if k < 0:
        raise ValueError(f"powers are integers from 0 on, got {k}; see lo.inverse(A)")
    return Identity(n) if k == 0 else compose(*[op] * k)


def is_scalar(x: Any) -> bool:
    if is_array(x):
        return x.ndim == 0
    return isinstance(x, (int, float, complex, np.generic))


def _what(x: Any) -> str:
    if is_array(x):
        return f"an array of shape {tuple(x.shape)} and dtype {dtype_name(x.dtype)}"
    return f"{type(x).__name__} {x!r}" if is_scalar(x) else type(x).__name__


def _operators(what: str, members: Iterable[Any]) -> Sequence[LinearOperator]:
    members = tuple(members)
    if not members:
        raise ValueError(f"{what} has at least one operator")
    return [aslinearoperator(member) for member in members]


def _flat(kind: type, name: str, members: Iterable[LinearOperator]) -> tuple[LinearOperator, ...]:
    found: list[LinearOperator] = []
    for member in members:
        found.extend(getattr(member, name) if isinstance(member, kind) else (member,))
    return tuple(found)


def _check_meet(left: LinearOperator, right: LinearOperator) -> None:
    if left.shape[1] != right.shape[0]:
        (m, n), (p, q) = left.shape, right.shape
        raise ValueError(
            f"cannot multiply {_short(left)} ({m}x{n}) by {_short(right)} ({p}x{q}): "
            f"{n} columns meet {p} rows"
        )


def _check_same_shape(left: LinearOperator, right: LinearOperator) -> None:
    if left.shape != right.shape:
        (m, n), (p, q) = left.shape, right.shape
        raise ValueError(f"cannot add {_short(left)} ({m}x{n}) and {_short(right)} ({p}x{q})")


def _short(op: LinearOperator) -> str:
    from .show import short

    return short(op)
