"""The discrete Fourier transform of a prime size: by symmetry, or as a convolution.

A convolution in one of two ways, both products of chains of smooth sizes.  Rader, "Discrete Fourier
transforms when the number of data samples is prime", Proc. IEEE 56 (1968): with g a generator
modulo p the entries but the first are a circular convolution of size p - 1,
``X[g^-s] = x[0] + sum_r x[g^r] w^(g^(r-s))``.  Bluestein, "A linear filtering approach to the
computation of the discrete Fourier transform", IEEE Trans. Audio Electroacoust. 18 (1970):
``j k = (j^2 + k^2 - (k - j)^2) / 2`` makes it a convolution with a chirp, of any size from 2 p - 1
on.  The spectrum of what is convolved with is worked out in long double.
"""

from __future__ import annotations

import numpy as np

from ...operators import Identity, LinearOperator, block_diag, restrict
from ...operators.permutation import Permutation
from ...pattern import prime_factors
from .convolution import convolved
from .values import (
    chain,
    exact_roots,
    is_smooth,
    radices_of,
    rounded,
    scale_columns,
    scale_rows,
    smooth_size,
    spectrum_of,
)


def symmetric(
    p: int, above: int, whole: int, scale: np.longdouble, dtype: str
) -> list[LinearOperator]:
    """``I (x) F_p (x) I_m`` with its twiddles, by sums and differences of x[j] and x[-j].

    Cosines meet the sums, sines the differences: half the entries of a dense block, and sums half
    as long, which round half as much.  x[0] is its own partner and stands in both halves.
    """
    h, m = (p + 1) // 2, whole // p
    pairs = np.stack([np.arange(h), -np.arange(h) % p])
    t, halves = np.arange(m), np.array([[1, 1], [1, -1]])[None, :, :, None]
    twiddles = exact_roots(pairs[:, :, None] * t, whole)
    twiddles[1, 0] = 0
    inward = halves * twiddles.reshape(1, 1, 2, h * m)
    root = exact_roots(np.arange(h)[:, None] * np.arange(h) % p, p) * scale
    middle = np.stack([root.real + 0j, 1j * root.imag])[:, :, :, None]
    middle = np.broadcast_to(middle, (above, 2, h, h, m)).reshape(2 * above, h, h, m)
    outward = np.where(np.arange(p) < h, np.arange(p), h + p - np.arange(p))
    shape = (above, 2, 2, h * m)
    return [
        restrict(_lifted(outward, 2 * h, above, m), above * 2 * h * m),
        *(rounded(v, dtype) for v in (np.broadcast_to(halves, shape), middle)),
        rounded(np.broadcast_to(inward, shape), dtype),
        restrict(_lifted(pairs.reshape(-1), p, above, m), above * p * m),
    ]


def _lifted(index: np.ndarray, n: int, above: int, below: int) -> np.ndarray:
    """The index of ``I (x) R (x) I``, R taking `index` from n entries."""
    a, t = np.arange(above)[:, None, None], np.arange(below)
    return ((a * n + index[:, None]) * below + t).reshape(-1)


RADER = 1000  # below, one flat chain is faster than one of blocks with half its entries


def prime_dft(p: int, scale: np.longdouble, dtype: str) -> LinearOperator:
    """Rader's way for a p - 1 that is smooth, where it has fewer entries; else Bluestein's."""
    if p > RADER and is_smooth(p - 1) and _entries(p - 1) < _entries(smooth_size(2 * p - 1)):
        return rader(p, scale, dtype)
    return bluestein(p, scale, dtype)


def _entries(n: int) -> int:
    """Of each of the two chains of a convolution of size `n`, in one row of all its factors."""
    return n * sum(radices_of(n))


def rader(p: int, scale: np.longdouble, dtype: str) -> LinearOperator:
    """On (x[0], spectrum of x[g^r]): the first two meet in a 2 x 2 block, the rest is scaled."""
    m = p - 1
    powers = _powers(generator(p), p)  # g^r
    back = powers[-np.arange(m) % m]  # g^-s
    spectrum = spectrum_of(exact_roots(back, p)) * (scale / m)
    spectrum[0] = 1  # the block below has it
    left, right = convolved(m, spectrum)
    one, tail = Identity(1), [Identity(m - 1)] if m > 1 else []
    meet = np.array([[1, 1], [1, -1 / np.longdouble(m)]])[None, :, :, None] * scale
    gather = Permutation(np.r_[0, powers])
    scatter = Permutation(np.r_[0, 1 + np.argsort(back)])
    inner = [block_diag([one, chain(side, dtype=dtype)]) for side in (left, right)]
    middle = block_diag([rounded(meet, dtype), *tail])
    return chain(scatter, inner[0], middle, inner[1], gather, dtype=dtype)


def bluestein(n: int, scale: np.longdouble, dtype: str) -> LinearOperator:
    left, right = bluestein_values(n, np.ones(n), np.full(n, scale))
    first = first_rows(n, left)
    return chain(first, left, right, first.H, dtype=dtype)


def bluestein_values(
    n: int, pre: np.ndarray, post: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """``diag(post) F diag(pre)`` is the first n rows and columns of the product of these.

    The chirps are folded into the outermost factors.
    """
    N = smooth_size(2 * n - 1)
    j = np.arange(n)
    chirp = exact_roots(j * j % (2 * n), 2 * n)
    kernel = np.zeros(N, np.clongdouble)
    kernel[:n] = chirp.conj()
    kernel[N - n + 1 :] = chirp[:0:-1].conj()
    left, right = convolved(N, spectrum_of(kernel) / N)
    padded = np.zeros((2, N), np.clongdouble)
    padded[:, :n] = chirp * post, chirp * pre
    left[0], right[-1] = scale_rows(left[0], padded[0]), scale_columns(right[-1], padded[1])
    return left, right


def first_rows(n: int, left: list[np.ndarray]) -> LinearOperator:
    a, b, _, d = left[0].shape
    return restrict(np.arange(n), a * b * d)


def generator(p: int) -> int:
    """The least whole number whose powers are all of 1 .. p - 1 modulo the prime `p`.

    >>> generator(1009)
    11
    """
    tests = [(p - 1) // q for q in set(prime_factors(p - 1))]
    return next(g for g in range(1, p) if all(pow(g, e, p) != 1 for e in tests))


def _powers(g: int, p: int) -> np.ndarray:
    found = [1]
    for _ in range(p - 2):
        found.append(found[-1] * g % p)
    return np.array(found)
