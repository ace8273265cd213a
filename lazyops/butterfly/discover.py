"""Which split of an operator has blocks of low rank, from a few products with its adjoint.

One block of Gaussian vectors, supported on a single class of rows, shows the ranks of all the
blocks in those rows, for every way of classing the columns.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..pattern import Chain
from .hierarchical import Cores
from .intake import available_memory
from .rounding import fewest_entries
from .sketch import Middle, Products
from .survey import finest_cores
from .svd import singular_values, tails

PER_ENTRY = 128  # bytes of memory for each entry of a butterfly while it is sketched: 8 copies
WORTH = 0.9  # of the dense entries: a butterfly that stores more is not worth having
TRIES = 4  # classes of rows looked at until one is not zero
EXACT = 1e-13  # a relative error up to which ranks are exact
CLEARLY = 0.999  # a later candidate must be better than an earlier one by this factor


@dataclass(frozen=True)
class Sketched:
    """Where to sketch, the rank to expect there, and the one from which it is not worth it."""

    middle: Middle
    rank: int
    most: int


class Probe:
    """Products of the adjoint with Gaussians on one row class; more columns when asked for."""

    def __init__(self, products: Products, middle: Middle, rng: np.random.Generator):
        self.products = products
        self.rng = rng
        self.classes = [
            middle.row_class(int(i)) for i in rng.permutation(middle.classes[1])[:TRIES]
        ]
        self.y = np.zeros((middle.cores.shape[1], 0), products.dtype)

    def columns(self, k: int) -> np.ndarray:
        """``A^T Psi`` of at least k Gaussians on the row class.   -> (n, k)"""
        while (more := k - self.y.shape[1]) > 0:
            rows = self.classes[0]
            x = np.zeros((self.products.operator.shape[0], more))
            x[rows] = self.rng.standard_normal((len(rows), more))
            y = self.products.transposed(x)
            if not y.any() and len(self.classes) > 1:
                self.classes.pop(0)  # rows of zeros show nothing: look at others
            else:
                self.y = np.concatenate([self.y, y], axis=1)
        return self.y[:, :k]

    def tails(self, middle: Middle, k: int) -> np.ndarray:
        """Tail energies over the ranks of the blocks in these rows, as the sketch shows them, and
        relative to all of it."""
        A, _ = middle.classes
        s = singular_values(self.columns(k)[middle.columns].reshape(A, -1, k))
        found = tails((s**2).sum(axis=0))
        return found / found[0] if found[0] > 0 else found


class Probes:
    """One probe for each way of classing the rows."""

    def __init__(self, products: Products, rng: np.random.Generator):
        self.products = products
        self.rng = rng
        self.made: dict[tuple[int, bool], Probe] = {}

    def tails(self, middle: Middle, k: int) -> np.ndarray:
        key = middle.classes[1], middle.reverse_rows and middle.classes[1] > 1
        if key not in self.made:
            self.made[key] = Probe(self.products, middle, self.rng)
        return self.made[key].tails(middle, k)


def middles(cores: Cores, weights: Sequence[int], permute: bool) -> Iterator[Middle]:
    """The split that takes fewest products (`weights`: how many a class), permuted or not."""

    def cost(q: int) -> int:
        A, D = Middle(cores, q).classes
        return (A + D) * weights[q - 1]

    q = min(range(1, len(cores)), key=cost)
    for rows, columns in itertools.product((False, True), repeat=2):
        if permute or not (rows or columns):
            yield Middle(cores, q, rows, columns)


def for_chain(
    products: Products,
    chain: Chain,
    tol: float | None,
    permute: bool,
    oversampling: int,
    rng: np.random.Generator,
) -> Sketched:
    """The digit reversals that suit a given chain best; in doubt none."""
    cores = Cores.of(chain)
    if len(cores) == 1 or cores.a * cores.d > 1:
        raise ValueError(
            f"an operator is factorized over two factors or more with a = 1 on the left and d = 1 "
            f"on the right, got {chain!r}; factorize A.to_dense()"
        )
    options = list(middles(cores, [r + oversampling for r in chain.ranks], permute))
    most = min(_block(options[0]))
    rank = min(chain.ranks[options[0].at - 1], most)
    probes = Probes(products, rng)
    if tol is not None:
        limits = [most] * len(options)
        found = _smallest_rank(probes, options, limits, tol, rank + max(oversampling, 1))
        return found or Sketched(options[0], most, most)
    if len(options) == 1:
        return Sketched(options[0], rank, most)
    best, least = options[0], math.inf
    for middle in options:
        tail2 = probes.tails(middle, min(rank + max(oversampling, 1), most))
        error = math.sqrt(tail2[min(rank, len(tail2) - 1)])
        if error < 0.5 * least:  # another permutation must at least halve the error
            best, least = middle, error
        if least <= EXACT:
            break
    return Sketched(best, rank, most)


def untold(
    products: Products, tol: float, permute: bool, oversampling: int, rng: np.random.Generator
) -> Sketched | str:
    """The split that needs fewest entries once a rank shows; else what was tried."""
    m, n = products.operator.shape
    options = [Middle(Cores((m, 1), (1, n)), 1)] if min(m, n) > 1 else []
    for cores in finest_cores(m, n):
        if len(cores) > 1:
            options += middles(cores, [1] * len(cores), permute)
    limits = [most_worth(o) for o in options]
    found = _smallest_rank(Probes(products, rng), options, limits, tol, 1 + max(oversampling, 1))
    if found is not None:
        return found
    names = ", ".join(dict.fromkeys(o.name for o in options)) or "nothing: it has no split"
    short = any(most_worth(o) < most_worth(o, math.inf) for o in options)
    within = " within the memory that is free" if short else ""
    return f"tried {names}; {products.count} products with the adjoint showed no low rank{within}"


def _smallest_rank(
    probes: Probes, options: Sequence[Middle], limits: Sequence[int], tol: float, k: int
) -> Sketched | None:
    """The option of fewest entries among the first to show a rank, columns added until then."""
    while any(k <= 2 * limit for limit in limits):
        best, fewest = None, math.inf
        for middle, limit in zip(options, limits, strict=True):
            if k > 2 * limit:
                continue
            tail2 = probes.tails(middle, min(k, min(_block(middle))))
            rank = max(1, int(np.argmax(tail2 <= max(tol, EXACT) ** 2)))
            entries = expected_entries(middle, rank)
            if rank < k and rank <= limit and entries < CLEARLY * fewest:
                best, fewest = Sketched(middle, rank, limit), entries
        if best is not None:
            return best
        k *= 2
    return None


def _block(middle: Middle) -> tuple[int, int]:
    (m, n), (A, D) = middle.cores.shape, middle.classes
    return m // D, n // A


def most_worth(middle: Middle, memory: float | None = None) -> int:
    """Largest rank at the middle with which a butterfly may still hold fewer entries, and with
    which its sketch fits the memory that is free."""
    m, n = middle.cores.shape
    ranks = range(1, min(_block(middle)) + 1)
    memory = available_memory() if memory is None else memory
    most = min(WORTH * m * n, memory / PER_ENTRY)
    return bisect.bisect_left(ranks, most, key=lambda r: expected_entries(middle, r))


def expected_entries(middle: Middle, rank: int) -> int:
    """Entries of the smallest butterfly whose ranks are `rank` where blocks are that large."""
    cores = middle.cores
    m, n = cores.shape
    ranks = [
        min(rank, m // math.prod(cores.rows[q:]), n // math.prod(cores.columns[:q]))
        for q in range(1, len(cores))
    ]
    return fewest_entries(cores, ranks)[0]
