"""What factorize() gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..operators import LinearOperator
from ..pattern import Chain
from .run import Split
from .survey import Tried


@dataclass(frozen=True, repr=False)
class Factorization:
    """A butterfly (or the dense matrix where none was found) with its certificate.

    The three errors are relative to the Frobenius norm of the matrix:
    ``lower_bound <= best error on this chain <= relative_error <= upper_bound``.

    Attributes
    ----------
    operator : LinearOperator
        Product of Kronecker-sparse factors, permutations at its ends where they help.
    chain : Chain or None
        Patterns of the factors; None where `operator` is dense.
    relative_error : float
        Measured against the matrix, exactly; estimated from ten Gaussian columns where it is read
        by panels (and kept within the bounds) or known by its products; NaN with
        ``measure=False``.
    lower_bound, upper_bound : float
        From the truncation errors of the splits.
    splits : tuple of Split
        (position, rank, error) in the order done.
    reason : str
        What was found, or why nothing was.
    confidence : float
        Of the bounds: 1 where they are proven; below 1 for an operator known by its products,
        where `relative_error` is estimated and `lower_bound` is 0.
    tried : tuple of Tried
        The orders of rows and columns that were looked at, with estimates of ``E_q / ||A||``;
        not kept in files.
    """

    operator: LinearOperator
    chain: Chain | None
    relative_error: float
    lower_bound: float
    upper_bound: float
    splits: tuple[Split, ...] = ()
    reason: str = ""
    confidence: float = 1.0
    tried: tuple[Tried, ...] = ()

    @property
    def entries(self) -> int:
        """Stored numbers."""
        return math.prod(self.operator.shape) if self.chain is None else self.chain.entries

    def __repr__(self) -> str:
        m, n = self.operator.shape
        share = self.entries / (m * n) if m * n else 1.0
        kind = self.operator.kind_name if self.chain is None else f"{len(self.chain)} factors"
        sure = "" if self.confidence == 1 else f", confidence {self.confidence:g}"
        error = "not measured" if math.isnan(self.relative_error) else f"{self.relative_error:.2g}"
        return (
            f"<Factorization {m}x{n}: {kind}, {share:.3g} of the entries, error "
            f"{self.lower_bound:.2g} <= {error} <= {self.upper_bound:.2g}{sure}>"
        )
