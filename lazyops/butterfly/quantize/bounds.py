"""What rounding may cost, known before anything is rounded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...kernels.formats import ScaledInteger
from .chains import Values, inner, norm2
from .sweeps import Format, parts, scale_of


def nearest_bound(values: Values, formats: Sequence[Format]) -> float:
    """Relative Frobenius error of rounding a chain to nearest, at most; of any ranks.

    With ``|K_l - Kh_l| <= E_l`` entrywise, ``|A - B| <= prod (|K_l| + E_l) - prod |K_l|`` entrywise
    (Higham, "Accuracy and stability of numerical algorithms", 2nd ed., Lemma 3.8, with E_l for
    ``u |K_l|``), and the norm of this difference of two chains is exact.  Infinite where the
    product is zero and its factors are not.
    """
    sizes = [np.abs(v) for v in values]
    larger = [s + error_of(v, f) for s, v, f in zip(sizes, values, formats, strict=True)]
    exponents = [int(np.frexp(g.max(initial=0.0))[1]) for g in larger]
    values, sizes, larger = (
        [v * 2.0**-e for v, e in zip(chain, exponents, strict=True)]
        for chain in (values, sizes, larger)
    )
    most = norm2(larger)
    error2 = most - 2 * inner(larger, sizes).real + norm2(sizes)
    # terms of these sums are at most those of `most`, and each meets so many roundings
    roundings = 64 + sum(sum(v.shape[1:3]) + 2 for v in values)
    rounding = 8 * 2.0**-53 * roundings * most
    whole = norm2(values) - rounding
    if most == 0:
        return 0.0
    return math.sqrt(max(error2, 0.0) + rounding) / math.sqrt(whole) if whole > 0 else math.inf


def product_bound(
    chains: Sequence[Values], bounds: Sequence[float], others: Sequence[float], whole: float
) -> float:
    """Relative error of a product of chains and of operators that stay, at most.

    Of A = M_1 M_2 ... with errors E_i the difference is a sum of products with at least one E_i;
    ``||X Y Z||_F <= ||X||_2 ||Y||_F ||Z||_2`` bounds each.  `bounds` are those of the chains,
    `others` spectral norms or more, and `whole` is ``||A||_F`` or less.
    """
    if len(chains) == 1 and not others:
        return bounds[0]
    grown, size = 0.0, math.prod(others)
    for values, bound in zip(chains, bounds, strict=True):
        frobenius = math.sqrt(norm2(values))
        spectral = min(frobenius, math.prod(_spectral(v) for v in values))
        size *= spectral
        grown += math.log1p(bound * frobenius / spectral) if spectral else 0.0
    if grown > 700 or not math.isfinite(size):  # beyond the numbers of double precision
        return math.inf
    error = math.expm1(grown) * size * (1 + 2.0**-40)
    return error / whole if whole else (0.0 if error == 0 else math.inf)


def _spectral(values: np.ndarray) -> float:
    """Norm of a factor (a, b, c, d): the largest of its blocks."""
    return float(np.linalg.norm(values.transpose(0, 3, 1, 2), 2, axis=(2, 3)).max(initial=0.0))


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


def sweep_bound(found: Values, formats: Sequence[Format]) -> float:
    """Relative error of a sweep over a chain of rank one, at most; infinite with underflow.

    `found` is what was rounded to: where no part of it is below the normal numbers of its format,
    each step's error is at most ``u / (1 + u)`` of what is left of ``||A||``.
    """
    total = 0.0
    for values, form in zip(found, formats, strict=True):
        if isinstance(form, ScaledInteger):
            return math.inf
        if np.abs(parts(values)).min() < form.tiny * scale_of(values, form):
            return math.inf
        unit = 2.0**-form.significand
        total += (unit / (1 + unit)) ** 2
    return math.sqrt(total) * (1 + 2.0**-40)
