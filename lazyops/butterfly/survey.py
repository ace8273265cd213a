"""Looking for structure: which order of rows and columns, which splits, which ranks.

The singular values of the blocks of a split (a random sample of them on large matrices) say which
rank it needs at a tolerance.  A few small blocks tell which orders are worth a closer look; those
are surveyed at every split.  This only steers: the certificate comes from the splits that are made.
All samples of one order hold at most four times the entries of the matrix, of large ones less.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..pattern import prime_factors
from .arrange import PLAIN, REVERSED, Side, reversed_shuffles, sides
from .budget import Node, Plan, SplitEnergy
from .hierarchical import Cores
from .splits import Matrix
from .svd import singular_values, tails

WHOLE = 1 << 14  # splits of up to this many entries are surveyed completely
SAMPLE = 24  # blocks looked at per split otherwise
LONG = 32  # at least this many of the entries of a long side are looked at
WIDEST = 128  # and at most this many of a short one
GLANCE = 6  # blocks for the first look, of LONG x LONG entries
GLANCES = 5  # splits for the first look, at most
CLOSER = 3  # orders that get the second one, beside that of the matrix itself
DIVISORS = 24  # a square size with more divisors keeps to its prime factors in two orders


@dataclass(frozen=True)
class Candidate:
    """An order of the rows and one of the columns."""

    rows: Side = PLAIN
    columns: Side = PLAIN

    def matrix(self, matrix: Matrix, cores: Cores) -> Matrix:
        """`matrix` in this order, for a chain with these cores."""
        return matrix.permuted(self.rows.index(cores.rows), self.columns.index(cores.columns))

    def at(self, matrix: Matrix, node: Node) -> Matrix:
        """The same for a single split."""
        return self.matrix(matrix, Plan((node,), (1,), (0.0,), 0).cores(matrix.array.shape))

    @property
    def name(self) -> str:
        if self.rows.name == self.columns.name:
            return f"{self.rows.name} of rows and columns" if self.rows.name else "no permutation"
        named = (("rows", self.rows), ("columns", self.columns))
        return ", ".join(f"{side.name} of {axis}" for axis, side in named if side.name)


class Tried(NamedTuple):
    """An order that was looked at: estimated ``E_q / ||A||`` at `ranks` of the splits `nodes`.

    `nodes` are the products of the row and of the column cores left of each split.
    """

    permutation: str
    nodes: tuple[Node, ...]
    ranks: tuple[int, ...]
    errors: tuple[float, ...]


def candidates(m: int, n: int) -> list[Candidate]:
    """Everything tried for an m x n matrix, plain things first."""
    simple = PLAIN, REVERSED
    pairs = itertools.chain(
        itertools.product(sides(m, True), sides(n, False)),
        itertools.product(simple, reversed_shuffles(n, False)),
        itertools.product(reversed_shuffles(m, True), simple),
    )
    return [Candidate(rows, columns) for rows, columns in pairs]


def finest_cores(m: int, n: int) -> list[Cores]:
    """Chains of prime cores: paired primes, the surplus at either end, ascending and descending.

    >>> [(c.rows, c.columns) for c in finest_cores(4, 8)]
    [((1, 2, 2), (2, 2, 2)), ((2, 2, 1), (2, 2, 2))]
    """
    rows, columns = Counter(prime_factors(m)), Counter(prime_factors(n))
    common = sorted((rows & columns).elements())
    more_rows = sorted((rows - columns).elements())
    more_columns = sorted((columns - rows).elements())
    surplus = list(itertools.zip_longest(more_rows, more_columns, fillvalue=1))
    found: list[Cores] = []
    for primes in (common, common[::-1]):
        pairs = [(p, p) for p in primes]
        for cores in (surplus + pairs, pairs + surplus):
            if cores:
                found.append(Cores(tuple(b for b, _ in cores), tuple(c for _, c in cores)))
    return list(dict.fromkeys(found))


def nodes_of(cores: Cores) -> list[Node]:
    """The splits of a chain with these cores."""
    return [(math.prod(cores.rows[:q]), math.prod(cores.columns[:q])) for q in range(1, len(cores))]


def all_nodes(m: int, n: int) -> list[Node]:
    """The splits worth looking at: a chain by size is a path through them."""
    found = [node for cores in finest_cores(m, n) for node in nodes_of(cores)]
    if m == n:
        divisors = [p for p in range(2, n // 2 + 1) if n % p == 0]
        found += [(p, p) for p in divisors] if len(divisors) <= DIVISORS else []
    found.append((m, 1))  # low rank as a whole
    return [p for p in sorted(set(found)) if min(p[0], n // p[1]) > 1]


# -- energies ------------------------------------------------------------------------------


def split_energy(matrix: Matrix, node: Node, rng: np.random.Generator) -> SplitEnergy:
    """Tail energies of a split over the ranks: exact on small matrices, else from a sample."""
    m, n = matrix.array.shape
    if m * n <= WHOLE:
        return exact_energy(matrix, node)
    full = min(node[0], n // node[1])
    longest = max(LONG, 2 * min(full, WIDEST))
    T, scale = _sample(matrix, node, SAMPLE, longest, rng)
    return SplitEnergy(tails((singular_values(T) ** 2).sum(axis=(0))) * scale, full)


def exact_energy(matrix: Matrix, node: Node) -> SplitEnergy:
    """Tail energies of a split from all of its blocks."""
    m, n = matrix.array.shape
    full = min(node[0], n // node[1])
    total = np.zeros(full)
    for _, T in matrix.block_chunks(node[1], m // node[0]):
        total += (singular_values(T).reshape(-1, full) ** 2).sum(axis=0)
    return SplitEnergy(tails(total), full)


def glance(matrix: Matrix, node: Node, rng: np.random.Generator) -> SplitEnergy:
    """A rough estimate from a few small blocks; `full` is that of the sample."""
    T, scale = _sample(matrix, node, GLANCE, LONG, rng)
    return SplitEnergy(tails((singular_values(T) ** 2).sum(axis=0)) * scale, min(T.shape[1:]))


def _sample(
    matrix: Matrix, node: Node, most: int, longest: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Some blocks of a split, long sides thinned out, and what their energy is to be scaled by."""
    m, n = matrix.array.shape
    A, D = node[1], m // node[0]
    b1, c2 = node[0], n // A
    count = min(most, A * D)
    alpha, delta = _stratified(A, count, rng), rng.permutation(_stratified(D, count, rng))
    i, j = _stratified(b1, min(b1, longest), rng), _stratified(c2, min(c2, longest), rng)
    rows = i[None, :, None] * D + delta[:, None, None]
    columns = alpha[:, None, None] * c2 + j[None, None, :]
    return matrix.entries(rows, columns), m * n / (count * len(i) * len(j))


def _stratified(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` numbers below `size`, one at random from each of `count` equal parts."""
    edges = np.arange(count + 1) * size // count
    width = np.maximum(edges[1:] - edges[:-1], 1)
    return np.minimum(edges[:-1] + (rng.random(count) * width).astype(int), size - 1)


# -- which order ---------------------------------------------------------------------------


class Survey:
    """Energies of a matrix in one order after another, each read once, and a record of them."""

    def __init__(self, matrix: Matrix, norm: float, rng: np.random.Generator):
        self.matrix = matrix
        self.norm = norm
        self.rng = rng
        self.records: dict[Candidate, Tried] = {}

    def energies(self, candidate: Candidate, nodes: Sequence[Node]) -> dict[Node, SplitEnergy]:
        found = {p: split_energy(candidate.at(self.matrix, p), p, self.rng) for p in nodes}
        self.record(candidate, found, [1] * len(found))
        return found

    def record(
        self, candidate: Candidate, found: dict[Node, SplitEnergy], ranks: Sequence[int]
    ) -> None:
        """Keep the errors at these ranks for the report."""
        each = zip(found.values(), ranks, strict=True)
        errors = tuple(e.error(r) / self.norm if self.norm else 0.0 for e, r in each)
        self.records[candidate] = Tried(candidate.name, tuple(found), tuple(ranks), errors)

    def promising(
        self, nodes: Sequence[Node], ranks: Sequence[int] | None, error: float
    ) -> Iterator[Candidate]:
        """The matrix as it stands, then the orders that look best in a few small blocks.

        Best: the smallest of the largest error at the ranks given; or without ranks the smallest
        ranks that `error` needs at these splits.
        """
        yield Candidate()
        m, n = self.matrix.array.shape
        few = [int(i) for i in np.unique(np.linspace(0, len(nodes) - 1, GLANCES + 2)[1:-1].round())]
        scores = {}
        for candidate in candidates(m, n)[1:] if nodes else []:
            seen = {
                p: glance(candidate.at(self.matrix, p), p, self.rng)
                for p in (nodes[i] for i in few)
            }
            at = [1] * len(few) if ranks is None else [ranks[i] for i in few]
            self.record(candidate, seen, at)
            if ranks is None:
                parts = (np.count_nonzero(e.tail2[1:] > error**2) + 1 for e in seen.values())
                scores[candidate] = math.fsum(
                    math.log(k / e.full) for k, e in zip(parts, seen.values(), strict=True)
                )
            else:
                scores[candidate] = max(e.error(r) for e, r in zip(seen.values(), at, strict=True))
        yield from sorted(scores, key=lambda c: scores[c])[:CLOSER]

    @property
    def tried(self) -> tuple[Tried, ...]:
        return tuple(self.records.values())
