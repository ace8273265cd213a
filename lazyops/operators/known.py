"""What the structure of an expression says of its diagonal, norms and inverse.

Four tables for `tree.fold`: each is given a node and what is known of its operands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._array import Array, array_namespace, conj, copied, dtype_name, is_array, is_numpy, to_numpy
from .algebra import Product, Sum, compose
from .base import LinearOperator
from .blocks import BlockDiag, HStack, VStack, block_diag
from .dense import Dense
from .diagonal import Diagonal
from .facts import Assumed
from .kron import Kron, kron
from .kronecker_sparse import KroneckerSparse
from .permutation import Permutation
from .quantized import QuantizedKroneckerSparse
from .restriction import Extension, Restriction
from .scalar import Identity, Scalar, Zero
from .sparse import Sparse


def known_diagonal(op: LinearOperator, below: tuple[Any, ...]) -> Array | None:
    """The diagonal of `op`, shape (min(m, n),), or None."""
    size = min(op.shape)
    match op:
        case Diagonal():
            return copied(op.values)
        case Identity() | Zero():
            return np.full(size, float(isinstance(op, Identity)))
        case Scalar():
            xp = array_namespace(op.alpha) if is_array(op.alpha) else np
            return op.alpha * xp.ones(size, dtype=getattr(xp, op.dtype.name))
        case Dense():
            return copied(array_namespace(op.array).linalg.diagonal(op.values))
        case Sparse() if is_numpy(op.data):
            return op.matrix.diagonal()
        case Permutation():
            index = to_numpy(op.index)
            return (index == np.arange(size)).astype(np.float64)
        case Assumed():
            return below[0]
    return _composite_diagonal(op, below)


def _composite_diagonal(op: LinearOperator, below: tuple[Any, ...]) -> Array | None:
    if not op._is_composite or any(d is None for d in below):
        return None
    match op:
        case Sum() if len(op._places) <= 1:
            return _joined_sum(below)
        case Product() if len(below) == 2 and isinstance(op.factors[0], Scalar):
            return op.factors[0].alpha * below[1]
        case BlockDiag() if _all_square(op.blocks) and len(op._places) <= 1:
            xp = array_namespace(*below)
            return xp.concat([xp.astype(d, xp.result_type(*below)) for d in below])
        case Kron() if _all_square(op.factors) and len(op._places) <= 1:
            found = below[0]
            for d in below[1:]:
                found = (found[:, None] * d[None, :]).reshape(-1)
            return found
    return None


def _joined_sum(parts: tuple[Array, ...]) -> Array | None:
    try:
        found = parts[0]
        for part in parts[1:]:
            found = found + part
        return found
    except TypeError:  # diagonals of two libraries: products will do it where the operator lives
        return None


def known_frobenius2(op: LinearOperator, below: tuple[Any, ...]) -> float | None:
    """The squared Frobenius norm of `op`, or None."""
    match op:
        case Diagonal():
            return energy(op.values)
        case Dense():
            return energy(op.array)
        case KroneckerSparse():
            return energy(op.stored)
        case QuantizedKroneckerSparse():
            return energy(op.dequantized("float64").stored)
        case Sparse():
            return energy(op.data)
        case Identity() | Permutation():
            return float(op.shape[0])
        case Scalar():
            return float(op.shape[0]) * abs(complex(op.alpha)) ** 2
        case Zero():
            return 0.0
        case Restriction() | Extension():
            return float(min(op.index.shape[0], max(op.shape)))
        case Assumed():
            return below[0]
    if not op._is_composite:
        return None
    match op:
        case HStack() | VStack() | BlockDiag():
            return None if any(b is None for b in below) else math.fsum(below)
        case Kron():
            return None if any(b is None for b in below) else math.prod(below)
        case Product():
            return _of_scaled(op, below, lambda alpha: alpha**2)
    return None


def known_spectral(op: LinearOperator, below: tuple[Any, ...]) -> float | None:
    """The largest singular value of `op`, or None."""
    if 0 in op.shape:
        return 0.0
    if op.is_unitary:
        return 1.0
    if isinstance(op, QuantizedKroneckerSparse):
        op = op.dequantized("float64")
    match op:
        case Diagonal():
            return _largest(op.values)
        case Scalar():
            return abs(complex(op.alpha))
        case Zero():
            return 0.0
        case Restriction() | Extension():
            counts = np.bincount(to_numpy(op.index), minlength=1)
            return math.sqrt(int(counts.max()))
        case KroneckerSparse():
            xp = array_namespace(op.stored)
            blocks = xp.permute_dims(op.stored, (0, 3, 1, 2))
            return float(xp.max(xp.linalg.svdvals(blocks)))
        case Dense():
            xp = array_namespace(op.array)
            return float(xp.max(xp.linalg.svdvals(op.array)))
        case Assumed():
            return below[0]
        case Kron():
            return None if any(b is None for b in below) else math.prod(below)
        case BlockDiag():
            return None if any(b is None for b in below) else max(below)
        case Product():
            return _of_scaled(op, below, lambda alpha: alpha)
    return None


def _of_scaled(op: Product, below: tuple[Any, ...], power: Any) -> float | None:
    """The norm of a product that is one operator between scalars and unitary operators."""
    found = 1.0
    left = []
    for factor, known in zip(op.factors, below, strict=True):
        if isinstance(factor, Scalar):
            found *= power(abs(complex(factor.alpha)))
        elif not factor.is_unitary:
            left.append(known)
    if len(left) > 1 or None in left:
        return None
    if left:
        return found * left[0]
    first = below[0] if not isinstance(op.factors[0], Scalar) else below[-1]
    return None if first is None else found * first


def known_inverse(op: LinearOperator, below: tuple[Any, ...]) -> LinearOperator | str:
    """The inverse of `op`, or which part has none that structure gives."""
    for part in below:
        if isinstance(part, str):
            return op.kind_name if isinstance(op, Sum) else part
    m, n = op.shape
    if m != n:
        return f"{op!r} is {m}x{n}"
    if op.is_unitary:
        return op.H
    if isinstance(op, QuantizedKroneckerSparse):
        op = op.dequantized()
    match op:
        case Scalar():
            if complex(op.alpha) == 0:
                raise ValueError(f"{op!r} is singular: it is zero")
            return Scalar(n, 1 / op.alpha)
        case Diagonal():
            return _inverse_of_diagonal(op)
        case KroneckerSparse():
            xp = array_namespace(op.stored)
            blocks = xp.permute_dims(op.values, (0, 3, 1, 2))
            return KroneckerSparse(xp.permute_dims(xp.linalg.inv(blocks), (0, 2, 3, 1)))
        case Dense():
            return Dense(array_namespace(op.array).linalg.inv(op.values), copy=False)
        case Product():
            return compose(*reversed(below))
        case Kron():
            return kron(*below)
        case BlockDiag():
            return block_diag(below)
        case Assumed():
            return below[0]
    return op.kind_name


def _inverse_of_diagonal(op: Diagonal) -> Diagonal:
    zeros = np.flatnonzero(to_numpy(op.values) == 0)
    if zeros.size:
        raise ValueError(f"{op!r} is singular: entry {zeros[0]} of the diagonal is zero")
    return Diagonal(1 / op.values, copy=False)


def energy(x: Array) -> float:
    """Sum of squared moduli, accumulated in double precision on NumPy."""
    if is_numpy(x):
        x = x.astype(np.result_type(x.dtype, np.float64), copy=False).reshape(-1)
        return float(np.vdot(x, x).real)
    xp = array_namespace(x)
    y = conj(x) * x
    return float(xp.sum(xp.real(y) if dtype_name(x.dtype).startswith("complex") else y))


def _largest(x: Array) -> float:
    xp = array_namespace(x)
    return float(xp.max(xp.abs(x)))


def _all_square(operators) -> bool:
    return all(op.shape[0] == op.shape[1] for op in operators)
