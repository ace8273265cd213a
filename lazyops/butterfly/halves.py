"""Both factors of a split: rank one compiled, everything else by the batched SVDs of `svd`."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from .rank_one_splits import rank_one_split
from .splits import Source
from .svd import TRIM, Decomposer, Halves, Kept, Want, tails


def split(
    source: Source,
    A: int,
    D: int,
    want: Want,
    *,
    orthonormal: str,
    unit: float,
    rng: np.random.Generator,
) -> Halves:
    """Best two-factor approximation of the blocks of `source` for A column and D row classes.

    `orthonormal`: which half is blockwise orthonormal, "left" or "right"; the other one carries
    the singular values.
    """
    mirrored = orthonormal == "right"
    if (halves := rank_one_split(source, A, D, want, mirrored)) is not None:
        return halves
    a, b, c, d = source.shape
    shape = (a, A, D, d, b // D, c // A)
    decompose = Decomposer(want, 1 / math.prod(shape), unit, rng)
    parts = source.block_chunks(A, D)
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
