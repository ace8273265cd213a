"""Kronecker-sparse arithmetic in the array API.  Slow, obvious, and the oracle of every test."""

from __future__ import annotations

from .. import _array
from .._array import Array, array_namespace, cast, dtype_name, join_dtypes

__all__ = ["check_sizes", "joined", "ks_dense", "ks_fuse", "ks_matmat"]


def check_sizes(values: Array, x: Array, transpose: bool = False) -> None:
    """Raise ValueError unless `values` is (a, b, c, d) and meets the rows of `x`, (n, k)."""
    if len(values.shape) != 4:
        raise ValueError(f"values have shape (a, b, c, d), got {tuple(values.shape)}")
    a, b, c, d = values.shape
    m, n = (a * c * d, a * b * d) if transpose else (a * b * d, a * c * d)
    if len(x.shape) != 2 or x.shape[0] != n:
        of = "the transpose of a factor" if transpose else "a factor"
        raise ValueError(
            f"cannot multiply {of} of pattern {(a, b, c, d)} ({m}x{n}) by x of shape "
            f"{tuple(x.shape)}: x has shape ({n}, k)"
        )


def joined(*arrays: Array) -> tuple[Array, ...]:
    """The arrays, all cast to the dtype they join to."""
    name = dtype_name(arrays[0].dtype)
    for x in arrays[1:]:
        name = join_dtypes(name, dtype_name(x.dtype))
    return tuple(cast(x, name) for x in arrays)


def ks_matmat(values: Array, x: Array, transpose: bool = False, conj: bool = False) -> Array:
    """Multiply a Kronecker-sparse factor, its transpose, conjugate or adjoint by a matrix.

    Parameters
    ----------
    values : array of shape (a, b, c, d)
        ``K[(i, j, l), (i, k, l)] = values[i, j, k, l]``.
    x : array of shape (a*c*d, n), or (a*b*d, n) with `transpose`
    transpose, conj : bool
        ``K^T x``, ``conj(K) x``; both: ``K^H x``.

    Returns
    -------
    array of shape (a*b*d, n), or (a*c*d, n) with `transpose`, of the joint dtype
    """
    check_sizes(values, x, transpose)
    xp = array_namespace(values, x)
    values, x = joined(values, x)
    if conj:  # conj(K) x = conj(K conj(x)): x and y are smaller than the values
        x = _array.conj(x)
    a, b, c, d = values.shape
    if transpose:
        values, b, c = xp.permute_dims(values, (0, 2, 1, 3)), c, b
    n = x.shape[1]
    blocks = xp.permute_dims(values, (0, 3, 1, 2))  # (a, d, b, c)
    x = xp.permute_dims(xp.reshape(x, (a, c, d, n)), (0, 2, 1, 3))  # (a, d, c, n)
    y = xp.permute_dims(xp.matmul(blocks, x), (0, 2, 1, 3))  # (a, b, d, n)
    y = xp.reshape(y, (a * b * d, n))
    return _array.conj(y) if conj else y


def ks_fuse(left: Array, right: Array) -> Array:
    """Values of the product of two chainable Kronecker-sparse factors.

    `left` is (a, b, c, d), `right` is (a2, b2, c2, d2); the result is
    (a, b*q, p*c2, d2) with p = a2/a and q = d/d2.
    """
    xp = array_namespace(left, right)
    left, right = joined(left, right)
    (a, b, c, d), (a2, b2, c2, d2) = left.shape, right.shape
    p, q = a2 // a, d // d2
    left = xp.reshape(left, (a, b, p, c // p, q, d2))  # i j s r t l
    right = xp.reshape(right, (a, p, b2 // q, q, c2, d2))  # i s r t k l
    left = xp.permute_dims(left, (0, 2, 4, 5, 1, 3))  # i s t l j r
    right = xp.permute_dims(right, (0, 1, 3, 5, 2, 4))  # i s t l r k
    fused = xp.permute_dims(xp.matmul(left, right), (0, 4, 2, 1, 5, 3))  # i j t s k l
    return xp.reshape(fused, (a, b * q, p * c2, d2))


def ks_dense(values: Array) -> Array:
    """The matrix of a factor: values (a, b, c, d) -> (a*b*d, a*c*d), zeros included."""
    xp = array_namespace(values)
    a, b, c, d = values.shape
    # by selection, not by multiplying with an identity: a NaN stays where it is
    i, l = xp.arange(a), xp.arange(d)
    same_i = xp.reshape(i, (a, 1, 1, 1, 1, 1)) == xp.reshape(i, (1, 1, 1, a, 1, 1))
    same_l = xp.reshape(l, (1, 1, d, 1, 1, 1)) == xp.reshape(l, (1, 1, 1, 1, 1, d))
    rows = xp.reshape(xp.permute_dims(values, (0, 1, 3, 2)), (a, b, d, 1, c, 1))
    return xp.reshape(xp.where(same_i & same_l, rows, xp.zeros_like(rows)), (a * b * d, a * c * d))
