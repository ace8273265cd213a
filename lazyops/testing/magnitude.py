"""How far rounding may go: ``|A|`` as an operator, and the number of roundings of a product.

The theorem is in the docstring of `lazyops.testing.check_operator`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import operators as ops
from .._array import LOW_BITS, Array, is_complex_name, is_inexact_name, to_numpy
from ..operators import LinearOperator, fold
from ..operators.law import NEUTRAL
from .probes import as_probe, gaussian, on_host

U64 = 2.0**-53


class Magnitude(NamedTuple):
    """What rounding can do to the products of an operator A.

    `operator` maps ``|x|`` to a bound of ``|A| |x|`` (not linear below a node that cannot be
    looked into, but monotone and subadditive, which is all that is needed); `roundings` is the k of
    the theorem, in real arithmetic; `laws` are those of the leaves, which
    say in which dtype each works; `coarsest` is the unit round-off that foreign code declares.
    """

    operator: LinearOperator
    roundings: int
    laws: frozenset
    coarsest: float = 0.0

    def unit(self, name: str) -> float:
        """Unit round-off of the coarsest dtype met on the way, for an `x` of dtype `name`."""
        return max(self.coarsest, *(unit_roundoff(law.result(name)) for law in self.laws))

    def gamma(self, name: str, extra: int = 1) -> float:
        """g(k); one rounding more is for the computation of the bound itself."""
        is_complex = any(is_complex_name(law.result(name)) for law in self.laws)
        return gamma(self.roundings * (3 if is_complex else 1) + extra, self.unit(name))

    def scale(self, x: np.ndarray, adjoint: bool = False) -> np.ndarray:
        """A bound of ``|A| |x|`` for the columns of x, or of ``|A.H| |x|``."""
        op = self.operator.H if adjoint else self.operator
        return op.matmat(np.abs(x).astype(np.float64))


def gamma(count: int, u: float) -> float:
    return count * u / (1 - count * u) if count * u < 1 else float("inf")


def unit_roundoff(name: str) -> float:
    return 2.0**-8 if name in LOW_BITS else float(np.finfo(name).eps) / 2


ADDS_UP = (ops.Product, ops.Kron)
TAKES_LARGEST = (
    *(ops.Sum, ops.HStack, ops.VStack, ops.BlockDiag),
    *(ops.RealPart, ops.Assumed, ops.Weak),
)


def magnitude(A: LinearOperator, rng: np.random.Generator, example: Array) -> Magnitude:
    """Of `A`, from its parts; probes live where `example` does."""

    def visit(node: LinearOperator, below: tuple[Magnitude, ...]) -> Magnitude:
        kind = type(node)
        if kind in ADDS_UP + TAKES_LARGEST:
            counts = [b.roundings for b in below]
            count = sum(counts) if kind in ADDS_UP else max(counts) + len(counts)
            inner = node._with_operands(tuple(b.operator for b in below))
            laws = frozenset().union(*(b.laws for b in below))
            if kind is ops.Weak:  # what is below works in the precision of `x`
                laws = frozenset({node._law})
            return Magnitude(inner, count, laws, max(b.coarsest for b in below))
        laws = frozenset({node._law})
        if (leaf := _leaf_count(node)) is None:
            return _opaque(node, rng, example)
        if isinstance(node, ops.Scalar):
            return Magnitude(ops.Scalar(node.n, float(abs(complex(node.alpha)))), leaf, laws)
        absolute = node._map_arrays(lambda a: np.abs(on_host(a)).astype(np.float64), to_numpy)
        return Magnitude(absolute, leaf, laws)

    return fold(A, visit)


def _leaf_count(node: LinearOperator) -> int | None:
    """Most entries in a row or a column, and one rounding to convert them; None if unseen."""
    kind = type(node)
    if kind in (ops.Identity, ops.Zero, ops.Permutation):
        return 0
    if kind in (ops.Scalar, ops.Diagonal):
        return 2
    if isinstance(node, ops.Dense) and kind is ops.Dense:
        return max(node.shape) + 1
    if isinstance(node, ops.KroneckerSparse) and kind is ops.KroneckerSparse:
        return max(node.pattern.b, node.pattern.c) + 1
    if isinstance(node, (ops.Restriction, ops.Extension)):
        return int(np.bincount(to_numpy(node.index), minlength=1).max())
    if isinstance(node, ops.Sparse) and kind is ops.Sparse:
        rows = np.diff(to_numpy(node.indptr)).max(initial=0)
        columns = np.bincount(to_numpy(node.indices), minlength=1).max()
        return int(max(rows, columns)) + 1
    return None


def _opaque(node: LinearOperator, rng: np.random.Generator, example: Array) -> Magnitude:
    """A node not looked into: an error in norm is at most its norm in every component."""
    m, n = node.shape
    g = gaussian(rng, n, 16)
    y = on_host(node.to(like=example) @ as_probe(g, example, "complex128"))
    bound = 5 * float(np.sqrt(np.sum(np.abs(y) ** 2) / 32))  # E |g_j|^2 = 2, sixteen draws

    def spread(rows: int) -> Callable:
        return lambda x: np.tile(bound * np.sqrt(np.sum(x * x, axis=0)), (rows, 1))

    laws, coarsest = frozenset({node._law}), 0.0
    if isinstance(node, (ops.Function, ops.Foreign)):
        laws |= {NEUTRAL}  # it may work in the dtype of x
        strong = [name for name in node._law.strong if is_inexact_name(name)]
        coarsest = max(map(unit_roundoff, strong), default=0.0)
    operator = ops.Function((m, n), spread(m), spread(n))
    return Magnitude(operator, max(m, n) + 1, laws, coarsest)
