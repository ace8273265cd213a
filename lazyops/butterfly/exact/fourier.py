"""The discrete Fourier transform of any size as a chain."""

from __future__ import annotations

import numpy as np

from ...operators import (
    Diagonal,
    Identity,
    LinearOperator,
    Permutation,
    Product,
    Restriction,
    kron,
    restrict,
)
from .prime import prime_dft, symmetric
from .values import (
    DIRECT,
    chain,
    checked,
    checked_dtype,
    digits,
    exact_roots,
    radices_of,
    rounded,
    share,
    twiddled,
)

COMPLEX = ("complex128", "complex64")
DENSE = 11  # a prime above is two blocks of half the size, which round less


def dft(n: int, norm: str | None = None, *, dtype: str = "complex128") -> LinearOperator:
    """The discrete Fourier transform as a butterfly: the same numbers as `lazyops.fft`.

    Decimation in time, one factor for each prime of `n` (Cooley, Tukey, "An algorithm for the
    machine calculation of complex Fourier series", Math. Comp. 19, 1965), times a digit reversal.
    A prime above 11 takes cosines and sines apart, one of 128 and more is a convolution, by Rader's
    or Bluestein's algorithm, that is two chains and a diagonal folded in: see
    `lazyops.butterfly.exact.prime`.

    Parameters
    ----------
    n : int
        Any size from 1 on.  A prime factor p costs p multiplications for each entry up to 11, some
        p / 2 below 128, and at most some 10 log2(p) from there on.
    norm : {"backward", "ortho", "forward"}
        As in SciPy.
    dtype : "complex128" or "complex64"
        Of the values, which are rounded once.

    Returns
    -------
    Product of KroneckerSparse factors and one Permutation, of shape (n, n); for a prime above 11
    with restrictions around its factors; from 128 on with Kronecker products of chains

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> F = lo.butterfly.dft(12)
    >>> x = np.arange(12.0)
    >>> bool(np.abs(F @ x - lo.fft(12) @ x).max() < 1e-13)
    True
    >>> F
    K(1,2,2,6) @ K(2,2,2,3) @ K(4,3,3,1) @ P12
    """
    n, norm = checked(n, norm, "a discrete Fourier transform")
    dtype = checked_dtype(dtype, COMPLEX, "a discrete Fourier transform")
    radices, scale = radices_of(n), share(n, norm)
    factors: list[LinearOperator] = []
    above = 1
    for p in radices:
        whole = n // above  # size of the transforms that this factor puts together
        own = scale if above * p == n else np.longdouble(1)
        if p >= DIRECT:
            factors.extend(_large(p, above, whole, own, dtype))
        elif p > DENSE:
            factors.extend(symmetric(p, above, whole, own, dtype))
        else:
            shape = (above, p, p, whole // p)
            factors.append(rounded(np.broadcast_to(twiddled(p, whole) * own, shape), dtype))
        above *= p
    last = factors[-1]
    if isinstance(last, Restriction):  # one gather for two
        return chain(*factors[:-1], restrict(digits(n)[last.index], n), dtype=dtype)
    return chain(*factors, Permutation(digits(n)), dtype=dtype)


def _large(p: int, above: int, whole: int, scale: np.longdouble, dtype: str):
    """``I (x) F_p (x) I_m`` and the twiddles on its right."""
    m = whole // p
    inner = prime_dft(p, scale, dtype)
    if above == m == 1:
        yield from inner.factors if isinstance(inner, Product) else [inner]
        return
    yield kron(*(A for A in (Identity(above), inner, Identity(m)) if A.shape != (1, 1)))
    if m > 1:
        k, t = np.ogrid[:p, :m]
        twiddles = exact_roots(np.arange(whole), whole)[(k * t) % whole].reshape(-1)
        yield Diagonal(np.tile(twiddles.astype(dtype), above), copy=False)
