"""Unknown orders of rows and columns, for butterflies of rank one and size ``2**L``.

At the first split pairs of rows are parallel on each half of the columns.  The pairs and the
halves are found by turns: similarities of rows, given the halves, pair them; similarities of
columns, given the pairs, halve them by the leading direction of their lines.  What is left when
every pair is replaced by one row is two butterflies of half the size whose rows are in one order;
so the next level is the same problem, with the evidence of all its parts added.

After alternating spectral clustering (Zheng, Riccietti, Gribonval, arXiv 2307.00820), but nested
from level to level instead of glued afterwards, and started from the partners of one row: O(N^3)
in matrix products instead of eigendecompositions for many random starts.
"""

from __future__ import annotations

import numpy as np

LARGEST = 512  # the cost is cubic
STARTS = 6  # partners of a first row that are tried
TURNS = 10  # of pairing and halving, at most
HOPELESS = 0.2  # of the energy outside rank one: noise has 0.23 at N = 32, 0.3 at 64, 0.39 at 256


def unknown_orders(A: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Row and column orders in which a square dyadic butterfly fits `A`; None if none shows.

    Parameters
    ----------
    A : array of shape (N, N), N a power of two from 8 on

    Returns
    -------
    (rows, columns) or None
        ``A[rows][:, columns]`` is near the chain.
    """
    n = len(A)
    parts, members, columns = A[None], np.arange(n)[:, None], np.arange(n)[None]
    while parts.shape[1] > 1:
        found = _level(parts) if parts.shape[1] > 2 else _last(parts)
        if found is None:
            return None
        pairs, halves = found
        columns = np.take_along_axis(columns, halves, axis=1).reshape(2 * len(columns), -1)
        ordered = np.take_along_axis(parts, halves[:, None, :], axis=2)
        parts = _merged(ordered[:, pairs])
        # a class lists its rows slowest digit first: (pair, row) -> positions j * D + class
        members = members[pairs].transpose(0, 2, 1).reshape(len(pairs), -1)
    return _row_order(members), columns.reshape(-1)


def _row_order(members: np.ndarray) -> np.ndarray:
    """Positions of a single class of all rows; at each level the class number runs fastest."""
    return members.reshape(-1)


def _last(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two rows are one pair, two columns are two halves."""
    return np.array([[0, 1]]), np.tile(np.arange(parts.shape[2]), (len(parts), 1))


def _level(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Pairs of rows and halves of the columns of every part (g, k, k): the best of some starts."""
    best, least = None, HOPELESS
    for partner in _partners(parts[0]):
        halves = np.stack([_halved(part[None, [0, partner]]) for part in parts])
        pairs = _paired(parts, halves)
        error = _error(parts, pairs, halves)
        for _ in range(TURNS):
            other = np.stack([_halved(part[pairs]) for part in parts])
            again = _paired(parts, other)
            less = _error(parts, again, other)
            if less >= error * (1 - 1e-9):
                break
            pairs, halves, error = again, other, less
        if error < least:
            best, least = (pairs, halves), error
        if error <= 1e-12:
            break
    return best


def _partners(part: np.ndarray) -> np.ndarray:
    """Rows that may be paired with the first: the columns of both lie on two lines, in halves."""
    points = _lines(np.stack([np.broadcast_to(part[:1], part[1:].shape), part[1:]], axis=1))
    centred = points - points.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(centred.swapaxes(-1, -2) @ centred)
    along = np.sort((centred @ vectors[..., -1:])[..., 0], axis=1)
    half = along.shape[1] // 2
    spread = along[:, :half].var(axis=1) + along[:, half:].var(axis=1)
    total = (centred**2).sum(axis=-1).mean(axis=1)
    across = total - (along**2).mean(axis=1)
    return 1 + np.argsort(spread + across, kind="stable")[:STARTS]


def _lines(pairs: np.ndarray) -> np.ndarray:
    """Columns (g, 2, k) as points (g, k, 4) that depend on the line through each only."""
    u, v = pairs[:, 0], pairs[:, 1]
    size = np.abs(u) ** 2 + np.abs(v) ** 2
    cross = u * v.conj()
    features = np.stack([np.abs(u) ** 2 - np.abs(v) ** 2, 2 * cross.real, 2 * cross.imag], axis=-1)
    return features / np.where(size > 0, size, 1.0)[..., None]


def _halved(pairs: np.ndarray) -> np.ndarray:
    """Column order, one half before the other, by the leading direction.   pairs : (g, 2, k)"""
    points = _lines(pairs).transpose(1, 0, 2).reshape(pairs.shape[2], -1)
    centred = points - points.mean(axis=0)
    gram = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    vector = np.linalg.eigh(gram)[1][:, -1]
    along = vector if len(centred) <= centred.shape[1] else centred @ vector
    order = np.argsort(along, kind="stable")
    half = len(order) // 2
    return np.concatenate([np.sort(order[:half]), np.sort(order[half:])])


def _paired(parts: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """The matching of most similar rows, given the halves of every part."""
    _, k, n = parts.shape
    ordered = np.take_along_axis(parts, halves[:, None, :], axis=2).reshape(len(parts), k, 2, -1)
    blocks = ordered.transpose(0, 2, 1, 3).reshape(-1, k, n // 2)
    size = np.linalg.norm(blocks, axis=2, keepdims=True)
    blocks = blocks / np.where(size > 0, size, 1.0)
    similar = (np.abs(blocks @ blocks.conj().swapaxes(-1, -2)) ** 2).sum(axis=0)
    return _matched(similar)


def _matched(similar: np.ndarray) -> np.ndarray:
    """Disjoint pairs: a pair of best friends first, then among those that are left."""
    left = similar.copy()
    np.fill_diagonal(left, -1.0)
    pairs: list[tuple[int, int]] = []
    alive = np.arange(len(left))
    while len(alive):
        block = left[np.ix_(alive, alive)]
        friend = block.argmax(axis=1)
        mutual = np.flatnonzero(
            (friend[friend] == np.arange(len(alive))) & (np.arange(len(alive)) < friend)
        )
        if not len(mutual):  # equal similarities in a circle
            i, j = np.unravel_index(block.argmax(), block.shape)
            mutual, friend[min(i, j)] = np.array([min(i, j)]), max(i, j)
        pairs += [(int(alive[i]), int(alive[friend[i]])) for i in mutual]
        gone = np.concatenate([mutual, friend[mutual]])
        alive = np.delete(alive, gone)
    return np.array(sorted(pairs))


def _singular(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gram matrices of the rows of each (part, half, pair), and the blocks (g, 2, p, 2, k/2)."""
    g, p, _, k = ordered.shape
    blocks = ordered.reshape(g, p, 2, 2, k // 2).transpose(0, 3, 1, 2, 4)
    return blocks @ blocks.conj().swapaxes(-1, -2), blocks


def _error(parts: np.ndarray, pairs: np.ndarray, halves: np.ndarray) -> float:
    """The energy outside rank one in all blocks, of the whole."""
    gram, _ = _singular(np.take_along_axis(parts, halves[:, None, :], axis=2)[:, pairs])
    values = np.linalg.eigvalsh(gram)
    whole = float(values.sum())
    return float(np.maximum(values[..., 0], 0.0).sum()) / whole if whole > 0 else 0.0


def _merged(ordered: np.ndarray) -> np.ndarray:
    """Every block of two rows by the one row nearest to it: (g, p, 2, k) -> (2 g, p, k / 2)."""
    gram, blocks = _singular(ordered)
    leading = np.linalg.eigh(gram)[1][..., -1]
    rows = (leading.conj()[..., None, :] @ blocks)[..., 0, :]
    g, _, p, k = rows.shape
    return rows.reshape(2 * g, p, k)
