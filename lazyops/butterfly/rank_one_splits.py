"""Both factors of a split at rank one, compiled: each block is read once.

What is proven of a block, and how, is told in ``kernels/src/split_rows.h``.  The blocks whose
leading direction the kernel could not prove are left to LAPACK here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np

from .. import kernels
from ..kernels.memory import empty
from ..kernels.split import ONE_LANE, TALLEST, rank_one
from .splits import CHUNK, Blocks, Index, Matrix, Source, Values
from .svd import TRIM, Halves, Want, adjoint, left_vectors

CALL = 1 << 26  # entries of a call of the kernel: 0.1 s of exact blocks, 0.4 s of noise

Part = tuple[Index, np.ndarray, int]  # where, blocks, the power of two they are to be divided by


def rank_one_split(source: Source, A: int, D: int, want: Want, mirrored: bool) -> Halves | None:
    """See `halves.split`; None where rank one is not what is wanted, or not compiled.

    With an error allowed, rank one is tried where it is expected, and kept if it is enough.
    """
    expected = want.rank == 1 or (want.error is not None and want.guess == 1)
    most = math.inf if want.rank == 1 or want.error is None else (1 - TRIM) * want.error**2
    if not expected or (parts := _parts(source, A, D, most < math.inf)) is None:
        return None
    a, b, c, d = source.shape
    dtype = np.complex128 if source.dtype.kind == "c" else np.float64
    left, right = empty((a, b // D, A, D, d), dtype), empty((a, A, D, c // A, d), dtype)
    U = left.transpose(0, 2, 3, 4, 1)[..., None]
    V = right.transpose(0, 1, 2, 4, 3)[..., None, :]
    planes = np.empty((4, a, A, D, d))
    facts = planes.transpose(1, 2, 3, 4, 0)[..., None]
    spent = 0.0
    for at, T, exponent in parts:
        _by_kernel(T, U[at], V[at], facts[at], mirrored, exponent)
        _settle(T, U[at], V[at], facts[at][..., 0], mirrored, exponent)
        spent += float(planes[1][at].sum()) if most < math.inf else 0.0
        if spent > most:
            return None
    kept, tail, lower, turn = map(float, planes.reshape(4, -1).sum(axis=-1))  # pairwise
    return Halves(
        left.reshape(a, b // D, A, D * d),
        right.reshape(a * A, D, c // A, d),
        1,
        math.sqrt(lower),
        math.sqrt(tail),
        math.sqrt(turn),
        math.sqrt(kept + tail),
    )


def measures(source: Matrix, A: int, D: int, rank: int | None) -> bool:
    """Whether a split of this rank finds the norm of `source`, and numbers that are not finite."""
    return rank == 1 and _parts(source, A, D) is not None


def _parts(source: Source, A: int, D: int, soon: bool = False) -> Iterable[Part] | None:
    """The blocks: in place where the kernel takes them so, else chunk by chunk in double.

    `soon`: a few first, so that it is soon seen whether rank one will do.
    """
    if not isinstance(source, Values | Matrix | Blocks) or 0 in source.shape:
        return None
    if (found := source.blocks(A, D)) is not None and _in_place(found[0]):
        return _divided(*found, soon)
    _, b, c, _ = source.shape
    wide = sorted((b // D, c // A))
    if kernels.split_obstacle(np.empty((1, 1, 1, 1, *wide), source.dtype)) is not None:
        return None
    return ((at, T, 0) for at, T in source.block_chunks(A, D))


def _in_place(T: np.ndarray) -> bool:
    b, c = T.shape[-2:]
    single = T.dtype.char in "fF"  # small blocks are worked on in double precision
    return not (single and b * c <= ONE_LANE) and kernels.split_obstacle(T) is None


def _divided(T: np.ndarray, exponent: int, soon: bool) -> Iterator[Part]:
    """All the blocks, so many at a time that Ctrl-C is seen between."""
    a, A, D = T.shape[:3]
    step = max(1, CALL * A // T.size)
    first = A // 16 if soon else 0
    for start, stop in itertools.pairwise(sorted({0, first, *range(first, A, step), A})):
        at = slice(0, a), slice(start, stop), slice(0, D)
        yield at, T[at], exponent


def _by_kernel(
    T: np.ndarray, U: np.ndarray, V: np.ndarray, facts: np.ndarray, mirrored: bool, exponent: int
) -> None:
    """`rank_one`; of tall blocks their transposes."""
    if T.shape[-2] > TALLEST:
        T = np.ascontiguousarray(T.swapaxes(-1, -2))
        U, V, mirrored = V.swapaxes(-1, -2), U.swapaxes(-1, -2), not mirrored
    rank_one(T, U, V, facts, mirrored, exponent)


def _settle(
    T: np.ndarray, U: np.ndarray, V: np.ndarray, facts: np.ndarray, mirrored: bool, exponent: int
) -> None:
    """By LAPACK, the blocks for which the iteration could not prove its leading energy."""
    open_ = facts[..., 2] < 0
    if not open_.any():
        return
    which = np.argwhere(open_)
    step = max(1, CHUNK // (T.shape[-1] * T.shape[-2]))
    for start in range(0, len(which), step):
        at = tuple(which[start : start + step].T)
        B = Matrix(T, U.dtype, exponent).prepared(T[at])
        W, s = left_vectors(B.swapaxes(-1, -2) if mirrored else B)
        W = W[..., :1]
        if mirrored:
            V[at] = W.swapaxes(-1, -2)
            U[at] = B @ W.conj()
        else:
            U[at] = W
            V[at] = adjoint(W) @ B
        best = s**2
        tail2 = best[:, 1:].sum(axis=-1)
        facts[at] = np.stack([best[:, 0], tail2, tail2, np.zeros_like(tail2)], axis=-1)
