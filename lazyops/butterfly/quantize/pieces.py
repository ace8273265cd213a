"""What there is to quantize in an operator: streaks of Kronecker-sparse factors, and the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._array import to_numpy
from ...kernels.formats import ScaledInteger
from ...operators import (
    Dense,
    Diagonal,
    KroneckerSparse,
    LinearOperator,
    Permutation,
    Product,
    QuantizedKroneckerSparse,
    Scalar,
)
from ...operators.known import known_frobenius2, known_spectral
from ...operators.quantities import norm
from ...operators.tree import fold
from ...pattern import Pattern
from .measure import EXACT
from .sweeps import Factors, Format, scale_of

Piece = LinearOperator | np.ndarray
HEADROOM = 2.0**32  # by which numbers on the way may be larger or smaller than they would be


@dataclass(frozen=True, eq=False)
class Pieces:
    """The members of a product, left to right: values of factors, and operators that stay."""

    members: tuple[Piece, ...]
    dtype: np.dtype

    @property
    def factors(self) -> Factors:
        return [p for p in self.members if isinstance(p, np.ndarray)]

    @property
    def streaks(self) -> list[tuple[int, int]]:
        """Ranges of the factors that stand side by side and chain."""
        found: list[tuple[int, int]] = []
        count, open_ = 0, False
        for one in self.members:
            if not isinstance(one, np.ndarray):
                open_ = False
                continue
            if open_ and _chains(self.factors[count - 1], one):
                found[-1] = (found[-1][0], count + 1)
            else:
                found.append((count, count + 1))
            count, open_ = count + 1, True
        return found

    def others(self) -> list[float]:
        """Norms of the members that stay, or more; but for permutations, which change no error."""
        rest = [p for p in self.members if not isinstance(p, np.ndarray)]
        return [norm_at_most(p) for p in rest if not isinstance(p, Permutation)]

    def in_full(self) -> LinearOperator:
        """The operator itself, its factors in double precision."""
        return self._joined(KroneckerSparse(v, copy=False) for v in self.factors)

    def rounded(self, values: Sequence[np.ndarray], formats: Sequence[Format]) -> LinearOperator:
        """The operator with these values, which are numbers of the formats, stored as codes.

        Scales of whole factors are joined to one scalar, and to more where a product on the way
        could overflow without it.
        """
        pairs = [stored(v, f, self.dtype) for v, f in zip(values, formats, strict=True)]
        waiting = 1.0
        joined: list[LinearOperator] = []
        for n, (factor, scale) in reversed(tuple(enumerate(pairs))):  # as they are applied
            waiting *= scale
            if waiting != 1.0 and (n == 0 or not 1 / HEADROOM < waiting < HEADROOM):
                factor = Product((Scalar(factor.shape[0], waiting), factor))
                waiting = 1.0
            joined.insert(0, factor)
        return self._joined(joined)

    def _joined(self, factors: Any) -> LinearOperator:
        factors = iter(factors)
        found = [next(factors) if isinstance(p, np.ndarray) else p for p in self.members]
        return found[0] if len(found) == 1 else Product(found)


def stored(values: np.ndarray, form: Format, dtype: np.dtype) -> tuple[LinearOperator, float]:
    """The factor that holds these numbers of the format, and a power of two that it lacks."""
    scale = scale_of(values, form)
    if isinstance(form, ScaledInteger):
        return QuantizedKroneckerSparse.nearest(values, form, scale), 1.0
    if form.exponent_bits is None:
        return KroneckerSparse(values.astype(dtype)), 1.0
    return QuantizedKroneckerSparse.nearest(values / scale, form), float(scale)


def pieces_of(operator: LinearOperator) -> Pieces:
    """Take a product apart; diagonals and scalars are multiplied into a factor beside them.

    Raises
    ------
    ValueError
        If there is no factor, or one holds infinities or NaN.
    """
    members = operator.factors if isinstance(operator, Product) else (operator,)
    found = absorbed([_values(m) for m in members])
    if not any(isinstance(p, np.ndarray) for p in found):
        raise ValueError(
            "quantize takes a Kronecker-sparse or dense factor, or a product with such factors, "
            f"got {operator!r}: factorize it first"
        )
    for p in found:
        if isinstance(p, np.ndarray) and not np.isfinite(p).all():
            bad = int((~np.isfinite(p)).sum())
            raise ValueError(f"{bad} values of the factor K{p.shape} are infinite or NaN")
    return Pieces(tuple(found), np.dtype(operator.dtype))


def _values(op: LinearOperator) -> Piece:
    """The values of a factor (a, b, c, d) in double precision; other operators as they are."""
    if isinstance(op, QuantizedKroneckerSparse):
        op = op.dequantized("float64")
    if isinstance(op, KroneckerSparse):
        values = to_numpy(op.values)
    elif isinstance(op, Dense):
        values = to_numpy(op.to_dense())[None, :, :, None]
    else:
        return op
    return values.astype(complex if values.dtype.kind == "c" else float)


def absorbed(members: Sequence[Piece]) -> list[Piece]:
    """Diagonals and scalars multiplied into the nearest factor beside them, where there is one."""
    found: list[Piece] = []
    for one in members:  # into the left neighbour
        if found and isinstance(found[-1], np.ndarray) and (d := _diagonal(one)) is not None:
            a, _, c, e = found[-1].shape
            found[-1] = found[-1] * d.reshape(a, 1, c, e)
        else:
            found.append(one)
    result: list[Piece] = []
    for one in reversed(found):  # into the right one
        if result and isinstance(result[0], np.ndarray) and (d := _diagonal(one)) is not None:
            a, b, _, e = result[0].shape
            result[0] = result[0] * d.reshape(a, b, 1, e)
        else:
            result.insert(0, one)
    return result


def _diagonal(op: Piece) -> np.ndarray | None:
    if isinstance(op, Diagonal):
        return to_numpy(op.values)
    if isinstance(op, Scalar):
        return np.full(op.shape[0], op.alpha)
    return None


def _chains(left: np.ndarray, right: np.ndarray) -> bool:
    return Pattern(*left.shape).chains_with(Pattern(*right.shape))


def norm_at_most(op: LinearOperator) -> float:
    """The spectral norm where structure gives it, else the Frobenius norm; infinite where that
    would take a product with each of very many columns."""
    known = fold(op, known_spectral)
    if known is not None:
        return known
    if fold(op, known_frobenius2) is None and math.prod(op.shape) > EXACT:
        return math.inf
    return norm(op)
