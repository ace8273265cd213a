"""The modified discrete cosine transform."""

from __future__ import annotations

from typing import Any

from ..operators import Cosine, Identity, Lapped, LinearOperator, Weak, compose, kron, restrict
from ..operators.scalar import check_size
from .windows import princen_bradley


def mdct(n: int, window: Any) -> LinearOperator:
    """The modified discrete cosine transform of a signal of length `n`, orthogonal.

    Frame p is the 2 N samples from ``p N - N/2`` on, and
    ``X[k, p] = sqrt(2/N) sum_j w[j] x[p N - N/2 + j] cos(pi/N (j + 1/2 + N/2) (k + 1/2))``.
    ``(mdct(n, window) @ x).reshape(N, -1)`` has one row for each frequency, one column for each
    frame.  At both ends of the signal, where a frame has no neighbour to cancel its aliasing with,
    its window is 0 outside and 1 inside the signal: the transform stays orthogonal, and its
    adjoint, `imdct`, reconstructs up to the ends.

    Parameters
    ----------
    n : int
        Filled up with zeros to the next multiple of N, which is then the number of coefficients.
    window : (name, 2 N) or array of shape (2 N,), N even
        ``("sine", 2 N)``, ``("vorbis", 2 N)``, ``(("kaiser_bessel_derived", beta), 2 N)``, or a
        symmetric array with ``window[j]**2 + window[j + N]**2 == 1``.

    Returns
    -------
    operator of shape (N * ceil(n / N), n), real; complex `x` is taken by parts

    Raises
    ------
    ValueError
        For a window without perfect reconstruction.

    Notes
    -----
    J. Princen, A. Johnson, A. Bradley, "Subband/transform coding using filter bank designs based on
    time domain aliasing cancellation", ICASSP 1987: rotations of mirrored samples, then a cosine
    transform of type IV of each block.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> A = lo.mdct(24, ("sine", 16))
    >>> A.is_unitary
    True
    >>> A = lo.mdct(21, ("sine", 16))
    >>> bool(abs(A.H @ (A @ np.ones(21)) - 1).max() < 1e-14)
    True
    """
    n, w = check_size(n, "n of mdct"), princen_bradley(window)
    if n < 1:
        raise ValueError(f"mdct takes a signal of 1 sample or more, got n = {n}")
    rows = len(w) // 2
    count = -(-n // rows)
    cosines = kron(Cosine(rows, False, 4, "ortho"), Identity(count))
    folded = compose(cosines, Weak(Lapped(w, count)))
    if n == rows * count:
        return folded
    return compose(folded, restrict(slice(0, n), rows * count).H)


def imdct(n: int, window: Any) -> LinearOperator:
    """The inverse of ``mdct(n, window)``, which is its adjoint.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.imdct(21, ("vorbis", 16)).shape
    (21, 24)
    """
    return mdct(n, window).H
