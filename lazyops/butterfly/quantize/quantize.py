"""quantize: the public door."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._array import place
from ...kernels.formats import FloatFormat, ScaledInteger, format_named
from ...operators import LinearOperator
from ...operators.densify import first_values
from ..estimate import error_factor
from ..factorization import Factorization
from .bounds import nearest_bound, product_bound
from .cheapest import cheapest
from .measure import measured
from .optimal import METHODS
from .pieces import Pieces, pieces_of
from .rank_one import DRAWN
from .sweeps import Format, nearest

LADDER = tuple(FloatFormat(4, m) for m in range(1, 12))  # what `tol` chooses from: 6 to 16 bits
EVALUATIONS = 1 << 25  # scaled numbers that are looked at with drawn scalars, in all


@dataclass(frozen=True, repr=False)
class Quantization:
    """An operator on few bits, and how far it is from the one it was made of.

    Attributes
    ----------
    operator : LinearOperator
        Its factors hold codes (`QuantizedKroneckerSparse`).
    relative_error : float
        ``||A - B|| / ||A||`` in the Frobenius norm, measured: exactly up to 2^24 entries, else
        estimated from ten Gaussian columns.
    bound : float
        What the error could be at most by theory.  Infinite where there is nothing to say: the
        product is zero and its factors are not, or it has a large operator of unknown norm.
    formats : tuple of FloatFormat or ScaledInteger
        One for each factor.
    method : str
        What gave the smallest error.
    confidence : float
        1 where the error is exact, else 0.99 that it is at most `error_at_most`.
    """

    operator: LinearOperator
    relative_error: float
    bound: float
    formats: tuple[Format, ...]
    method: str = "nearest"
    confidence: float = 1.0

    @property
    def error_at_most(self) -> float:
        """The error, or what it exceeds with probability ``1 - confidence`` at most."""
        return self.relative_error * (1.0 if self.confidence == 1 else error_factor())

    def __repr__(self) -> str:
        m, n = self.operator.shape
        names = sorted({f.name for f in self.formats}, key=lambda name: (len(name), name))
        sure = "" if self.confidence == 1 else f", estimated (confidence {self.confidence:g})"
        return (
            f"<Quantization {m}x{n}: {len(self.formats)} factors in {', '.join(names)}, "
            f"{self.method}, error {self.relative_error:.2g} <= {self.bound:.2g}{sure}>"
        )


def quantize(
    A: LinearOperator | Factorization,
    format: Any = None,
    method: str = "optimal",
    tol: float | None = None,
    *,
    rng: np.random.Generator | int = 0,
) -> Quantization:
    """Round the factors of a butterfly to few bits, as well as the scales between them allow.

    Parameters
    ----------
    A : LinearOperator or Factorization
        A Kronecker-sparse or dense factor, or a product with such factors.  Diagonals and scalars
        beside a factor are multiplied into it; permutations and everything else stay.
    format : FloatFormat, ScaledInteger, name, or sequence of these
        One for all factors, or one for each.  With `tol`: what to choose from, narrowest first
        (default: ``e4m1`` to ``e4m11``).
    method : {"optimal", "left-to-right", "right-to-left", "pairwise", "nearest"}
        Where rounding to nearest has the smaller error, that is what comes back, and `method` of
        the result says so.  ``optimal``: the best of several of these, each made better junction
        by junction while that helps; how many, and for how long, depends on the size.
    tol : float, optional
        Relative error to meet with few bits: the narrowest format that does it for all factors,
        then narrower ones for some, as far as that goes.  Of small chains with few formats to
        choose from every cheaper choice is tried, so that none is left that meets it.
    rng : Generator or seed
        Of the Gaussian columns that estimate errors of large matrices.

    Returns
    -------
    Quantization

    Raises
    ------
    ValueError
        If there is nothing to quantize, values are not finite, the method or format is unknown, the
        number of formats is not that of the factors, or no format meets `tol`.

    Notes
    -----
    Scales move over junctions of rank one without changing the product; a rank-one pair has an
    optimal rounding (Gribonval, Mary, Riccietti, hal-04125381, Algorithms 5.1, 7.2 and 7.3; complex
    scalars are drawn, up to 4096 for a pair).  Formats with scales (``int8``) are rounded to
    nearest, block by block.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> rng = np.random.default_rng(0)
    >>> chain = lo.Chain.square_dyadic(64)
    >>> A = lo.Product([lo.KroneckerSparse(rng.standard_normal(p)) for p in chain])
    >>> best, plain = lo.quantize(A, "e4m3"), lo.quantize(A, "e4m3", "nearest")
    >>> best.relative_error < 0.5 * plain.relative_error
    True
    >>> lo.quantize(A, tol=1e-3).relative_error <= 1e-3
    True
    """
    if isinstance(A, Factorization):
        A = A.operator
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, got {method!r}")
    if format is None and tol is None:
        raise ValueError("quantize takes a format ('e4m3', 'bf16' ...) or a tol")
    task = Task(A, pieces_of(A), method, rng)
    if tol is None:
        return task.done_in(formats_of(format, len(task.pieces.factors)))
    if not 0 < tol < math.inf:
        raise ValueError(f"tol is a relative error above 0, got {tol}")
    sizes = [v.size for v in task.pieces.factors]
    return cheapest(task.done_in, sizes, tol, ladder_of(format))


@dataclass(frozen=True, eq=False)
class Task:
    """What is asked for, but for the formats."""

    operator: LinearOperator
    pieces: Pieces
    method: str
    rng: np.random.Generator | int

    def done_in(self, formats: Sequence[Format]) -> Quantization:
        """The best of rounding to nearest and of what the method does."""
        factors, streaks = self.pieces.factors, [slice(*at) for at in self.pieces.streaks]
        complex_ones = any(np.iscomplexobj(v) for v in factors)
        most = EVALUATIONS // sum(v.size for v in factors) if complex_ones else DRAWN
        most = min(max(most, 64), DRAWN)
        plain = nearest(factors, formats)
        rounded = [METHODS[self.method](factors[at], formats[at], most) for at in streaks]
        found = {"nearest": plain, self.method: [v for one in rounded for v in one.values]}
        operators = [self.pieces.rounded(values, formats) for values in found.values()]
        errors, norm, confidence = measured(self.pieces.in_full(), operators, self.rng)
        best = int(np.argmin(errors))
        chains, others = [factors[at] for at in streaks], self.pieces.others()
        either = (  # what comes back is the better of the two
            [nearest_bound(factors[at], formats[at]) for at in streaks],
            [one.bound for one in rounded],
        )
        return Quantization(
            _beside(self.operator, operators[best]),
            errors[best],
            min(product_bound(chains, bounds, others, norm) for bounds in either),
            tuple(formats),
            list(found)[best],
            confidence,
        )


def _beside(given: LinearOperator, made: LinearOperator) -> LinearOperator:
    """The result in the library and on the device of what was given."""
    values = first_values(given)
    if values is None or isinstance(values, np.ndarray):
        return made
    return made if place(values).library == "numpy" else made.to(like=values)


# -- formats -----------------------------------------------------------------------------------


def formats_of(format: Any, count: int) -> list[Format]:
    """One format for each of `count` factors."""
    if isinstance(format, (str, FloatFormat, ScaledInteger)):
        return [format_named(format)] * count
    found = [format_named(f) for f in format]
    if len(found) != count:
        raise ValueError(f"{len(found)} formats are given for {count} factors")
    return found


def ladder_of(format: Any) -> list[Format]:
    """What a tolerance chooses from, narrowest first."""
    if format is None:
        return list(LADDER)
    one = isinstance(format, (str, FloatFormat, ScaledInteger))
    return sorted((format_named(f) for f in ([format] if one else format)), key=lambda f: f.bits)
