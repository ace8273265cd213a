"""Kronecker powers as chains: Walsh-Hadamard, noiselets, rotations."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..._array import Array, array_namespace, is_array
from ...operators import Identity, KroneckerSparse, LinearOperator, Permutation, Product
from ...operators.hadamard import walsh_order
from .values import chain, checked, checked_dtype, share


def kron_power(matrix: Any, k: int) -> LinearOperator:
    """``kron(A, A, ..., A)``, k of them, as a chain of k factors.

    ``A (x) B = (A (x) I) (I (x) B)``: the factor i, from the left, is ``I (x) A (x) I`` of pattern
    (c^i, b, c, b^(k-1-i)) for an A of shape (b, c).

    Parameters
    ----------
    matrix : array of shape (b, c)
        Of any array library; the factors have its dtype and place, gradients reach it.
    k : int
        From 0 on; 0 is the number one.

    Returns
    -------
    operator of shape (b**k, c**k)

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> A = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    >>> lo.butterfly.kron_power(A, 3)
    K(1,2,3,4) @ K(3,2,3,2) @ K(9,2,3,1)
    >>> bool((lo.butterfly.kron_power(A, 2).to_dense() == np.kron(A, A)).all())
    True
    """
    matrix = matrix if is_array(matrix) else np.asarray(matrix)
    if matrix.ndim != 2 or 0 in matrix.shape:
        shape = tuple(matrix.shape)
        raise ValueError(f"a Kronecker power is of a matrix with entries, got shape {shape}")
    k = operator.index(k)
    if k < 0:
        raise ValueError(f"a Kronecker power takes an exponent from 0 on, got {k}")
    return _kron_chain([matrix] * k)


def _kron_chain(matrices: list[Array]) -> LinearOperator:
    """kron of matrices of one shape, the first one leftmost."""
    k = len(matrices)
    if k == 0:
        return Identity(1)
    factors = []
    for i, matrix in enumerate(matrices):
        xp = array_namespace(matrix)
        b, c = map(int, matrix.shape)
        shape = (c**i, b, c, b ** (k - 1 - i))
        values = xp.broadcast_to(matrix[None, :, :, None], shape)
        factors.append(KroneckerSparse(values))
    return factors[0] if k == 1 else Product(tuple(factors))


def hadamard(
    n: int, norm: str | None = None, *, order: str = "natural", dtype: str = "float64"
) -> LinearOperator:
    """The Walsh-Hadamard transform as a square dyadic butterfly: the same as `lazyops.hadamard`.

    Parameters
    ----------
    n : int
        A power of two.
    norm : {"backward", "ortho", "forward"}
        Entries are 1 and -1, divided by ``n**0.5``, or by n.
    order : {"natural", "sequency", "dyadic"}
        Of the rows, as in `lazyops.hadamard`; another than natural is a permutation on the left.
    dtype : str
        Of the values.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.butterfly.hadamard(8)
    K(1,2,2,4) @ K(2,2,2,2) @ K(4,2,2,1)
    """
    n, norm = checked(n, norm, "a Hadamard transform")
    signs = np.array([[1, 1], [1, -1]], np.longdouble)
    rows = walsh_order(_power_of_two(n, "a Hadamard transform"), order)
    return chain(rows, _dyadic(signs, n, share(n, norm)), dtype=dtype)


def noiselet(n: int, *, dtype: str = "complex128") -> LinearOperator:
    """The noiselet transform: unitary, its entries all of modulus ``n**-0.5``.

    Coifman, Geshwind, Meyer, "Noiselets", Appl. Comput. Harmon. Anal. 10 (2001): row i holds
    f_(n+i) on n equal pieces of [0, 1), divided by ``n**0.5``, where f_1 = 1 and
    ``f_2i(x) = (1 - i) f_i(2x) + (1 + i) f_i(2x - 1)``,
    ``f_2i+1(x) = (1 + i) f_i(2x) + (1 - i) f_i(2x - 1)``.  It is a Kronecker power of
    ``[[1 - i, 1 + i], [1 + i, 1 - i]] / 2`` and a bit reversal; symmetric, its values exact.
    What is sparse in Haar wavelets is spread by it as flat as can be.

    Parameters
    ----------
    n : int
        A power of two.
    dtype : "complex128" or "complex64"

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.butterfly.noiselet(4).to_dense()[1]
    array([0.5+0.j , 0. +0.5j, 0. -0.5j, 0.5+0.j ])
    """
    n, _ = checked(n, None, "a noiselet transform")
    n = _power_of_two(n, "a noiselet transform")
    dtype = checked_dtype(dtype, ("complex128", "complex64"), "a noiselet transform")
    block = np.array([[1 - 1j, 1 + 1j], [1 + 1j, 1 - 1j]]) / 2
    return chain(Permutation.bit_reversal(n), _dyadic(block, n, np.longdouble(1)), dtype=dtype)


def fot(turns: Any) -> LinearOperator:
    """A fast orthogonal transform: the Kronecker product of rotations, or more freely a butterfly.

    ``R(turns[k-1]) (x) ... (x) R(turns[0])`` with ``R(t) = [[cos 2 pi t, -sin 2 pi t],
    [sin 2 pi t, cos 2 pi t]]``, of size 2^k.  With an angle for each pair of entries it is any
    product of k levels of disjoint rotations on the square dyadic butterfly: an orthogonal matrix
    with ``k 2^(k-1)`` parameters (Mathieu, LeCun, "Fast approximation of rotations and Hessians
    matrices", 2014).

    Parameters
    ----------
    turns : real array of shape (k,) or (k, 2**(k-1))
        Angles in turns, so that quarters are exact; of any library, gradients reach it.
        ``turns[l]`` rotates entries ``2**l`` apart: the rightmost factor is ``turns[0]``.  In two
        axes ``turns[l, i * 2**l + j]`` is the angle of the pair ``i * 2**(l+1) + j`` and 2^l on.

    Returns
    -------
    orthogonal operator of shape (2**k, 2**k)

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.butterfly.fot([0.25]) @ np.array([1.0, 0.0])
    array([0., 1.])
    """
    turns = turns if is_array(turns) else np.asarray(turns, float)
    xp = array_namespace(turns)
    if not xp.isdtype(turns.dtype, "real floating"):
        raise TypeError(f"angles in turns are real floating numbers, got dtype {turns.dtype}")
    k = int(turns.shape[0]) if turns.ndim else 0
    pairs = (1 << k) // 2
    if tuple(turns.shape) not in {(k,), (k, pairs)} or turns.ndim == 0:
        shape = tuple(turns.shape)
        raise ValueError(f"angles have shape (k,) or (k, 2**(k-1)), got {shape}")
    if k == 0:
        return Identity(1)
    if turns.ndim == 1:
        turns = xp.broadcast_to(turns[:, None], (k, pairs))
    factors = [_rotations(turns[level, :], 1 << level) for level in reversed(range(k))]
    return factors[0] if k == 1 else Product(tuple(factors))


def _rotations(turns: Array, apart: int) -> LinearOperator:
    xp = array_namespace(turns)
    turns = xp.reshape(turns, (-1, apart))
    quarters = xp.round(4 * turns)
    angle = 2 * np.pi * (turns - quarters / 4)  # the difference is exact
    cosine, sine = xp.cos(angle), xp.sin(angle)
    odd, upper = quarters % 2 != 0, quarters % 4 >= 2
    cosine, sine = xp.where(odd, -sine, cosine), xp.where(odd, cosine, sine)
    cosine, sine = xp.where(upper, -cosine, cosine), xp.where(upper, -sine, sine)
    rows = [xp.stack([cosine, -sine], axis=1), xp.stack([sine, cosine], axis=1)]
    return KroneckerSparse(xp.stack(rows, axis=1))


def _power_of_two(n: int, what: str) -> int:
    if n & (n - 1):
        raise ValueError(f"{what} takes a power of two, got {n}")
    return n


def _dyadic(block: np.ndarray, n: int, scale: np.longdouble) -> list[np.ndarray]:
    """Values of the Kronecker power of a 2 x 2 block, the last one scaled."""
    levels = n.bit_length() - 1
    if levels == 0:
        return [np.full((1, 1, 1, 1), scale)]
    found = []
    for i in range(levels):
        own = block * scale if i == levels - 1 else block
        found.append(np.broadcast_to(own[None, :, :, None], (1 << i, 2, 2, n >> (i + 1))))
    return found
