"""Truncated SVDs of many blocks at once, with what is proven about their errors.

A stack ``T`` of blocks (..., b, c) is approximated by ``U @ (U^H T)`` with orthonormal ``U``
(..., b, k).  The right factor is always formed from ``T`` itself, never as ``S V^H``: that keeps
its rounding error relative to the block (1e-15 against 1e-14 at N = 1024).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

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

    `lower` is proven to be at most the best error of this split at rank `rank`.
    """

    left: np.ndarray
    right: np.ndarray
    rank: int
    lower: float
    upper: float


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


def split(
    parts: Iterable[tuple[Index, np.ndarray]],
    shape: tuple[int, ...],
    want: Want,
    *,
    orthonormal: str,
    unit: float,
    rng: np.random.Generator,
) -> Halves:
    """Best two-factor approximation of the blocks `parts` of a grid `shape` (a, A, D, d, b1, c2).

    `orthonormal`: which half is blockwise orthonormal, "left" or "right"; the other one carries
    the singular values.
    """
    mirrored = orthonormal == "right"
    decompose = Decomposer(want, 1 / math.prod(shape), unit, rng)
    pieces = [decompose(at, T.swapaxes(-1, -2) if mirrored else T) for at, T in parts]
    by_index = _sum(p.energy for p in pieces)
    missed2 = math.fsum(p.residual**2 for p in pieces)
    rank = _rank(by_index, missed2, want)
    tail2 = tails(by_index)
    unkept2 = math.fsum(float(p.energy[p.U.shape[-1] : rank].sum()) for p in pieces)
    left, right = _assembled(pieces, shape, rank, mirrored)
    lower2 = float(tail2[min(rank, len(by_index))])
    return Halves(left, right, rank, math.sqrt(lower2), math.sqrt(lower2 + missed2 + unkept2))


def _sum(rows: Iterable[np.ndarray]) -> np.ndarray:
    total = np.zeros(0)
    for row in rows:
        if len(row) > len(total):
            total = np.pad(total, (0, len(row) - len(total)))
        total[: len(row)] += row
    return total


def _rank(by_index: np.ndarray, missed2: float, want: Want) -> int:
    """The smallest rank within the error wanted, at most the rank wanted; at least 1."""
    most = len(by_index) if want.rank is None else min(want.rank, len(by_index))
    if want.error is None:
        return most
    enough = tails(by_index) + missed2 <= (1 - TRIM) * want.error**2
    return min(most, max(1, int(np.argmax(enough)))) if enough.any() else most


def _assembled(
    pieces: list[Kept], shape: tuple[int, ...], rank: int, mirrored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Both halves as factor values; blocks with fewer columns than `rank` are padded by zeros."""
    grid, b1, c2 = shape[:4], *shape[4:]
    dtype = pieces[0].U.dtype
    a, A, D, d = grid
    left = np.zeros((a, b1, A, rank, D, d), dtype)
    right = np.zeros((a, A, rank, D, c2, d), dtype)
    left_view, right_view = left.transpose(0, 2, 4, 5, 1, 3), right.transpose(0, 1, 3, 5, 2, 4)
    while pieces:
        p = pieces.pop()  # freed one by one
        U, V = p.U[..., :rank], p.V[..., :rank, :]
        if mirrored:
            U, V = V.swapaxes(-1, -2), U.swapaxes(-1, -2)
        left_view[p.at][..., : U.shape[-1]] = U
        right_view[p.at][..., : V.shape[-2], :] = V
    return left.reshape(a, b1, A * rank, D * d), right.reshape(a * A, rank * D, c2, d)
