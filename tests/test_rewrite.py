"""Every rule: proved on dense matrices, and shown by one expected text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.signal
from cases import c, rng
from hypothesis import given
from hypothesis import strategies as st
from theory import gamma, majorant

import lazyops as lo
from lazyops.operators import Extension, Modulation, Restriction, compose
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
C6, conv = lo.circulant(c(6)), lo.convolution(c(3), 5)

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
    ("cumulative_difference", lo.cumsum(5).H @ lo.diff(5).H, "R4x5.H"),
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
    ("mirror_fourier", flip(4) @ lo.ifft(4), "fft(4, norm='forward') @ W4^1"),
    ("fourier_mirror", lo.ifft(4) @ lo.Permutation([0, 3, 2, 1]), "fft(4, norm='forward')"),
    ("fourier_mirror", lo.fft(4) @ flip(4), "W4^3 @ ifft(4, norm='forward')"),
    ("cosine_flip", lo.dct(5) @ flip(5), "D5 @ dct(5)"),
    ("cosine_flip", lo.dct(5, 3) @ flip(5), "D5 @ dst(5, type=3)"),
    ("flip_cosine", flip(5) @ lo.dst(5), "dct(5) @ D5"),
    ("flip_cosine", flip(5) @ lo.dct(5, 1).T, "dct(5, type=1).T @ D5"),
    ("roll_circulant", roll(6, 2) @ C6, "circulant(6)"),
    ("circulant_roll", C6 @ roll(6, 2), "circulant(6)"),
    ("flip_circulant_flip", flip(6) @ C6 @ flip(6), "circulant(6)"),
    ("flip_convolution_flip", flip(4) @ lo.convolution(c(3), 6, "valid") @ flip(6), "conv(3)[4x6]"),
    ("hadamard_hadamard", lo.hadamard(4) @ lo.hadamard(4, "forward"), "I4"),
    ("cosine_cosine", lo.dct(5, 3) @ lo.dct(5), "10*I5"),
    ("cosine_cosine", lo.dst(5, 1, "forward") @ lo.dst(5, 1), "I5"),
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
    for A in (F @ P, P @ F):
        B = lo.simplify(A)
        assert not any(isinstance(f, lo.Permutation) for f in getattr(B, "factors", [B]))
        agree(B, A, c(n))
    both = P @ F @ P
    agree(lo.simplify(both), both, c(n))


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
