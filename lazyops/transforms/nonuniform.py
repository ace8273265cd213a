"""Fourier sums at points that are not on a grid."""

from __future__ import annotations

from typing import Any

from .._array import is_array
from ..operators import LinearOperator, Nonuniform
from ..operators.nonuniform import coordinates


def nudft(points: Any, n: Any, type: int = 2, sign: int | None = None) -> LinearOperator:
    """The nonuniform discrete Fourier transform, summed directly.

    Type 2, from modes to points: ``y[j] = sum_k x[k] exp(sign i k points[j])`` with
    ``k = -(n // 2) .. (n - 1) // 2``.  Type 1, from points to modes, is its transpose:
    ``y[k] = sum_j x[j] exp(sign i k points[j])``.  Type 3 goes to any frequencies s, given in
    place of `n`: ``y[k] = sum_j x[j] exp(sign i s[k] points[j])``.

    Parameters
    ----------
    points : array of shape (m,) or (m, d)
        Angles, in radians; for d coordinates k and s are vectors, and their product the inner one.
    n : int, tuple of d ints, or (type 3) array of shape (n,) or (n, d)
        The modes, flattened in C order, or the frequencies.
    type : {1, 2, 3}
    sign : {1, -1}, optional
        By default that of finufft: -1 for type 2, 1 for types 1 and 3.

    Returns
    -------
    operator of shape (m, number of modes) for type 2, the other way round for types 1 and 3; it
    follows the library, device and precision of `x`

    Notes
    -----
    The matrix is computed again at each product, 4 MiB at a time; its entries are accurate to
    ``u |k points[j]|``.

    References
    ----------
    A. Dutt and V. Rokhlin, "Fast Fourier transforms for nonequispaced data", SIAM J. Sci.
    Comput. 14 (1993): the sums of problems 1, 2 and 5 there.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> A = lo.nudft([0.0, np.pi], 3)
    >>> np.round(A.to_dense().real)
    array([[ 1.,  1.,  1.],
           [-1.,  1., -1.]])
    """
    return _nonuniform(points, n, type, None, sign)


def nufft(
    points: Any, n: Any, type: int = 2, eps: float = 1e-9, sign: int | None = None
) -> LinearOperator:
    """`nudft` in ``O(n log n + m log(1/eps)^d)``, to a relative error of about `eps`.

    Computed by finufft (extra ``nufft``), for arrays on a GPU by cufinufft (``nufft-cuda``); points
    of 1 to 3 coordinates.  Types 1 and 2 of one `eps` are each other's adjoints up to rounding,
    since they use the same kernel.

    Parameters
    ----------
    points, n, type, sign
        As for `nudft`.
    eps : float
        Relative error in norm; at least 1e-14, in single precision 1e-6, is what can be held to.

    Raises
    ------
    ImportError
        At the first product, where finufft or cufinufft is not installed.

    References
    ----------
    A. Barnett, J. Magland, L. af Klinteberg, "A parallel nonuniform fast Fourier transform
    library based on an 'exponential of semicircle' kernel", SIAM J. Sci. Comput. 41 (2019).

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.nufft([0.1, 0.7, 2.0], 8)
    nufft[3x8]
    """
    return _nonuniform(points, n, type, eps, sign)


def _nonuniform(points: Any, n: Any, type: int, eps: float | None, sign: int | None):
    if type not in (1, 2, 3):
        raise ValueError(f"the type of a nonuniform transform is 1, 2 or 3, got {type!r}")
    sign = (-1 if type == 2 else 1) if sign is None else sign
    points = coordinates(points, "the points")
    if type == 3:
        return Nonuniform(coordinates(n, "the frequencies"), points, sign, eps, copy=False)
    if is_array(n) or isinstance(n, list):
        raise TypeError(f"types 1 and 2 take a number of modes, or a tuple of them, got {n!r:.60}")
    sizes = n if isinstance(n, tuple) else (n,)
    return Nonuniform(points, sizes, sign, eps, type == 1, copy=False)
