"""Values of exact factors: worked out in long double, rounded once when a chain is made of them.

A chain is a list of arrays of shape (a, b, c, d), the leftmost factor first, in ``clongdouble`` or
``longdouble``.  Where that is no longer than double (some compilers and machines) values err by a
few roundings of double.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...operators import KroneckerSparse, LinearOperator, Permutation, Product, roots_of_unity
from ...operators.fourier import check_norm
from ...operators.scalar import check_size
from ...pattern import prime_factors

DIRECT = 128  # a prime below is one dense block; from there on a convolution


def exact_roots(k: np.ndarray, n: int) -> np.ndarray:
    """``exp(-2 pi i k / n)`` in long double."""
    return roots_of_unity(k, n, np.clongdouble)


def spectrum_of(values: np.ndarray) -> np.ndarray:
    """The DFT of a vector in long double."""
    import scipy.fft

    return scipy.fft.fft(values.astype(np.clongdouble))


def is_smooth(n: int) -> bool:
    """Whether the DFT of size `n` is a chain of Kronecker-sparse factors alone."""
    return max(prime_factors(n), default=1) < DIRECT


def radices_of(n: int) -> list[int]:
    return prime_factors(n) or [1]


def smooth_size(least: int) -> int:
    """The size from `least` on whose transform has the fewest entries: 2^i 3^j 5^k."""
    found = 1 << (least - 1).bit_length()
    best = (found * sum(prime_factors(found)), found)
    for n in _five_smooth(least, found):
        best = min(best, (n * sum(prime_factors(n)), n))
    return best[1]


def _five_smooth(least: int, most: int) -> Iterable[int]:
    five = 1
    while five < most:
        three = five
        while three < most:
            n = three << max(0, (-(-least // three) - 1).bit_length())
            if least <= n <= most:
                yield n
            three *= 3
        five *= 5


def dft_values(n: int) -> list[np.ndarray]:
    """Decimation in time: the DFT is the product of these times `digits(n)`.

    Cooley, Tukey, "An algorithm for the machine calculation of complex Fourier series", Math.
    Comp. 19 (1965): with n = p m, ``y[j m + t] = sum_k exp(-2 pi i (j m + t) k / n) z_k[t]``, z_k
    the transform of x[k::p].  One factor (above, p, p, m) for each prime.
    """
    above, factors = 1, []
    for p in radices_of(n):
        factors.append(np.broadcast_to(twiddled(p, n // above), (above, p, p, n // above // p)))
        above *= p
    return factors


def twiddled(p: int, whole: int) -> np.ndarray:
    """The block (1, p, p, m) that puts together p transforms of size m into one of size p m."""
    m = whole // p
    j, k, t = np.ogrid[:p, :p, :m]
    return exact_roots(np.arange(whole), whole)[((j * m + t) * k) % whole][None]


def digits(n: int) -> np.ndarray:
    """Where the first factor to act on x finds its entries."""
    return np.asarray(Permutation.digit_reversal(radices_of(n)).index)


def scale_rows(factor: np.ndarray, weights: np.ndarray) -> np.ndarray:
    a, b, _, d = factor.shape
    return factor * weights.reshape(a, b, 1, d)


def scale_columns(factor: np.ndarray, weights: np.ndarray) -> np.ndarray:
    a, _, c, d = factor.shape
    return factor * weights.reshape(a, 1, c, d)


def real_pairs(factor: np.ndarray, inward: bool = True) -> np.ndarray:
    """A complex factor as a real one on real and imaginary parts, of pattern (a, 2b, 2c, d).

    Rows meet (part, b) and columns (c, part): the part moves inward, so that it stands first in
    y, last in x, and the columns of each factor are as the rows of the next.  Not `inward`: the
    other way round, for chains whose `a` falls.
    """
    a, b, c, d = factor.shape
    parts = np.empty((2, 2, a, b, c, d), np.longdouble)
    parts[0, 0], parts[1, 1] = factor.real, factor.real
    parts[0, 1], parts[1, 0] = -factor.imag, factor.imag
    order = (2, 0, 3, 4, 1, 5) if inward else (2, 3, 0, 1, 4, 5)
    return parts.transpose(order).reshape(a, 2 * b, 2 * c, d)


def share(n: int, norm: str) -> np.longdouble:
    """What a transform of n is multiplied by."""
    whole = np.longdouble(n)
    return {"backward": np.longdouble(1), "ortho": 1 / np.sqrt(whole), "forward": 1 / whole}[norm]


def checked(n: int, norm: str | None, what: str) -> tuple[int, str]:
    n = check_size(n, f"the size of {what}")
    if n < 1:
        raise ValueError(f"{what} takes a size from 1 on, got {n}")
    return n, check_norm(norm)


def checked_dtype(dtype: str, allowed: Sequence[str], what: str) -> str:
    name = np.dtype(dtype).name
    if name not in allowed:
        raise ValueError(f"the dtype of {what} is {' or '.join(allowed)}, got {name}")
    return name


def rounded(values: np.ndarray, dtype: str) -> LinearOperator:
    """The factor of these values; what `numpy.broadcast_to` repeats is held once here too."""
    least = values[tuple([slice(None if step else 1) for step in values.strides])]
    held = np.ascontiguousarray(least).astype(dtype)
    return KroneckerSparse(np.broadcast_to(held, values.shape), copy=False)


def chain(*members: LinearOperator | Sequence[np.ndarray] | None, dtype: str) -> LinearOperator:
    """The product of operators and of values, the latter rounded; identities left out."""
    factors: list[LinearOperator] = []
    for member in members:
        if member is None:
            continue
        if isinstance(member, LinearOperator):
            if not _is_identity(member):
                factors.append(member)
        else:
            factors.extend(rounded(values, dtype) for values in member)
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def _is_identity(member: LinearOperator) -> bool:
    if not isinstance(member, Permutation):
        return False
    return bool((np.asarray(member.index) == np.arange(member.shape[0])).all())
