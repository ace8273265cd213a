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
from ...pattern import Chain, Pattern
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

    @property
    def ranks_are_one(self) -> bool:
        """Whether all is one chain of rank one, between permutations: each entry is one path."""
        if len(self.streaks) != 1:
            return False
        rest = [p for p in self.members if not isinstance(p, np.ndarray)]
        chain = Chain(Pattern(*v.shape) for v in self.factors)
        return all(r == 1 for r in chain.ranks) and all(isinstance(p, Permutation) for p in rest)

    def in_full(self) -> LinearOperator:
        """The operator itself, its factors in double precision."""
        return self._joined(KroneckerSparse(v, copy=False) for v in self.factors)

    def rounded(self, values: Sequence[np.ndarray], formats: Sequence[Format]) -> LinearOperator:
        """The operator with these values, which are numbers of the formats, stored as codes.

        Scales of whole factors are joined to one scalar, and to more where a product on the way
        could overflow without it.
        """
        pairs = [stored(v, f, self.dtype) for v, f in zip(values, formats, strict=True)]
        waiting, joined = 1.0, []
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


def paths(values: Sequence[np.ndarray]) -> float:
    """Sum of all entries of a product of factors, by one product with a vector of ones."""
    x = np.ones(KroneckerSparse(values[-1], copy=False).shape[1])
    for v in reversed(values):
        x = KroneckerSparse(v, copy=False) @ x
    return float(x.sum())


def componentwise_bound(values: Sequence[np.ndarray], formats: Sequence[Any]) -> float:
    """Relative Frobenius error of rounding to nearest, at most; for a chain of rank one.

    An entry of the product is one product of entries, so its modulus is the product of theirs:
    with ``|K_l - Kh_l| <= E_l`` entrywise, ``|A - B| <= prod (|K_l| + E_l) - prod |K_l|``, and the
    norms of these are sums over paths of squares.
    """
    sizes = [np.abs(v) for v in values]
    larger = [s + error_of(v, f) for s, v, f in zip(sizes, values, formats, strict=True)]
    norm2 = paths([s * s for s in sizes])
    if norm2 == 0:
        return 0.0
    both = paths([s * g for s, g in zip(sizes, larger, strict=True)])
    error2 = paths([g * g for g in larger]) - 2 * both + norm2
    rounding = 8 * 2.0**-53 * len(values) * paths([g * g for g in larger])
    return math.sqrt(max(error2, 0.0) + rounding) / math.sqrt(norm2)


def error_of(values: np.ndarray, form: Format) -> np.ndarray:
    """What rounding to nearest changes in an entry, at most: its share, and half a subnormal."""
    scale = scale_of(values, form)
    if isinstance(form, ScaledInteger):
        even = 0.5 * scale[:, None, None, :] * (1 + form.max * 2.0**-22)
        return even * (math.sqrt(2) if np.iscomplexobj(values) else 1) * (values != 0)
    unit = 2.0**-form.significand
    even = form.smallest * scale / 2 * (math.sqrt(2) if np.iscomplexobj(values) else 1)
    # a part of a complex number may be even where the other is not: both count then
    return (np.abs(values) * unit / (1 + unit) + even) * (values != 0)
