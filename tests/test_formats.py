"""Formats of few bits, bit for bit against ml_dtypes and torch."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lazyops.kernels.formats import NAMED, FloatFormat, ScaledInteger, format_named, round_to

PEERS = {  # our name: ml_dtypes' name, torch's
    "fp16": ("float16", "float16"),
    "bf16": ("bfloat16", "bfloat16"),
    "e4m3": ("float8_e4m3fn", "float8_e4m3fn"),
    "e5m2": ("float8_e5m2", "float8_e5m2"),
    "e4m3-ieee": ("float8_e4m3", None),
    "e3m4-ieee": ("float8_e3m4", None),
    "e2m3": ("float6_e2m3fn", None),
    "e3m2": ("float6_e3m2fn", None),
    "e2m1": ("float4_e2m1fn", None),
}


def all_codes(form):
    return np.arange(2**form.bits).astype(form.code_dtype)


def same(got, wanted):
    """Equal bit for bit, NaN for NaN (payloads are nobody's promise)."""
    with np.errstate(invalid="ignore"):  # signalling NaN among the codes
        got, wanted = np.asarray(got).astype(np.float64), np.asarray(wanted).astype(np.float64)
    nan = np.isnan(wanted)
    assert np.array_equal(np.isnan(got), nan)
    assert np.array_equal(got[~nan], wanted[~nan])
    assert np.array_equal(np.signbit(got[~nan]), np.signbit(wanted[~nan]))


def random_and_ties(form, dtype, count=1_000_000):
    """Values over the whole range and beyond, exact midpoints, and neighbours of both."""
    rng = np.random.default_rng(0)
    low, high = math.log2(form.smallest) - 4, math.log2(form.max) + 3
    x = np.exp2(rng.uniform(low, min(high, 127.9), count)) * rng.choice([-1, 1], count)
    finite = form.value_of(all_codes(form))
    finite = np.unique(finite[np.isfinite(finite)])
    ties = (finite[1:] + finite[:-1]) / 2
    last = finite[-1] + (finite[-1] - finite[-2]) / 2  # between the largest and what would follow
    ties = np.concatenate([ties, finite, [last, -last, 0.0, -0.0, np.inf, -np.inf]])
    with np.errstate(over="ignore"):
        x, ties = x.astype(dtype), ties.astype(dtype)
        return np.concatenate(
            [x, ties, np.nextafter(ties, dtype(np.inf)), np.nextafter(ties, dtype(-np.inf))]
        )


def peer(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return np.dtype(getattr(ml_dtypes, name, None) or name)


@pytest.mark.parametrize("name", PEERS)
def test_codes_decode_as_ml_dtypes(name):
    form = format_named(name)
    dtype = peer(PEERS[name][0])
    with np.errstate(invalid="ignore"):
        wanted = all_codes(form).view(dtype).astype(np.float64)
    same(form.value_of(all_codes(form)), wanted)
    same(form.table, wanted)
    same(form.decode(all_codes(form)), wanted)
    assert form.decode(all_codes(form), "float64").dtype == np.float64


@pytest.mark.filterwarnings("ignore:.*cast")
@pytest.mark.parametrize("name", PEERS)
def test_rounding_is_that_of_ml_dtypes(name):
    form = format_named(name)
    dtype = peer(PEERS[name][0])
    x = random_and_ties(form, np.float32)
    with np.errstate(over="ignore"):
        wanted = x.astype(dtype)
    got = form.encode(x)
    assert got.dtype == form.code_dtype
    exact = ~np.isnan(wanted.astype(np.float32))
    assert np.array_equal(got[exact], wanted.view(form.code_dtype)[exact])
    same(form.decode(got), wanted.astype(np.float32))
    same(form.round(x), wanted.astype(np.float32))


@pytest.mark.parametrize("name", [n for n, p in PEERS.items() if p[1]])
def test_rounding_is_that_of_torch(name):
    torch = pytest.importorskip("torch")
    form = format_named(name)
    dtype = getattr(torch, PEERS[name][1])
    signed = torch.uint8 if form.bits == 8 else torch.int16
    codes = torch.from_numpy(all_codes(form).view(np.uint8 if form.bits == 8 else np.int16))
    same(form.table, codes.view(dtype).to(torch.float32).numpy())
    x = random_and_ties(form, np.float32)
    wanted = torch.from_numpy(x).to(dtype)
    exact = ~torch.isnan(wanted.to(torch.float32)).numpy()
    infinity = torch.tensor(np.inf).to(dtype).to(torch.float32)
    saturates = bool(torch.isfinite(infinity))  # e4m3fn in newer torch
    theirs = wanted.view(signed).numpy().view(form.code_dtype)
    assert np.array_equal(form.encode(x, saturates)[exact], theirs[exact])
    same(form.round(x, saturates), wanted.to(torch.float32).numpy())


@pytest.mark.parametrize("form", [FloatFormat(4, 3), FloatFormat(5, 10), FloatFormat(2, 1)])
def test_doubles_round_once(form):
    """Just above a tie: by way of float32 this would be the tie, and go to even."""
    values = form.value_of(all_codes(form))
    values = np.unique(values[np.isfinite(values) & (values >= 0)])
    ties = (values[1:] + values[:-1]) / 2
    above, below = np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)
    assert np.array_equal(form.round(above), values[1:])
    assert np.array_equal(form.round(below), values[:-1])
    assert np.array_equal(form.decode(form.encode(above), "float64"), values[1:])


@given(
    st.builds(
        lambda e, m, s: FloatFormat(e + (s == "ieee"), min(m, 14 - e), s),
        st.integers(2, 7),
        st.integers(1, 13),
        st.sampled_from(["ieee", "fn", "finite"]),
    ),
    hnp.arrays(
        np.float64, st.integers(0, 30), elements=st.floats(allow_nan=False, allow_infinity=False)
    ),
)
def test_rounding_is_to_the_nearest_of_all_values(form, x):
    values = form.value_of(all_codes(form))
    values = np.unique(values[np.isfinite(values)])
    got = form.round(x, saturate=True)
    near = np.clip(x, values[0], values[-1])
    at = np.clip(np.searchsorted(values, near), 1, values.size - 1)
    best = np.minimum(np.abs(near - values[at - 1]), np.abs(near - values[at]))
    assert np.array_equal(np.abs(got - near), best)
    same(form.decode(form.encode(x, saturate=True), "float64"), got)
    same(form.round(got), got)  # idempotent


@given(
    st.integers(2, 52),
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(allow_nan=False)),
)
def test_the_model_without_exponent_bounds(t, x):
    form = FloatFormat(None, t - 1)
    with np.errstate(over="ignore"):
        got = form.round(x)
        m, e = np.frexp(np.where(np.isfinite(x), x, 0.0))
        wanted = np.ldexp(np.rint(np.ldexp(m, t)), e - t)
    same(got, np.where(np.isfinite(x), wanted, x))
    assert form.significand == t
    assert form.max == math.inf
    with pytest.raises(ValueError, match="no codes: only round"):
        form.encode(x)


def test_complex_numbers_are_rounded_by_their_parts():
    form = FloatFormat(4, 3)
    z = np.array([1.06 + 3.2j, -0.0 - 1.19j], np.complex64)
    got = form.round(z)
    assert got.dtype == np.complex64
    same(got.real, form.round(z.real))
    same(got.imag, form.round(z.imag))
    with pytest.raises(ValueError, match="real numbers of up to 64 bits, got complex64"):
        form.encode(z)


def test_beyond_the_largest_number():
    ieee, fn, finite = FloatFormat(5, 2), FloatFormat(4, 3), FloatFormat(2, 1)
    x = np.array([1e9, -1e9, np.inf])
    same(ieee.round(x), [np.inf, -np.inf, np.inf])
    same(np.abs(fn.round(x)), [np.nan] * 3)
    same(finite.round(x), [6, -6, 6])
    for form in (ieee, fn, finite):
        same(form.round(x, saturate=True), [form.max, -form.max, form.max])
        same(form.decode(form.encode(x, saturate=True)), [form.max, -form.max, form.max])
    for coded in (finite.encode, finite.round):
        with pytest.raises(ValueError, match="e2m1 has no NaN: 1 of 2 values are"):
            coded(np.array([np.nan, 1.0]))


@given(
    st.integers(2, 16),
    hnp.arrays(np.float64, (3, 5), elements=st.floats(-1e6, 1e6)),
)
def test_scaled_integers(bits, x):
    form = ScaledInteger(bits)
    scale = form.scale(np.abs(x).max(axis=1, keepdims=True))
    codes = form.encode(x, scale)
    assert codes.max() < 2**bits
    got = form.decode(codes, scale, "float64")
    same(got, form.round(x, scale))
    # half a unit, and where the scale was rounded down to float32 the clipping of the largest
    assert np.all(np.abs(got - x) <= scale * (0.5 + form.max * 2.0**-23))
    assert np.array_equal(form.encode(got, scale), codes)
    assert np.array_equal(form.value_of(np.arange(2**bits)), form.table)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_libraries_keep_their_arrays(library):
    xp = pytest.importorskip(library)
    form = FloatFormat(4, 3)
    x = xp.asarray(np.linspace(-3, 3, 7, dtype=np.float32))
    codes = form.encode(x)
    assert type(codes) is type(x)
    assert type(form.decode(codes)) is type(x)
    same(np.asarray(form.decode(codes)), form.round(np.linspace(-3, 3, 7)))
    same(np.asarray(form.round(x)), form.round(np.linspace(-3, 3, 7)))


def test_names():
    for name, form in NAMED.items():
        assert format_named(name) is form
        assert format_named(form.name) == form
        assert pickle.loads(pickle.dumps(form)) == form
    assert format_named("e4m3-ieee").max == 240
    assert repr(FloatFormat(4, 3, "ieee")) == "e4m3-ieee"
    with pytest.raises(ValueError, match=r"unknown format 'e4': one of fp16, bf16, e4m3"):
        format_named("e4")


@pytest.mark.parametrize("widths", [(0, 3), (9, 3), (4, 0), (8, 8), (1, 8)])
def test_widths_out_of_range(widths):
    with pytest.raises(ValueError, match="exponent bits, a mantissa bit or more, and 16 bits"):
        FloatFormat(*widths)
    with pytest.raises(ValueError, match="2 to 16 bits, got 17"):
        ScaledInteger(17)
    with pytest.raises(ValueError, match="specials is one of ieee, fn, finite"):
        FloatFormat(4, 3, "none")
    with pytest.raises(ValueError, match="0 to 51 mantissa bits"):
        FloatFormat(None, 60)


def test_round_to_does_not_write_into_its_input():
    x = np.array([1.1, np.nan, 5e-324])
    before = x.copy()
    round_to(x, 5)
    assert np.array_equal(x, before, equal_nan=True)
