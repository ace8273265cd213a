"""A butterfly from products with a matrix and its adjoint, at one split of its middle.

The generalised Nystrom approximation of every block of the split at once (algorithms.md, H4c; for
one block: Nakatsukasa, arXiv 2009.11392).  With Gaussian ``Omega`` restricted to a column class j
and ``Psi`` to a row class i, the block (i, j) is

    ``A_ij ~= (A_ij Omega_j) (Psi_i^H A_ij Omega_j)^+ (Psi_i^H A_ij)``

The products ``A Omega_j`` of all classes are themselves the values of a left factor, and the
``A^H Psi_i`` those of a right one.  Both are split on, class group by class group, while they are
computed: they are never held whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._array import to_numpy
from ..kernels import ks_matmat
from ..operators import KroneckerSparse, LinearOperator, Permutation, Product
from .hierarchical import Cores, Splitting
from .intake import _exponent as exponent_for
from .orders import balanced
from .rounding import UNIT
from .splits import (
    Index,
    Matrix,
    digit_reversal,
    from_left_blocks,
    from_right_blocks,
    left_blocks,
    right_blocks,
)
from .svd import Want

BATCH = 1 << 24  # entries of a block of vectors multiplied at once: 128 or 256 MiB


class Products:
    """Products with an operator and its transpose, in double precision, checked and counted."""

    def __init__(self, operator: LinearOperator):
        self.operator = operator
        kind = np.complex128 if operator.dtype.kind == "c" else np.float64
        self.dtype = np.dtype(kind)
        self.count = 0
        self.exponent = 0

    def forward(self, x: np.ndarray) -> np.ndarray:
        """``A @ x * 2**-exponent``.   x : (n, k) -> (m, k)"""
        return self._received(self.operator, x)

    def transposed(self, x: np.ndarray) -> np.ndarray:
        """``A.T @ x * 2**-exponent`` for a real x.   x : (m, k) -> (n, k)"""
        try:
            y = self._received(self.operator.H, x)
        except NotImplementedError as error:
            raise NotImplementedError(
                f"factorize needs products with the adjoint of an operator: {error}; "
                "without one, factorize the array"
            ) from error
        return np.conj(y, out=y) if self.dtype.kind == "c" else y

    def _received(self, operator: LinearOperator, x: np.ndarray) -> np.ndarray:
        y = to_numpy(operator @ x)
        if self.count == 0:
            self.exponent = exponent_for(float(np.abs(y).max(initial=0.0)), self.dtype)
        self.count += x.shape[1]
        y = Matrix(y, self.dtype, self.exponent).prepared(y)
        if not np.isfinite(y.real.sum()) and not np.isfinite(y).all():
            i = int(np.argmin(np.isfinite(y).all(axis=1)))
            raise ValueError(
                f"{operator!r} is not finite: row {i} of a product with a Gaussian is "
                f"{y[i, int(np.argmin(np.isfinite(y[i])))]}; factorize needs finite numbers"
            )
        return y


@dataclass(frozen=True)
class Middle:
    """Cores, the split that is sketched, and which sides are digit-reversed."""

    cores: Cores
    at: int
    reverse_rows: bool = False
    reverse_columns: bool = False

    @property
    def classes(self) -> tuple[int, int]:
        """Column classes A and row classes D."""
        return math.prod(self.cores.columns[: self.at]), math.prod(self.cores.rows[self.at :])

    @property
    def rows(self) -> np.ndarray:
        return _order(self.cores.rows, self.reverse_rows)

    @property
    def columns(self) -> np.ndarray:
        return _order(self.cores.columns, self.reverse_columns)

    @property
    def name(self) -> str:
        flags = {"rows": self.reverse_rows, "columns": self.reverse_columns}
        sides = [side for side, reverse in flags.items() if reverse]
        return f"digit reversal of {' and '.join(sides)}" if sides else "no permutation"

    def row_class(self, i: int) -> np.ndarray:
        """Rows of the matrix in class i, as the chain orders them."""
        return self.rows[i :: self.classes[1]]


def butterfly(values: list[np.ndarray], middle: Middle) -> LinearOperator:
    """The operator with these factors behind the permutations of `middle`."""
    factors: list[LinearOperator] = [KroneckerSparse(v, copy=False) for v in values]
    if middle.reverse_rows:
        factors.insert(0, Permutation(np.argsort(middle.rows)))  # W = A[rows]: A = W[inverse]
    if middle.reverse_columns:
        factors.append(Permutation(middle.columns))
    return factors[0] if len(factors) == 1 else Product(factors)


def _order(radices: tuple[int, ...], reverse: bool) -> np.ndarray:
    return digit_reversal(radices) if reverse else np.arange(math.prod(radices))


@dataclass(frozen=True)
class LeftSample:
    """``A Omega_j`` of all column classes j: values (1, m/D, A k, D), computed as they are read."""

    products: Products
    middle: Middle
    omega: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        A, D = self.middle.classes
        return 1, self.middle.cores.shape[0] // D, A * self.omega.shape[1], D

    def block_chunks(self, groups: int, inner: int) -> Iterator[tuple[Index, np.ndarray]]:
        """As `Values.block_chunks`: one group of column classes at a time."""
        A, D = self.middle.classes
        rows = self.middle.rows
        for g in range(groups):
            classes = range(g * (A // groups), (g + 1) * (A // groups))
            y = self._columns(classes)[rows]
            T = y.reshape(-1, inner, D, y.shape[1]).transpose(1, 2, 0, 3)
            yield (slice(0, 1), slice(g, g + 1), slice(0, inner)), T[None, None]

    def _columns(self, classes: range) -> np.ndarray:
        """``A Omega_j`` of some classes side by side.   -> (m, len(classes) k)"""
        n, k = self.omega.shape
        c = n // self.middle.classes[0]
        step = max(1, BATCH // (n * k))
        parts = []
        for start in range(classes.start, classes.stop, step):
            stop = min(start + step, classes.stop)
            x = np.zeros((n, stop - start, k))
            at = self.middle.columns[start * c : stop * c]
            x[at, np.repeat(np.arange(stop - start), c)] = self.omega[start * c : stop * c]
            parts.append(self.products.forward(x.reshape(n, -1)))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class RightSample:
    """``Psi_i^H A`` of all row classes i: values (A, k D, n/A, 1), computed as they are read."""

    products: Products
    middle: Middle
    psi: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        A, D = self.middle.classes
        return A, self.psi.shape[1] * D, self.middle.cores.shape[1] // A, 1

    def block_chunks(self, inner: int, groups: int) -> Iterator[tuple[Index, np.ndarray]]:
        """As `Values.block_chunks`: one group of row classes at a time."""
        A, D = self.middle.classes
        columns = self.middle.columns
        for g in range(groups):
            y = self._rows(range(g, D, groups))[columns]
            T = y.reshape(A, inner, -1, y.shape[1]).transpose(0, 1, 3, 2)
            yield (slice(0, A), slice(0, inner), slice(g, g + 1)), T[:, :, None, None]

    def _rows(self, classes: range) -> np.ndarray:
        """``A^T Psi_i`` of some classes side by side, Gaussians outermost.   -> (n, k t)"""
        m, k = self.psi.shape
        step = max(1, BATCH // (m * k))
        parts = []
        for start in range(0, len(classes), step):
            some = classes[start : start + step]
            x = np.zeros((m, k, len(some)))
            for t, i in enumerate(some):
                x[self.middle.row_class(i), :, t] = self.psi[i :: self.middle.classes[1]]
            parts.append(self.products.transposed(x.reshape(m, -1)).reshape(-1, k, len(some)))
        y = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return y.reshape(len(y), -1)


@dataclass(frozen=True)
class Spend:
    """What a sketch may lose: an absolute error of the matrix, and ranks it need not exceed."""

    error: float
    most: tuple[int | None, ...]
    guesses: tuple[int, ...]


def nystrom(
    products: Products, middle: Middle, k: int, keep: int, spend: Spend, rng: np.random.Generator
) -> list[np.ndarray]:
    """Values of a butterfly near the operator, one factor per core, from ``k (A + D)`` products.

    `keep`: directions inverted in each block, at most; the other ``k - keep`` are oversampling.
    """
    m, n = middle.cores.shape
    omega, psi = rng.standard_normal((n, k)), rng.standard_normal((m, k))
    right = _split_sample(RightSample(products, middle, psi), middle, "right", k, spend, rng)
    left = _split_sample(LeftSample(products, middle, omega), middle, "left", k, spend, rng)
    A, D = middle.classes
    core = _applied(right, omega).reshape(A, k, D, k).transpose(0, 2, 1, 3)  # Psi_i^H A_ij Omega_j
    _couple(left, right, core, keep, spend.error)
    return left + right


def _split_sample(
    sample: LeftSample | RightSample,
    middle: Middle,
    side: str,
    k: int,
    spend: Spend,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Factors of a sample, all but the one at the middle orthonormal; first split where it streams
    into the smallest parts."""
    cores, q = middle.cores, middle.at
    A, D = middle.classes
    if side == "left":
        part, offset = Cores(cores.rows[:q], cores.columns[:q], 1, D), 0
    else:
        part, offset = Cores(cores.rows[q:], cores.columns[q:], A, 1), q
    splitting = Splitting(sample, part, UNIT, rng)  # type: ignore[arg-type]
    if len(part) == 1:
        return [_whole(sample, side)]
    # A Gaussian sample of k columns has k times the energy of the matrix.
    error = spend.error * math.sqrt(k) / (2 * len(cores))
    for p in _streaming_order(part, side, k):
        want = Want(spend.most[offset + p - 1], error, spend.guesses[offset + p - 1])
        splitting.split(p, want, orthonormal=side)
    splitting.bring_centre(len(part) - 1 if side == "left" else 0)
    return splitting.values


def _streaming_order(part: Cores, side: str, k: int) -> list[int]:
    """All the splits of a part; the first one is where the two parts hold fewest entries."""
    last = len(part)

    def entries(p: int) -> int:
        rows, columns = part.shape
        above, below = math.prod(part.columns[:p]), math.prod(part.rows[p:])
        if side == "left":
            return rows * above + below * part.d * k * math.prod(part.columns)
        return k * math.prod(part.rows) * part.a * above + below * columns

    first = min(range(1, last), key=entries)
    return [first, *balanced(first - 1), *(p + first for p in balanced(last - 1 - first))]


def _whole(sample: LeftSample | RightSample, side: str) -> np.ndarray:
    """The values of a sample that has no junction to split: nothing smaller stands for it."""
    A, D = sample.middle.classes
    parts = [T for _, T in sample.block_chunks(*((A, 1) if side == "left" else (1, D)))]
    if side == "left":
        return from_left_blocks(np.concatenate(parts, axis=1))
    return from_right_blocks(np.concatenate(parts, axis=2))


def _applied(values: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Product of factors, right-most first, with columns x."""
    for v in reversed(values):
        x = ks_matmat(v, x.astype(np.result_type(v, x), copy=False))
    return x


def _couple(
    left: list[np.ndarray], right: list[np.ndarray], core: np.ndarray, keep: int, error: float
) -> None:
    """Put the pseudo-inverses of `core` (A, D, k, k) between the halves, in place.

    The middle junction is left with its best rank in every block; the right half carries the
    singular values.
    """
    A, D, k, _ = core.shape
    X, s, Zh = np.linalg.svd(core)
    smallest = max(error / math.sqrt(2 * A * D), 8 * k * UNIT * float(s.max(initial=0.0)))
    count = min(keep, max(1, int((s > smallest).sum(axis=-1).max(initial=1))))
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > smallest)[..., :count]
    to_left = Zh[..., :count, :].swapaxes(-1, -2).conj() * inverse[..., None, :]
    to_right = X[..., :, :count].swapaxes(-1, -2).conj()
    left[-1] = _times_on_blocks(left[-1], to_left)
    right[0] = _blocks_times(to_right, right[0])


def _times_on_blocks(values: np.ndarray, core: np.ndarray) -> np.ndarray:
    """The left factor at the middle, its blocks times those of `core` (A, D, k, t)."""
    a, b, _, d = values.shape
    A, D, k, t = core.shape
    X = left_blocks(values, A // a, 1).reshape(a, A // a, 1, d, b, k)
    Y = X @ core.reshape(a, A // a, 1, D, k, t)
    return from_left_blocks(Y)


def _blocks_times(core: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The blocks of `core` (A, D, t, k) times those of the right factor at the middle."""
    a, b, c, d = values.shape
    A, D, t, k = core.shape
    local = b // k  # row classes of the factor itself; d of them outside of it
    Y = right_blocks(values, 1, local).reshape(a, 1, local, d, k, c)
    return from_right_blocks(core.reshape(A, 1, local, D // local, t, k) @ Y)
