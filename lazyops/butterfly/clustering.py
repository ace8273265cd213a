"""Unknown orders of rows and columns, for butterflies of rank one and size ``2**L``.

At the first split pairs of rows are parallel on each half of the columns.  The pairs and the
halves are found by turns: costs of pairs, given the halves, pair the rows; lines through the
columns, given the pairs, halve the columns.  What is left when every pair is replaced by one row
is two butterflies of half the size whose rows are in one order; so the next level is the same
problem, with the evidence of all its parts added.  Where anything stays outside, the same is tried
from the columns' side, and the better one taken.

Two rows on a set of columns are a cloud of points: the column (u, v) as the vector
``f = (|u|^2 - |v|^2, 2 Re u v*, 2 Im u v*)``, as long as its energy.  Columns on one line point the
same way, and the energy outside the best line is ``(sum |f| - |sum f|) / 2``.  Under white noise
the likeliest pairs and halves leave the least of it: that is what the turns minimise, from starts
that look at directions only and are therefore deaf to how energy is spread.

After alternating spectral clustering (Zheng, Riccietti, Gribonval, arXiv 2307.00820), but nested
from level to level instead of glued afterwards, and started from the partners of one row: O(N^3)
in matrix products instead of eigendecompositions for many random starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from .splits import digit_reversal

LARGEST = 512  # the cost is cubic
STARTS = 6  # partners of a first row that are tried, by each of two measures
UNSEEN = 2  # starts that find nothing at all, until it is given up
TURNS = 12  # of pairing and halving, at most
POWERS = 12  # steps towards a leading direction
SWEEPS = 50  # of exchanges between pairs, at most
HOPELESS = 0.2  # of the energy outside rank one: noise has 0.23 at N = 32, 0.3 at 64, 0.39 at 256
NOISE = 0.3  # of the energy outside rank one after two turns: no more turns
EXACT = 1e-12  # of the energy outside rank one: nothing better is looked for
SAME = 1e-6  # relative difference of two starts that found the same
BETTER = 1e-9  # relative gain that is more than rounding

Pairing = Callable[[np.ndarray, np.ndarray], np.ndarray]
Halving = Callable[[np.ndarray], np.ndarray]


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
    found = _nested_orders(A)
    if found is None:
        return None
    rows, columns, outside = found
    if outside > EXACT and (other := _nested_orders(A.T)) is not None and other[2] < outside:
        # the transpose of a butterfly is one in reversed digits
        reverse = digit_reversal([2] * (len(A).bit_length() - 1))
        columns, rows = (side[reverse] for side in other[:2])
    return rows, columns


def _nested_orders(A: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Orders found from the rows' side, and the part of the energy that stays outside."""
    n, whole, outside = len(A), float(np.sum(np.abs(A) ** 2)), 0.0
    parts, members, columns = A[None], np.arange(n)[:, None], np.arange(n)[None]
    while parts.shape[1] > 1:
        found = _level(parts)
        if found is None:
            return None
        pairs, halves, more = found
        outside += more
        columns = np.take_along_axis(columns, halves, axis=1).reshape(2 * len(columns), -1)
        ordered = np.take_along_axis(parts, halves[:, None, :], axis=2)
        parts = _merged(ordered[:, pairs])
        # a class lists its rows slowest digit first; the class number runs fastest
        members = members[pairs].transpose(0, 2, 1).reshape(len(pairs), -1)
    return members.reshape(-1), columns.reshape(-1), outside / whole if whole > 0 else 0.0


def _level(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Pairs of rows and halves of the columns of every part (g, k, k): the best of some starts;
    and the energy outside rank one."""
    g, k, _ = parts.shape
    whole = float(np.sum(np.abs(parts) ** 2))
    if k == 2 or whole == 0:
        return np.arange(k).reshape(-1, 2), np.tile(np.arange(k), (g, 1)), 0.0
    best, least = None, HOPELESS * whole
    for tried, start in enumerate(_starts(parts)):
        if best is None and tried == UNSEEN:
            return None
        rough = _turns(parts, start, _paired_by_direction, _halved_by_direction)[0]
        for pairs in (rough, start):
            found = _turns(parts, pairs, _paired, _halved)
            again = abs(found[2] - least) <= SAME * least
            if found[2] < least:
                best, least = found, found[2]
            if least <= EXACT * whole or again:
                return best
    return best


def _turns(
    parts: np.ndarray, pairs: np.ndarray, pair: Pairing, halve: Halving
) -> tuple[np.ndarray, np.ndarray, float]:
    """Pairing and halving by turns while less energy stays outside rank one."""
    halves, outside = halve(_clouds(parts, pairs)), math.inf
    whole = float(np.sum(np.abs(parts) ** 2))
    for turn in range(TURNS):
        if turn == 2 and outside > NOISE * whole:
            break
        others = pair(parts, halves)
        clouds = _clouds(parts, others)
        order = halve(clouds)
        less = float(_outside(clouds, order[:, None]).sum())
        if less >= outside * (1 - BETTER):
            break
        pairs, halves, outside = others, order, less
    return pairs, halves, outside


def _starts(parts: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of the row of most energy with those whose common columns lie on two lines best."""
    strength = np.sum(np.abs(parts) ** 2, axis=(0, 2))
    i = int(strength.argmax())
    others = np.delete(np.arange(len(strength)), i)
    clouds = _clouds(parts, np.stack([np.full(len(others), i), others], axis=1))
    directions = _directions(clouds)
    order = _along(directions)
    by_energy = _outside(clouds, order).sum(axis=0) / np.maximum(strength[others], 1e-300)
    by_direction = _outside(directions, order).sum(axis=0)
    ranking = [np.argsort(x, kind="stable")[:STARTS] for x in (by_energy, by_direction)]
    for j in dict.fromkeys(np.stack(ranking, axis=1).reshape(-1).tolist()):
        yield np.array([[i, others[j]]])


# -- clouds of columns ---------------------------------------------------------------------


def _clouds(parts: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Columns of pairs of rows as vectors.  (g, k, k), (p, 2) -> (g, p, k, 3)"""
    u, v = parts[:, pairs[:, 0]], parts[:, pairs[:, 1]]
    cross = u * v.conj()
    return np.stack([np.abs(u) ** 2 - np.abs(v) ** 2, 2 * cross.real, 2 * cross.imag], axis=-1)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of length one, or zero."""
    size = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(size > 0, size, 1.0)


def _side_by_side(clouds: np.ndarray) -> np.ndarray:
    """Every column with its vectors in all the pairs.  (g, p, k, 3) -> (g, k, 3 p)"""
    g, _, k, _ = clouds.shape
    return clouds.transpose(0, 2, 1, 3).reshape(g, k, -1)


def _along(points: np.ndarray) -> np.ndarray:
    """Order of the points (..., k, q) along their leading direction, by powers.   -> (..., k)"""
    x = points - points.mean(axis=-2, keepdims=True)
    far = np.linalg.norm(x, axis=-1).argmax(axis=-1)
    v = np.take_along_axis(x, far[..., None, None], axis=-2).swapaxes(-1, -2)
    for _ in range(POWERS):
        size = np.linalg.norm(v, axis=-2, keepdims=True)
        v = x.swapaxes(-1, -2) @ (x @ (v / np.where(size > 0, size, 1.0)))
    return np.argsort((x @ v)[..., 0], axis=-1, kind="stable")


def _sums(points: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Sums over either half of the points (..., k, q) in this order.   -> (..., 2, q)"""
    ordered = np.take_along_axis(points, order[..., None], axis=-2)
    half = order.shape[-1] // 2
    return np.stack([ordered[..., :half, :].sum(-2), ordered[..., half:, :].sum(-2)], axis=-2)


def _outside(clouds: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Energy outside one line for each half.  (g, p, k, 3), (g, p or 1, k) -> (g, p)"""
    order = np.broadcast_to(order, clouds.shape[:-1])
    whole = np.linalg.norm(clouds, axis=-1).sum(axis=-1)
    on_lines = np.linalg.norm(_sums(clouds, order), axis=-1).sum(axis=-1)
    return np.maximum(whole - on_lines, 0.0) / 2


# -- halves, given the pairs ---------------------------------------------------------------


def _halved_by_direction(clouds: np.ndarray) -> np.ndarray:
    """Column order of every part, one half before the other.  (g, p, k, 3) -> (g, k)"""
    return _sorted_halves(_along(_side_by_side(_directions(clouds))))


def _halved(clouds: np.ndarray) -> np.ndarray:
    """The same, so that the least energy is outside the lines: the best of some starts."""
    points = _side_by_side(clouds)
    size = np.linalg.norm(clouds, axis=-1, keepdims=True)
    starts = (_directions(clouds), clouds / np.sqrt(np.where(size > 0, size, 1.0)), clouds)
    found = [_refined(points, _along(_side_by_side(start))) for start in starts]
    best = np.argmax([on_lines for _, on_lines in found], axis=0)
    return _sorted_halves(np.stack([order for order, _ in found])[best, np.arange(len(points))])


def _refined(points: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines from the halves, halves from the lines (both exact), and the energy on the lines."""
    lines, on_lines = _lines(points, order)
    for _ in range(TURNS):
        across = (lines[:, 1] - lines[:, 0])[:, :, None]
        other = np.argsort((points @ across)[..., 0], axis=1, kind="stable")
        others, more = _lines(points, other)
        better = more > on_lines * (1 + BETTER)
        if not better.any():
            break
        order = np.where(better[:, None], other, order)
        lines = np.where(better[:, None, None], others, lines)
        on_lines = np.where(better, more, on_lines)
    return order, on_lines


def _lines(points: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best line of each half in every pair, (g, 2, 3 p), and the sum of energies on them."""
    sums = _sums(points, order).reshape(len(points), 2, -1, 3)
    size = np.linalg.norm(sums, axis=-1)
    return _directions(sums).reshape(len(points), 2, -1), size.sum(axis=(1, 2))


def _sorted_halves(order: np.ndarray) -> np.ndarray:
    half = order.shape[1] // 2
    return np.concatenate([np.sort(order[:, :half]), np.sort(order[:, half:])], axis=1)


# -- pairs, given the halves ---------------------------------------------------------------


def _paired_by_direction(parts: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Pairs of rows whose directions are most alike."""
    return _matched(_costs(parts, halves)[2])


def _paired(parts: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Pairs of rows that leave the least energy outside rank one: the better of two starts."""
    cost, most, alike = _costs(parts, halves)
    starts = (alike, -cost / np.where(most > 0, most, 1.0))
    found = [_exchanged(_matched(similar), cost) for similar in starts]
    return min(found, key=lambda pairs: cost[pairs[:, 0], pairs[:, 1]].sum())


def _costs(parts: np.ndarray, halves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For any two rows: energy outside rank one, the most it could be, and sum of cos^2."""
    g, k, _ = parts.shape
    ordered = np.take_along_axis(parts, halves[:, None, :], axis=2).reshape(g, k, 2, -1)
    blocks = ordered.transpose(0, 2, 1, 3).reshape(2 * g, k, -1)
    cost, most, alike = np.zeros((3, k, k))
    for block in blocks:
        gram2 = np.abs(block @ block.conj().T) ** 2
        size = np.sqrt(np.diagonal(gram2))
        a, c = size[:, None], size[None, :]
        larger = (a + c + np.sqrt((a - c) ** 2 + 4 * gram2)) / 2
        cost += np.maximum(a * c - gram2, 0.0) / np.where(larger > 0, larger, 1.0)
        most += np.minimum(a, c)
        alike += gram2 / np.where(a * c > 0, a * c, 1.0)
    return cost, most, alike


def _matched(similar: np.ndarray) -> np.ndarray:
    """Disjoint pairs: a pair of best friends first, then among those that are left."""
    left = similar.copy()
    np.fill_diagonal(left, -math.inf)
    pairs: list[tuple[int, int]] = []
    alive = np.arange(len(left))
    while len(alive):
        block = left[np.ix_(alive, alive)]
        friend, number = block.argmax(axis=1), np.arange(len(alive))
        mutual = np.flatnonzero((friend[friend] == number) & (number < friend))
        if not len(mutual):  # equal similarities in a circle
            i, j = sorted(np.unravel_index(block.argmax(), block.shape))
            mutual, friend[i] = np.array([i]), j
        pairs += [(int(alive[i]), int(alive[friend[i]])) for i in mutual]
        alive = np.delete(alive, np.concatenate([mutual, friend[mutual]]))
    return np.array(sorted(pairs))


def _exchanged(pairs: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Partners exchanged between two pairs as long as that lowers the cost."""
    for _ in range(SWEEPS):
        i, j = pairs.T
        now = cost[i, j][:, None] + cost[i, j][None, :]
        along, across = cost[np.ix_(i, i)] + cost[np.ix_(j, j)], cost[np.ix_(i, j)]
        across = across + across.T
        gain = np.triu(now - np.minimum(along, across) - BETTER * now, 1)
        if gain.max() <= 0:
            break
        free, pairs = np.ones(len(pairs), bool), pairs.copy()
        for p, q in np.argwhere(gain > 0)[np.argsort(-gain[gain > 0], kind="stable")]:
            if free[p] and free[q]:
                free[[p, q]] = False
                other = 0 if along[p, q] <= across[p, q] else 1
                pairs[p, 1], pairs[q, other] = pairs[q, other], pairs[p, 1]
    return np.sort(pairs, axis=1)[np.argsort(pairs.min(axis=1))]


# -- the next level ------------------------------------------------------------------------


def _merged(ordered: np.ndarray) -> np.ndarray:
    """Every block of two rows by the one row nearest to it: (g, p, 2, k) -> (2 g, p, k / 2)."""
    g, p, _, k = ordered.shape
    blocks = ordered.reshape(g, p, 2, 2, k // 2).transpose(0, 3, 1, 2, 4)
    gram = blocks @ blocks.conj().swapaxes(-1, -2)
    leading = np.linalg.eigh(gram)[1][..., -1]
    rows = (leading.conj()[..., None, :] @ blocks)[..., 0, :]
    return rows.reshape(2 * g, p, k // 2)
