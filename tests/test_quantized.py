"""Codes of few bits: held, moved, saved and run, every path against the values they stand for."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine import DTYPES, LAYOUTS, named, needs_cpu, normal, one_by_one
from theory import assert_within

import lazyops as lo
from lazyops import kernels
from lazyops.kernels import Codes, Stage, bits_joined, bits_split, cpu, plan
from lazyops.kernels import codes as coding
from lazyops.kernels.formats import FloatFormat, ScaledInteger, format_named
from lazyops.operators.chain import plans_of

FORMATS = ["bf16", "fp16", "e4m3", "e5m2", "e3m2", "e2m3", "e2m1", "e6m5", "int8", "int5", "int4"]
quick = settings(max_examples=80, deadline=None, derandomize=True)
Q = lo.QuantizedKroneckerSparse


def quantized(pattern, form, seed=0, pair=False):
    values = normal(tuple(pattern), "complex128" if pair else "float64", seed)
    scales = None
    if form.startswith("int"):  # powers of two: decoding rounds nothing
        a, _, _, d = pattern
        scales = np.exp2(np.random.default_rng(seed).integers(-7, 0, (a, d))).astype("float32")
    return Q.nearest(values, form, scales)


def decoded(A):
    """The same product of the values, in double precision."""
    found = [f.dequantized("float64") if isinstance(f, Q) else f for f in A.factors]
    return lo.Product(tuple(found))


# -- running ---------------------------------------------------------------------------------------

sizes = st.sampled_from([1, 2, 2, 2, 3, 4, 5])


@st.composite
def products(draw):
    """Chains of quantized and plain factors, with everything that may stand between them."""
    cores = draw(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=4))
    patterns = list(lo.Chain.from_cores(cores, [1] * (len(cores) - 1)))
    forms = draw(st.lists(st.sampled_from([*FORMATS, None]), min_size=1, max_size=3))
    factors = []
    for i, p in enumerate(patterns):
        turned, pair = draw(st.booleans()), draw(st.booleans())
        q, form = p.T if turned else p, forms[i % len(forms)]
        if form is None:
            factor = lo.KroneckerSparse(normal(tuple(q), DTYPES[2 * pair], i))
        else:
            factor = quantized(q, form, i, pair)
        if draw(st.booleans()):
            factor = factor.conj()
        factors += draw(st.sampled_from([[], [], ["D"], ["P"], ["S"], ["D", "P"]]))
        factors.append(factor.T if turned else factor)
    return lo.Product(tuple(named(factors, "float32")))


@quick
@given(
    products(), st.sampled_from([0, 1, 2, 3, 8, 9, 33]), st.sampled_from(DTYPES),
    st.sampled_from(list(LAYOUTS)), st.sampled_from(["", "H", "T", "conj"]),
)  # fmt: skip
def test_any_chain_of_codes_is_within_the_theorem(A, k, dtype, layout, turn):
    """The bound of DESIGN section 6: values are exact after decoding."""
    B = {"": A, "H": A.H, "T": A.T, "conj": A.conj()}[turn]
    x = LAYOUTS[layout](normal((B.shape[1], k), dtype))
    y = B @ x
    wide = x.astype("complex128" if x.dtype.kind == "c" else "float64")
    assert y.dtype.name == B.result_dtype(x.dtype)
    assert_within(y, one_by_one(decoded(B), wide), B, x)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("n", [8, 256, 384])
def test_every_format_in_every_form(form, n, dtype):
    factors = tuple(quantized(p, form, i) for i, p in enumerate(lo.Chain.mixed_radix(n)))
    A = lo.Product(factors)
    for B in (A, A.H):
        for k in (1, 5, 40):
            x = normal((n, k), dtype)
            wide = x.astype("complex128" if x.dtype.kind == "c" else "float64")
            assert_within(B @ x, one_by_one(decoded(B), wide), B, x)


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("form", [f for f in FORMATS if not f.startswith("int")])
def test_a_product_with_units_shows_every_code(form, pair):
    """Every code there is, specials too, run through a 1x1 block: the table comes out."""
    form = format_named(form)
    codes = np.arange(1 << form.bits).astype(form.code_dtype)
    codes = np.resize(codes, (len(codes) + 3) // 2 * 2)
    held = codes if form.bits in (8, 16) else bits_joined(codes, form.bits)
    n = len(codes) // 2 if pair else len(codes)
    shape = (n, 1, 1, 1)
    K = Q(held.reshape((*shape, 2) if pair else shape) if form.bits in (8, 16) else held, form,
          shape, pair=pair)  # fmt: skip
    want = form.table[codes]
    for k in (1, 16):
        for dtype in ("float32", "float64"):
            y = K @ np.ones((n, k), dtype)
            if pair:  # a NaN in one part is one in the product
                nan = np.isnan(want.reshape(n, 2)).any(axis=1)
                odd = nan | np.isinf(want.reshape(n, 2)).any(axis=1)
                got, need = y[~odd, k - 1], want.reshape(n, 2)[~odd]
                np.testing.assert_array_equal(got, need[:, 0] + 1j * need[:, 1])
            else:
                np.testing.assert_array_equal(y[:, k - 1], want)


@pytest.mark.parametrize("form", FORMATS)
def test_codes_are_read_by_shifts_where_that_is_exact(form):
    """Codes that shifts would misread, and only those, send a factor to the table."""
    form = format_named(form)
    kind = coding.INTEGER if isinstance(form, ScaledInteger) else coding.SMALL
    shape = (1, 1, 1, 4)
    fine, odd = coding.codings(form)
    assert fine.code == kind
    held = lambda c: c if form.bits in (8, 16) else bits_joined(c, form.bits)
    zeros = np.zeros(shape, form.code_dtype)
    assert Codes(held(zeros), shape, form).coding.code == kind
    special = getattr(form, "specials", "finite") != "finite" and form.exponent_bits < 8
    assert (odd is not None) == special
    if special:
        assert np.isfinite(form.table[~odd]).all()
        zeros[0, 0, 0, 1] = np.flatnonzero(odd)[0]
        assert Codes(held(zeros), shape, form).coding.code == coding.TABLE


def levels():
    """The builds of the kernel that run here."""
    built = cpu.built()
    has = cpu.cpu_level(built)
    return [cpu.load(level, str(path)) for level, path in built.items() if cpu.runs(level, has)]


def every_code(form):
    """Factors of a product with ones that shows every code of a format, and what it shows."""
    N = max(1 << form.bits, 64)
    codes = np.resize(np.arange(1 << form.bits), N).astype(form.code_dtype)
    shown = np.zeros((1, 2, 2, N // 2), form.code_dtype)
    shown[0, [0, 1], [0, 1]] = codes.reshape(2, -1)
    unit = np.zeros((2, 2, 2, N // 4), form.code_dtype)
    whole = isinstance(form, ScaledInteger)
    unit[:, [0, 1], [0, 1]] = (
        form.encode(np.ones(1), np.ones(1)) if whole else form.encode(np.ones(1))
    )
    sizes = np.random.default_rng(0).integers(128, 256, (1, N // 2)) / 64
    scales = (sizes.astype("float32"), np.ones((2, N // 4), "float32")) if whole else (None, None)
    held = lambda c: c if form.bits in (8, 16) else bits_joined(c, form.bits)
    factors = [
        Q(held(c), form, c.shape, s) for c, s in zip((shown, unit), scales, strict=True)
    ]  # fmt: skip
    return factors, form.table[codes] * (np.resize(sizes, N) if whole else 1)


@needs_cpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMATS)
def test_every_level_shows_every_code(form, dtype, monkeypatch):
    """Two radix-2 factors at once, in registers and in batches: subnormals, infinities and NaN of
    every format are the numbers of the table, and scales are exact."""
    factors, want = every_code(format_named(form))
    for library in levels():
        monkeypatch.setattr(cpu, "library", lambda library=library: library)
        for k in (1, 3, 40):
            x = np.ones((len(want), k), dtype)
            y = plan([f._stage() for f in factors], x)(x)
            np.testing.assert_array_equal(y.real, np.broadcast_to(want[:, None], y.shape))


@needs_cpu
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_bits_do_not_depend_on_threads(form, pair):
    A = lo.Product(
        tuple(quantized(p, form, i, pair) for i, p in enumerate(lo.Chain.square_dyadic(1 << 13)))
    )
    try:
        for k in (1, 40):
            x = normal((1 << 13, k), "float32")
            lo.set_num_threads(1)
            want = A @ x, A.H @ x
            for threads in (2, 3):
                lo.set_num_threads(threads)
                np.testing.assert_array_equal(A @ x, want[0])
                np.testing.assert_array_equal(A.H @ x, want[1])
    finally:
        lo.set_num_threads(None)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_integers_have_scales_of_two_bytes(bits):
    """The least that fit, of 8 significant bits: at most 2^-7 too large."""
    form = ScaledInteger(bits)
    largest = np.exp(np.random.default_rng(0).uniform(-60, 60, 10_000))
    scale = form.scale(largest)
    assert not (scale.view(np.uint32) & 0xFFFF).any()
    exact = largest / form.max
    assert (scale >= exact).all()
    assert (scale * (1 - 2.0**-7) <= exact).all()


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("form", ["int8", "int4", "int12", "e4m3"])
@pytest.mark.parametrize("kind", ["short", "long", "far", "zero"])
def test_scales_of_any_kind_are_within_the_theorem(kind, form, pair, k):
    """Those of 8 significant bits are packed with the codes, others stay beside them."""
    rng = np.random.default_rng(0)

    def scales(p):
        short = rng.integers(128, 256, (p[0], p[3])) / 4096
        others = {
            "short": short,
            "long": rng.uniform(0.5, 1, short.shape),
            "far": short * 2.0 ** (120 if p[0] % 2 else -120),
            "zero": short * rng.integers(0, 2, short.shape),
        }
        return others[kind].astype("float32")

    factors = []
    for i, p in enumerate(lo.Chain.mixed_radix(192)):
        values = normal(tuple(p), "complex128" if pair else "float64", i)
        held = scales(p)
        factors.append(Q.nearest(values * np.where(held == 0, 1, held)[:, None, None, :], form,
                                 np.where(held == 0, np.float32(1), held)))  # fmt: skip
        factors[-1] = Q(factors[-1].codes, form, p, held, pair)
        assert (factors[-1].held.packed_scales is None) == (kind in ("long", "far"))
    A = lo.Product(tuple(factors))
    for B in (A, A.H):
        for dtype in ("float64",) if kind == "far" else ("float32", "float64"):
            x = normal((B.shape[1], k), dtype)
            assert_within(B @ x, one_by_one(decoded(B), x.astype("float64")), B, x)


class Squares:
    """A format that is neither float nor integer."""

    bits, name = 7, "squares"
    table = np.arange(128, dtype="float32") ** 2


@needs_cpu
@pytest.mark.parametrize("k", [1, 20])
def test_any_format_with_a_table_runs(k):
    rng = np.random.default_rng(0)
    chain = lo.Chain.mixed_radix(96)
    held = lambda p: bits_joined(rng.integers(0, 128, tuple(p)).astype("u1"), 7)
    stages = [Stage(Codes(held(p), tuple(p), Squares), p) for p in chain]
    x = rng.integers(0, 2, (96, k)).astype("float64")
    want = x
    for s in reversed(stages):
        want = kernels.ks_matmat(s.values.decoded().astype("float64"), want)
    assert_within(plan(stages, x)(x), want, lo.Product(tuple(
        lo.KroneckerSparse(s.values.decoded()) for s in stages)), x)  # fmt: skip


@needs_cpu
def test_codes_of_one_run_are_packed_once_and_as_codes():
    A = lo.Product(
        tuple(quantized(p, "e4m3", i) for i, p in enumerate(lo.Chain.square_dyadic(256)))
    )
    x = normal((256, 1), "float32")
    held = A.values_nbytes
    for B in (A, A.H, A.T, 2 * A, lo.Permutation(np.arange(256)[::-1].copy()) @ A):
        B @ x
    copies = {id(p): p.nbytes for B in (A, A.H, A.T) for plan in plans_of(B) for p in plan.packed}
    assert sum(copies.values()) == held == sum(p.entries for p in lo.Chain.square_dyadic(256))
    B = lo.Product(A.factors, pack=False)
    assert_within(B @ x, one_by_one(decoded(A), x.astype("float64")), A, x)
    assert not plans_of(B)


@needs_cpu
@pytest.mark.parametrize(
    ("bits", "room", "parts", "numbers"),
    [(8, 8, 1, [0, 16]), (9, 8, 1, [0]), (0, 8, 1, [0]), (8, 7, 1, [0]), (8, 8, 3, [0]),
     (4, 8, 1, [0, 32]), (8, 8, 0, [0])],
)  # fmt: skip
def test_packing_codes_touches_no_other_memory(bits, room, parts, numbers):
    codes, out = np.arange(16, dtype="u1"), np.zeros((1, 1, 1, 4), np.uint32)
    tables = np.array([0], np.int64), np.array(numbers, np.int64)
    with pytest.raises(ValueError, match="cannot pack codes uint8"):
        cpu.pack_codes(codes, *tables, out, 0, 1, 1, bits, room, False, parts)
    assert not out.any()


GROWTH = """
import gc, os, sys, numpy as np, lazyops as lo
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
rng = np.random.default_rng(0)
def chain(patterns):
    codes = lambda p: rng.integers(0, 0x50, tuple(p), dtype=np.uint8)
    factor = lambda p: lo.QuantizedKroneckerSparse(codes(p), "e4m3", p, copy=False)
    return lo.Product(tuple(map(factor, patterns)))
chain(lo.Chain.square_dyadic(1 << 10)) @ np.ones(1 << 10, np.float32)
n = int(sys.argv[1])
A = chain(lo.Chain.square_dyadic(n) if sys.argv[2] == "dyadic" else lo.Chain.monarch(n, n))
x = rng.standard_normal(n, dtype=np.float32)
gc.collect()
before = resident()
for _ in range(5):
    A @ x, A.H @ x
whole = 4 * sum(f.pattern.entries for f in A.factors)
print((resident() - before) / whole, A.values_nbytes / whole)
"""


@needs_cpu
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
@pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="ASan keeps what is freed"
)
@pytest.mark.parametrize(("n", "chain"), [(1 << 20, "dyadic"), (1 << 16, "monarch")])
def test_ten_products_unpack_nothing(n, chain):
    """The process grows by the packed codes, 0.25 of the values as float32, and little else: a
    vector between two runs and a few tiles.  The results are dropped."""
    run = [sys.executable, "-P", "-c", GROWTH, str(n), chain]
    done = subprocess.run(run, capture_output=True, text=True)
    grown, held = map(float, done.stdout.split())
    assert held == 0.25, done.stderr
    assert grown <= 0.30


# -- holding ---------------------------------------------------------------------------------------


@given(st.integers(1, 16), st.lists(st.integers(0, 65535), max_size=40))
def test_streams_of_bits_come_back(bits, codes):
    codes = np.array(codes, np.uint16) & ((1 << bits) - 1)
    stream = bits_joined(codes, bits)
    assert stream.nbytes == -(-len(codes) * bits // 8)
    np.testing.assert_array_equal(bits_split(stream, bits, len(codes)), codes)


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_bytes_are_those_of_the_codes(form, pair):
    K = quantized((2, 8, 4, 4), form, 0, pair)
    scales = 0 if K.scales is None else K.scales.nbytes
    assert K.nbytes - scales == 256 * (1 + pair) * K.format.bits / 8
    assert K.dtype == ("complex64" if pair else "float32")
    assert K.value_dtype == K.format.name


def same(A, B):
    assert type(A) is type(B)
    np.testing.assert_array_equal(np.asarray(A.codes), np.asarray(B.codes))
    assert np.asarray(A.codes).dtype == np.asarray(B.codes).dtype
    assert (A.format, A.pattern, A.pair, A.conjugated) == (
        B.format,
        B.pattern,
        B.pair,
        B.conjugated,
    )
    if A.scales is not None:
        np.testing.assert_array_equal(np.asarray(A.scales), np.asarray(B.scales))


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_codes_survive_everything_bit_for_bit(form, pair, xp, tmp_path):
    K = quantized((2, 3, 4, 5), form, 1, pair).H
    moved = K.to(like=xp.asarray(np.ones(1)))
    same(K, moved)
    same(K, moved.to(namespace="numpy"))
    same(K, pickle.loads(pickle.dumps(K)))
    same(K, K.astype("float32"))
    path = tmp_path / "K.safetensors"
    lo.save(path, moved)
    same(K, lo.load(path))
    x = normal((K.shape[1], 2), "float32")
    assert_within(
        moved @ xp.asarray(x), one_by_one(decoded(lo.Product((K,))), x.astype("f8")), K, x
    )


@pytest.mark.parametrize(
    ("form", "code"),
    [("bf16", "BF16"), ("fp16", "F16"), ("e4m3", "F8_E4M3"), ("e5m2", "F8_E5M2"), ("int8", "U8"),
     ("e2m1", "U8"), ("e6m9", "U16")],
)  # fmt: skip
def test_files_name_the_numbers_that_they_have_a_name_for(form, code, tmp_path):
    path = tmp_path / "A.safetensors"
    A = lo.Product(tuple(quantized(p, form, i) for i, p in enumerate(lo.Chain.square_dyadic(1024))))
    lo.save(path, A)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    found = {v["dtype"] for k, v in header.items() if k.endswith(".codes")}
    assert found == {code}
    entries = sum(f.pattern.entries for f in A.factors)
    scales = sum(f.scales.nbytes for f in A.factors if f.scales is not None)
    assert (
        len(raw) - 8 - len(json.dumps(header)) - scales
        <= entries * A.factors[0].format.bits / 8 + 100
    )
    B = lo.load(path)
    for f, g in zip(A.factors, B.factors, strict=True):
        same(f, g)


def test_algebra_and_simplify_keep_codes():
    K, L = quantized((1, 4, 4, 4), "e4m3"), quantized((4, 4, 4, 1), "bf16", 1)
    A = lo.Identity(16) @ (2.0 * K @ L) @ lo.Identity(16) + lo.Zero((16, 16))
    B = lo.simplify(A)
    assert repr(B) == "2 * Q(1,4,4,4:e4m3) @ Q(4,4,4,1:e8m7)"
    assert [f for f in B.factors if isinstance(f, Q)] == [K, L]
    x = normal((16, 3), "float32")
    assert_within(B @ x, 2 * one_by_one(decoded(K @ L), x.astype("float64")), A, x)
    assert K.H.H is K
    assert K.conj() is K
    assert K.H.codes is K.codes
    np.testing.assert_array_equal(K.T.to_dense(), K.to_dense().T)
    assert isinstance(K.astype("float64"), lo.KroneckerSparse)
    np.testing.assert_array_equal(K.astype("float64").to_dense(), K.to_dense())


# -- refusing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Q(np.zeros((1, 2, 2, 1), "u1"), "e4m3", (1, 2, 2, 2)), ValueError,
         r"codes for Pattern\(.*\) in e4m3 of shape \(1, 2, 2, 2\), got \(1, 2, 2, 1\)"),
        (lambda: Q(np.zeros((1, 2, 2, 1), "u2"), "e4m3", (1, 2, 2, 1)), TypeError,
         "of dtype uint8, got uint16"),
        (lambda: Q(np.zeros((1, 2, 2, 1), "u1"), "e2m1", (1, 2, 2, 1)), ValueError,
         r"of shape \(2,\), got shape \(1, 2, 2, 1\)"),
        (lambda: Q([1], "e4m3", (1, 1, 1, 1)), TypeError, "got list"),
        (lambda: Q(np.zeros((1, 1, 1, 1), "u1"), "e9", (1, 1, 1, 1)), ValueError, "unknown format"),
        (lambda: Q(np.zeros((1, 1, 1, 1), "u1"), FloatFormat(None, 7), (1, 1, 1, 1)), ValueError,
         "m7 has exponents without bounds and so no codes"),
        (lambda: Q(np.zeros((1, 1, 1, 2), "u1"), "int8", (1, 1, 1, 2), np.ones((2, 1), "f4")),
         ValueError, r"float32 scales of shape \(a, d\) = \(1, 2\), got float32 \(2, 1\)"),
        (lambda: Q(np.zeros((1, 1, 1, 1), "u1"), "e4m3", (1, 0, 1, 1)), ValueError, "0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [('"format":"e4m3"', '"format":"e4m4"', "of dtype|of shape|digest|differs"),
     ('"stored":[1,2,2,2]', '"stored":[2,2,2,1]', "differs")],
)  # fmt: skip
def test_forged_files_are_refused(old, new, match, tmp_path):
    path = tmp_path / "K.safetensors"
    lo.save(path, quantized((1, 2, 2, 2), "e4m3"))
    raw = path.read_bytes()
    old, new = (json.dumps(t)[1:-1].encode() for t in (old, new))
    assert raw.count(old) == 1
    path.write_bytes(raw.replace(old, new))
    with pytest.raises(ValueError, match=match):
        lo.load(path)


@pytest.mark.parametrize("form", ["e4m3", "e2m1", "e3m2", "bf16"])
def test_entries_are_values_whatever_their_bits(form):
    """A code below a byte, or the pair of a complex number, counts as one number."""
    for A in (lo.butterfly.hadamard(64), lo.butterfly.dft(60)):
        Q = lo.quantize(A, form, method="nearest").operator
        factors = [f for f in A.factors if isinstance(f, lo.KroneckerSparse)]
        assert Q.info().entries == sum(f.pattern.entries for f in factors)
