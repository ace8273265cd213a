"""A butterfly as its arrays: what an expression of factors, permutations and diagonals comes to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import Array, cast, has_complex_values, is_array, to_numpy
from ..operators import (
    Assumed,
    Diagonal,
    Identity,
    KroneckerSparse,
    LinearOperator,
    Permutation,
    Product,
    Scalar,
    fold,
)
from ..pattern import Chain
from .hierarchical import Cores
from .intake import working_dtype
from .run import _scaled_back, _times_power
from .splits import Matrix, digit_reversal


@dataclass(frozen=True)
class Form:
    """``A[rows][:, columns] = 2**exponent * values[0] @ values[1] @ ...``, in double precision.

    None means no permutation.  The values of each factor are below 1 in modulus, whatever the
    scale of the matrix.  `size`: what rounding errors are relative to, where terms may cancel; None
    for the norm of the matrix.  `is_diagonal`: a diagonal, held as values of shape (n, 1, 1, 1),
    that may go into a factor.
    """

    values: tuple[np.ndarray, ...]
    rows: np.ndarray | None = None
    columns: np.ndarray | None = None
    exponent: int = 0
    size: float | None = None
    is_diagonal: bool = False

    @property
    def chain(self) -> Chain:
        return Chain(v.shape for v in self.values)

    @property
    def cores(self) -> Cores:
        return Cores.of(self.chain)

    @property
    def transposed(self) -> Form:
        values = tuple(v.transpose(0, 2, 1, 3) for v in reversed(self.values))
        return dataclasses.replace(self, values=values, rows=self.columns, columns=self.rows)

    def same_ends(self, other: Form) -> bool:
        """Whether the permutations are the same."""
        return all(
            one is two or (one is not None and two is not None and np.array_equal(one, two))
            for one, two in ((self.rows, other.rows), (self.columns, other.columns))
        )

    def with_values(self, values: Iterable[np.ndarray]) -> Form:
        """The same permutations and scale around other factors."""
        return dataclasses.replace(self, values=tuple(values))

    def permuted(self, matrix: Matrix) -> Matrix:
        """`matrix` as the factors see it."""
        return matrix.permuted(self.rows, self.columns)

    def operator(self, dtype: np.dtype, like: Array | None = None) -> LinearOperator:
        """The product, with factors of `dtype` in the library of `like`."""
        scaled = spread_power(self.values, self.exponent)
        factors: list[LinearOperator] = [
            KroneckerSparse(np.ascontiguousarray(v.astype(dtype, copy=False)), copy=False)
            for v in scaled
        ]
        if self.rows is not None:
            factors.insert(0, Permutation(np.argsort(self.rows)))  # W = A[rows]: A = W[inverse]
        if self.columns is not None:
            factors.append(Permutation(self.columns))
        found = factors[0] if len(factors) == 1 else Product(factors)
        return found if like is None else found.to(like=like)


@dataclass(frozen=True)
class Source:
    """A form with what the result should look like: dtype of its factors, library of an array."""

    form: Form
    dtype: np.dtype
    like: Array | None


def butterfly_of(B: Any) -> Source:
    """The butterfly that `B` is.

    Parameters
    ----------
    B : operator, Factorization, or sequence of 4-D arrays
        A Kronecker-sparse factor, or a product of some, with permutations at its ends, diagonals
        and scalars; or the values of the factors, left-most first (`ks_values` of lazylinop).

    Raises
    ------
    TypeError, ValueError
        If it is none; the message says which part.
    """
    operator = as_operator(B)
    found = fold(operator, product_form)
    if not isinstance(found, str):
        found = settled(found)
    if isinstance(found, str):
        raise ValueError(
            f"{operator!r} is no butterfly: {found}; recompress(A, tol) makes one of an expression"
        )
    return Source(found, working_dtype(np.dtype(operator.dtype)), first_array(operator))


def as_operator(B: Any) -> LinearOperator:
    """`B`, a Factorization, a list of values of factors, as an operator of ours."""
    B = getattr(B, "operator", B) if not isinstance(B, LinearOperator) else B
    if isinstance(B, LinearOperator):
        return B
    if isinstance(B, Sequence) and len(B) and all(is_array(v) for v in B):
        factors = [KroneckerSparse(v, copy=False) for v in B]
        return factors[0] if len(factors) == 1 else Product(factors)
    raise TypeError(
        "a butterfly is an operator, a Factorization or a list of arrays of shape (a, b, c, d), "
        f"got {type(B).__name__}"
    )


def first_array(operator: LinearOperator) -> Array | None:
    """An array of values of the expression: where it lives."""

    def visit(op: LinearOperator, below: tuple) -> Array | None:
        own = [a for f, a in op._arrays() if not f.metadata]
        return next((a for a in (*own, *below) if a is not None), None)

    return fold(operator, visit)


# -- from an expression ----------------------------------------------------------------------


def product_form(op: LinearOperator, below: Sequence[Form | str]) -> Form | str:
    """The form of one node, given those of its operands, or why it has none (for `fold`).

    Whether the factors chain is seen only when all are there: see `settled`.
    """
    for part in below:
        if isinstance(part, str):
            return part
    match op:
        case KroneckerSparse():
            return _normalised(op.values)
        case Diagonal():
            return _diagonal(op.values)
        case Identity():
            return _diagonal(np.ones(op.n))
        case Scalar():
            return _diagonal(np.full(op.n, to_numpy(op.alpha) if is_array(op.alpha) else op.alpha))
        case Permutation():
            rows = np.argsort(to_numpy(op.index))
            return dataclasses.replace(_diagonal(np.ones(op.shape[0])), rows=rows)
        case Assumed():
            return below[0]
        case Product():
            return _product([part for part in below if isinstance(part, Form)])
    return f"{op!r} is no Kronecker-sparse factor, permutation or diagonal"


def _normalised(values: Array) -> Form:
    """One factor in double precision, scaled by a power of two."""
    double = "complex128" if has_complex_values(values) else "float64"
    x = to_numpy(cast(values, double))
    largest = float(np.abs(x).max(initial=0.0))
    if not math.isfinite(largest):
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"a factor is not finite: its value {at} is {x[at]}")
    exponent = math.frexp(largest)[1]
    return Form((_times_power(x, -exponent),), exponent=exponent)


def _diagonal(values: Array) -> Form:
    return dataclasses.replace(_normalised(values.reshape(-1, 1, 1, 1)), is_diagonal=True)


def _product(parts: Sequence[Form]) -> Form | str:
    found: Form | str = parts[0]
    for part in parts[1:]:
        if isinstance(found, str):
            break
        found = _times(found, part)
    return found


def _times(left: Form, right: Form) -> Form | str:
    """The product of two: diagonals go into a factor, permutations to an end."""
    n = left.values[-1].shape[0] * math.prod(left.values[-1].shape[2:])
    between = _composed(right.rows, left.columns, n)  # x -> x[between]
    exponent = left.exponent + right.exponent
    size = _size_of_product(left, right)
    if left.is_diagonal:
        d = left.values[0].reshape(-1)
        moved = d.copy()
        moved[between] = d
        first = _rows_scaled(right.values[0], moved)
        rows = between if left.rows is None else between[inverted(left.rows)]
        values = (first, *right.values[1:])
        found = _form(values, inverted(rows), right.columns, exponent, size)
        return dataclasses.replace(found, is_diagonal=right.is_diagonal)
    if right.is_diagonal:
        last = _columns_scaled(left.values[-1], right.values[0].reshape(-1)[between])
        columns = between if right.columns is None else right.columns[between]
        return _form((*left.values[:-1], last), left.rows, columns, exponent, size)
    if not np.array_equal(between, np.arange(n)):
        return "a permutation stands between two factors"
    return _form((*left.values, *right.values), left.rows, right.columns, exponent, size)


def _form(values, rows, columns, exponent: int, size: float | None) -> Form:
    """A form without permutations that do nothing."""
    left, right = (
        None if index is None or np.array_equal(index, np.arange(len(index))) else index
        for index in (rows, columns)
    )
    return Form(tuple(values), left, right, exponent, size)


def _size_of_product(left: Form, right: Form) -> float | None:
    """A sum times something: its terms may have been cancelling."""
    sizes = [
        one.size * math.prod(map(_norm_bound, other.values))
        for one, other in ((left, right), (right, left))
        if one.size is not None
    ]
    return max(sizes, default=None)


def _norm_bound(values: np.ndarray) -> float:
    """No spectral norm of a block is larger."""
    return math.sqrt((np.abs(values) ** 2).sum(axis=(1, 2)).max(initial=0.0))


def _composed(rows: np.ndarray | None, columns: np.ndarray | None, n: int) -> np.ndarray:
    """The permutation between two forms: undo `rows` of the right one, then `columns`."""
    index = np.arange(n) if rows is None else inverted(rows)
    return index if columns is None else index[columns]


def inverted(index: np.ndarray) -> np.ndarray:
    inverse = np.empty_like(index)
    inverse[index] = np.arange(len(index))
    return inverse


def _rows_scaled(values: np.ndarray, d: np.ndarray) -> np.ndarray:
    a, b, _, e = values.shape
    return d.reshape(a, b, 1, e) * values


def _columns_scaled(values: np.ndarray, d: np.ndarray) -> np.ndarray:
    a, _, c, e = values.shape
    return values * d.reshape(a, 1, c, e)


# -- chains that chain backwards -------------------------------------------------------------


def settled(form: Form) -> Form | str:
    """The form with factors that chain, or why they do not.

    A transpose or an inverse has its factors in reverse order; with all digits of all indices
    reversed they chain: a digit reversal of the rows and one of the columns.
    """
    obstacle = form.chain.obstacle
    if obstacle is None:
        return form
    mirrored = Chain((d, b, c, a) for a, b, c, d in form.chain)
    if mirrored.obstacle is not None:
        return f"its factors do not chain: {obstacle}"
    cores = Cores.of(mirrored)
    rows = digit_reversal([cores.a, *cores.rows, cores.d])
    columns = digit_reversal([cores.a, *cores.columns, cores.d])
    return _form(
        _mirrored(form.values, cores),
        rows if form.rows is None else form.rows[rows],
        columns if form.columns is None else form.columns[columns],
        form.exponent,
        form.size,
    )


def _mirrored(values: Sequence[np.ndarray], cores: Cores) -> list[np.ndarray]:
    """Values over `cores` of factors whose indices have these digits in reverse order."""
    found = []
    for at, v in enumerate(values):
        outer = [cores.a, *cores.columns[:at]]  # digits of a, slowest first, as they come out
        inner = [*cores.rows[at + 1 :], cores.d]  # those of d
        b, c = cores.rows[at], cores.columns[at]
        x = v.reshape(*inner[::-1], b, v.shape[1] // b, v.shape[2] // c, c, *outer[::-1])
        k = len(inner)
        order = [*range(x.ndim - 1, k + 3, -1), k + 1, k, k + 3, k + 2, *range(k - 1, -1, -1)]
        x = x.transpose(order)
        found.append(x.reshape(math.prod(outer), v.shape[1], v.shape[2], math.prod(inner)))
    return found


# -- scales ----------------------------------------------------------------------------------


def spread_power(values: Sequence[np.ndarray], exponent: int) -> list[np.ndarray]:
    """Values times ``2**exponent`` together: in the last factor, shared by all if large."""
    if abs(exponent) <= 256 or len(values) == 1:
        return [*values[:-1], _times_power(values[-1], exponent)]
    return _scaled_back(list(values), exponent)
