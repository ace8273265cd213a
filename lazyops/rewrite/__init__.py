"""Rewrite rules, and `simplify`, which applies them."""

from __future__ import annotations

from collections.abc import Callable

from ..operators import LinearOperator
from . import (
    blocks,
    convolution,
    engine,
    flips,
    frames,
    fusion,
    grid,
    moves,
    parts,
    spectra,
    stencils,
    structural,
    transforms,
    wavelet,
)
from .engine import Rule as Rule
from .engine import Rules as Rules

TABLES = (
    *(structural, parts, fusion, moves, stencils, blocks),
    *(transforms, flips, spectra, convolution, grid, wavelet, frames),
)
DEFAULT_RULES = sum([table.RULES for table in TABLES], Rules())


def simplify(
    operator: LinearOperator,
    log: Callable[[str], None] | None = None,
    *,
    rules: Rules = DEFAULT_RULES,
) -> LinearOperator:
    """An equal operator with fewer nodes; `operator` itself where no rule applies.

    Parameters
    ----------
    operator : LinearOperator
    log : callable, optional
        Called with one line per rule applied; try ``log=print``.
    rules : Rules, optional
        ``rewrite.structural.RULES`` never touches a stored value; ``rewrite.fusion.RULES``
        multiplies stored values together, so results agree to rounding, not to the bit;
        ``rewrite.blocks.RULES`` takes products inside Kronecker products and blocks.

    Notes
    -----
    ``0 * A`` becomes a zero operator even where `A` holds NaN or Inf; a part that drops out
    takes its dtype along, so the result may be narrower than that of `operator`.

    Examples
    --------
    >>> import lazyops as lo
    >>> P = lo.Permutation([2, 0, 1])
    >>> lo.simplify(2 * (3 * (P.H @ P)))
    6*I3
    """
    if not isinstance(operator, LinearOperator):
        raise TypeError(f"simplify takes an operator, got {type(operator).__name__}")
    return engine.simplify(operator, rules, log)
