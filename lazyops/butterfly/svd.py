"""Truncated SVDs of many blocks at once, with what is proven about their errors.

A stack ``T`` of blocks (..., b, c) is approximated by ``U @ (U^H T)`` with orthonormal ``U``
(..., b, k).  The right factor is always formed from ``T`` itself, never as ``S V^H``: that keeps
its rounding error relative to the block (1e-15 against 1e-14 at N = 1024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..kernels.memory import empty
from . import lapack
from .splits import CHUNK, Index

SMALL = 16  # up to this many singular values LAPACK is as fast as a sketch
PIECE = 64  # rows for each column of a QR of long blocks
OVERSAMPLING = 8
TRIM = 1e-3  # part of the squared error allowed that may go with columns dropped early
WEAK = 0.01  # residual^2 / tail^2 above which the lower bound would be weak
GIVE_UP = 512  # a search for structure does not pay for a full SVD of larger blocks


class NoStructure(Exception):
    """A split needs a rank that no butterfly worth storing has."""


@dataclass(frozen=True)
class Want:
    """What a split may spend: a rank, an error (absolute, Frobenius), or both; a guess of the rank.

    `searching`: raise NoStructure instead of paying for a full SVD of huge blocks.
    """

    rank: int | None = None
    error: float | None = None
    guess: int = 1
    searching: bool = False


@dataclass(frozen=True)
class Piece:
    """Decomposition of some blocks: T ~= U V, U (..., b, k) orthonormal, V formed when asked for.

    V is ``coordinates^H carrier``: U and the blocks themselves, or both in a sketched range.
    `residual` is ``||T - U U^H T||`` for a sketched range, 0 otherwise; `energy[j]` the
    sum of ``sigma_j^2`` over the blocks.
    """

    at: Index
    U: np.ndarray
    coordinates: np.ndarray
    carrier: np.ndarray
    energy: np.ndarray
    residual: float

    def kept(self, k: int) -> Kept:
        return Kept(
            self.at,
            self.U[..., :k].copy(),
            lapack.product(adjoint(self.coordinates[..., :k]), self.carrier),
            self.energy,
            self.residual,
        )


@dataclass(frozen=True)
class Kept:
    """The first k columns: T ~= U V, V (..., k, c); `energy` is of all of them."""

    at: Index
    U: np.ndarray
    V: np.ndarray
    energy: np.ndarray
    residual: float


@dataclass(frozen=True)
class Halves:
    """Both factors of a split, and bounds of its truncation error ``d``: lower <= d <= upper.

    `lower` is proven to be at most the best error of this split at rank `rank`.  The halves are
    ``U (U^H T)``; `turn` bounds how far that is from the form ``(T V^H) V``, which the theorems
    about splits further left speak of: 0 for singular vectors.  `norm` is that of all blocks, or
    None where nobody measured it.
    """

    left: np.ndarray
    right: np.ndarray
    rank: int
    lower: float
    upper: float
    turn: float = 0.0
    norm: float | None = None


def like(V: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An empty array of the shape and the memory order of `V`."""
    order = sorted(range(V.ndim), key=lambda axis: -abs(V.strides[axis]))
    found = empty(tuple(V.shape[axis] for axis in order), dtype)
    return found.transpose(np.argsort(order))


def adjoint(T: np.ndarray) -> np.ndarray:
    """Conjugate transpose of each block."""
    return T.swapaxes(-1, -2).conj() if T.dtype.kind == "c" else T.swapaxes(-1, -2)


def energy(T: np.ndarray) -> float:
    """Sum of ``|t|^2``."""
    flat = T.reshape(-1)
    return float(np.vdot(flat, flat).real)


def triangle(T: np.ndarray) -> np.ndarray:
    """R of the QR of every block: (..., b, c) -> (..., min(b, c), c).

    Long blocks go piece by piece (TSQR; Demmel, Grigori, Hoemmen, Langou, SIAM J. Sci. Comput. 34
    (2012) A206): the rounding errors of long sums of equal terms do not average out.  Hadamard
    4096 left to right: 7e-15 in one piece, 1e-15 so.
    """
    b, c = T.shape[-2:]
    piece = PIECE * c
    while b > 2 * piece:
        whole = b - b % piece
        pieces = T[..., :whole, :].reshape(*T.shape[:-2], -1, piece, c)
        R = lapack.triangle(pieces).reshape(*T.shape[:-2], -1, c)
        T = np.concatenate([R, T[..., whole:, :]], axis=-2)
        b = T.shape[-2]
    return lapack.triangle(T)


def left_vectors(T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U (..., b, min(b, c)) and singular values of every block (..., b, c), by LAPACK.

    A long side is shortened by a QR first; never by a Gram matrix, which squares the condition.
    """
    b, c = T.shape[-2:]
    if c > 1.5 * b:
        T = adjoint(triangle(adjoint(T)))
    elif b > 1.5 * c:
        Q, R = lapack.qr(T)
        U, s, _ = lapack.svd(R)
        return lapack.product(Q, U), s
    U, s, _ = lapack.svd(T)
    return U, s


def orthonormal_columns(T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """QR of every block; of a single column without LAPACK, which costs a call a block."""
    if T.shape[-1] != 1 or T.shape[-2] == 0:
        return lapack.qr(T)
    norm = np.sqrt(np.einsum("...ij,...ij->...j", T, T.conj()).real)[..., None, :]
    if norm.size == 0 or norm.min() > 1e-150:
        return T / norm, norm.astype(T.dtype)
    return lapack.qr(T)  # zeros, or squares below the range


def times_triangle(R: np.ndarray, V: np.ndarray) -> np.ndarray:
    """``R @ V`` of every block; one number per block needs no matrix product."""
    if R.shape[-1] != 1:
        return R @ V
    return np.multiply(R, V, out=like(V, np.result_type(R, V)))


def singular_values(T: np.ndarray) -> np.ndarray:
    """Singular values of every block (..., b, c) -> (..., min(b, c))."""
    b, c = T.shape[-2:]
    if max(b, c) > 1.5 * min(b, c):
        T = triangle(adjoint(T) if c > b else T)
    return lapack.singular_values(T)


def _by_index(s: np.ndarray) -> np.ndarray:
    return (s.reshape(-1, s.shape[-1]) ** 2).sum(axis=0)


def by_lapack(at: Index, T: np.ndarray) -> Piece:
    U, s = left_vectors(T)
    return Piece(at, U, U, T, _by_index(s), 0.0)


def by_sketch(at: Index, T: np.ndarray, k: int, power: bool, rng: np.random.Generator) -> Piece:
    """Randomized range finder: ``Q`` spans ``T Omega`` (k columns), then the SVD of ``Q^H T``.

    By interlacing the singular values of ``Q^H T`` are at most those of ``T``: their tail is a
    proven lower bound.  The residual ``T - Q Q^H T`` is formed, not subtracted from the norm.
    """
    c = T.shape[-1]
    omega = rng.standard_normal((c, k)).astype(T.dtype)
    Q = lapack.qr(lapack.product(T.reshape(-1, c), omega).reshape(*T.shape[:-1], k))[0]
    if power:
        Q = lapack.qr(lapack.product(T, lapack.qr(lapack.product(adjoint(T), Q))[0]))[0]
    B = lapack.product(adjoint(Q), T)
    residual = math.sqrt(_energy_outside(T, Q, B))
    U, s = left_vectors(B)
    return Piece(at, lapack.product(Q, U), U, B, _by_index(s), residual)


def _energy_outside(T: np.ndarray, Q: np.ndarray, B: np.ndarray) -> float:
    """``||T - Q B||^2``, a chunk of columns at a time."""
    c = T.shape[-1]
    step = max(1, CHUNK * c // max(T.size, 1))
    parts = (slice(i, i + step) for i in range(0, c, step))
    return math.fsum(energy(T[..., p] - Q @ B[..., p]) for p in parts)


def tails(by_index: np.ndarray) -> np.ndarray:
    """``tails[r] = sum of by_index[r:]``, small ones first; one longer than `by_index`."""
    return np.append(np.cumsum(by_index[::-1])[::-1], 0.0)


class Decomposer:
    """Decides block by block how to decompose: LAPACK, or a sketch that proves itself good."""

    def __init__(self, want: Want, share: float, unit: float, rng: np.random.Generator):
        self.want = want
        self.share = share  # entries of a chunk -> its part of the error allowed
        self.unit = unit
        self.rng = rng
        self.power = False
        self.sketching = True
        first = want.guess if want.error is not None or want.rank is None else want.rank
        self.k = first + OVERSAMPLING

    def __call__(self, at: Index, T: np.ndarray) -> Kept:
        small = min(T.shape[-2:])
        allowed2 = self._allowed2(T)
        while self.sketching and small > SMALL and 2 * self.k <= small:
            piece = by_sketch(at, T, self.k, self.power, self.rng)
            if self._good(piece, T, allowed2):
                return self._trimmed(piece, allowed2)
            if not self.power:
                self.power = True
            elif self.want.error is None:
                self.sketching = False  # slow decay: every further chunk would fail as well
            else:
                self.k *= 2
        if self.want.searching and small > GIVE_UP:
            b, c = T.shape[-2:]
            raise NoStructure(f"blocks of {b}x{c} need a rank above {self.k // 2}")
        return self._trimmed(by_lapack(at, T), allowed2)

    def _allowed2(self, T: np.ndarray) -> float:
        return 0.0 if self.want.error is None else self.want.error**2 * T.size * self.share

    def _good(self, piece: Piece, T: np.ndarray, allowed2: float) -> bool:
        """Whether the sketch missed nothing that matters for the bounds, or only rounding."""
        missed2 = piece.residual**2
        if missed2 <= (16 * self.unit) ** 2 * energy(T):
            return True
        tail2 = tails(piece.energy)
        if self.want.error is not None:
            if missed2 > WEAK * allowed2:
                return False
            rank = int(np.argmax(tail2 + missed2 <= (1 - TRIM) * allowed2))
            rank = rank if self.want.rank is None else min(rank, self.want.rank)
            return rank < len(piece.energy)  # else the tail is empty: more columns
        rank = len(tail2) - 1 if self.want.rank is None else self.want.rank
        return bool(missed2 <= WEAK * tail2[min(rank, len(tail2) - 1)])

    def _trimmed(self, piece: Piece, allowed2: float) -> Kept:
        """Without the columns that no rank chosen later can need: saves memory, not error."""
        keep = len(piece.energy)
        if self.want.error is not None:
            keep = max(1, int(np.argmax(tails(piece.energy) <= TRIM * allowed2)))
        return piece.kept(keep if self.want.rank is None else min(keep, self.want.rank))
