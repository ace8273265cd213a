"""Patterns and chains are integers: every fact against its definition on dense supports."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from cases import ks_dense
from hypothesis import given

from lazyops import Chain, Pattern
from lazyops.drawing import cells
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


# -- chains from chains --------------------------------------------------------------------

PUBLISHED = [  # Fig. 4 of arXiv 2411.04506: smallest monotone chains of four factors
    (4, 128, [(1, 4, 16, 32), (4, 8, 8, 16), (8, 8, 8, 8), (16, 32, 8, 1)]),
    (4, 256, [(1, 8, 32, 32), (8, 8, 8, 16), (16, 8, 8, 8), (32, 32, 8, 1)]),
    (4, 512, [(1, 8, 32, 64), (8, 8, 8, 32), (16, 8, 8, 16), (32, 64, 16, 1)]),
    (4, 1024, [(1, 8, 32, 128), (8, 8, 8, 64), (16, 16, 16, 16), (64, 64, 16, 1)]),
    (2, 128, [(1, 4, 8, 32), (4, 4, 4, 16), (8, 4, 4, 8), (16, 16, 8, 1)]),
    (2, 256, [(1, 4, 8, 64), (4, 4, 4, 32), (8, 8, 8, 8), (32, 16, 8, 1)]),
    (2, 512, [(1, 4, 8, 128), (4, 8, 8, 32), (16, 8, 8, 8), (64, 16, 8, 1)]),
    (2, 1024, [(1, 8, 16, 128), (8, 8, 8, 32), (32, 8, 8, 8), (128, 16, 8, 1)]),
]


@pytest.mark.parametrize(("r", "n", "chain"), PUBLISHED)
def test_smallest_is_the_published_chain(r, n, chain):
    assert Chain.smallest(n, n, [r] * 3) == Chain(chain)


def splittings(n, parts):
    """Every way to write n as an ordered product of `parts` factors."""
    if parts == 1:
        return [(n,)]
    divisors = [p for p in range(1, n + 1) if n % p == 0]
    return [(p, *rest) for p in divisors for rest in splittings(n // p, parts - 1)]


@given(st.integers(1, 24), st.integers(1, 24), st.lists(st.integers(1, 4), max_size=2))
def test_smallest_beats_every_monotone_chain(m, n, ranks):
    found = Chain.smallest(m, n, ranks)
    assert found.shape == (m, n)
    assert found.ranks == tuple(ranks)
    everything = [
        Chain.from_cores(list(zip(b, c, strict=True)), ranks).entries
        for b in splittings(m, len(ranks) + 1)
        for c in splittings(n, len(ranks) + 1)
        if all(x == y if m == n else x >= y if m > n else x <= y for x, y in zip(b, c, strict=True))
    ]
    assert found.entries == min(everything)


def test_smallest_of_one_rank_chooses_the_number_of_factors():
    chains = [Chain.smallest(96, 96, [2] * junctions) for junctions in range(6)]
    assert Chain.smallest(96, 96, 2).entries == min(c.entries for c in chains)
    with pytest.raises(ValueError, match="smallest takes sizes and ranks from 1 on, got 4, 4, 0"):
        Chain.smallest(4, 4, 0)


cores = st.lists(st.tuples(small, small), min_size=1, max_size=4)
ranks = st.lists(st.integers(1, 9), min_size=3, max_size=3)


@given(cores, ranks)
def test_reduced_has_no_redundant_junction_and_the_same_product(pairs, ranks):
    chain = Chain.from_cores(pairs, ranks[: len(pairs) - 1])
    reduced = chain.reduced
    assert reduced.redundant == ()
    assert reduced.fused == chain.fused
    assert reduced.ranks == tuple(chain.ranks[q - 1] for q in chain.kept)
    assert reduced.entries <= chain.entries or chain.redundant
    assert (chain.redundant == ()) == (reduced == chain)


@given(cores, cores)
def test_product_and_transpose_of_chains(one, two):
    left, right = Chain.from_cores(one), Chain.from_cores(two)
    if left.shape[1] != right.shape[0]:
        with pytest.raises(ValueError, match=r"columns meet .* rows"):
            _ = left @ right
        return
    assert (left @ right).shape == (left.shape[0], right.shape[1])
    assert (left @ right).T == right.T @ left.T


def test_fuse():
    chain = Chain.square_dyadic(16)
    assert chain.fuse() == chain
    assert chain.fuse(1, 2, 3) == Chain([chain.fused])
    with pytest.raises(ValueError, match="there is no junction 4: 4 factors have 3"):
        chain.fuse(4)
    with pytest.raises(TypeError):
        chain @ 3


@given(patterns, st.integers(1, 12))
def test_cells_are_the_support_seen_from_afar(p, most):
    s, grid = support(p), cells(p, most)
    rows, columns = parts(s.shape[0], most), parts(s.shape[1], most)
    want = [[bool(s[np.ix_(i, k)].any()) for k in columns] for i in rows]
    assert grid == want


def parts(size, most):
    count = min(size, most)
    return [np.arange(i * size // count, (i + 1) * size // count) for i in range(count)]


def test_a_chain_as_text_says_what_is_redundant_and_what_does_not_chain():
    lines = Chain([(1, 2, 2, 2), (4, 1, 1, 1), (1, 4, 4, 1)]).draw().splitlines()
    assert lines[1].strip() == "no chain: the rank a*c/a' = 2/4 is not an integer"
    assert "rank 2, redundant" in Chain.from_cores([(2, 2), (2, 2)], [2]).draw()
    assert len(Chain.square_dyadic(4096).draw(8).splitlines()) == 12 + 11 + 1 + 8


def test_a_chain_as_a_picture():
    pytest.importorskip("matplotlib")
    chain = Chain.monarch(6, 4, 2, 2)
    axes = chain.plot()
    assert [ax.get_title() for ax in axes] == ["(1,2,2,3)", "(2,3,2,1)"]
    for ax, p in zip(axes, chain, strict=True):
        assert (np.asarray(ax.images[0].get_array()) == support(p)).all()
    with pytest.raises(ValueError, match="the chain has 2 factors, got 1 axes"):
        chain.plot(axes[:1])
