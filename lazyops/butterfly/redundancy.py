"""Back from a chain without redundant junctions to the one asked for, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..pattern import Chain, Pattern
from .splits import from_left_blocks, from_right_blocks, spread


def reexpanded(values: Sequence[np.ndarray], chain: Chain) -> list[np.ndarray]:
    """Factors on ``chain.reduced`` as factors on `chain`: the same product, to the bit.

    A redundant pair holds any matrix of its fused pattern (arXiv 2411.04506, Lemma 4.23): one half
    is the identity on the smaller side of each block, the other the block.
    """
    merges = []
    while redundant := chain.redundant:
        merges.append((chain, redundant[0]))
        chain = chain.fuse(redundant[0])
    found = list(values)
    for before, q in reversed(merges):
        found[q - 1 : q] = _halves(found[q - 1], before[q - 1], before[q])
    return found


def _halves(F: np.ndarray, left: Pattern, right: Pattern) -> tuple[np.ndarray, np.ndarray]:
    rank = left.rank_with(right)
    T = spread(F, right.a // left.a, left.d // right.d)
    *grid, b, c = T.shape
    U, V = np.zeros((*grid, b, rank), F.dtype), np.zeros((*grid, rank, c), F.dtype)
    if b <= c:
        U[..., :b], V[..., :b, :] = np.eye(b), T
    else:
        U[..., :c], V[..., :c, :] = T, np.eye(c)
    return from_left_blocks(U), from_right_blocks(V)
