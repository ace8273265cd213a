"""Transforms as exact butterfly chains, with their permutations: the same as the leaves."""

from __future__ import annotations

import math

import numpy as np

from ..operators import KroneckerSparse, LinearOperator, Permutation, Product, roots_of_unity
from ..operators.fourier import check_norm
from ..operators.scalar import check_size
from ..pattern import prime_factors


def dft(n: int, norm: str | None = None, *, dtype: str = "complex128") -> LinearOperator:
    """The discrete Fourier transform as a butterfly: the same numbers as `lazyops.fft`.

    Decimation in time, one factor for each prime of `n` (Cooley, Tukey, "An algorithm for the
    machine calculation of complex Fourier series", 1965), times a digit reversal: with n = p m,
    ``y[j m + t] = sum_k exp(-2 pi i (j m + t) k / n) z_k[t]``, z_k the transform of x[k::p].

    Parameters
    ----------
    n : int
        Any size from 1 on.  A prime factor p costs p multiplications for each entry.
    norm : {"backward", "ortho", "forward"}
        As in SciPy.
    dtype : "complex128" or "complex64"
        Of the values.

    Returns
    -------
    Product of KroneckerSparse factors and one Permutation, of shape (n, n)

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> F = lo.butterfly.dft(12)
    >>> x = np.arange(12.0)
    >>> bool(np.abs(F @ x - lo.fft(12) @ x).max() < 1e-13)
    True
    """
    n, norm = _checked(n, norm, "a discrete Fourier transform")
    radices = prime_factors(n)
    shares = _shares(n, norm, len(radices))
    factors: list[LinearOperator] = []
    above = 1
    for p, share in zip(radices, shares, strict=True):
        whole = n // above  # size of the transforms that this factor puts together
        m = whole // p
        j, k, t = np.ogrid[:p, :p, :m]
        block = roots_of_unity((j * m + t) * k, whole) * share
        values = np.broadcast_to(block, (above, p, p, m)).astype(dtype)
        factors.append(KroneckerSparse(values, copy=False))
        above *= p
    if len(radices) > 1:
        factors.append(Permutation.digit_reversal(radices))
    return _product(factors, n, dtype)


def hadamard(n: int, norm: str | None = None, *, dtype: str = "float64") -> LinearOperator:
    """The Walsh-Hadamard transform as a square dyadic butterfly, in the natural order.

    Parameters
    ----------
    n : int
        A power of two.
    norm : {"backward", "ortho", "forward"}
        Entries are 1 and -1, divided by ``n**0.5``, or by n.
    dtype : str
        Of the values.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.butterfly.hadamard(8)
    K(1,2,2,4) @ K(2,2,2,2) @ K(4,2,2,1)
    """
    n, norm = _checked(n, norm, "a Hadamard transform")
    if n & (n - 1):
        raise ValueError(f"a Hadamard transform takes a power of two, got {n}")
    levels = n.bit_length() - 1
    signs = np.array([[1.0, 1.0], [1.0, -1.0]])[:, :, None]
    factors: list[LinearOperator] = []
    for level, share in enumerate(_shares(n, norm, levels)):
        shape = (1 << level, 2, 2, n >> (level + 1))
        values = np.broadcast_to(signs * share, shape).astype(dtype)
        factors.append(KroneckerSparse(values, copy=False))
    return _product(factors, n, dtype)


def _checked(n: int, norm: str | None, what: str) -> tuple[int, str]:
    n = check_size(n, f"the size of {what}")
    if n < 1:
        raise ValueError(f"{what} takes a size from 1 on, got {n}")
    return n, check_norm(norm)


def _shares(n: int, norm: str, count: int) -> list[float]:
    """What each factor is multiplied by; of a power of two as exact as can be."""
    power = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}[norm]
    if power == 0.0 or count == 0:
        return [1.0] * count
    if power == 1.0:
        return [1.0] * (count - 1) + [1 / n]
    root = math.isqrt(n)
    return [1.0] * (count - 1) + [1 / root if root * root == n else n**-0.5]


def _product(factors: list[LinearOperator], n: int, dtype: str) -> LinearOperator:
    if not factors:
        return KroneckerSparse(np.ones((1, 1, 1, n), dtype), copy=False)
    return factors[0] if len(factors) == 1 else Product(tuple(factors))
