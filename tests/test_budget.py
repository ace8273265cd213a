"""Orders of splits, redundant chains, and what a tolerance or a number of entries is spent on."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazyops as lo
from lazyops.butterfly.budget import (
    Budget,
    Lattice,
    Ledger,
    SplitEnergy,
    fewest_entries,
    least_error,
    shares,
)
from lazyops.butterfly.orders import checked_order, is_nested
from lazyops.butterfly.redundancy import reexpanded
from lazyops.butterfly.splits import embedded

cores = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=4)
ranks = st.lists(st.integers(1, 6), min_size=3, max_size=3)


def product(values):
    out = np.eye(values[0].shape[0] * values[0].shape[1] * values[0].shape[3])
    for v in values:
        a, b, c, d = v.shape
        out = out @ embedded(v, a * b * d, a * c * d)
    return out


# -- orders --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "junctions"),
    [
        ([2, 3, 1], (2, 3, 1)),
        (((1, 2), (3, 4)), (2, 1, 3)),
        ((1, (2, (3, 4))), (1, 2, 3)),
        ((1, 2, 3, 4), (1, 2, 3)),
        (((1, 2, 3), 4), (3, 1, 2)),
    ],
)
def test_orders_as_lists_and_trees(order, junctions):
    assert checked_order(order, 4) == junctions
    A = np.random.default_rng(0).standard_normal((16, 16))
    f = lo.factorize(A, lo.Chain.square_dyadic(16), order=order, permutation=None)
    assert tuple(s.position for s in f.splits) == junctions


@pytest.mark.parametrize(
    ("order", "factors", "message"),
    [
        ([1, 1, 2], 4, r"order lists the junctions 1 .. 3 once each, got \[1, 1, 2\]"),
        (((2, 1), (3, 4)), 4, r"the factors 1 .. 4 as leaves, in this order, got \[2, 1, 3, 4\]"),
        (((1, 2), ()), 2, "order as a tree has no empty node"),
        ([1, 2], None, "is of the factors of a chain: pass the chain as well"),
        (7, 4, "order is one of balanced, left-to-right, right-to-left, a list or a tree, got 7"),
    ],
)
def test_orders_that_do_not_fit(order, factors, message):
    with pytest.raises(ValueError, match=message):
        checked_order(order, factors)


@settings(max_examples=40, deadline=None)
@given(cores, ranks, st.randoms(use_true_random=False), st.integers(0, 9))
def test_the_bounds_hold_for_every_order(pairs, ranks, random, seed):
    """``err <= sum E_q`` for any order, ``err <= sqrt(sum E_q^2)`` for nested ones."""
    chain = lo.Chain.from_cores(pairs, ranks[: len(pairs) - 1])
    order = list(range(1, len(chain)))
    random.shuffle(order)
    A = np.random.default_rng(seed).standard_normal(chain.shape)
    f = lo.factorize(A, chain, order=order, permutation=None)
    errors = []
    for q in range(1, len(chain)):
        d, a = chain[q - 1].d, chain[q].a
        width = A.shape[1] // a
        blocks = [A[i::d, k * width : (k + 1) * width] for i in range(d) for k in range(a)]
        tails = (np.linalg.svd(b, compute_uv=False)[chain.ranks[q - 1] :] for b in blocks)
        errors.append(math.sqrt(math.fsum(float((s**2).sum()) for s in tails)))
    norm = np.linalg.norm(A)
    bound = math.hypot(*errors) if is_nested(order) else math.fsum(errors)
    error = np.linalg.norm(A - f.operator.to_dense())
    assert f.chain == chain
    assert error <= bound + 1e-13 * norm
    assert f.upper_bound * norm <= bound + 1e-13 * norm
    assert f.lower_bound * norm <= max(errors) + 1e-13 * norm


def test_nested_orders_take_single_factors_off_the_ends():
    nested = [p for p in itertools.permutations([1, 2, 3]) if is_nested(p)]
    assert nested == [(1, 2, 3), (1, 3, 2), (3, 1, 2), (3, 2, 1)]


# -- redundancy ----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(cores, ranks, st.integers(0, 9))
def test_reexpansion_is_exact_and_has_the_shapes_asked_for(pairs, ranks, seed):
    chain = lo.Chain.from_cores(pairs, ranks[: len(pairs) - 1])
    rng = np.random.default_rng(seed)
    values = [rng.integers(-4, 5, p).astype(float) for p in chain.reduced]
    found = reexpanded(values, chain)
    assert [v.shape for v in found] == [tuple(p) for p in chain]
    assert (product(found) == product(values)).all()  # integers: no rounding at all


# -- budgets -------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 500), st.sampled_from(["balanced", "left-to-right"]), st.floats(0.01, 0.9))
def test_an_error_is_spent_no_worse_than_in_equal_parts(seed, order, tol):
    """Never over budget, never more entries than by equal parts, never fewer than the optimum."""
    rng = np.random.default_rng(seed)
    nodes = [(4, 4), (8, 8), (16, 16)]
    full = [4, 8, 4]
    energies = {
        p: SplitEnergy(np.append(np.cumsum(np.sort(rng.random(k))[::1] ** 4)[::-1], 0.0), k)
        for p, k in zip(nodes, full, strict=True)
    }
    lattice = Lattice((64, 64), energies, 0.0, required=True)
    budget = Budget(tol, 1.0, lambda factors: 0.0, order)
    plan = fewest_entries(lattice, budget)
    every = [
        lattice.plan(list(zip(nodes, r, strict=True)))
        for r in itertools.product(*(range(1, k + 1) for k in full))
    ]
    best = min(p.entries for p in every if budget.fits(p))
    equal = min(p.entries for p in every if max(p.errors) <= budget.each(3))
    assert budget.fits(plan)
    assert best <= plan.entries <= equal
    most = plan.entries
    other = least_error(lattice, most, order)
    assert other.entries <= most
    ledger = Ledger(budget.whole(3), shares(plan, budget), budget.nested(3))
    for e in plan.errors:
        assert e <= ledger.next() * (1 + 1e-9)  # every step may err what was planned for it
        ledger.enter(0.0, e)


def test_max_entries_is_kept_and_better_with_more():
    x, k = np.arange(128) / 128, np.arange(-64, 64)
    c = (2 + np.sin(2 * np.pi * x)) / 8
    A = np.exp(2j * np.pi * (np.outer(x, k) + np.outer(c, abs(k))))
    errors = []
    for most in (4000, 6000, 9000, 12000):
        f = lo.factorize(A, max_entries=most)
        assert f.entries <= most
        errors.append(f.relative_error)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]
    chain = lo.Chain.square_dyadic(128)
    assert lo.factorize(A, chain, max_entries=4000).entries <= 4000


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tol": 0.1, "max_entries": 9}, "tol and max_entries exclude each other: pass one"),
        ({"max_entries": 0}, "max_entries is a number of stored entries from 1 on, got 0"),
        ({"max_entries": 9}, "max_entries is 9, and the smallest chain looked at stores "),
    ],
)
def test_entries_that_cannot_be(kwargs, message):
    with pytest.raises(ValueError, match=message):
        lo.factorize(np.eye(32) + 1, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"max_entries": 99},
            "max_entries needs a matrix in memory, got an operator known by ",
        ),
        ({"order": "left-to-right"}, "products is split in the middle first, got order 'left-to-"),
    ],
)
def test_what_is_split_in_the_middle_first_refuses_the_rest(kwargs, message):
    with pytest.raises(ValueError, match=message):
        lo.factorize(lo.Dense(np.eye(64)), **kwargs)


def test_a_matrix_read_by_panels_refuses_max_entries(tmp_path):
    with pytest.raises(ValueError, match="in memory, got a matrix read by panels: pass tol or a "):
        lo.factorize(np.eye(64), max_entries=99, checkpoint=tmp_path)
