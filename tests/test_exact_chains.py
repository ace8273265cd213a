"""Exact chains: equal to the transforms of the same name, at any size, within their theorem."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from theory import gamma

import lazyops as lo
from lazyops import operators as ops
from lazyops.butterfly.exact import prime
from lazyops.butterfly.exact.values import exact_roots, smooth_size
from lazyops.operators import fold, roots_of_unity
from lazyops.testing import check_operator

SIZES = [*range(1, 18), 31, 32, 48, 97, 100, 128, 131, 262, 1000, 1009, 1024]
NORMS = ["backward", "ortho", "forward"]
REAL = {
    **{f"dct{t}": (lo.butterfly.dct, scipy.fft.dct, t) for t in (1, 2, 3, 4)},
    **{f"dst{t}": (lo.butterfly.dst, scipy.fft.dst, t) for t in (1, 2, 3, 4)},
}


def probe(n, dtype="complex128", k=2):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, k))
    return (x + 1j * rng.standard_normal((n, k)) if "c" in dtype else x).astype(dtype)


# -- the theorem -----------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def normwise(A, dtype):
    """(bound of ||A||, e) with ||fl(A x) - A x|| <= e ||x||, both in the 2-norm; of A.H alike.

    A factor of c entries a row errs by ``gamma(3 c + 3) || |K| ||`` (complex, one rounding for
    each value, converted once more); in a product each error meets the norms of the others
    (Higham, "Accuracy and stability of numerical algorithms", 2nd ed., 3.5, 24.2).
    """

    def visit(node, below):
        match node:
            case ops.KroneckerSparse():
                _, b, c, _ = node.pattern
                norm, absolute = block_norms(np.asarray(node.values))
                return norm, gamma(3 * max(b, c) + 3, dtype) * absolute
            case ops.Diagonal():
                largest = float(np.abs(np.asarray(node.values)).max())
                return largest, gamma(6, dtype) * largest
            case ops.Permutation() | ops.Identity():
                return 1.0, 0.0
            case ops.Restriction() | ops.Extension():
                times = int(np.bincount(np.asarray(node.index)).max())
                return times**0.5, gamma(times, dtype) * times**0.5
            case ops.Product():
                norm, error = 1.0, 0.0
                for size, e in reversed(below):  # (A + dA)(y + dy) of the factors on the right
                    error = error * (size + e) + e * norm
                    norm *= size
                return norm, error
            case ops.Kron() | ops.BlockDiag() | ops.RealPart():
                return max(b[0] for b in below), max(b[1] for b in below)
        raise NotImplementedError(type(node).__name__)

    return fold(A, visit)


def block_norms(values):
    """Of the factor and of that of its absolute values: the largest of its blocks."""
    if (values == values[:1]).all():
        values = values[:1]
    blocks = values.transpose(0, 3, 1, 2).reshape(-1, *values.shape[1:3])
    grams = [m.conj().swapaxes(1, 2) @ m for m in (blocks, np.abs(blocks))]
    return [float(np.linalg.eigvalsh(g)[:, -1].max()) ** 0.5 * (1 + 1e-6) for g in grams]


def assert_is(got, want, A, x):
    """`want` in long double, or of values rounded once (then it errs by far less than `A`)."""
    got = np.asarray(got)
    name = "float32" if got.dtype in (np.float32, np.complex64) else "float64"
    error = normwise(A, name)[1] + gamma(1, name) * np.abs(want).max(initial=0)
    assert got.shape == want.shape
    excess = np.linalg.norm((got - want).astype(complex), axis=0)
    size = np.linalg.norm(np.asarray(x).astype(complex), axis=0)
    assert (excess <= error * size).all(), f"{excess / size} exceeds {error} for {A!r}"


def long(x):
    return x.astype(np.clongdouble if np.iscomplexobj(x) else np.longdouble)


# -- Fourier ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_dft(n):
    for norm in NORMS if n < 200 else [NORMS[n % 3]]:
        A, x = lo.butterfly.dft(n, norm), probe(n)
        assert A.shape == (n, n)
        assert A.dtype == np.complex128
        assert_is(A @ x, scipy.fft.fft(long(x), axis=0, norm=norm), A, x)
        other = {"backward": "forward", "forward": "backward"}.get(norm, norm)
        assert_is(A.H @ x, scipy.fft.ifft(long(x), axis=0, norm=other), A, x)
        assert_is(A.T @ x, scipy.fft.fft(long(x), axis=0, norm=norm), A, x)
        single = lo.butterfly.dft(n, norm, dtype="complex64")
        y = x.astype("complex64")
        got = single @ y
        assert got.dtype == np.complex64
        assert_is(got, scipy.fft.fft(long(y), axis=0, norm=norm), single, y)


@pytest.mark.parametrize("n", [2 * 1009, 131 * 137, 3 * 131 * 4, 10007, 127 * 2])
def test_dft_of_composites_with_large_primes(n):
    A, x = lo.butterfly.dft(n), probe(n)
    assert_is(A @ x, scipy.fft.fft(long(x), axis=0), A, x)
    assert_is(A.H @ x, scipy.fft.ifft(long(x), axis=0, norm="forward"), A, x)


@pytest.mark.parametrize("way", [prime.rader, prime.bluestein])
@pytest.mark.parametrize("p", [3, 5, 7, 17, 31, 101, 257])
def test_both_ways_to_a_prime(way, p):
    scale = 1 / np.longdouble(p)
    A, x = way(p, scale, "complex128"), probe(p)
    assert_is(A @ x, scipy.fft.fft(long(x), axis=0, norm="forward"), A, x)
    assert_is(A.H @ x, scipy.fft.ifft(long(x), axis=0), A, x)


@given(st.sampled_from([3, 5, 7, 11, 127, 131, 1009, 10007, 65537]))
def test_a_generator_gives_every_residue_once(p):
    g = prime.generator(p)
    powers = {pow(g, e, p) for e in range(p - 1)}
    assert powers == set(range(1, p))


@given(st.integers(1, 5000))
def test_a_smooth_size_is_the_cheapest_one(least):
    def cost(n):
        total, left = 0, n
        for p in (2, 3, 5):
            while left % p == 0:
                total, left = total + p, left // p
        return n * total if left == 1 else np.inf

    n = smooth_size(least)
    assert n >= least
    assert cost(n) == min(map(cost, range(least, 2 * least + 1)))


@given(st.integers(1, 10**9), st.integers(-(10**9), 10**9))
def test_roots_in_long_double(n, k):
    """Rounded, each part is within an ulp and a half of one over 2^53 of that in double."""
    z, w = exact_roots(np.array([k]), n)[0], roots_of_unity(np.array([k]), n)[0]
    assert abs(abs(z) ** 2 - 1) <= 8 * np.finfo(np.longdouble).eps
    assert max(abs(z.real - w.real), abs(z.imag - w.imag)) <= 4 * 2.0**-53


def rms(f, n, times):
    """Root mean square of the relative error of `f` for Gaussian x, in u sqrt(log2 n)."""
    x = np.random.default_rng(n)
    x = x.standard_normal((n, times)) + 1j * x.standard_normal((n, times))
    want = scipy.fft.fft(long(x), axis=0)
    got = np.stack([f(x[:, j].copy()) for j in range(times)], axis=1)
    error = np.linalg.norm((got - want).astype(complex), axis=0)
    error /= np.linalg.norm(want.astype(complex), axis=0)
    return np.sqrt((error**2).mean()) / (2.0**-53 * np.sqrt(np.log2(n)))


@pytest.mark.parametrize("k", range(1, 17))
def test_rms_error_of_powers_of_two(k):
    """At most 0.8 u sqrt(log2 n): values are rounded once, errors add as in a random walk."""
    n = 1 << k
    A = lo.butterfly.dft(n)
    assert rms(A.__matmul__, n, 64 if n < 64 else 4 if n < 10**4 else 1) <= 0.8


@pytest.mark.parametrize(
    "n",
    [3, 13, 26, 48, 97, 100, 127, 131, 263, 360, 509, 1000, 1009, 2018, 5040, 10007, 131 * 137],
)
def test_rms_error_of_other_sizes(n):
    """At most 1.5 u sqrt(log2 n), and 1.25 of what scipy.fft errs by."""
    times = max(2, min(256, 30000 // n))
    own = rms(lo.butterfly.dft(n).__matmul__, n, times)
    assert own <= 1.5
    assert own <= 1.25 * rms(scipy.fft.fft, n, times)


# -- real transforms -------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_rdft(n):
    for norm in NORMS if n < 200 else [NORMS[n % 3]]:
        A, x = lo.butterfly.rdft(n, norm), probe(n, "float64")
        assert A.shape == (n // 2 + 1, n)
        assert A.dtype == np.complex128
        assert_is(A @ x, scipy.fft.rfft(long(x), axis=0, norm=norm), A, x)
        z = probe(n)
        want = scipy.fft.fft(long(z), axis=0, norm=norm)[: n // 2 + 1]
        assert_is(A @ z, want, A, z)  # it is linear
        y = np.zeros((n, 2), complex)
        y[: n // 2 + 1] = z[: n // 2 + 1]
        other = {"backward": "forward", "forward": "backward"}.get(norm, norm)
        want = scipy.fft.ifft(long(y), axis=0, norm=other)
        assert_is(A.H @ y[: n // 2 + 1], want, A, y)


@pytest.mark.parametrize("n", SIZES)
def test_hartley(n):
    for norm in NORMS if n < 200 else [NORMS[n % 3]]:
        A, x = lo.butterfly.hartley(n, norm), probe(n, "float64")
        F = scipy.fft.fft(long(x), axis=0, norm=norm)
        assert A.dtype == np.float64
        assert_is(A @ x, F.real - F.imag, A, x)
        assert_is(A.T @ x, F.real - F.imag, A, x)  # symmetric


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", REAL)
def test_cosines_and_sines(name, n):
    make, f, type = REAL[name]
    if name == "dct1" and n == 1:
        with pytest.raises(ValueError, match="a cosine transform of type 1 takes 2 or more, got 1"):
            make(n, type)
        return
    for norm in NORMS if n < 50 else [NORMS[n % 3]]:
        A, x, z = make(n, type, norm), probe(n, "float64"), probe(n)
        assert A.dtype == np.float64
        assert_is(A @ x, f(long(x), type, axis=0, norm=norm), A, x)
        both = [f(long(part), type, axis=0, norm=norm) for part in (z.real, z.imag)]
        assert_is(A @ z, both[0] + 1j * both[1], A, z)
        if n <= 128:
            M = f(np.eye(n, dtype=np.longdouble), type, axis=0, norm=norm)
            assert_is(A.T @ x, M.T @ x, A, x)
        single, y = make(n, type, norm, dtype="float32"), x.astype("float32")
        got = single @ y
        assert got.dtype == np.float32
        assert_is(got, f(long(y), type, axis=0, norm=norm), single, y)


@pytest.mark.parametrize("n", [12, 15, 100, 128, 131, 1000])
def test_real_transforms_are_products_of_real_factors(n):
    """One gather may stand beside the outermost factor, none between the others."""
    chains = [lo.butterfly.hartley(n)]
    for make in (lo.butterfly.dct, lo.butterfly.dst):
        chains += [make(n, type) for type in (1, 2, 3, 4)]
    for A in chains:
        kinds = ["K" if isinstance(f, lo.KroneckerSparse) else "p" for f in A.factors]
        assert all(f.values.dtype == float for f in A.factors if isinstance(f, lo.KroneckerSparse))
        inner = "".join(kinds).strip("p")
        place = min(inner.find("p"), inner[::-1].find("p"))
        assert set(inner) == {"K"} or (inner.count("p") == 1 and place == 1)


def test_a_cosine_transform_of_type_4_has_the_entries_of_half_a_complex_chain():
    butterfly = lo.butterfly.dct(1024, 4)
    assert repr(butterfly.factors[0]) == repr(butterfly.factors[-1]) == "P1024"
    # as many numbers as a complex chain of half the size: 4 n a factor
    assert [f.values.size for f in butterfly.factors[1:-1]] == [4 * 1024] * 9


# -- Kronecker powers ------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["natural", "sequency", "dyadic"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [1, 2, 8, 256])
def test_hadamard(n, norm, order):
    A, leaf = lo.butterfly.hadamard(n, norm, order=order), lo.hadamard(n, norm, order=order)
    x = np.random.default_rng(n).integers(-9, 10, (n, 3)).astype(float)
    want = lo.hadamard(n, order=order) @ x
    assert A.dtype == np.float64
    if norm == "backward":  # whole numbers: exact
        np.testing.assert_array_equal(A @ x, want)
        np.testing.assert_array_equal(A.H @ x, leaf.H @ x)
    scale = {"backward": 1, "ortho": np.longdouble(n) ** -0.5, "forward": 1 / np.longdouble(n)}
    assert_is(A @ x, want * scale[norm], A, x)
    assert_is(A.H @ x, (lo.hadamard(n, order=order).H @ x) * scale[norm], A, x)


def noiselets_of_the_paper(n):
    """Rows f_n .. f_2n-1 on n pieces of [0, 1): Coifman, Geshwind, Meyer 2001, (1) to (3)."""
    functions = {1: np.array([1.0 + 0j])}
    for i in range(1, n):
        f = functions[i]
        functions[2 * i] = np.r_[(1 - 1j) * f, (1 + 1j) * f]
        functions[2 * i + 1] = np.r_[(1 + 1j) * f, (1 - 1j) * f]
    return np.stack([functions[i] for i in range(n, 2 * n)])


@pytest.mark.parametrize("n", [1, 2, 4, 16, 256])
def test_noiselets(n):
    A = lo.butterfly.noiselet(n)
    x = np.random.default_rng(n).integers(-9, 10, (n, 2)).astype(complex)
    np.testing.assert_array_equal((A @ x) * n, noiselets_of_the_paper(n) @ x)  # dyadic: exact
    np.testing.assert_array_equal(A.H @ (A @ x), x)  # unitary to the last bit
    haar = np.kron(np.eye(n // 2), [1, -1]).T if n > 1 else np.eye(1)
    np.testing.assert_allclose(np.ptp(np.abs(A @ haar)), 0, atol=0)  # as flat as can be


@given(
    hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.integers(-3, 3)),
    st.integers(0, 4),
)
def test_kronecker_powers(A, k):
    want = np.ones((1, 1))
    for _ in range(k):
        want = np.kron(want, A)
    power = lo.butterfly.kron_power(A, k)
    np.testing.assert_array_equal(power.to_dense(), want)
    np.testing.assert_array_equal(power.T.to_dense(), want.T)
    assert k < 2 or len(power.factors) == k


def rotation(t):
    a = 2 * np.pi * t
    return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


def test_rotations():
    t = np.random.default_rng(0).uniform(-2, 2, 3)
    A, x = lo.butterfly.fot(t), probe(8, "float64")
    want = np.kron(np.kron(rotation(t[2]), rotation(t[1])), rotation(t[0]))
    angles = 4 * np.pi * np.abs(t).sum()  # of a full turn: the argument is rounded
    np.testing.assert_allclose(
        A @ x, want @ x, rtol=0, atol=2.0**-50 * angles * np.abs(x).max() * 8
    )
    quarters = lo.butterfly.fot([0.25, -0.5, 3.0]).to_dense()
    assert sorted(np.unique(quarters)) == [-1, 0, 1]  # exact
    free = lo.butterfly.fot(np.random.default_rng(1).random((4, 8)))
    y = probe(16, "float64")
    np.testing.assert_array_less(
        abs(free.T @ (free @ y) - y), normwise(free, "float64")[1] * 3 * 16
    )
    level = np.zeros((2, 2))
    level[1, 0], level[0, 1] = 0.25, 0.5  # entries (0, 2) by a quarter, (2, 3) by a half
    x = np.arange(4.0)
    np.testing.assert_array_equal(lo.butterfly.fot(level) @ x, [2, 1, 0, -3])


def test_gradients_reach_angles_and_matrices():
    torch = pytest.importorskip("torch")
    x = torch.randn(8, 2, dtype=torch.float64)
    turns = torch.tensor([0.1, 0.3, -0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: lo.butterfly.fot(t) @ x, turns)
    A = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: lo.butterfly.kron_power(m, 3) @ x, A)


# -- circulant and Toeplitz ------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_circulant(n, dtype):
    c, x = probe(n, dtype, 1)[:, 0], probe(n, dtype)
    A, M = lo.butterfly.circulant(c), scipy.linalg.circulant(long(c))
    assert A.dtype == dtype
    assert_is(A @ x, M @ x, A, x)
    assert_is(A.H @ x, M.conj().T @ x, A, x)
    if n not in (131, 262, 1009):  # no permutation is left
        factors = getattr(A, "factors", (A,))
        assert all(isinstance(f, lo.KroneckerSparse) for f in factors)


def toeplitz_dense(c, r):
    """``scipy.linalg.toeplitz``, which takes no long double any more."""
    i, j = np.arange(len(c))[:, None], np.arange(len(r))
    return np.where(i >= j, c[np.maximum(i - j, 0)], r[np.maximum(j - i, 0)])


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_toeplitz(n, dtype):
    c, r, x = probe(n, dtype, 1)[:, 0], probe(n // 2 + 3, dtype, 1)[:, 0], probe(n, dtype)
    y = probe(n // 2 + 3, dtype)
    A, M = lo.butterfly.toeplitz(c, r), toeplitz_dense(long(c), long(r))
    assert A.dtype == dtype
    assert A.shape == M.shape
    assert_is(A @ y, M @ y, A, y)
    assert_is(A.H @ x, M.conj().T @ x, A, x)
    A = lo.butterfly.toeplitz(c)
    M = toeplitz_dense(long(c), long(c).conj())  # hermitian but for c[0]
    assert_is(A @ x, M @ x, A, x)


# -- as operators ----------------------------------------------------------------------------

CHAINS = {
    "dft": lambda: lo.butterfly.dft(12),
    "dft_rader": lambda: prime.rader(31, np.longdouble(1), "complex128"),
    "dft_composite": lambda: lo.butterfly.dft(2 * 131),
    "dft_bluestein": lambda: lo.butterfly.dft(263),
    "dft_two_large": lambda: lo.Product(lo.butterfly.dft(131 * 137).factors[:3]),
    "rdft": lambda: lo.butterfly.rdft(12),
    "hartley_odd": lambda: lo.butterfly.hartley(15),
    "dct": lambda: lo.butterfly.dct(12),
    "dct1": lambda: lo.butterfly.dct(9, 1),
    "dct3": lambda: lo.butterfly.dct(12, 3, "ortho"),
    "dct_large": lambda: lo.butterfly.dct(131),
    "dst4": lambda: lo.butterfly.dst(12, 4),
    "dst4_odd": lambda: lo.butterfly.dst(15, 4),
    "hadamard": lambda: lo.butterfly.hadamard(8, order="sequency"),
    "noiselet": lambda: lo.butterfly.noiselet(8),
    "power": lambda: lo.butterfly.kron_power(np.arange(6.0).reshape(2, 3), 3),
    "fot": lambda: lo.butterfly.fot(np.linspace(0, 1, 12).reshape(3, 4)),
    "circulant": lambda: lo.butterfly.circulant(np.arange(12.0)),
    "toeplitz": lambda: lo.butterfly.toeplitz(np.arange(5.0), np.arange(7.0) * (1 + 1j)),
}
SMALL = [name for name in CHAINS if name not in ("dft_two_large", "dft_bluestein")]


@pytest.mark.parametrize("name", SMALL)
def test_contract(name):
    check_operator(CHAINS[name]())


@pytest.mark.parametrize("name", SMALL)
def test_saved_loaded_simplified(name, tmp_path):
    A = CHAINS[name]()
    x = probe(A.shape[1], "float64")
    lo.save(tmp_path / "a.safetensors", A)
    B = lo.load(tmp_path / "a.safetensors")
    assert repr(B) == repr(A)
    np.testing.assert_array_equal(B @ x, A @ x)
    S, error = lo.simplify(A), normwise(A, "float64")[1]
    difference = np.linalg.norm(S @ x - A @ x, axis=0)
    assert (difference <= 2 * error * np.linalg.norm(x, axis=0)).all()


@pytest.mark.parametrize("name", CHAINS)
def test_in_every_library(name, xp):
    A = CHAINS[name]()
    dtype = "complex128" if A.dtype.kind == "c" else "float64"
    x = probe(A.shape[1], dtype)
    y = xp.asarray(x)
    got = np.asarray(A.to(like=y) @ y)
    assert got.dtype == dtype
    error = normwise(A, "float64")[1]
    difference = np.linalg.norm(got - A @ x, axis=0)
    assert (difference <= 2 * error * np.linalg.norm(x, axis=0)).all()


def test_what_chains_refuse():
    b = lo.butterfly
    for call, error, why in (
        (
            lambda: b.dft(0),
            ValueError,
            "a discrete Fourier transform takes a size from 1 on, got 0",
        ),
        (lambda: b.dft(4.0), TypeError, "the size of a discrete .* is an integer, got float"),
        (lambda: b.dft(4, "both"), ValueError, "norm is one of backward, ortho, forward, got 'b"),
        (lambda: b.dft(4, dtype="float64"), ValueError, "is complex128 or complex64, got float64"),
        (lambda: b.rdft(4, dtype="float32"), ValueError, "is complex128 or complex64, got float32"),
        (lambda: b.dct(4, dtype="complex64"), ValueError, "is float64 or float32, got complex64"),
        (lambda: b.dst(4, 5), ValueError, "the type of a sine transform is 1, 2, 3 or 4, got 5"),
        (lambda: b.hartley(-1), ValueError, "the size of a Hartley .* from 0 on, got -1"),
        (lambda: b.noiselet(12), ValueError, "a noiselet transform takes a power of two, got 12"),
        (lambda: b.hadamard(12), ValueError, "a Hadamard transform takes a power of two, got 12"),
        (lambda: b.hadamard(4, order="x"), ValueError, "order is one of natural, sequency, dyadic"),
        (lambda: b.kron_power([1.0], 2), ValueError, r"of a matrix with entries, got shape \(1,\)"),
        (lambda: b.kron_power(np.eye(2), -1), ValueError, "an exponent from 0 on, got -1"),
        (
            lambda: b.fot(np.zeros((3, 3))),
            ValueError,
            r"\(k,\) or \(k, 2\*\*\(k-1\)\), got \(3, 3\)",
        ),
        (
            lambda: b.fot(np.zeros(2, complex)),
            TypeError,
            "real floating numbers, got dtype complex",
        ),
        (lambda: b.circulant(np.eye(2)), ValueError, r"is a vector of one entry.*\(2, 2\)"),
        (lambda: b.circulant([]), ValueError, r"a vector of one entry or more, got shape \(0,\)"),
        (
            lambda: b.circulant([1j], dtype="float64"),
            ValueError,
            "takes a complex dtype, got float",
        ),
        (lambda: b.toeplitz([1.0], np.eye(2)), ValueError, "the first row of a Toeplitz matrix"),
    ):
        with pytest.raises(error, match=why):
            call()


def test_a_chain_holds_what_repeats_once(tmp_path):
    n = 1 << 12
    F = lo.butterfly.dft(n)
    # a factor holds its twiddles, 4 for each inner index; a permutation is an index
    assert F.values_nbytes == sum(4 * K.pattern.d * 16 for K in F.factors[:-1])
    assert F.values_nbytes < 8 * n * 16
    lo.save(tmp_path / "dft.safetensors", F)
    x = np.eye(n)[1]
    np.testing.assert_array_equal(lo.load(tmp_path / "dft.safetensors") @ x, F @ x)
