"""Patterns and chains are integers: every fact against its definition on dense supports."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from cases import ks_dense
from hypothesis import given

from lazyops import Chain, Pattern
from lazyops.pattern import prime_factors

small = st.integers(1, 4)
patterns = st.builds(Pattern, small, small, small, small)


def support(p):
    return ks_dense(np.ones(tuple(p))) != 0


@given(patterns)
def test_pattern(p):
    s = support(p)
    assert s.shape == p.shape
    assert s.sum() == p.entries
    assert (support(p.T) == s.T).all()
    a, b, c, d = p
    kron = np.kron(np.kron(np.eye(a), np.ones((b, c))), np.eye(d)) != 0
    assert (s == kron).all()


@given(st.lists(st.tuples(small, small), min_size=2, max_size=3), st.lists(small, min_size=2))
def test_fused_pattern_is_the_support_of_the_product(cores, ranks):
    chain = Chain.from_cores(cores, ranks[: len(cores) - 1] + [1] * (len(cores) - 1 - len(ranks)))
    assert chain.obstacle is None
    for p, q in itertools.pairwise(chain):
        product = support(p).astype(int) @ support(q).astype(int)
        assert ((product != 0) == support(p.fused_with(q))).all()
        assert set(np.unique(product)) <= {0, p.rank_with(q)}  # the rank: terms per entry
    m, n = np.prod(cores, axis=0)
    assert chain.shape == (m, n)
    assert tuple(chain.fused) == (1, m, n, 1)
    assert chain.T.shape == (n, m)
    assert [p.T for p in chain.T] == list(chain)[::-1]


def test_named_chains():
    dyadic = Chain.square_dyadic(16)
    assert [tuple(p) for p in dyadic] == [(1, 2, 2, 8), (2, 2, 2, 4), (4, 2, 2, 2), (8, 2, 2, 1)]
    assert dyadic.entries == 16 * 2 * 4
    assert dyadic.ranks == (1, 1, 1)
    assert [tuple(p) for p in Chain.monarch(12, 20, 3, 4)] == [(1, 3, 4, 4), (4, 4, 5, 1)]
    assert [p.b for p in Chain.mixed_radix(60)] == [2, 2, 3, 5]
    assert Chain.mixed_radix(1).shape == (1, 1)
    assert len(dyadic[1:]) == 3
    assert Chain(dyadic) == dyadic
    assert hash(Chain(dyadic)) == hash(dyadic)


def test_redundant_junctions():
    assert Chain.square_dyadic(8).redundant == ()
    assert Chain.from_cores([(2, 2), (2, 2), (2, 2)], [2, 1]).redundant == (1,)


def test_a_chain_that_is_not_chainable_says_where():
    chain = Chain([(1, 2, 2, 2), (4, 1, 1, 1)])
    assert chain.obstacle == (
        "factors 1 and 2, (1, 2, 2, 2) and (4, 1, 1, 1): the rank a*c/a' = 2/4 is not an integer"
    )
    with pytest.raises(ValueError, match="do not chain"):
        _ = chain.fused


@given(st.integers(1, 10_000))
def test_prime_factors(n):
    found = prime_factors(n)
    assert np.prod(found, initial=1) == n
    assert found == sorted(found)
    assert all(p > 1 and all(p % q for q in range(2, int(p**0.5) + 1)) for p in found)
