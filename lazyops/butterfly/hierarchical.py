"""The hierarchical algorithm with orthonormalisation (arXiv 2411.04506, Algorithm 6.2).

A chain is held as its cores: factor l has pattern ``(a c_1..c_(l-1), r_(l-1) b_l, r_l c_l,
b_(l+1)..b_L d)``.  The ranks are those that the arrays have, so that a split may choose them and
an orthonormalisation may lower them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..pattern import Chain
from . import lapack
from .halves import split
from .splits import (
    Matrix,
    Values,
    from_left_blocks,
    from_right_blocks,
    fuse,
    left_blocks,
    right_blocks,
)
from .svd import Halves, Want, energy, orthonormal_columns, times_triangle


@dataclass(frozen=True)
class Cores:
    """Row cores ``b_l``, column cores ``c_l``, and the outer ``a`` and ``d`` of a chain."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    a: int = 1
    d: int = 1

    @classmethod
    def of(cls, chain: Chain) -> Cores:
        """Cores of a chainable chain; its ranks are left out."""
        r = (1, *chain.ranks, 1)
        rows = tuple(p.b // left for p, left in zip(chain, r, strict=False))
        columns = tuple(p.c // right for p, right in zip(chain, r[1:], strict=True))
        return cls(rows, columns, chain[0].a, chain[-1].d)

    @property
    def shape(self) -> tuple[int, int]:
        outer = self.a * self.d
        return outer * math.prod(self.rows), outer * math.prod(self.columns)

    def __len__(self) -> int:
        return len(self.rows)

    def merged(self, at: Sequence[int]) -> Cores:
        """The coarser cores between the splits `at` (ascending, from 1 on)."""
        cuts = list(itertools.pairwise((0, *at, len(self))))
        rows = tuple(math.prod(self.rows[i:j]) for i, j in cuts)
        columns = tuple(math.prod(self.columns[i:j]) for i, j in cuts)
        return Cores(rows, columns, self.a, self.d)


@dataclass(frozen=True)
class Part:
    """One factor of the list: cores ``first <= l < last``, its values or the matrix itself."""

    first: int
    last: int
    source: Values | Matrix

    @property
    def values(self) -> np.ndarray:
        return values_of(self.source)


def values_of(source: Values | Matrix) -> np.ndarray:
    """The values of a factor in memory; the matrix itself has none."""
    if isinstance(source, Matrix):
        raise TypeError("the matrix is read by blocks, it has no values: split it first")
    return source.values


class Splitting:
    """A list of factors whose product approximates the root, split one junction at a time.

    All the factors left of `centre` are blockwise column-orthonormal, all right of it blockwise
    row-orthonormal: an error made in the centre is the error made in the product.
    """

    def __init__(self, root: Values | Matrix, cores: Cores, unit: float, rng):
        self.parts = [Part(0, len(cores), root)]
        self.cores = cores
        self.centre = 0
        self.unit = unit
        self.rng = rng

    def classes(self, first: int, q: int, last: int) -> tuple[int, int]:
        """Column classes A and row classes D at split `q` of the factor ``first .. last``."""
        return math.prod(self.cores.columns[first:q]), math.prod(self.cores.rows[q:last])

    def junction(self, k: int) -> tuple[int, int]:
        """A and D between the parts k and k+1."""
        return self.classes(self.parts[k].first, self.parts[k].last, self.parts[k + 1].last)

    def split(self, q: int, want: Want, orthonormal: str = "left") -> Halves:
        """Split at junction `q` by truncated SVDs (A3, step c); the centre is the other half."""
        k = next(k for k, p in enumerate(self.parts) if p.first < q < p.last)
        self.bring_centre(k)
        part = self.parts[k]
        A, D = self.classes(part.first, q, part.last)
        halves = split(
            part.source,
            A,
            D,
            want,
            orthonormal=orthonormal,
            unit=self.unit,
            rng=self.rng,
        )
        self.parts[k : k + 1] = [
            Part(part.first, q, Values(halves.left)),
            Part(q, part.last, Values(halves.right)),
        ]
        self.centre = k + (orthonormal == "left")
        return halves

    def bring_centre(self, k: int) -> None:
        """Move the centre to part `k` by blockwise QR (A3, steps a and b)."""
        while self.centre < k:
            self._pass_right()
        while self.centre > k:
            self._pass_left()

    def _pass_right(self) -> None:
        k = self.centre
        A, D = self.junction(k)
        Q, R = orthonormal_columns(left_blocks(self.parts[k].values, A, D))
        V = times_triangle(R, right_blocks(self.parts[k + 1].values, A, D))
        self._replace(k, from_left_blocks(Q), from_right_blocks(V))
        self.centre = k + 1

    def _pass_left(self) -> None:
        k = self.centre - 1
        A, D = self.junction(k)
        V = right_blocks(self.parts[k + 1].values, A, D)
        Q, R = orthonormal_columns(V.swapaxes(-1, -2))  # of the transpose: no conjugation needed
        left = left_blocks(self.parts[k].values, A, D)
        U = times_triangle(R, left.swapaxes(-1, -2)).swapaxes(-1, -2)
        self._replace(k, from_left_blocks(U), from_right_blocks(Q.swapaxes(-1, -2)))
        self.centre = k

    def _replace(self, k: int, left: np.ndarray, right: np.ndarray) -> None:
        one, two = self.parts[k : k + 2]
        self.parts[k] = Part(one.first, one.last, Values(left))
        self.parts[k + 1] = Part(two.first, two.last, Values(right))

    def rank(self, k: int) -> int:
        """Rank between the parts k and k+1, as stored."""
        A, _ = self.junction(k)
        return self.parts[k].source.shape[2] // A

    # -- what came out ---------------------------------------------------------------------

    @property
    def values(self) -> list[np.ndarray]:
        """Values of the factors, left-most first, each (a, b, c, d)."""
        return [part.values for part in self.parts]

    def set_values(self, values: Sequence[np.ndarray]) -> None:
        """Other values for the same factors, of the same shapes."""
        self.parts = [
            Part(p.first, p.last, Values(v)) for p, v in zip(self.parts, values, strict=True)
        ]

    @property
    def entries(self) -> int:
        return sum(math.prod(part.source.shape) for part in self.parts)

    def halves_for_product(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Two factors with the same product, and A and D between them: where fusing is cheapest."""
        values, k = self.values, self._cheapest_junction()
        ends = [p.last for p in self.parts]
        left, right = values[0], values[-1]
        for i in range(1, k + 1):
            left = fuse(left, values[i], *self.classes(0, ends[i - 1], ends[i]))
        for i in range(len(values) - 2, k, -1):
            right = fuse(values[i], right, *self.classes(ends[i - 1], ends[i], ends[-1]))
        return left, right, *self.classes(0, ends[k], ends[-1])

    def _cheapest_junction(self) -> int:
        """The k where forming the two halves and multiplying them out costs least."""
        m, n = math.prod(self.cores.rows), math.prod(self.cores.columns)

        def cost(k: int) -> int:
            A, D = self.classes(0, self.parts[k].last, len(self.cores))
            r = self.rank(k)
            return r * (m * n + m * A + D * n)  # the last fusing, and the entries of the halves

        return min(range(len(self.parts) - 1), key=cost)


def errors_of_product(splitting: Splitting, root: Values | Matrix) -> Iterator[float]:
    """``||B - T||^2`` chunk by chunk: B the product of the factors, T the root; never B whole."""
    if len(splitting.parts) == 1:  # nothing was split: only rounding to the result's dtype
        yield float(np.sum(np.abs(splitting.values[0] - values_of(root)) ** 2))
        return
    left, right, A, D = splitting.halves_for_product()
    U, V = left_blocks(left, A, D), right_blocks(right, A, D)
    for at, T in root.block_chunks(A, D):
        T -= lapack.product(U[at], V[at])
        yield energy(T)


def padded(values: np.ndarray, parts: tuple[int, int], pattern: tuple[int, ...]) -> np.ndarray:
    """`values` with zeros up to `pattern`: same product, larger ranks.

    `parts`: the row core and the column core; rows are (rank, core), columns (core, rank).
    """
    a, b, c, d = values.shape
    b_core, c_core = parts
    left, right = b // b_core, c // c_core
    wide = np.zeros(
        (a, pattern[1] // b_core, b_core, c_core, pattern[2] // c_core, d), values.dtype
    )
    wide[:, :left, :, :, :right] = values.reshape(a, left, b_core, c_core, right, d)
    return wide.reshape(pattern)
