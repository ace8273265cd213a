"""Fourier transforms of real and of n-dimensional signals, and the Hartley transform."""

from __future__ import annotations

from collections.abc import Sequence

from ..operators import Cosine, Fourier, HalfFourier, Hartley, LinearOperator, RealFourier, kron


def rfft(n: int, norm: str | None = None, pairs: bool = False) -> LinearOperator:
    """The first n//2 + 1 rows of the DFT: ``rfft(n) @ x`` equals ``scipy.fft.rfft(x)``.

    Parameters
    ----------
    n : int
        The length of the signal, from 1 on.
    norm : {"backward", "ortho", "forward"}
        As in SciPy.
    pairs : bool
        Give each number as two, real and imaginary part:
        ``rfft(n, pairs=True) @ x`` equals ``scipy.fft.rfft(x).view(float)``.

    Returns
    -------
    operator of shape (n//2 + 1, n), complex; with `pairs` of shape (2 (n//2 + 1), n), real

    Notes
    -----
    A real `x` costs half of what `fft` costs; a complex one is transformed by linearity.  Only
    with `pairs` has it an inverse, `irfft`: that is linear over the real numbers alone, so it is
    no matrix on n//2 + 1 complex numbers, but one on as many pairs.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.rfft(4) @ np.array([1., 2., 3., 4.])
    array([10.+0.j, -2.+2.j, -2.+0.j])
    >>> lo.simplify(lo.irfft(4) @ lo.rfft(4, pairs=True))
    I4
    """
    kind = RealFourier if pairs else HalfFourier
    return kind(n, False, "backward" if norm is None else norm)


def irfft(n: int, norm: str | None = None) -> LinearOperator:
    """The inverse of ``rfft(n, norm, pairs=True)``: a real matrix on pairs (re, im).

    ``irfft(n) @ z.view(float)`` equals ``scipy.fft.irfft(z, n)``; as there, the imaginary parts at
    the frequencies 0 and n/2 do not count.

    Parameters
    ----------
    n : int
        The length of the result, from 1 on.
    norm : {"backward", "ortho", "forward"}

    Returns
    -------
    operator of shape (n, 2 (n//2 + 1)), real

    Examples
    --------
    >>> import numpy as np, scipy.fft, lazyops as lo
    >>> z = scipy.fft.rfft(np.array([1., 2., 3., 4.]))
    >>> lo.irfft(4) @ z.view(float)
    array([1., 2., 3., 4.])
    """
    return RealFourier(n, True, "backward" if norm is None else norm)


def hartley(n: int, norm: str | None = None) -> LinearOperator:
    """The Hartley transform: entries ``cos(2 pi q k / n) + sin(2 pi q k / n)``, any size.

    Real and symmetric; it equals the real minus the imaginary part of the DFT of a real `x`, and
    ``hartley(n) @ hartley(n)`` is n times the identity.

    Parameters
    ----------
    n : int
        From 1 on.
    norm : {"backward", "ortho", "forward"}
        "ortho" divides by ``n**0.5`` and makes it its own inverse, "forward" divides by n.

    References
    ----------
    R. N. Bracewell, "Discrete Hartley transform", J. Opt. Soc. Am. 73 (1983), eq. 1.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.hartley(4) @ np.array([1., 2., 3., 4.])
    array([10., -4., -2.,  0.])
    >>> lo.simplify(lo.hartley(4) @ lo.hartley(4, "forward"))
    I4
    """
    return Hartley(n, "backward" if norm is None else norm)


def fftn(shape: Sequence[int], norm: str | None = None) -> LinearOperator:
    """The n-D Fourier transform of a signal that is flattened in C order.

    ``fftn(shape) @ x.reshape(-1)`` equals ``scipy.fft.fftn(x).reshape(-1)`` for an `x` of that
    shape.  It is ``kron(fft(shape[0]), fft(shape[1]), ...)``, which runs as one n-D transform.

    Parameters
    ----------
    shape : sequence of int
    norm : {"backward", "ortho", "forward"}
        As in SciPy.

    Examples
    --------
    >>> import numpy as np, scipy.fft, lazyops as lo
    >>> x = np.arange(6.0).reshape(2, 3)
    >>> np.allclose(lo.fftn((2, 3)) @ x.reshape(-1), scipy.fft.fftn(x).reshape(-1))
    True
    """
    return kron(*[Fourier(n, False, norm or "backward") for n in shape])


def ifftn(shape: Sequence[int], norm: str | None = None) -> LinearOperator:
    """The inverse of ``fftn(shape, norm)``, equal to ``scipy.fft.ifftn``; see `fftn`."""
    return kron(*[Fourier(n, True, norm or "backward") for n in shape])


def dctn(shape: Sequence[int], type: int = 2, norm: str | None = None) -> LinearOperator:
    """The n-D cosine transform, equal to ``scipy.fft.dctn``; see `fftn` and `dct`."""
    return kron(*[Cosine(n, False, type, norm or "backward") for n in shape])


def dstn(shape: Sequence[int], type: int = 2, norm: str | None = None) -> LinearOperator:
    """The n-D sine transform, equal to ``scipy.fft.dstn``; see `fftn` and `dst`."""
    return kron(*[Cosine(n, True, type, norm or "backward") for n in shape])
