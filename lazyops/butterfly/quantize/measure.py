"""How far quantized operators are from the one in full: measured, never taken from a formula."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...operators import LinearOperator
from ..errors import column_panels
from ..estimate import CONFIDENCE, gaussian

EXACT = 1 << 24  # entries of the matrix up to which all its columns are looked at: n = 4096


def measured(
    A: LinearOperator, others: Sequence[LinearOperator], rng: np.random.Generator | int
) -> tuple[list[float], float, float]:
    """``||A - B|| / ||A||`` (Frobenius) of each, at least so much of ``||A||``, and the confidence
    in the errors: 1 where they are exact.

    Larger matrices are multiplied by ten Gaussian columns X, the same for all;
    ``||A|| >= ||A X|| / ||X||_2``.
    """
    m, n = A.shape
    exact = m * n <= EXACT
    norm2, spread, error2 = [0.0], 1.0, [[0.0] for _ in others]
    panels = column_panels(m, n) if exact else [(0, 0)]
    for start, stop in panels:
        if exact:
            x = np.zeros((n, stop - start))
            x[np.arange(start, stop), np.arange(stop - start)] = 1
        else:
            x = gaussian(n, np.random.default_rng(rng))
            spread = float(np.linalg.norm(x, 2))
        wanted = A @ x
        norm2.append(float(np.vdot(wanted, wanted).real))
        for B, total in zip(others, error2, strict=True):
            difference = B @ x
            difference -= wanted
            total.append(float(np.vdot(difference, difference).real))
    norm = math.sqrt(math.fsum(norm2))
    found = [math.sqrt(math.fsum(e)) for e in error2]
    relative = [e / norm if norm else (0.0 if e == 0 else math.inf) for e in found]
    return relative, norm / spread, 1.0 if exact else CONFIDENCE
