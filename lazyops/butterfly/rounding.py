"""Lower the ranks of a butterfly that is known by its factors: the matrix is never formed.

The factors are brought to a form where all but one are blockwise orthonormal; truncated SVDs from
left to right then cost exactly their truncation errors, which are orthogonal and add as squares
(the rounding of tensor trains, Oseledets, SIAM J. Sci. Comput. 33 (2011) 2295, on the junctions of
arXiv 2411.04506).  Linear in the entries of the factors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from .budget import Ledger
from .halves import split
from .hierarchical import Cores, Part, Splitting
from .run import Split
from .splits import Blocks, Values, from_right_blocks, fuse, left_blocks, right_blocks
from .svd import Want, energy

UNIT = 2.0**-53


def orthonormalised(
    values: Sequence[np.ndarray], cores: Cores, rng: np.random.Generator
) -> Splitting:
    """The butterfly with these factors, one per core, with everything right of the first one
    blockwise row-orthonormal: ``||first.values||`` is the norm of the product."""
    found = Splitting(Values(values[0]), cores, UNIT, rng)
    found.parts = [Part(i, i + 1, Values(v)) for i, v in enumerate(values)]
    found.centre = len(values) - 1  # from here a pass to the left reaches every factor
    found.bring_centre(0)
    return found


def norm_of(splitting: Splitting) -> float:
    """Frobenius norm of the product: that of its centre."""
    return math.sqrt(energy(splitting.parts[splitting.centre].values))


def lower_ranks(
    splitting: Splitting, ledger: Ledger, most: Sequence[int] | None = None
) -> list[Split]:
    """Truncate every junction, left to right; `splitting` has its centre at the left end.

    `ledger` says what the truncations may cost together (absolute), `most` bounds the ranks.
    Returns (position, rank, error) of each.
    """
    done = []
    for k in range(len(splitting.parts) - 1):
        A, D = splitting.junction(k)
        T = left_blocks(splitting.parts[k].values, A, D)
        halves = split(
            Blocks(T),
            A,
            D,
            Want(None if most is None else most[k], ledger.next(), T.shape[-1]),
            orthonormal="left",
            unit=splitting.unit,
            rng=splitting.rng,
        )
        right = right_blocks(halves.right, A, D) @ right_blocks(splitting.parts[k + 1].values, A, D)
        one, two = splitting.parts[k : k + 2]
        splitting.parts[k : k + 2] = [
            Part(one.first, one.last, Values(halves.left)),
            Part(two.first, two.last, Values(from_right_blocks(right))),
        ]
        splitting.centre = k + 1
        ledger.enter(halves.lower, halves.upper, halves.turn)
        done.append(Split(k + 1, halves.rank, halves.upper))
    return done


# -- fewer, larger factors where they hold fewer entries -----------------------------------


def fewest_entries(cores: Cores, ranks: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Entries of the smallest coarser butterfly of these ranks, and the splits that it keeps.

    A factor between the splits p < q holds ``r_p r_q (m / beta_p) gamma_q`` entries, with beta and
    gamma the prefix products of the cores: a shortest path.

    >>> fewest_entries(Cores((2, 2, 2), (2, 2, 2)), (1, 2))
    (48, (1,))
    """
    last = len(cores)
    r = [1, *ranks, 1]
    below = [math.prod(cores.rows[q:]) for q in range(last + 1)]
    above = [math.prod(cores.columns[:q]) for q in range(last + 1)]
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for q in range(1, last + 1):
        paths = (
            (entries + r[p] * r[q] * below[p] * above[q], (*at, p) if p else at)
            for p, (entries, at) in enumerate(best)
        )
        best.append(min(paths, key=lambda path: (path[0], len(path[1]))))
    return best[last]


def coarsened(
    values: Sequence[np.ndarray], cores: Cores, at: Sequence[int]
) -> tuple[list[np.ndarray], Cores]:
    """Neighbours multiplied together, except across the splits `at`; same product."""
    found = []
    for first, last in itertools.pairwise((0, *at, len(cores))):
        joined = values[first]
        for q in range(first + 1, last):
            A, D = math.prod(cores.columns[first:q]), cores.rows[q]
            joined = fuse(joined, values[q], A, D)
        found.append(joined)
    return found, cores.merged(at)
