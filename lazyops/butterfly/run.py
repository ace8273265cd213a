"""One run of the hierarchical algorithm: error budget, certificate, progress."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..pattern import Chain
from .budget import Ledger
from .hierarchical import Cores, Splitting, errors_of_product, padded
from .intake import Intake, take_in
from .orders import Order, is_nested, splits_in_order
from .rank_one_splits import measures
from .splits import Matrix, Values, block_diagonal_part
from .svd import Want, energy


class Split(NamedTuple):
    """One split, in the order done: between factors `position` and `position + 1` of the chain."""

    position: int
    rank: int
    error: float


class Step(NamedTuple):
    """What a callback is told after each split; `error` is the relative error so far, at most."""

    step: int
    steps: int
    split: int
    rank: int
    error: float
    entries: int


class Progress:
    """One line on stderr, rewritten in place and cleared at the end; silent if not `wanted`."""

    def __init__(self, wanted: bool):
        self.wanted = wanted
        self.width = 0

    def say(self, text: str) -> None:
        if self.wanted:
            sys.stderr.write("\r" + text.ljust(self.width))
            sys.stderr.flush()
            self.width = max(self.width, len(text))

    def clear(self) -> None:
        if self.wanted and self.width:
            sys.stderr.write("\r" + " " * self.width + "\r")
            sys.stderr.flush()
            self.width = 0


@dataclass(frozen=True)
class Task:
    """What to do with a matrix: cores, and ranks or an error (absolute), in which order.

    `guesses`: ranks to expect.  `shares`: how the error is to be divided.  `searching`: the
    structure is a guess, do not pay too much for it.  `measure`: compare the product with
    the matrix, which reads it once more.
    """

    intake: Intake
    matrix: Matrix
    cores: Cores
    order: Order
    ranks: tuple[int, ...] | None = None
    tol: float | None = None
    guesses: tuple[int, ...] | None = None
    shares: tuple[float, ...] | None = None
    searching: bool = False
    measure: bool = True


@dataclass(frozen=True)
class Outcome:
    """Values of the factors (scaled back, in the result's dtype) and the three errors.

    `spans`: first and last (exclusive) core of each factor.
    """

    values: list[np.ndarray]
    spans: list[tuple[int, int]]
    relative_error: float
    lower_bound: float
    upper_bound: float
    splits: tuple[Split, ...]
    stopped: bool


def run(
    task: Task,
    rng: np.random.Generator,
    progress: Progress,
    callback: Callable[[Step], object] | None,
) -> Outcome:
    """Factorize `task.matrix` over its cores (A3), with its certificate and its measured error.

    A matrix not yet measured is measured by the first split, unless its numbers are too large or
    too small for that, or not finite, or the split is made another way.
    """
    if not task.intake.measured:
        outcome = _steps(task, rng, progress, callback) if _first_split_measures(task) else None
        if outcome is not None:
            return outcome
        intake = take_in(task.matrix.array)
        task = replace(task, intake=intake, matrix=intake.matrix)
    outcome = _steps(task, rng, progress, callback)
    assert outcome is not None  # the norm is known
    return outcome


def _first_split_measures(task: Task) -> bool:
    cores = task.cores
    if not has_split_of_the_matrix(cores):
        return False
    q = splits_in_order(task.order, len(cores) - 1)[0]
    A, D = math.prod(cores.columns[:q]), math.prod(cores.rows[q:])
    return measures(task.matrix, A, D, None if task.ranks is None else task.ranks[q - 1])


def _steps(
    task: Task,
    rng: np.random.Generator,
    progress: Progress,
    callback: Callable[[Step], object] | None,
) -> Outcome | None:
    """All splits; None if the first one did not measure a matrix whose norm was not known."""
    root, outside = _root(task)
    order = splits_in_order(task.order, len(task.cores) - 1)
    weights = [1.0 if task.shares is None else task.shares[q - 1] for q in order]
    ledger = Ledger(_allowed(task, outside), weights, is_nested(order))
    splitting = Splitting(root, task.cores, task.intake.unit, rng)
    done: list[tuple[int, int, float]] = []
    stopped = False
    for step, q in enumerate(order, 1):
        progress.say(f"factorize: split {step} of {len(order)}")
        rank = None if task.ranks is None else task.ranks[q - 1]
        guess = 1 if task.guesses is None else task.guesses[q - 1]
        towards_right = order[step] > q if step < len(order) else task.order != "right-to-left"
        halves = splitting.split(
            q,
            Want(rank, ledger.next(), guess, task.searching),
            orthonormal="left" if towards_right else "right",
        )
        if not task.intake.measured:
            norm = halves.norm
            if norm is None or not task.intake.ordinary(norm):
                return None
            task = replace(task, intake=replace(task.intake, norm=norm))
        ledger.enter(halves.lower, halves.upper, halves.turn)
        done.append((q, halves.rank, halves.upper))
        if callback is not None:
            so_far = _relative(math.hypot(outside, ledger.total), task)
            info = Step(step, len(order), q, halves.rank, so_far, splitting.entries)
            if callback(info) and step < len(order):
                stopped = True
                break
    return _outcome(task, splitting, root, outside, ledger, done, stopped, progress)


def has_split_of_the_matrix(cores: Cores) -> bool:
    """Whether the first split is one of the whole matrix, which is then read by it."""
    return cores.a * cores.d == 1 and len(cores) > 1


def _root(task: Task) -> tuple[Values | Matrix, float]:
    """The source to split, and the norm of what the chain's support leaves out."""
    cores, matrix = task.cores, task.matrix
    if has_split_of_the_matrix(cores):
        return matrix, 0.0
    a, d = cores.a, cores.d
    rest = matrix.prepared(matrix.array)
    values = block_diagonal_part(rest, a, d)
    blocks = rest.reshape(a, rest.shape[0] // (a * d), d, a, rest.shape[1] // (a * d), d)
    i, k = np.arange(a)[:, None], np.arange(d)[None, :]
    blocks[i, :, k, i, :, k] = 0
    return Values(np.ascontiguousarray(values)), math.sqrt(energy(rest))


def _allowed(task: Task, outside: float) -> float | None:
    """Absolute error that the splits may make together; None where the ranks are given."""
    if task.tol is None:
        return None
    rounding = task.intake.rounding(len(task.cores))
    tol = task.tol - rounding if task.tol > rounding else rounding  # below it none is certified
    whole = tol * task.intake.norm
    return math.sqrt(max(whole**2 - outside**2, 0.0))


def _relative(error: float, task: Task) -> float:
    return error / task.intake.norm if task.intake.norm else 0.0


def _outcome(
    task: Task,
    splitting: Splitting,
    root: Values | Matrix,
    outside: float,
    ledger: Ledger,
    done: list[tuple[int, int, float]],
    stopped: bool,
    progress: Progress,
) -> Outcome:
    """Round to the result's dtype, measure, certify, scale back."""
    values = [v.astype(task.intake.dtype, copy=False) for v in splitting.values]
    measured = math.nan
    if task.measure:
        progress.say("factorize: measuring the error")
        splitting.set_values([v.astype(task.matrix.dtype, copy=False) for v in values])
        error = math.sqrt(math.fsum(errors_of_product(splitting, root)))
        measured = _relative(math.hypot(outside, error), task)
    places = sorted(q for q, _, _ in done)
    rounding = task.intake.rounding(len(values))
    computing = 4 * len(values) * task.intake.unit
    lower = _relative(math.hypot(outside, max(ledger.lower, default=0.0)), task)
    upper = _relative(math.hypot(outside, ledger.total), task)
    whole = bool(done) and task.intake.norm > 0
    return Outcome(
        _scaled_back(values, task.matrix.exponent),
        [(part.first, part.last) for part in splitting.parts],
        measured,
        max(lower - computing, 0.0) if whole else lower,
        upper + rounding if whole else upper,
        tuple(Split(places.index(q) + 1, r, _relative(d, task)) for q, r, d in done),
        stopped,
    )


def _scaled_back(values: list[np.ndarray], exponent: int) -> list[np.ndarray]:
    """Values times ``2**exponent``, spread over the factors so that none overflows; exact."""
    if not exponent:
        return values
    share, rest = divmod(exponent, len(values))
    return [_times_power(v, share + (i < rest)) for i, v in enumerate(values)]


def _times_power(v: np.ndarray, exponent: int) -> np.ndarray:
    if v.dtype.kind != "c":
        return np.ldexp(v, exponent)
    parts = np.ascontiguousarray(v).view(v.real.dtype)
    return np.ldexp(parts, exponent).view(v.dtype)


def padded_to(outcome: Outcome, chain: Chain, cores: Cores) -> list[np.ndarray]:
    """Values with zeros up to the ranks of `chain`; a coarser factor spans several patterns."""
    return [
        padded(
            v,
            (math.prod(cores.rows[first:last]), math.prod(cores.columns[first:last])),
            Chain(chain.patterns[first:last]).fused,
        )
        for v, (first, last) in zip(outcome.values, outcome.spans, strict=True)
    ]
