"""Every rule: proved on dense matrices, and shown by one expected text."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.signal
from cases import c, rng
from hypothesis import given
from hypothesis import strategies as st
from theory import gamma, majorant

import lazyops as lo
from lazyops._array import to_numpy
from lazyops.operators import Extension, HalfFourier, Modulation, Restriction, compose
from lazyops.rewrite import DEFAULT_RULES, Rules

D = lambda n: lo.Diagonal(c(n))
P = lambda n: lo.Permutation(rng.permutation(n))
K = lambda *p: lo.KroneckerSparse(c(*p))
M = lambda m, n=None: lo.Dense(c(m, n or m))
I = lo.Identity
U = lo.Dense(np.linalg.qr(c(4, 4))[0]).assume(unitary=True)
p4, d4, m4, k4 = P(4), D(4), M(4), K(1, 2, 2, 2)
twice = lo.kron(d4, p4)
roll = lambda n, s: lo.Permutation((np.arange(n) - s) % n)
flip = lambda n: lo.Permutation(np.arange(n)[::-1].copy())
dilation = lo.Permutation((2 * np.arange(5) + 1) % 5)
hann = ("hann", 8)
C5, C6, conv = lo.circulant(c(5)), lo.circulant(c(6)), lo.convolution(c(3), 5)
same = lambda m: lo.convolution(c(m), 4, "same")
grid = lo.convolution(c(2, 2), (4, 3))

EXAMPLES = [  # rule: before, after
    ("identity_left", I(4) @ m4, "M4"),
    ("identity_right", m4 @ I(4), "M4"),
    ("zero_left", lo.Zero((3, 4)) @ m4, "0(3x4)"),
    ("zero_right", m4 @ lo.Zero((4, 2)), "0(4x2)"),
    ("scalar_scalar", lo.Scalar(4, 2) @ lo.Scalar(4, 3), "6*I4"),
    ("scalar_one", 1 * m4, "M4"),
    ("scalar_zero", 0 * m4, "0(4x4)"),
    ("scalar_first", m4 @ lo.Scalar(4, 2j), "2j * M4"),
    ("adjoint_pair", U.H @ U @ m4, "M4"),
    ("adjoint_pair", (U @ p4).H @ (U @ p4), "I4"),
    ("zero_plus", lo.Zero((4, 4)) + m4, "M4"),
    ("plus_zero", m4 + lo.Zero((4, 4)), "M4"),
    ("identity_plus_identity", I(4) + I(4), "2*I4"),
    ("scalar_plus_scalar", lo.Scalar(4, 2) + lo.Scalar(4, 3), "5*I4"),
    ("identity_plus_scalar", I(4) + lo.Scalar(4, 3), "4*I4"),
    ("scalar_plus_identity", lo.Scalar(4, 3) + I(4), "4*I4"),
    ("like_terms", m4 + d4 + 2 * m4, "3 * M4 + D4"),
    ("like_terms", m4 @ U - m4 @ U, "0(4x4)"),
    ("real_of_real", (m4 - m4).real, "0(4x4)"),
    ("real_of_multiple", (-2 * m4).real, "-2 * real(M4)"),
    ("parts_of_one", 2 * m4.real + d4 + 2j * m4.imag, "2 * M4 + D4"),
    ("parts_of_one", m4.real - 1j * m4.imag, "1 * M4"),
    ("conjugates_together", m4 + d4 + m4.conj(), "2 * real(M4) + D4"),
    ("conjugates_together", -1 * (m4 @ p4).conj() + m4 @ p4, "(-0-2j) * real((-0-1j) * M4 @ P4)"),
    ("diagonal_diagonal", D(8) @ D(8) @ P(8), "D8 @ P8"),
    ("permutation_permutation", P(8) @ P(8) @ P(8), "P8"),
    ("permutation_permutation", p4 @ lo.Permutation(np.argsort(p4.index)), "I4"),
    ("restriction_permutation", lo.restrict([2, 0], 4) @ p4, "R2x4"),
    ("restriction_restriction", lo.restrict([1], 2) @ lo.restrict([2, 0], 4), "R1x4"),
    ("permutation_diagonal", P(8) @ D(8), "D8 @ P8"),
    ("restriction_diagonal", lo.restrict([2, 0], 4) @ d4, "D2 @ R2x4"),
    ("scalar_diagonal", 2j * d4, "D4"),
    ("scalar_factor", 2 * (3 * K(2, 2, 2, 2)), "K(2,2,2,2)"),
    ("diagonal_factor", D(8) @ K(1, 2, 2, 4), "K(1,2,2,4)"),
    ("factor_diagonal", K(1, 2, 2, 4) @ D(8), "K(1,2,2,4)"),
    (
        "factor_factor",
        K(1, 2, 2, 4) @ K(2, 2, 2, 2) @ K(4, 2, 2, 1),
        "K(1,4,4,2) @ K(4,2,2,1)",
    ),
    ("diagonal_plus_diagonal", d4 + p4 + D(4), "D4 + P4"),
    ("factor_plus_factor", k4 + K(1, 2, 2, 2), "K(1,2,2,2)"),
    ("extension_extension", lo.pad(4, 1) @ lo.pad(2, 1), "R2x6.H"),
    ("permutation_extension", lo.roll(5, 1) @ lo.pad(3, 1), "R3x5.H"),
    ("extension_restriction", lo.pad(4, 2, "edge").H @ lo.pad(4, 2, "edge"), "D4"),
    ("extension_restriction", lo.chunk(4, 2).H @ lo.chunk(4, 2) @ lo.flip(4), "P4"),
    ("restriction_extension", lo.pad(4, 2).H @ lo.pad(4, 2), "I4"),
    ("restriction_extension", lo.downsample(6, 2) @ lo.flip(6) @ lo.pad(6, 0), "R3x6"),
    ("stencil_stencil", lo.diff(4) @ lo.diff(5), "stencil(3x5, 0: 1, -2, 1)"),
    ("stencil_stencil", lo.diff(5).H @ lo.diff(5), "stencil(5x5, -1: -1, 2, -1 + 2 corners)"),
    ("scalar_stencil", 3 * lo.diff(5), "stencil(4x5, 0: -3, 3)"),
    (
        "stencil_plus_stencil",
        lo.laplacian(5) + lo.gradient(5),
        "stencil(5x5, -1: 0.5, -2, 1.5 + 3 corners)",
    ),
    ("difference_cumulative", lo.diff(5, boundary="zero") @ lo.cumsum(5), "I5"),
    ("difference_cumulative", lo.diff(5, boundary="zero").H @ lo.cumsum(5).H, "I5"),
    ("difference_cumulative", lo.diff(5) @ lo.cumsum(5), "R4x5"),
    ("cumulative_difference", lo.cumsum(5) @ lo.diff(5, boundary="zero") @ M(5), "M5"),
    ("difference_cumulative", -3 * lo.diff(5) @ lo.cumsum(5), "-3 * R4x5"),
    ("cumulative_difference", lo.cumsum(5).H @ lo.diff(5).H, "R4x5.H"),
    ("cumulative_difference", lo.cumsum(5) @ (3 * lo.diff(5, boundary="zero")), "3*I5"),
    ("kron_mixed_product", lo.kron(D(2), I(6)) @ lo.kron(I(4), D(3)), "kron(D2, I2, D3)"),
    ("kron_mixed_product", lo.kron(M(2, 1), I(6)) @ lo.kron(I(3), P(2)), "kron(M2x1, I3, P2)"),
    ("kron_mixed_product", lo.kron(D(2), D(3)) @ lo.kron(D(2), P(3)), "kron(D2, D3 @ P3)"),
    (
        "block_diag_product",
        lo.block_diag([d4, M(2, 3)]) @ lo.block_diag([d4, D(3)]),
        "block_diag([D4, M2x3 @ D3])",
    ),
    (
        "block_diag_vstack",
        lo.block_diag([d4, p4]) @ lo.vstack([d4, m4]),
        "vstack([D4, P4 @ M4])",
    ),
    (
        "hstack_block_diag",
        lo.hstack([d4, m4]) @ lo.block_diag([d4, p4]),
        "hstack([D4, M4 @ P4])",
    ),
    ("hstack_vstack", lo.hstack([d4, m4]) @ lo.vstack([d4, p4]), "D4 + M4 @ P4"),
    ("fourier_fourier", lo.ifft(6) @ lo.fft(6), "I6"),
    ("fourier_fourier", lo.fft(6).H @ lo.fft(6) @ M(6), "6 * M6"),
    ("fourier_fourier", lo.fft(6, "ortho") @ lo.fft(6, "ortho"), "P6"),
    ("mirror_fourier", lo.Permutation([0, 3, 2, 1]) @ lo.fft(4), "ifft(4, norm='forward')"),
    ("mirror_fourier", flip(4) @ lo.ifft(4), "P4 @ fft(4, norm='forward')"),
    ("fourier_mirror", lo.ifft(4) @ lo.Permutation([0, 3, 2, 1]), "fft(4, norm='forward')"),
    ("fourier_mirror", lo.fft(4) @ flip(4), "W4^3 @ ifft(4, norm='forward')"),
    ("cosine_flip", lo.dct(5) @ flip(5), "D5 @ dct(5)"),
    ("cosine_flip", lo.dct(5, 3) @ flip(5), "D5 @ dst(5, type=3)"),
    ("flip_cosine", flip(5) @ lo.dst(5), "dct(5) @ D5"),
    ("flip_cosine", flip(5) @ lo.dct(5, 1).T, "dct(5, type=1).T @ D5"),
    ("hartley_mirror", lo.hartley(5) @ lo.Permutation([0, 4, 3, 2, 1]), "P5 @ hartley(5)"),
    ("roll_circulant", roll(6, 2) @ C6, "circulant(6)"),
    ("circulant_roll", C6 @ roll(6, 2), "circulant(6)"),
    ("flip_circulant_flip", flip(6) @ C6 @ flip(6), "circulant(6)"),
    ("flip_convolution_flip", flip(4) @ lo.convolution(c(3), 6, "valid") @ flip(6), "conv(3)[4x6]"),
    ("hadamard_hadamard", lo.hadamard(4) @ lo.hadamard(4, "forward"), "I4"),
    ("cosine_cosine", lo.dct(5, 3) @ lo.dct(5), "10*I5"),
    ("cosine_cosine", lo.dst(5, 1, "forward") @ lo.dst(5, 1), "I5"),
    ("cosine_cosine", lo.dct(5, 3).T @ lo.dct(5).T, "10*I5"),
    ("hartley_hartley", lo.hartley(5) @ lo.hartley(5), "5*I5"),
    ("real_fourier_pairs", lo.irfft(5) @ lo.rfft(5, pairs=True), "I5"),
    (
        "real_fourier_pairs",
        lo.rfft(4, "ortho", pairs=True).T @ lo.irfft(4, "forward").T,
        "2*I4",
    ),
    ("half_fourier", lo.restrict([0, 1, 2], 5) @ lo.fft(5), "rfft(5)"),
    ("fourier_permutation_fourier", lo.fft(6) @ roll(6, 2) @ lo.ifft(6), "W6^2"),
    ("fourier_permutation_fourier", lo.ifft(6) @ roll(6, 2) @ lo.fft(6), "W6^4"),
    ("fourier_mirror", lo.fft(6) @ flip(6) @ lo.fft(6), "6 * W6^5"),
    ("fourier_mirror", lo.fft(5) @ flip(5) @ lo.ifft(5), "W5^4 @ P5"),
    ("fourier_permutation_fourier", lo.fft(5) @ dilation @ lo.ifft(5), "W5^2 @ P5"),
    ("modulation_modulation", Modulation(6, 2) @ Modulation(6, 4), "I6"),
    ("fourier_modulation", lo.fft(6) @ Modulation(6, 2), "P6 @ fft(6)"),
    ("fourier_modulation", lo.ifft(6) @ Modulation(6, 2) @ lo.fft(6), "P6"),
    ("permutation_modulation", flip(6) @ Modulation(6, 3), "(-1+0j) * W6^3 @ P6"),
    (
        "permutation_modulation",
        dilation @ Modulation(5, 1) @ dilation.H,
        "(0.3090169943749474-0.9510565162951535j) * W5^2",
    ),
    ("circulant_circulant", C6 @ lo.circulant(c(6)), "circulant(6)"),
    ("circulant_plus_circulant", C6 + lo.circulant(c(6)), "circulant(6)"),
    ("scalar_circulant", 2j * C6, "circulant(6)"),
    ("fourier_circulant", lo.fft(6) @ C6, "D6 @ fft(6)"),
    ("fourier_circulant", lo.ifft(6) @ C6 @ lo.fft(6), "D6"),
    ("circulant_fourier", C6 @ lo.ifft(6), "ifft(6) @ D6"),
    ("circulant_fourier", C6 @ lo.fft(6, "ortho") @ lo.ifft(6, "ortho"), "circulant(6)"),
    ("fourier_diagonal_fourier", lo.ifft(6) @ D(6) @ lo.fft(6), "circulant(6)"),
    (
        "fourier_diagonal_fourier",
        lo.fft(6, "ortho") @ D(6) @ lo.ifft(6, "ortho"),
        "circulant(6)",
    ),
    ("half_fourier_circulant", lo.rfft(6) @ C6, "D4 @ rfft(6)"),
    (
        "half_fourier_circulant",
        HalfFourier(5, doubled=True).conj() @ C5,
        "D3 @ conj(rfft(5, doubled=True))",
    ),
    ("circulant_half_fourier", C5 @ HalfFourier(5, doubled=True).H, "rfft(5, doubled=True).H @ D3"),
    (
        "real_fourier_diagonal",
        lo.irfft(6, "ortho") @ lo.Diagonal(np.repeat(c(4).real, 2)) @ lo.rfft(6, pairs=True),
        "circulant(6)",
    ),
    (
        "convolution_convolution",
        lo.convolution(c(3), 8, "same") @ lo.convolution(c(4), 5),
        "conv(6)[8x5]",
    ),
    (
        "convolution_convolution",
        lo.convolution(c(3), 8, "valid") @ lo.convolution(c(4), 8, "same"),
        "conv(6)[6x8]",
    ),
    ("scalar_convolution", 2j * conv, "conv(3)[7x5]"),
    ("convolution_plus_convolution", conv + lo.convolution(c(3), 5), "conv(3)[7x5]"),
    ("convolution_plus_convolution", same(2) + same(5), "conv(5)[4x4]"),
    (
        "restriction_convolution",
        lo.restrict(range(2, 6), 8) @ lo.convolution(c(5), 4),
        "conv(5)[4x4]",
    ),
    ("convolution_extension", lo.convolution(c(5), 8, "valid") @ lo.pad(4, 2), "conv(5)[4x4]"),
    (
        "grid_convolution_product",
        lo.convolution(c(3, 2), (4, 5), "same") @ lo.convolution(c(2, 2), (3, 4)),
        "conv(4x3)[4x5 from 3x4]",
    ),
    ("scalar_grid_convolution", 2 * grid, "conv(2x2)[5x4 from 4x3]"),
    (
        "grid_convolution_sum",
        grid + lo.convolution(c(2, 2), (4, 3)),
        "conv(2x2)[5x4 from 4x3]",
    ),
    ("kron_of_hadamards", lo.kron(lo.hadamard(2), lo.hadamard(4), m4), "kron(hadamard(8), M4)"),
    ("wavelet_wavelet", lo.iwavelet(9, "db2", 1, "smooth") @ lo.wavelet(9, "db2", 1), "I9"),
    ("wavelet_wavelet", lo.wavelet((4, 3), "haar", 1).H @ lo.iwavelet((4, 3), "haar", 1).H, "I12"),
    ("wavelet_wavelet", lo.wavelet(9, "db2", 1, "zero").H @ lo.wavelet(9, "db2", 1, "zero"), "I9"),
    (
        "wavelet_wavelet",
        lo.wavelet(8, "db2", 1, "periodization") @ lo.iwavelet(8, "db2", 1, "periodization"),
        "I8",
    ),
    ("synthesis_analysis", lo.istft(20, hann, 4) @ lo.stft(20, hann, 4), "I20"),
    ("synthesis_analysis", lo.igabor(24, hann, 4, 12) @ lo.gabor(24, hann, 4, 12), "I24"),
    ("synthesis_analysis", lo.stft(20, hann, 4).H @ lo.stft(20, hann, 4), "8 * D20"),
    ("lapped_lapped", lo.imdct(21, ("sine", 16)) @ lo.mdct(21, ("sine", 16)), "I21"),
    ("lapped_lapped", lo.mdct(24, ("sine", 16)) @ lo.imdct(24, ("sine", 16)), "I24"),
    ("kron_of_scalars", lo.fftn((4, 6)).H @ lo.fftn((4, 6)), "24*I24"),
    ("kron_of_scalars", lo.kron(2 * m4, 3j * I(3)), "6j * kron(M4, I3)"),
    ("kron_of_identities", lo.kron(I(2), I(3), m4, I(1)), "kron(I6, M4)"),
    ("block_diag_of_identities", lo.block_diag([I(2), I(3), m4]), "block_diag([I5, M4])"),
]


@pytest.mark.parametrize(("rule", "before", "after"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_rule(rule, before, after):
    lines: list[str] = []
    simple = lo.simplify(before, lines.append)
    assert repr(simple) == after
    assert any(f"[{rule}: " in line for line in lines), lines
    x = c(before.shape[1], 2)
    matrix, count = majorant(before)
    bound = 4 * gamma(2 * count + 8, float) * (matrix @ np.abs(x))
    assert (np.abs(simple @ x - before @ x) <= bound).all()


def test_every_rule_has_an_example():
    tables = (DEFAULT_RULES.products, DEFAULT_RULES.sums, DEFAULT_RULES.nodes)
    names = {rule.rewrite.__name__ for table in tables for rule in table}
    names |= {collect.__name__ for collect in DEFAULT_RULES.collect}
    assert names == {rule for rule, _, _ in EXAMPLES}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lo.Scalar(8) @ D(8) @ lo.Scalar(8), "D8"),
        (D(8) @ K(1, 2, 2, 4) @ D(8), "K(1,2,2,4)"),
        ((D(8) @ P(8)).H, "D8 @ P8"),
        (D(8) @ (P(8) + D(8) @ D(8)), "D8 @ (P8 + D8)"),
        (D(8) @ P(8) @ D(8) @ P(8) * 3, "D8 @ P8"),
        (
            P(4) @ D(4) @ K(1, 4, 4, 1) @ lo.Scalar(4, 2) @ P(4),
            "D4 @ P4 @ K(1,4,4,1) @ P4",
        ),
        (twice.H @ twice, "kron(D4, I4)"),
        (2 * m4 - (m4 + m4), "0(4x4)"),
        ((p4 @ m4).H @ (p4 @ m4), "M4 @ M4"),
    ],
)
def test_rules_together(before, after):
    x = c(before.shape[1], 2)
    simple = lo.simplify(before)
    assert repr(simple) == after
    matrix, count = majorant(before)
    bound = 4 * gamma(2 * count + 8, float) * (matrix @ np.abs(x))
    assert (np.abs(simple @ x - before @ x) <= bound).all()


RANK = {lo.Scalar: 0, lo.Diagonal: 1, lo.Permutation: 2, Restriction: 2, lo.KroneckerSparse: 3}


def test_every_pair_is_exact_and_ends():
    pool = [lo.Scalar(8), lo.Scalar(8, 2j), D(8), P(8), K(1, 2, 2, 4), K(2, 2, 2, 2)]
    pool += [K(4, 2, 2, 1), I(8), lo.Zero((8, 8)), lo.restrict([1, 0, 5, 5, 2, 3, 4, 7], 8)]
    pool += [Extension(np.arange(8), 8), lo.kron(D(2), D(4)), lo.block_diag([D(2), M(6)])]
    x = c(8, 3)
    for left, right in itertools.product(pool, pool):
        for rule in DEFAULT_RULES.products:
            if (new := rule(left, right)) is None:
                continue
            matrix, count = majorant(left @ right)
            bound = 4 * gamma(2 * count + 8, float) * (matrix @ np.abs(x))
            assert (np.abs(compose(*new) @ x - left @ (right @ x)) <= bound).all(), rule
            if len(new) == 2 and type(new[0]) is not lo.Scalar:  # a swap towards the order
                assert RANK[type(left)] > RANK[type(new[0])] < RANK[type(new[1])]


def test_what_no_rule_touches_is_handed_back():
    for op in (m4 @ d4, m4 + p4, lo.kron(m4, d4), (m4 @ U).real):
        assert lo.simplify(op) is op
    assert lo.simplify(I(4) @ m4) is m4
    assert lo.simplify(p4.H @ p4 @ m4) is m4


def test_zero_times_nan_is_zero_by_rule():
    bad = lo.Dense(np.full((2, 2), np.inf))
    with np.errstate(invalid="ignore"):
        assert np.isnan((0 * bad) @ np.ones(2)).all()
    np.testing.assert_array_equal(lo.simplify(0 * bad) @ np.ones(2), np.zeros(2))


def test_your_own_rule_is_a_function_in_a_table():
    rules = Rules()

    @rules.product(lo.Dense, lo.Dense)
    def dense_dense(left, right):
        """M1 M2 = M"""
        return lo.Dense(left.values @ right.values)

    assert repr(lo.simplify(m4 @ m4 @ m4, rules=DEFAULT_RULES + rules)) == "M4"
    assert repr(lo.simplify(m4 @ m4)) == "M4 @ M4"


def test_simplify_takes_operators():
    with pytest.raises(TypeError, match="simplify takes an operator, got ndarray"):
        lo.simplify(np.eye(2))


# -- of transforms, over sizes and kinds --------------------------------------------------------

SIZES = [*range(1, 18), 31, 32, 48, 97, 100, 128]
norms = st.sampled_from(["backward", "ortho", "forward"])


def agree(A, B, x):
    """Both products, within the roundings of two FFTs of x, of their kind."""
    got, want = A @ x, B @ x
    u = float(np.finfo(want.dtype).eps) / 2
    spectral = np.sqrt(sum(lo.norm(f, "fro") ** 2 for f in (A, B)))
    depth = 40 * (1 + np.log2(max(len(x), 2)))  # 4 transforms of some 10 log2 n roundings a point
    assert got.dtype == want.dtype
    assert np.linalg.norm(got - want) <= depth * u * spectral * np.linalg.norm(x)


@given(
    st.sampled_from(SIZES),
    st.integers(1, 4),
    norms,
    st.booleans(),
    st.booleans(),
    st.sampled_from(["float32", "float64", "complex64", "complex128"]),
)
def test_flips_pass_through_cosine_and_sine_transforms(n, kind, norm, sine, transposed, dtype):
    n = max(n, 2)
    C = (lo.dst if sine else lo.dct)(n, kind, norm)
    C = C.T if transposed else C
    x = c(n).astype(dtype) if "c" in dtype else c(n).real.astype(dtype)
    for A in (C @ flip(n), flip(n) @ C):
        B = lo.simplify(A)
        assert not any(isinstance(f, lo.Permutation) for f in B.factors)
        agree(B, A, x)
    both = flip(n) @ C @ flip(n)
    agree(lo.simplify(both), both, x)


@given(st.sampled_from(SIZES), norms, st.booleans(), st.integers(0, 200))
def test_mirrors_pass_through_fourier_transforms(n, norm, inverse, s):
    F = (lo.ifft if inverse else lo.fft)(n, norm)
    P = lo.Permutation((s - np.arange(n)) % n)
    for A, may_shift in ((F @ P, False), (P @ F, True)):
        B = lo.simplify(A)
        left = [f for f in getattr(B, "factors", [B]) if isinstance(f, lo.Permutation)]
        assert all(may_shift and _is_shift(f) for f in left)
        agree(B, A, c(n))
    both = P @ F @ P
    agree(lo.simplify(both), both, c(n))


def _is_shift(P):
    n = len(P.index)
    return np.array_equal((P.index - P.index[0]) % n, np.arange(n))


@given(st.sampled_from(SIZES), norms, st.booleans())
def test_a_fourier_transform_and_its_adjoint_are_a_scalar_in_every_norm(n, norm, inverse):
    F = (lo.ifft if inverse else lo.fft)(n, norm)
    G = (lo.ifftn if inverse else lo.fftn)((3, n), norm)
    for A in (F, F.H, G, G.H):
        B = lo.simplify(A.H @ A)
        assert isinstance(B, (lo.Identity, lo.Scalar))
        agree(B, A.H @ A, c(A.shape[1]))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 3), st.booleans())
def test_moves_and_flips_join_filters(m, n, s, complex_ones):
    part = (lambda v: v) if complex_ones else (lambda v: v.real.copy())
    x, C, h = part(c(n)), lo.circulant(part(c(n))), part(c(m))
    modes = ["full", "same", *(["valid"] if m <= n else [])]
    filters = [lo.convolution(h, n, mode) for mode in modes]
    flipped = [flip(f.shape[0]) @ f @ flip(n) for f in filters]
    for A in (roll(n, s) @ C, C @ roll(n, s), flip(n) @ C @ flip(n), *flipped):
        B = lo.simplify(A)
        assert isinstance(B, (lo.operators.Circulant, lo.operators.Convolution))
        agree(B, A, x)


cosines = st.tuples(st.booleans(), st.integers(1, 4), norms, st.booleans())


@given(st.sampled_from(SIZES), cosines, cosines)
def test_cosine_transforms_undo_each_other_where_their_product_is_a_scalar(n, one, other):
    n = max(n, 4)  # smaller ones are alike by chance
    A, B = (lo.operators.Cosine(n, *kind) for kind in (one, other))
    simple, dense = lo.simplify(A @ B), (A @ B).to_dense()
    scalar = np.abs(dense - dense[0, 0] * np.eye(n)).max() < 1e-10 * np.abs(dense).max()
    assert isinstance(simple, (lo.Scalar, lo.Identity)) == scalar
    agree(simple, A @ B, c(n))


@given(st.sampled_from(SIZES), st.integers(-300, 300), st.integers(0, 300), st.integers(1, 300))
def test_modulations_pass_through_transforms_and_moves(n, step, s, b):
    W, P = Modulation(n, step), roll(n, s)
    moves = [P, flip(n)]
    if math.gcd(b, n) == 1:
        moves.append(lo.Permutation((b * np.arange(n) + s) % n))
    for F in (lo.fft(n), lo.ifft(n)):
        A = F @ W
        assert not any(isinstance(f, Modulation) for f in getattr(lo.simplify(A), "factors", []))
        agree(lo.simplify(A), A, c(n))
        agree(lo.simplify(F @ W @ P @ F), F @ W @ P @ F, c(n))
    for move in moves:
        agree(lo.simplify(move @ W), move @ W, c(n))


def test_circulants_and_their_spectra_in_every_library(xp):
    for n, dtype in itertools.product((1, 2, 5, 6, 31), ("float32", "complex128")):
        values = c(n) if "c" in dtype else c(n).real
        own = lambda v, dtype=dtype: xp.asarray(v.astype(dtype))
        x = own(c(n) if "c" in dtype else c(n).real)[:, None]
        C, D = lo.circulant(own(values)), lo.Diagonal(own(values))
        F, half = lo.fft(n), lo.rfft(n)
        products = {  # expression: the kind of node that must have gone
            F @ C: lo.operators.Circulant,
            C @ lo.ifft(n): lo.operators.Circulant,
            half @ C: lo.operators.Circulant,
            C @ half.T: lo.operators.Circulant,
            lo.ifft(n) @ D @ F: lo.operators.Fourier,
            F @ D @ lo.ifft(n, "forward"): lo.operators.Fourier,
        }
        for A, gone in products.items():
            B = lo.simplify(A)
            assert not any(isinstance(f, gone) for f in getattr(B, "factors", [B]))
            y = x if A.shape[1] == n else x[: A.shape[1], :]
            got, want = (to_numpy(f @ y).astype(complex) for f in (B, A))
            assert type(B @ y) is type(x)
            size = max(np.abs(to_numpy(A.to_dense())).sum(), 1) * np.abs(to_numpy(y)).max()
            assert np.abs(got - want).max() <= 40 * (1 + np.log2(n)) * np.finfo(dtype).eps * size


def test_a_gradient_reaches_the_whole_of_a_spectrum():
    torch = pytest.importorskip("torch")
    d = torch.ones(6, dtype=torch.float64, requires_grad=True)  # that of a real signal
    x = torch.arange(6.0, dtype=torch.float64)
    A = lo.ifft(6) @ lo.Diagonal(d, copy=False) @ lo.fft(6)
    gradients = []
    for op in (A, lo.simplify(A)):
        (op @ x)[2].real.backward()
        gradients.append(d.grad.clone())
        d.grad = None
    assert isinstance(lo.simplify(A), lo.operators.Circulant)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-14, rtol=0)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_windows_of_convolutions_are_convolutions(m, n, a, b, as_rows):
    h = lo.convolution(c(m), n)
    rows = h.shape[0]
    a, b = min(a, rows - 1), max(min(b, rows - 1), 0)
    taken = lo.restrict(range(min(a, b), max(a, b) + 1), rows) @ h
    taken = taken if as_rows else taken.T
    simple = lo.simplify(taken)
    meets_all = min(a, b) <= m - 1 and max(a, b) + 1 >= n
    assert isinstance(simple, lo.operators.Convolution) == meets_all
    agree(simple, taken, c(taken.shape[1]))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.sampled_from(["full", "same"]))
def test_sums_of_convolutions_are_convolutions(m, k, n, mode):
    if mode == "full":
        k = m
    A = lo.convolution(c(m), n, mode) + lo.convolution(c(k), n, mode)
    simple = lo.simplify(A)
    assert isinstance(simple, lo.operators.Convolution)
    agree(simple, A, c(n))


shapes = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(shapes, shapes, shapes, st.sampled_from(["full", "same"]))
def test_convolutions_of_grids_join(m, k, n, mode):
    inner = lo.convolution(c(*k), n)
    middle = tuple([a + b - 1 for a, b in zip(k, n, strict=True)])
    outer = lo.convolution(c(*m), middle, mode)
    A, B = outer @ inner, inner.H @ outer.H
    for product in (A, B, 2 * A + lo.convolution(c(*m), middle, mode) @ inner):
        simple = lo.simplify(product)
        assert isinstance(simple, lo.operators.GridConvolution)
        agree(simple, product, c(product.shape[1]))


def test_grids_of_one_number_of_entries_stay_apart():
    A = lo.convolution(c(1, 1), (2, 6)) @ lo.convolution(c(1, 1), (3, 4))
    assert lo.simplify(A) is A


def _of_transforms(n):
    """Operators of one size whose rules meet each other."""
    found = [lo.fft(n), lo.ifft(n), lo.fft(n, "ortho"), lo.hartley(n), lo.dct(n), lo.dct(n, 3)]
    found += [lo.dst(n), lo.dct(n).T, lo.circulant(c(n)), D(n), lo.Scalar(n, 2j), P(n), flip(n)]
    found += [Modulation(n, 1), Modulation(n, n - 1), roll(n, 1), roll(n, -1), flip(n) @ roll(n, 1)]
    return [*found, lo.convolution(c(3), n, "same"), lo.cumsum(n), lo.diff(n, boundary="zero")]


@given(st.sampled_from([1, 2, 3, 6, 8]), st.lists(st.integers(0, 20), min_size=2, max_size=7))
def test_rules_of_transforms_come_to_an_end_together(n, chosen):
    pool = _of_transforms(n)
    A = compose(*[pool[i % len(pool)] for i in chosen])
    simple = lo.simplify(A)
    x, sizes = c(n), [lo.norm(f, "fro") for f in getattr(A, "factors", [A])]
    # Higham, 3.6: each factor adds its own error, of two FFTs at most, to what comes in
    bound = 40 * (1 + np.log2(n + 1)) * len(chosen) * np.finfo(float).eps * np.prod(sizes)
    assert np.linalg.norm(simple @ x - A @ x) <= bound * np.linalg.norm(x)


@given(st.sampled_from([1, 1j, -2, 0.5]), st.sampled_from([1, 1j, -1, -1j]), st.booleans())
def test_parts_of_one_operator_meet(alpha, turn, swapped):
    parts = [alpha * m4.real, alpha * turn * m4.imag]
    A = parts[swapped] + parts[not swapped]
    simple = lo.simplify(A)
    joined = turn in (1j, -1j)
    assert ("real" in repr(simple)) != joined
    agree(simple, A, c(4))


@given(
    st.integers(1, 60),
    st.integers(1, 17),
    st.integers(1, 9),
    st.sampled_from(["hann", "boxcar", ("kaiser", 8.6)]),
    st.sampled_from(["twosided", "centered"]),
    st.sampled_from([None, 0, 1]),
)
def test_synthesis_undoes_analysis(n, m, hop, name, mode, shift):
    w = scipy.signal.get_window(name, m)
    options = {"fft_mode": mode, "phase_shift": shift, "mfft": m + hop}
    S = lo.stft(n, w, hop, **options)
    try:
        inverse = lo.istft(n, w, hop, **options)
    except ValueError:
        return  # some sample is seen by no frame
    assert repr(lo.simplify(inverse @ S)) == f"I{n}"
    assert S.shape[0] == n or not isinstance(lo.simplify(S @ inverse), lo.Identity)
    frame = lo.simplify(S.H @ S)  # no dual: a diagonal, unless the window is its own
    np.testing.assert_allclose(frame.to_dense(), S.H.to_dense() @ S.to_dense(), atol=1e-12)
    other = lo.istft(n, w, hop, **options, dual=np.arange(1.0, m + 1))
    A = other @ S
    np.testing.assert_allclose(lo.simplify(A).to_dense(), A.to_dense(), atol=1e-12)


@given(st.integers(1, 60), st.sampled_from([4, 8, 16]), st.sampled_from(["sine", "vorbis"]))
def test_lapped_transforms_undo_each_other(n, m, name):
    A, B = lo.mdct(n, (name, m)), lo.imdct(n, (name, m))
    assert repr(lo.simplify(B @ A)) == f"I{n}"
    whole = A.shape[0] == n  # else it is a projection
    assert isinstance(lo.simplify(A @ B), lo.Identity) == whole


@given(st.sampled_from([(1, 2), (2, 3), (2, 4), (3, 3), (4, 6)]), st.integers(1, 6))
def test_gabor_and_zak_transforms_are_undone(sizes, count):
    a, M = sizes
    n = a * count
    A, B = lo.gabor(n, ("boxcar", min(M, n)), a, M), lo.igabor(n, ("boxcar", min(M, n)), a, M)
    assert repr(lo.simplify(B @ A)) == f"I{n}"
    Z = lo.zak(n, a)
    assert repr(lo.simplify(Z.H @ Z)) == repr(lo.simplify(Z @ Z.H)) == f"I{n}"
