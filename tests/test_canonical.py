"""The normal form: the same matrix, idempotent, blind to scalings; essential uniqueness."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_butterfly_certificate import noisy
from test_certificate import chains, product, random_factors

import lazyops as lo
from lazyops.butterfly.canonical import range_basis
from lazyops.butterfly.form import butterfly_of
from lazyops.butterfly.splits import (
    from_left_blocks,
    from_right_blocks,
    left_blocks,
    right_blocks,
)

UNIT = 2.0**-53


def factors_of(B):
    return [f.values for f in getattr(B, "factors", (B,)) if isinstance(f, lo.KroneckerSparse)]


def rescaled(values, rng):
    """Other factors with the same product: an orthogonal times a diagonal matrix in each block."""
    values = list(values)
    for q, (left, right) in enumerate(itertools.pairwise(map(np.shape, values))):
        A, D = right[0] // left[0], left[3] // right[3]
        U, V = left_blocks(values[q], A, D), right_blocks(values[q + 1], A, D)
        r = U.shape[-1]
        Q = np.linalg.qr(rng.standard_normal((*U.shape[:-2], r, r)))[0]
        d = rng.choice([-1, 1], (*U.shape[:-2], r)) * 2 ** rng.uniform(-3, 3, (*U.shape[:-2], r))
        values[q] = from_left_blocks(U @ (Q * d[..., None, :]))
        values[q + 1] = from_right_blocks((Q / d[..., None, :]).swapaxes(-1, -2) @ V)
    return values


def norm_of_factors(values):
    """What rounding errors of a product are relative to."""
    m, n = lo.Chain(v.shape for v in values).shape
    return np.prod([np.linalg.norm(v) for v in values]) / np.sqrt(min(m, n))


@given(chain=chains, seed=st.integers(0, 20), dtype=st.sampled_from([np.float64, np.complex128]))
def test_same_matrix_orthonormal_columns(chain, seed, dtype):
    values = random_factors(chain, np.random.default_rng(seed), dtype)
    found = lo.canonical(values)
    assert butterfly_of(found).form.chain == chain
    assert found.dtype == dtype
    error = np.abs(found.to_dense() - product(values).to_dense()).max()
    assert error <= 64 * len(chain) * UNIT * norm_of_factors(values)
    forms = factors_of(found)
    for left, right in itertools.pairwise(forms):
        U = left_blocks(left, right.shape[0] // left.shape[0], left.shape[3] // right.shape[3])
        gram = U.swapaxes(-1, -2).conj() @ U  # a projector on coordinates: zeros for lost rank
        off = gram - np.einsum("...ii->...i", gram)[..., None] * np.eye(U.shape[-1])
        assert np.abs(off).max() <= 100 * UNIT
        sizes = np.einsum("...ii->...i", gram).real
        assert np.minimum(np.abs(sizes - 1), np.abs(sizes)).max() <= 100 * UNIT


@given(
    cores=st.lists(st.sampled_from([(2, 2), (3, 3), (2, 3), (3, 2)]), min_size=2, max_size=4),
    seed=st.integers(0, 20),
    dtype=st.sampled_from([np.float64, np.complex128]),
)
def test_blind_to_diagonal_scalings_and_idempotent(cores, seed, dtype):
    rng = np.random.default_rng(seed)
    values = random_factors(lo.Chain.from_cores(cores), rng, dtype)  # rank 1: well conditioned
    one = factors_of(lo.canonical(values))
    scaled = rescaled(values, rng)
    assert max(np.abs(a - b).max() for a, b in zip(values, scaled, strict=True)) > 1e-3
    for other in (factors_of(lo.canonical(scaled)), factors_of(lo.canonical(one))):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(a).max())
    assert lo.same_up_to_scaling(values, scaled)
    assert lo.same_up_to_scaling(one, values)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_blind_to_invertible_blocks_at_higher_rank(dtype):
    chain = lo.Chain.from_cores([(4, 4), (3, 3), (4, 4)], [2, 3])
    rng = np.random.default_rng(5)
    values = random_factors(chain, rng, dtype)
    one, other = (factors_of(lo.canonical(v)) for v in (values, rescaled(values, rng)))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(a).max())


def test_two_factorizations_of_one_matrix_are_compared():
    chain = lo.Chain.square_dyadic(64)
    M = noisy(chain, 0.0, 3, np.complex128)
    found = [lo.factorize(M, chain, order=o) for o in ("left-to-right", "right-to-left")]
    raw = [factors_of(f.operator) for f in found]
    assert np.abs(raw[0][0] - raw[1][0]).max() > 1e-3
    forms = [factors_of(lo.canonical(f)) for f in found]
    for a, b in zip(*forms, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(a).max())
    assert lo.same_up_to_scaling(*found)


def test_essential_uniqueness_as_the_paper_states_it():
    """X'_l = D_(l-1)^-1 X_l D_l: D_l from one entry of each column, all the others checked."""
    chain = lo.Chain.square_dyadic(32)
    values = random_factors(chain, np.random.default_rng(0))
    other = factors_of(lo.factorize(product(values).to_dense(), chain, permutation=None).operator)
    D = np.ones(32)
    for X, Y in zip(values, other, strict=True):
        a, b, c, d = X.shape
        left = Y * D.reshape(a, b, 1, d)  # D_(l-1) X'_l = X_l D_l
        ratios = left / X
        D = ratios[:, :1].reshape(a, c, d).reshape(-1)
        np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:, :1], X.shape), rtol=1e-10)
    np.testing.assert_allclose(D, 1, rtol=1e-10)


def test_what_reaches_nothing_is_zero_and_does_not_matter():
    chain = lo.Chain.square_dyadic(8)
    rng = np.random.default_rng(2)
    one = random_factors(chain, rng)
    one[1][0, :, 0, 0] = 0  # a column: the row that it meets reaches nothing
    other = [v.copy() for v in one]
    other[2][0, 0] = rng.standard_normal(other[2][0, 0].shape)
    assert np.abs(product(one).to_dense() - product(other).to_dense()).max() == 0
    for a, b in zip(*(factors_of(lo.canonical(v)) for v in (one, other)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
        assert np.isfinite(a).all()
    zero = factors_of(lo.canonical([np.zeros(p) for p in chain]))
    assert all(not v.any() for v in zero)


def test_permutations_scalars_and_dtypes_stay():
    F = lo.factorize(np.fft.fft(np.eye(16), axis=0).astype(np.complex64)).operator
    found = lo.canonical(F)
    assert found.dtype == np.complex64
    assert [type(f).__name__ for f in found.factors] == [type(f).__name__ for f in F.factors]
    assert np.abs(found.to_dense() - F.to_dense()).max() <= 16 * 8 * 2.0**-24
    assert lo.same_up_to_scaling(F, found)
    assert not lo.same_up_to_scaling(F, 2 * F)
    assert not lo.same_up_to_scaling(F, F @ lo.Permutation(np.arange(16)[::-1]))
    assert not lo.same_up_to_scaling(F, random_factors(lo.Chain.square_dyadic(16), np.random))


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_scales_that_overflow_squares(scale):
    chain = lo.Chain.square_dyadic(8)
    values = random_factors(chain, np.random.default_rng(0))
    there = [values[0] * scale, values[1], values[2]]
    back = [values[0] * scale**0.5, values[1], values[2] * scale**0.5]
    assert lo.same_up_to_scaling(there, back)
    form = factors_of(lo.canonical(there))
    plain = factors_of(lo.canonical(values))
    np.testing.assert_allclose(form[0], plain[0], atol=1e-14)
    np.testing.assert_allclose(form[2] / scale, plain[2], atol=1e-13 * np.abs(plain[2]).max())


def test_tol_decides():
    values = random_factors(lo.Chain.square_dyadic(8), np.random.default_rng(0))
    near = [values[0] * (1 + 1e-7), *values[1:]]
    assert not lo.same_up_to_scaling(values, near)
    assert lo.same_up_to_scaling(values, near, tol=2e-7)


@given(seed=st.integers(0, 50), b=st.integers(1, 6), r=st.integers(1, 5), lost=st.booleans())
def test_a_basis_depends_on_the_range_alone(seed, b, r, lost):
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((3, b, r)) + 1j * rng.standard_normal((3, b, r))
    if lost:
        U[..., -1] = U[..., 0]
    G = np.linalg.qr(rng.standard_normal((3, r, r)))[0] @ np.diag(2.0 ** np.arange(r))
    one, other = range_basis(U), range_basis(U @ G)
    t = min(b, r - lost) if r > 1 or not lost else 1
    condition = np.linalg.svd(U, compute_uv=False)[..., t - 1].min() ** -1 * np.linalg.norm(U)
    np.testing.assert_allclose(one, other, atol=1e4 * UNIT * condition)
    P = one @ one.swapaxes(-1, -2).conj()
    np.testing.assert_allclose(P @ U, U, atol=1e2 * UNIT * np.linalg.norm(U))
    assert np.trace(P, axis1=-2, axis2=-1).real == pytest.approx(t, abs=1e-9)


def test_errors():
    with pytest.raises(ValueError, match="no butterfly"):
        lo.canonical(lo.Dense(np.eye(3)))
    with pytest.raises(TypeError, match="got str"):
        lo.same_up_to_scaling("F", "F")
