"""Looking for structure: which permutation, which splits, which ranks.

The singular values of the blocks of a split (a random sample of them on large matrices) say which
rank it needs at a tolerance; dynamic programming over subsets of the splits finds the chain of
fewest stored entries.  This only steers: the certificate comes from the splits that are made.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..pattern import prime_factors
from .hierarchical import Cores
from .splits import Matrix, digit_reversal
from .svd import singular_values, tails

WHOLE = 1 << 14  # matrices up to this many entries are surveyed completely
SAMPLE = 24  # blocks looked at per split otherwise
LONG = 32  # at least this many of the entries of a long side are looked at
WIDEST = 128  # and at most this many of a short one
CLEARLY = 0.999  # a later candidate must be better than an earlier one by this factor

Allowed = Callable[[int], float]  # number of splits -> error that each may make


@dataclass(frozen=True)
class Candidate:
    """Row and column digits of a chain, and whether each side is digit-reversed."""

    cores: Cores
    reverse_rows: bool = False
    reverse_columns: bool = False

    def matrix(self, matrix: Matrix) -> Matrix:
        """`matrix` with the permutations of this candidate."""
        rows = digit_reversal(self.cores.rows) if self.reverse_rows else None
        columns = digit_reversal(self.cores.columns) if self.reverse_columns else None
        return matrix.permuted(rows, columns)

    @property
    def name(self) -> str:
        flags = {"rows": self.reverse_rows, "columns": self.reverse_columns}
        sides = [side for side, reverse in flags.items() if reverse]
        return f"digit reversal of {' and '.join(sides)}" if sides else "no permutation"


@dataclass(frozen=True)
class Plan:
    """A candidate with the splits chosen, the ranks to expect, and the entries to expect."""

    candidate: Candidate
    at: tuple[int, ...]
    ranks: tuple[int, ...]
    entries: float


@dataclass(frozen=True)
class SplitEnergy:
    """``tail2[r]`` estimates ``E_q(A)^2`` at rank r; full rank is `full`."""

    tail2: np.ndarray
    full: int

    def rank(self, error: float) -> int:
        """Smallest rank within `error`; the full one where the sample does not reach it."""
        rank = int(np.argmax(self.tail2 <= error**2))
        return max(1, rank) if rank < len(self.tail2) - 1 else self.full

    def error(self, rank: int) -> float:
        return math.sqrt(self.tail2[rank]) if rank < len(self.tail2) else 0.0


# -- candidates ----------------------------------------------------------------------------


def candidates(m: int, n: int, permute: bool = True) -> Iterator[Candidate]:
    """Everything tried for an m x n matrix, plain things first."""
    finest = finest_cores(m, n)
    for reverse_rows, reverse_columns in itertools.product((False, True), repeat=2):
        if (reverse_rows or reverse_columns) and not permute:
            return
        for cores in finest:
            yield Candidate(cores, reverse_rows, reverse_columns)
        if not (reverse_rows or reverse_columns) and m > 1 and n > 1:
            yield Candidate(Cores((m, 1), (1, n)))  # low rank as a whole


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


# -- energies ------------------------------------------------------------------------------


def split_energy(matrix: Matrix, cores: Cores, q: int, rng: np.random.Generator) -> SplitEnergy:
    """Tail energies of split `q` over the ranks: exact on small matrices, else from a sample."""
    A, D = math.prod(cores.columns[:q]), math.prod(cores.rows[q:])
    m, n = matrix.array.shape
    full = min(m // D, n // A)
    if m * n <= WHOLE:
        total = np.zeros(full)
        for _, T in matrix.block_chunks(A, D):
            total += (singular_values(T).reshape(-1, full) ** 2).sum(axis=0)
        return SplitEnergy(tails(total), full)
    T, scale = _sample(matrix, A, D, rng)
    s = singular_values(T)
    return SplitEnergy(tails((s**2).sum(axis=0)) * scale, full)


def _sample(matrix: Matrix, A: int, D: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Some blocks of a split, long sides thinned out, and what their energy is to be scaled by."""
    m, n = matrix.array.shape
    b1, c2 = m // D, n // A
    count = min(SAMPLE, A * D)
    alpha, delta = _stratified(A, count, rng), rng.permutation(_stratified(D, count, rng))
    longest = max(LONG, 2 * min(b1, c2, WIDEST))
    i, j = _stratified(b1, min(b1, longest), rng), _stratified(c2, min(c2, longest), rng)
    rows = i[None, :, None] * D + delta[:, None, None]
    columns = alpha[:, None, None] * c2 + j[None, None, :]
    return matrix.entries(rows, columns), m * n / (count * len(i) * len(j))


def _stratified(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` numbers below `size`, one at random from each of `count` equal parts."""
    edges = np.arange(count + 1) * size // count
    width = np.maximum(edges[1:] - edges[:-1], 1)
    return np.minimum(edges[:-1] + (rng.random(count) * width).astype(int), size - 1)


# -- the chain of fewest entries -----------------------------------------------------------


def best_plan(
    matrix: Matrix, allowed: Allowed, permute: bool, rng: np.random.Generator
) -> tuple[Plan | None, list[Plan]]:
    """The plan of fewest entries over all candidates, and the best of each; None without splits."""
    tried = []
    m, n = matrix.array.shape
    for candidate in candidates(m, n, permute):
        energies = [
            split_energy(candidate.matrix(matrix), candidate.cores, q, rng)
            for q in range(1, len(candidate.cores))
        ]
        if energies:
            tried.append(cheapest(candidate, energies, allowed))
    best = None
    for plan in tried:
        if best is None or plan.entries < CLEARLY * best.entries:
            best = plan
    return best, tried


def cheapest(candidate: Candidate, energies: list[SplitEnergy], allowed: Allowed) -> Plan:
    """Dynamic programming over subsets of the splits, for every number of splits.

    A factor between the splits q < q' holds ``r_q r_q' (m / beta_q) gamma_q'`` entries, with beta
    and gamma the prefix products of the cores.
    """
    best: Plan | None = None
    for count in range(1, len(energies) + 1):
        error = allowed(count)
        if error <= 0 and best is not None:
            break  # so many factors are too many for their rounding
        ranks = [1, *(e.rank(error) for e in energies), 1]
        entries, at = _path(candidate.cores, ranks, count)
        if best is None or entries < best.entries:
            best = Plan(candidate, at, tuple(ranks[q] for q in at), entries)
    assert best is not None  # there is at least one split
    return best


def _path(cores: Cores, ranks: list[int], count: int) -> tuple[float, tuple[int, ...]]:
    """Fewest entries with exactly `count` splits, and where they are."""
    last = len(cores)
    below = [math.prod(cores.rows[q:]) for q in range(last + 1)]
    above = [math.prod(cores.columns[:q]) for q in range(last + 1)]
    reached: dict[int, tuple[float, tuple[int, ...]]] = {0: (0, ())}
    for step in range(count + 1):
        ends = range(step + 1, last) if step < count else (last,)
        reached = {
            q: min(
                (entries + ranks[p] * ranks[q] * below[p] * above[q], (*at, q))
                for p, (entries, at) in reached.items()
                if p < q
            )
            for q in ends
        }
    entries, at = reached[last]
    return entries, at[:-1]


# -- a given chain -------------------------------------------------------------------------


def smallest_permutation(
    matrix: Matrix, cores: Cores, error: float, rng: np.random.Generator
) -> Candidate:
    """Which digit reversals let the shape of a chain do with fewest entries, `error` a split."""
    best, least = Candidate(cores), math.inf
    for rows, columns in itertools.product((False, True), repeat=2):
        candidate = Candidate(cores, rows, columns)
        permuted = candidate.matrix(matrix)
        splits = range(1, len(cores))
        energies = [split_energy(permuted, cores, q, rng) for q in splits]
        ranks = [1, *(e.rank(error) for e in energies), 1]
        entries, _ = _path(cores, ranks, len(energies))
        if entries < CLEARLY * least:
            best, least = candidate, entries
    return best


def best_permutation(
    matrix: Matrix, cores: Cores, ranks: tuple[int, ...], norm: float, rng: np.random.Generator
) -> Candidate:
    """Which digit reversals suit a given chain best, by the largest ``E_q``; in doubt none.

    Another permutation must at least halve the error of none.
    """
    best, least = Candidate(cores), math.inf
    for rows, columns in itertools.product((False, True), repeat=2):
        candidate = Candidate(cores, rows, columns)
        permuted = candidate.matrix(matrix)
        errors = (split_energy(permuted, cores, q, rng).error(r) for q, r in enumerate(ranks, 1))
        worst = max(errors, default=0.0)
        if worst < 0.5 * least:
            best, least = candidate, worst
        if least <= 1e-13 * norm:
            break
    return best
