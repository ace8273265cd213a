"""What a solver gives back."""

from __future__ import annotations

from dataclasses import dataclass

from .._array import Array


@dataclass(frozen=True)
class Solution:
    """A solution and how it was found.

    Attributes
    ----------
    x : array of the shape, library and device of the right-hand side
    converged : bool
        Whether the true residual of every column is within the tolerance; of `lsmr`, that of the
        system or of the normal equations.
    reason : str
        Why it stopped.
    iterations, products : int
        Steps, and products with the operator and its adjoint (of all columns at once).
    residuals : tuple of float
        After each step, the largest over the columns of ``||r|| / ||b||`` as the recurrence has
        it; the last one is computed anew, ``b - A x``.
    gradients : tuple of float
        Of `lsmr`, in the same way: ``||A^H r|| / (||A|| ||r||)``, which vanishes at a least-squares
        solution where the residual does not; columns that are solved exactly are left out.
    """

    x: Array
    converged: bool
    reason: str
    iterations: int
    products: int
    residuals: tuple[float, ...]
    gradients: tuple[float, ...] = ()
