"""Fourier, cosine, sine and Walsh-Hadamard transforms, by their names in SciPy."""

from __future__ import annotations

from ..operators import Cosine, Fourier, Hadamard, LinearOperator, walsh_order


def fft(n: int, norm: str | None = None) -> LinearOperator:
    """The discrete Fourier transform of size `n`: ``fft(n) @ x`` equals ``scipy.fft.fft(x)``.

    Parameters
    ----------
    n : int
        Any size.
    norm : {"backward", "ortho", "forward"}
        As in SciPy; "ortho" makes it unitary.

    Returns
    -------
    operator of shape (n, n), complex; it follows the library and the precision of `x`

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> F = lo.fft(4)
    >>> (F @ np.array([1., 0., 0., 0.])).real
    array([1., 1., 1., 1.])
    >>> lo.simplify(F.H @ F)
    4*I4
    """
    return Fourier(n, False, "backward" if norm is None else norm)


def ifft(n: int, norm: str | None = None) -> LinearOperator:
    """The inverse of ``fft(n, norm)``: ``ifft(n) @ x`` equals ``scipy.fft.ifft(x)``.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.simplify(lo.ifft(8) @ lo.fft(8))
    I8
    """
    return Fourier(n, True, "backward" if norm is None else norm)


def dct(n: int, type: int = 2, norm: str | None = None) -> LinearOperator:
    """The cosine transform of size `n`: ``dct(n) @ x`` equals ``scipy.fft.dct(x)``.

    Parameters
    ----------
    n : int
        Any size from 1 on, from 2 on for type 1; `x` may be complex.
    type : {1, 2, 3, 4}
    norm : {"backward", "ortho", "forward"}
        As in SciPy; "ortho" makes it orthogonal.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.dct(4, norm="ortho") @ np.ones(4)
    array([2., 0., 0., 0.])
    """
    return Cosine(n, False, type, "backward" if norm is None else norm)


def dst(n: int, type: int = 2, norm: str | None = None) -> LinearOperator:
    """The sine transform of size `n`: ``dst(n) @ x`` equals ``scipy.fft.dst(x)``.

    Parameters are those of `dct`; every size from 1 on is allowed.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.dst(5, type=4)
    dst(5, type=4)
    """
    return Cosine(n, True, type, "backward" if norm is None else norm)


def hadamard(n: int, norm: str | None = None, order: str = "natural") -> LinearOperator:
    """The Walsh-Hadamard transform of size `n`, a power of two; entries are 1 and -1.

    Parameters
    ----------
    n : int
    norm : {"backward", "ortho", "forward"}
        "ortho" divides by ``n**0.5``, "forward" by n.
    order : {"natural", "sequency", "dyadic"}
        Of the rows: that of ``scipy.linalg.hadamard``; by the number of sign changes (Walsh); by
        bit-reversed number (Paley).

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.hadamard(4, order="sequency").to_dense()
    array([[ 1.,  1.,  1.,  1.],
           [ 1.,  1., -1., -1.],
           [ 1., -1., -1.,  1.],
           [ 1., -1.,  1., -1.]])
    """
    H = Hadamard(n, "backward" if norm is None else norm)
    P = walsh_order(H.n, order)
    return H if P is None else P @ H
