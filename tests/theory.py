"""The error bound of any expression, derived from the expression: DESIGN section 6.

A computed product differs from the exact one, component by component, by at most
``gamma_k |A_1| ... |A_L| |x|`` with ``gamma_k = k u / (1 - k u)`` (Higham, "Accuracy and stability
of numerical algorithms", 2nd ed., 3.1 and 3.5), where k counts the roundings on a path:
the entries of a row for each factor and one for each addition between terms.  Complex
arithmetic at most doubles them (ibid. 3.6: 2 sqrt(2) per product, 1 per sum).
"""

from __future__ import annotations

import math

import numpy as np

from lazyops import operators as ops
from lazyops._array import to_numpy
from lazyops.operators import fold


def majorant(op):
    """(|A_1| ... |A_L| as a dense matrix, number of roundings)."""
    return fold(op, _visit)


def _visit(node, below):
    if not below:
        if isinstance(node, ops.Wavelet):
            return _wavelet(node)
        dense = np.abs(to_numpy(node.to_dense()).astype(np.complex128))
        if isinstance(node, (ops.Cosine, ops.Hartley, ops.RealFourier)):
            dense = np.full(node.shape, dense.max())  # a part of an FFT, all as large
        if isinstance(
            node, (ops.Circulant, ops.Convolution, ops.GridConvolution)
        ):  # ||kernel||_1 in a spectrum
            dense = np.full(node.shape, dense.sum(axis=1).max(initial=0))
        rows = max(int((dense != 0).sum(axis=1).max(initial=1)), 1)
        columns = max(int((dense != 0).sum(axis=0).max(initial=1)), 1)
        return dense, max(rows, columns) + 2
    matrices, counts = [m for m, _ in below], [k for _, k in below]
    match node:
        case ops.Product():
            found = matrices[0]
            for m in matrices[1:]:
                found = found @ m
            return found, sum(counts)
        case ops.Sum():
            return sum(matrices), max(counts) + len(counts)
        case ops.Kron():
            found = matrices[0]
            for m in matrices[1:]:
                found = np.kron(found, m)
            return found, sum(counts)
        case ops.StencilSum():
            sizes, found = [len(m) for m in matrices], 0
            for axis, m in enumerate(matrices):
                before, after = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
                found = found + np.kron(np.kron(np.eye(before), m), np.eye(after))
            return found, sum(counts)
        case ops.HStack():
            return np.hstack(matrices), max(counts) + len(counts)
        case ops.VStack():
            return np.vstack(matrices), max(counts) + len(counts)
        case ops.BlockDiag():
            rows, columns = sum(m.shape[0] for m in matrices), sum(m.shape[1] for m in matrices)
            found, i, j = np.zeros((rows, columns)), 0, 0
            for m in matrices:
                found[i : i + m.shape[0], j : j + m.shape[1]] = m
                i, j = i + m.shape[0], j + m.shape[1]
            return found, max(counts)
        case ops.RealPart() | ops.Assumed() | ops.Weak():
            return matrices[0], counts[0] + 2
    raise NotImplementedError(f"no majorant for {type(node).__name__}")


def _wavelet(node):
    """Levels one after the other: no entry of |L_1| ... |L_r| is larger than the sums of |filter|,
    for ends that repeat entries as they are; a dot product has no more terms than an axis."""
    steps = node.level * len(node.sizes)
    largest = max(np.abs(f).sum() for f in node.bank) ** steps
    return np.full(node.shape, largest), steps * (max(node.sizes) + 2 * len(node.bank[0]) + 2)


def gamma(k, dtype):
    u = np.finfo(np.dtype(dtype)).eps / 2
    return k * u / (1 - k * u)


def assert_within(got, want, op, x, times=1, factor=2, adjoint=False):
    """|got - want| <= (bound of `op` applied to x) componentwise.

    `want` is a rounded product of the same factors, so both sides may err: times two.  `times`
    multiplies the roundings where `got` went through a rewritten expression; `factor` is that
    of complex arithmetic.
    """
    got, want, x = to_numpy(got), np.asarray(want), np.asarray(x)
    assert got.shape == want.shape
    matrix, count = majorant(op)
    matrix = matrix.T if adjoint else matrix
    name = got.dtype.name if got.dtype.kind in "fc" else "float64"
    bound = 2 * gamma(factor * times * count, name) * (matrix @ np.abs(x).astype(np.float64))
    excess = np.abs(got - want) - bound - np.finfo(np.float32 if "32" in name else float).tiny
    assert (excess <= 0).all(), f"{np.abs(got - want).max()} exceeds {bound.max()} for {op!r}"
