"""factorize() of an operator that is known by its products only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .._array import to_numpy
from ..operators import LinearOperator
from ..pattern import Chain
from .budget import Ledger
from .discover import Sketched, for_chain, untold
from .estimate import CONFIDENCE, error_factor, gaussian
from .factorization import Factorization
from .hierarchical import Cores, padded
from .intake import working_dtype
from .rounding import coarsened, fewest_entries, lower_ranks, norm_of, orthonormalised
from .run import Progress, Split, Step, _scaled_back
from .sketch import Middle, Products, Spend, butterfly, nystrom

NOISE = 1e-10  # a relative error from which on more columns may not help: rounding
FLOOR = 1e-14  # of the norm: what products in double precision are trusted with, at each split
GUARD = 8  # ranks above the wanted ones that a sketch of a given chain keeps until the end


@dataclass(frozen=True)
class Request:
    """What was asked for: a chain, a tolerance, or both."""

    operator: LinearOperator
    chain: Chain | None
    tol: float | None
    permute: bool
    oversampling: int

    @property
    def dtype(self) -> np.dtype:
        """dtype of the factors."""
        return working_dtype(np.dtype(self.operator.dtype))

    @property
    def internal(self) -> float:
        """Relative error aimed at, so that the bound with its confidence keeps the tolerance."""
        return 0.0 if self.tol is None else self.tol / (1.2 * error_factor())


@dataclass(frozen=True)
class Attempt:
    """A butterfly and its error, as estimated; `stopped`: the callback wanted no better one."""

    values: list[np.ndarray]
    splits: tuple[Split, ...]
    error: float
    middle: Middle
    rank: int
    stopped: bool = False


def factorize_operator(
    operator: LinearOperator,
    chain: Chain | None,
    tol: float | None,
    *,
    permute: bool,
    oversampling: int,
    rng: np.random.Generator,
    line: Progress,
    callback: Callable[[Step], object] | None,
) -> Factorization:
    """See `factorize`; `operator` is known by ``A @ X`` and ``A.H @ Y``."""
    if oversampling < 0:
        raise ValueError(f"oversampling is a number of columns from 0 on, got {oversampling}")
    if chain is None and tol is None:
        single = working_dtype(np.dtype(operator.dtype)) in (np.float32, np.complex64)
        tol = 1e-6 if single else 1e-10
    asked = Request(operator, chain, tol, permute, oversampling)
    products = Products(operator)
    if 0 in operator.shape:
        return _as_it_is(asked, "the matrix is empty")
    line.say("factorize: looking for structure")
    found: Sketched | str
    if chain is not None:
        told = None if tol is None else asked.internal
        found = for_chain(products, chain, told, asked.permute, oversampling, rng)
    else:
        found = untold(products, asked.internal, asked.permute, oversampling, rng)
    if isinstance(found, str):
        return _as_it_is(asked, f"no structure at tol {tol:.3g}: {found}")
    best = _best_attempt(asked, products, found, rng, line, callback)
    if best is None:
        return _as_it_is(asked, "the matrix is zero")
    if chain is None and not best.stopped and not _is_worth(best, operator.shape, tol):
        share = sum(v.size for v in best.values) / math.prod(operator.shape)
        why = f"{best.middle.name}, error {best.error:.2g} at {share:.3g} of the dense entries"
        return _as_it_is(asked, f"no structure at tol {tol:.3g}: {why}")
    return _result(asked, best, products)


def _is_worth(best: Attempt, shape: tuple[int, ...], tol: float | None) -> bool:
    few = sum(v.size for v in best.values) < 0.9 * math.prod(shape)
    return few and (tol is None or best.error * error_factor() <= max(tol, 1e3 * FLOOR))


def _best_attempt(
    asked: Request,
    products: Products,
    found: Sketched,
    rng: np.random.Generator,
    line: Progress,
    callback: Callable[[Step], object] | None,
) -> Attempt | None:
    """Sketches of more and more columns until ten Gaussian ones say that the error is small enough.

    With a tolerance the rank grows; with the ranks of a chain only the oversampling does, for what
    no sketch of few columns finds: the best butterfly near an operator that is none.
    """
    best: Attempt | None = None
    rank, extra, n = found.rank, asked.oversampling, asked.operator.shape[1]
    while True:
        G = gaussian(n, rng)  # fresh columns: independent of the sketch that they judge
        AG = products.forward(G)
        norm = float(np.linalg.norm(AG)) / math.sqrt(G.shape[1])
        if norm == 0:
            return None if asked.chain is None else _zero(asked.chain, found.middle)
        line.say(f"factorize: sketch of rank {rank}, {products.count} products so far")
        one = _attempt(asked, products, found.middle, rank, extra, norm, (G, AG), rng)
        if (
            best is not None
            and one.error > 0.95 * best.error
            and (asked.tol is None or best.error < NOISE)
        ):
            return best if best.error <= one.error else one  # more columns do not help
        best = one
        enough = max((asked.tol or 0.0) / error_factor(), 2 * FLOOR)
        stop = callback is not None and callback(_step(best))
        last = (rank if asked.tol is not None else rank + extra) >= found.most
        if one.error <= enough or last:
            return best
        if stop:
            return replace(best, stopped=True)
        if asked.tol is not None:
            rank = min(2 * rank, found.most)
        else:
            extra = min(max(2 * extra, rank + 4), found.most - rank)


def _step(attempt: Attempt) -> Step:
    entries = sum(v.size for v in attempt.values)
    return Step(1, 1, attempt.middle.at, attempt.rank, attempt.error, entries)


def _attempt(
    asked: Request,
    products: Products,
    middle: Middle,
    rank: int,
    extra: int,
    norm: float,
    check: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> Attempt:
    cores, count = middle.cores, len(middle.cores)
    error = max(asked.internal * norm / 4, 2 * count * FLOOR * norm)
    if asked.chain is not None:
        guesses = asked.chain.ranks
        most = tuple(None if asked.tol is not None else r + GUARD + extra for r in guesses)
    else:
        guesses, most = (rank,) * (count - 1), (None,) * (count - 1)
    values = nystrom(products, middle, rank + extra, rank, Spend(error, most, guesses), rng)
    values, splits = _lowered(asked, values, cores, rng)
    rounded = [v.astype(asked.dtype, copy=False) for v in values]
    G, AG = check
    difference = _applied(rounded, middle, G) - AG
    relative = float(np.linalg.norm(difference) / np.linalg.norm(AG))
    return Attempt(rounded, splits, relative, middle, rank)


def _lowered(
    asked: Request, values: list[np.ndarray], cores: Cores, rng: np.random.Generator
) -> tuple[list[np.ndarray], tuple[Split, ...]]:
    """Ranks down to those wanted, and patterns as wanted."""
    splits: list[Split] = []
    ranks = _ranks(values, cores)
    wanted = None if asked.tol is not None or asked.chain is None else asked.chain.ranks
    lowest = [1] * len(ranks) if wanted is None else wanted
    if any(rank > low for rank, low in zip(ranks, lowest, strict=True)):
        splitting = orthonormalised(values, cores, rng)
        norm = norm_of(splitting)
        allowed = None if asked.tol is None else 0.8 * asked.internal * norm
        found = lower_ranks(splitting, Ledger(allowed, [1.0] * len(ranks), True), wanted)
        splits = [Split(q, r, e / norm if norm else 0.0) for q, r, e in found]
        values = splitting.values
    if asked.chain is None:
        values, _ = coarsened(values, cores, fewest_entries(cores, _ranks(values, cores))[1])
    elif wanted is not None:
        parts = zip(values, cores.rows, cores.columns, asked.chain, strict=True)
        values = [padded(v, (b, c), p) for v, b, c, p in parts]
    return values, tuple(splits)


def _ranks(values: list[np.ndarray], cores: Cores) -> list[int]:
    return [v.shape[2] // c for v, c in zip(values[:-1], cores.columns, strict=False)]


def _zero(chain: Chain, middle: Middle) -> Attempt:
    return Attempt([np.zeros(p) for p in chain], (), 0.0, middle, 0)


# -- results -------------------------------------------------------------------------------


def _applied(values: list[np.ndarray], middle: Middle, x: np.ndarray) -> np.ndarray:
    return to_numpy(butterfly(values, middle) @ x)


def _result(asked: Request, best: Attempt, products: Products) -> Factorization:
    values = _scaled_back(best.values, products.exponent)
    values = [v.astype(asked.dtype, copy=False) for v in values]
    chain = Chain(v.shape for v in values)
    bound = best.error * error_factor()
    said = [f"{best.middle.name}; {len(values)} factors of ranks {chain.ranks}"]
    if best.stopped:
        said.insert(0, "stopped by the callback")
    elif asked.tol is not None and bound > asked.tol:
        said.append(f"the bound {bound:.2g} stays above tol {asked.tol:.2g}")
    said.append(f"{products.count} products; bound with {CONFIDENCE:.0%} confidence, no lower one")
    return Factorization(
        butterfly(values, best.middle),
        chain,
        best.error,
        0.0,
        bound,
        best.splits,
        "; ".join(said),
        CONFIDENCE,
    )


def _as_it_is(asked: Request, reason: str) -> Factorization:
    return Factorization(asked.operator, None, 0.0, 0.0, 0.0, (), reason)
