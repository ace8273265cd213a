"""Banded matrices with the same weights in every row, but for some entries at the corners.

Differences, gradients and Laplacians are stencils; so are their adjoints, products and sums.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._array import Array, array_namespace, is_numpy
from .base import LinearOperator
from .scalar import check_size
from .tiles import Term, add_terms

if TYPE_CHECKING:
    import scipy.sparse

SMALL = 8192  # numbers of x up to which a sparse matrix is the faster way

Corners = tuple[tuple[int, int, float], ...]


@dataclass(eq=False, repr=False)
class Stencil(LinearOperator):
    """``y[i] = sum_k weights[k] x[i + first + k]``, with x zero outside, plus corner entries.

    Parameters
    ----------
    rows, columns : int
    first : int
        The diagonal of ``weights[0]``: 0 the main one, below it negative.
    weights : tuple of float
        Python numbers: the precision of `x` is kept.
    corners : tuple of (row, column, value)
        Added to the entries there.
    """

    rows: int
    columns: int
    first: int
    weights: tuple[float, ...]
    corners: Corners = ()
    kind = "float"
    makes_new = True

    def _check(self):
        for name in ("rows", "columns"):
            object.__setattr__(self, name, check_size(getattr(self, name), f"the {name}"))
        weights = tuple([float(w) for w in self.weights])
        if not weights:
            raise ValueError("a stencil has at least one weight")
        first, stop = max(self.first, 1 - self.rows), min(self.first + len(weights), self.columns)
        if first < stop:  # without the diagonals that do not meet the matrix
            weights = weights[first - self.first : stop - self.first]
        else:
            first, weights = 0, (0.0,)
        object.__setattr__(self, "first", first)
        object.__setattr__(self, "weights", weights)
        total: dict[tuple[int, int], float] = {}
        for i, j, value in self.corners:
            if not (0 <= i < self.rows and 0 <= j < self.columns):
                raise ValueError(f"entry ({i}, {j}) lies outside {self.rows}x{self.columns}")
            total[i, j] = total.get((i, j), 0.0) + float(value)
        corners = tuple([(i, j, v) for (i, j), v in sorted(total.items()) if v])
        object.__setattr__(self, "corners", corners)

    def _shape(self):
        return self.rows, self.columns

    @functools.cached_property
    def terms(self) -> tuple[tuple[int, float], ...]:
        """(diagonal, weight) where the weight is not zero."""
        return tuple([(o, w) for o, w in enumerate(self.weights, self.first) if w])

    def _matmat(self, x):
        if not is_numpy(x):
            return self.along(x, 0)
        if (matrix := _small_matrix(self, x)) is not None:
            return matrix @ x
        by_columns = x.flags.f_contiguous and not x.flags.c_contiguous
        return self.along(x.T, 1).T if by_columns else self.along(x, 0)

    def _between(self, x):
        return self.along(x, 1)

    def along(self, x: Array, axis: int) -> Array:
        """The product along one axis of `x`."""
        if not is_numpy(x):
            return self._along_any(x, axis)
        shape = (*x.shape[:axis], self.rows, *x.shape[axis + 1 :])
        y = add_terms(x, shape, [Term(axis, o, w) for o, w in self.terms])
        self.add_corners(x, y, axis)
        return y

    def matrix(self) -> scipy.sparse.csr_array:
        """As SciPy's sparse matrix, in double precision."""
        import scipy.sparse

        entries = [np.array(self.corners).reshape(-1, 3)]  # row, column, value
        for o, w in self.terms:
            i = np.arange(max(0, -o), min(self.rows, self.columns - o))
            entries.append(np.stack([i, i + o, np.full(len(i), w)], axis=1))
        i, j, values = np.concatenate(entries).T
        places = i.astype(np.int64), j.astype(np.int64)
        return scipy.sparse.coo_array((values, places), self.shape).tocsr()

    def add_corners(self, x: np.ndarray, y: np.ndarray, axis: int) -> None:
        """Into `y`, what the corner entries give along one axis of `x`."""
        for i, j, value in self.corners:
            here: tuple[slice, ...] = (slice(None),) * axis
            y[here + (i,)] += value * x[here + (j,)]  # noqa: RUF005

    def _along_any(self, x: Array, axis: int) -> Array:
        """By slices and concatenation alone: every library has them, torch differentiates them."""
        xp, n = array_namespace(x), self.columns
        before = max([0, *(-o for o, _ in self.terms)])
        after = max([0, *(self.rows + o - n for o, _ in self.terms)])
        padded = xp.concat([_zeros(x, axis, before), x, _zeros(x, axis, after)], axis=axis)
        y = _zeros(x, axis, self.rows)
        for o, w in self.terms:
            piece = _cut(padded, axis, before + o, before + o + self.rows)
            y = y + (piece if w == 1 else w * piece)
        pieces, at = [], 0
        for i in sorted({i for i, _, _ in self.corners}):
            row = _cut(y, axis, i, i + 1)
            for _, j, value in (c for c in self.corners if c[0] == i):
                row = row + value * _cut(x, axis, j, j + 1)
            pieces += [_cut(y, axis, at, i), row]
            at = i + 1
        return xp.concat([*pieces, _cut(y, axis, at, self.rows)], axis=axis) if pieces else y

    def _adjoint(self):
        corners = tuple([(j, i, value) for i, j, value in self.corners])
        last = self.first + len(self.weights) - 1
        return Stencil(self.columns, self.rows, -last, self.weights[::-1], corners)

    def _conj(self):
        return self

    def _facts(self):
        other = self._adjoint()
        same = sorted(other.terms) == sorted(self.terms) and other.corners == self.corners
        return {"hermitian": True if same else None}

    def _flops(self):
        return 2 * (len(self.terms) * self.rows + len(self.corners))

    def _label(self):
        weights = ", ".join(f"{w:g}" for w in self.weights)
        corners = f" + {len(self.corners)} corners" if self.corners else ""
        return f"stencil({self.rows}x{self.columns}, {self.first}: {weights}{corners})"


@dataclass(eq=False, repr=False)
class StencilSum(LinearOperator):
    """The Kronecker sum of square stencils, each along its own axis; see `lazyops.laplacian`."""

    stencils: tuple[Stencil, ...]
    makes_new = True

    def _check(self):
        for s in self.stencils:
            if not isinstance(s, Stencil) or s.rows != s.columns:
                raise TypeError(f"a sum of stencils takes square stencils, got {s!r}")

    def _shape(self):
        n = math.prod([s.rows for s in self.stencils])
        return n, n

    def matrix(self) -> scipy.sparse.csr_array:
        """As SciPy's sparse matrix, in double precision."""
        import scipy.sparse

        found = scipy.sparse.csr_array((1, 1))
        for s in self.stencils:
            left, right = scipy.sparse.eye_array(found.shape[0]), scipy.sparse.eye_array(s.rows)
            found = scipy.sparse.kron(found, right) + scipy.sparse.kron(left, s.matrix())
        return found.tocsr()

    def _steps(self, x):
        if is_numpy(x) and (matrix := _small_matrix(self, x)) is not None:
            return matrix @ x
        xp, k = array_namespace(x), x.shape[1]
        shape = tuple([s.rows for s in self.stencils])
        grid = xp.reshape(x, shape if k == 1 else (*shape, k))
        if is_numpy(x):
            y = add_terms(grid, grid.shape, self._terms)
            for axis, s in enumerate(self.stencils):
                s.add_corners(grid, y, axis)
        else:
            y = sum(s.along(grid, axis) for axis, s in enumerate(self.stencils))
        return xp.reshape(y, (self.shape[0], k))
        yield  # no operand is asked for a product: this runs them all at once

    @functools.cached_property
    def _terms(self) -> list[Term]:
        """All of them; what falls on the main diagonal is one."""
        found = [Term(axis, o, w) for axis, s in enumerate(self.stencils) for o, w in s.terms]
        middle = math.fsum([w for _, o, w in found if o == 0])
        return [Term(0, 0, middle), *(t for t in found if t.offset)] if middle else found

    def _adjoint(self, *adjoints):
        return StencilSum(adjoints)

    def _facts(self, *operands):
        return {"hermitian": True if all(o["hermitian"] for o in operands) else None}

    def _flops(self, *operands):
        n = self.shape[0]
        return sum(f * n // s.rows for f, s in zip(operands, self.stencils, strict=True) if s.rows)

    def _pieces(self):
        yield "kronsum("
        for i, s in enumerate(self.stencils):
            if i:
                yield ", "
            yield (s, 0)
        yield ")"


def _small_matrix(op: Stencil | StencilSum, x: np.ndarray) -> scipy.sparse.csr_array | None:
    """The sparse matrix of `op` in the precision of `x`, kept, where one call of SciPy costs less
    than several of NumPy on so few numbers."""
    if x.size > SMALL or x.dtype.char not in "fdFD":
        return None
    char = x.dtype.char.lower()
    if char not in op._cache:
        op._cache[char] = op.matrix().astype(char)
    return op._cache[char]


def _zeros(x: Array, axis: int, n: int) -> Array:
    shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
    return array_namespace(x).zeros(shape, dtype=x.dtype, device=x.device)


def _cut(x: Array, axis: int, start: int, stop: int) -> Array:
    everything = slice(None)
    return x[tuple([slice(start, stop) if a == axis else everything for a in range(x.ndim)])]
