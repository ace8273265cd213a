"""The chain kernel: every path against the reference, within the theorem of DESIGN section 6."""

import gc
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from theory import assert_within

import lazyops as lo
from lazyops import kernels
from lazyops.kernels import cpu
from lazyops.kernels.packing import TABLE
from lazyops.operators.chain import plans_of

DTYPES = ["float32", "float64", "complex64", "complex128"]
needs_cpu = pytest.mark.skipif(
    cpu.missing() is not None or kernels.FORCED == "reference",
    reason="the compiled kernel does not run here",
)
pytestmark = needs_cpu
quick = settings(max_examples=80, deadline=None, derandomize=True)


def normal(shape, dtype, seed=0):
    rng = np.random.default_rng([seed, *shape])
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def chain(patterns, dtype, seed=0):
    factors = [
        lo.KroneckerSparse(normal(tuple(p), dtype, seed + i)) for i, p in enumerate(patterns)
    ]
    return lo.Product(tuple(factors))


def repeating(values, outer=True, inner=False):
    """Values that are the same for all outer, for all inner indices."""
    least = values[slice(1 if outer else None), :, :, slice(1 if inner else None)]
    return np.broadcast_to(least, values.shape).copy()


def one_by_one(A, x):
    """Every factor by itself, in the widest dtype."""
    for factor in reversed(A.factors):
        x = factor._matmat(x)
    return x


LAYOUTS = {
    "C": lambda x: x,
    "F": np.asfortranarray,
    "strided": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    "negative": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
}

sizes = st.sampled_from([1, 2, 2, 2, 3, 4, 5, 9])
cores = st.lists(st.tuples(sizes, sizes), min_size=1, max_size=5)


@st.composite
def products(draw):
    """Chains with everything that may stand between their factors."""
    found = draw(cores)
    ranks = draw(
        st.lists(st.sampled_from([1, 1, 2]), min_size=len(found) - 1, max_size=len(found) - 1)
    )
    patterns = list(lo.Chain.from_cores(found, ranks))
    if draw(st.booleans()):  # one that does not chain
        m = patterns[0].shape[0]
        patterns.insert(0, lo.Pattern(1, 2, m, 1))
    types = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=2))
    alike = draw(st.sampled_from([repeating, repeating, lambda values, outer, inner: values]))
    outer, inner = draw(st.sampled_from([(True, False), (True, True), (False, True)]))
    factors = []
    for i, p in enumerate(patterns):
        turned = draw(st.booleans())
        values = normal(tuple(p.T if turned else p), types[i % len(types)], i)
        values = alike(values, outer, inner and draw(st.booleans()))
        factor = lo.KroneckerSparse(values)
        factor = factor.T if turned else factor
        factors += draw(st.sampled_from([[], [], ["D"], ["P"], ["S"], ["D", "P"], ["I", "P", "D"]]))
        factors.append(factor)
    factors += draw(st.sampled_from([[], ["P"], ["R"], ["D"], ["S", "P"]]))
    return lo.Product(tuple(named(factors, types[0])))


def named(factors, dtype):
    n = None
    result = []
    for i, f in enumerate(reversed(factors)):
        if n is None:
            n = next(g for g in reversed(factors) if not isinstance(g, str)).shape[1]
        rng = np.random.default_rng([i, n])
        made = {
            "D": lambda n=n, i=i: lo.Diagonal(normal((n,), dtype, i)),
            "P": lambda n=n, rng=rng: lo.Permutation(rng.permutation(n)),
            "R": lambda n=n: lo.Permutation(np.arange(n)[::-1].copy()),
            "S": lambda n=n: lo.Scalar(n, 0.75),
            "I": lambda n=n: lo.Identity(n),
        }
        f = made[f]() if isinstance(f, str) else f
        result.append(f)
        n = f.shape[0]
    return result[::-1]


@quick
@given(
    products(), st.sampled_from([0, 1, 2, 3, 4, 8, 9, 17, 33]), st.sampled_from(DTYPES),
    st.sampled_from(list(LAYOUTS)), st.sampled_from(["", "H", "T", "conj"]),
)  # fmt: skip
def test_any_chain_is_within_the_theorem(A, k, dtype, layout, turn):
    B = {"": A, "H": A.H, "T": A.T, "conj": A.conj()}[turn]
    x = LAYOUTS[layout](normal((B.shape[1], k), dtype))
    before = x.copy()
    y = B @ x
    wide = x.astype("complex128" if x.dtype.kind == "c" else "float64")
    z = one_by_one(B, wide)
    assert y.dtype.name == B.result_dtype(x.dtype)
    assert_within(y, z, B, x)
    np.testing.assert_array_equal(x, before)
    assert y.flags.writeable
    assert not np.may_share_memory(y, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [64, 250, 256, 384])
@pytest.mark.parametrize("k", [1, 5, 36])
def test_chains_of_many_runs(n, dtype, k):
    A = chain(lo.Chain.mixed_radix(n), dtype) @ lo.Permutation(
        np.random.default_rng(0).permutation(n)
    )
    x = normal((n, k), dtype)
    wide = "complex128" if np.dtype(dtype).kind == "c" else "float64"
    for B in (A, A.H, A.T, A.conj()):
        for layout in ("C", "F"):
            assert_within(B @ LAYOUTS[layout](x), one_by_one(B, x.astype(wide)), B, x)


def test_large_blocks_and_vectors():
    A = chain(lo.Chain.monarch(288, 512, 12, 16), "float32")
    for k in (1, 7, 64, 70):
        for B in (A, A.H):
            x = normal((B.shape[1], k), "float32")
            assert_within(B @ x, one_by_one(B, x.astype("float64")), B, x)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("k", [1, 4, 64])
def test_threads_change_no_bit(dtype, k):
    A = chain(lo.Chain.square_dyadic(1 << (16 if k == 1 else 13)), dtype)
    x = normal((A.shape[1], k), dtype)
    try:
        lo.set_num_threads(1)
        one = A @ x
        for n in (2, 3, 7):
            lo.set_num_threads(n)
            assert kernels.num_threads() == n
            np.testing.assert_array_equal(A @ x, one)
    finally:
        lo.set_num_threads(None)


def test_the_number_of_threads_is_checked():
    with pytest.raises(ValueError, match="the number of threads is from 1 to 4096, got 0"):
        lo.set_num_threads(0)


def test_one_packed_copy_serves_all():
    A = chain(lo.Chain.square_dyadic(256), "complex64")
    x = normal((256, 1), "complex64")
    held = A.nbytes
    A @ x
    copies = {id(p) for plan in plans_of(A) for p in plan.packed}
    packed = sum(p.nbytes for plan in plans_of(A) for p in plan.packed)
    assert packed == A.values_nbytes
    assert A.nbytes > held + packed
    P = lo.Permutation(np.random.default_rng(0).permutation(256))
    for B in (
        A.H,
        A.T,
        A.conj(),
        2 * A,
        P @ A,
        A @ P,
        lo.Diagonal(normal((256,), "complex64")) @ A,
    ):
        B @ x
        assert {id(p) for plan in plans_of(B) for p in plan.packed} == copies
    assert lo.Sum((A, A.H)).nbytes < 2 * A.nbytes


def test_packed_copies_go_with_their_operators():
    A = chain(lo.Chain.square_dyadic(64), "float64", 99)
    A @ np.ones(64)
    before = len(TABLE)
    del A
    import gc

    gc.collect()
    assert len(TABLE) < before


def test_many_python_threads():
    A = chain(lo.Chain.square_dyadic(4096), "float32")
    xs = [normal((4096, k), "float32", k) for k in (1, 2, 16, 33)] * 6
    want = [A @ x for x in xs]
    fresh = lo.Product(A.factors)
    with ThreadPoolExecutor(8) as pool:
        for got, y in zip(pool.map(lambda x: fresh @ x, xs), want, strict=True):
            np.testing.assert_array_equal(got, y)


def in_a_process(code, **environment):
    return subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


PRODUCT = """
import os, numpy as np, lazyops as lo
rng = np.random.default_rng(0)
chain = lo.Chain.square_dyadic(4096)
A = lo.Product(tuple(lo.KroneckerSparse(rng.standard_normal(tuple(p))) for p in chain))
x = rng.standard_normal((4096, 16))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes_the_same():
    code = (
        PRODUCT
        + """
lo.set_num_threads(2)
y = A @ x
pid = os.fork()
if pid == 0:
    from lazyops.kernels import num_threads
    os._exit(0 if num_threads() == 1 and (A @ x == y).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    done = in_a_process(code)
    assert done.stdout == "0\n", done.stderr


def test_the_environment_sets_threads_kernel_and_packing():
    code = PRODUCT + "from lazyops.kernels import num_threads\nprint(num_threads())\n"
    assert in_a_process(code, LAZYOPS_NUM_THREADS="3").stdout == "3\n"
    code = (
        PRODUCT
        + "A @ x\nprint(len(lo.explain(A, like=x).splitlines()), A.nbytes == A.values_nbytes)"
    )
    for name, value in (("LAZYOPS_KERNEL", "reference"), ("LAZYOPS_PACK", "0")):
        done = in_a_process(code, **{name: value})
        assert done.stdout == "2 True\n", done.stderr


def test_explain_says_what_runs():
    A = chain(lo.Chain.square_dyadic(64), "float32") @ lo.Permutation.bit_reversal(64)
    told = lo.explain(A, like=np.ones(64, "float32"))
    assert re.search(r"chain kernel, \d runs, lanes are blocks", told)
    assert re.search(r"run of \d factors: \d+ blocks of (\d+)x\1, tile of \1 rows", told)
    assert "permutation folded (in)" in told
    assert "it computes in float32" in lo.explain(A, like=np.ones(64, "longdouble"))


def test_extreme_scalars_and_empty_arrays_take_the_other_path():
    A = chain(lo.Chain.square_dyadic(8), "float64")
    x = np.ones(8)
    np.testing.assert_allclose((10**400 * 0 + 2) * A @ x, 2 * (A @ x))
    assert (A @ np.ones((8, 0))).shape == (8, 0)
    assert (A.astype("float32") @ np.ones(8, "int32")).dtype == "float64"


def test_packing_can_be_refused():
    A = chain(lo.Chain.square_dyadic(64), "float32")
    B = lo.Product(A.factors, pack=False)
    x = normal((64, 1), "float32")
    for C in (B, B.H, B.T, 2 * B, B @ B, lo.simplify(lo.Identity(64) @ B), lo.Product((B, A))):
        assert not C.pack
        C @ x
        assert not plans_of(C)
    assert (A @ A).pack
    assert "pack=False refuses packed copies" in lo.explain(B, like=x)
    assert_within(B @ x, A.astype("float64") @ x.astype("float64"), A, x)


@pytest.mark.parametrize("k", [1, 24])
def test_memory_of_large_results_is_used_again_and_never_shared(k):
    n = (16 << 20) // (8 * k) // 64 * 64
    A = lo.Product((lo.KroneckerSparse(np.full((n // 64, 64, 64, 1), 1 / 64)), lo.Scalar(n, 2.0)))
    x = normal((n, k), "float64")
    y, z = A @ x, A @ x
    assert not np.may_share_memory(y, z)
    np.testing.assert_array_equal(y, z)
    kept = y[::2]
    want = kept.copy()
    del y
    w = A @ (2 * x)  # must not write where `kept` looks
    np.testing.assert_array_equal(kept, want)
    assert w.flags.writeable


def test_memory_comes_back_and_is_bounded():
    from lazyops.kernels import memory

    memory.free.clear()
    y = memory.result((1 << 20, 2), np.dtype("float64"), False)
    assert y.ctypes.data % 64 == 0
    address = y.ctypes.data
    del y
    assert len(memory.free) == 1
    z = memory.result((2, 1 << 20), np.dtype("float64"), True)
    assert z.ctypes.data == address
    assert z.flags.f_contiguous
    del z
    held = memory.LIMIT
    try:
        memory.LIMIT = 0
        memory.free.clear()
        memory.result((1 << 20, 2), np.dtype("float64"), False)
        assert not memory.free
    finally:
        memory.LIMIT = held


def test_expressions_allocate_a_bounded_number_of_arrays():
    """A sum holds its own and that of one term; a product what goes in and what comes out."""
    n, k = 1 << 10, 64
    A = chain(lo.Chain.monarch(n, n), "float64")
    terms = sum((2.0 * A.H if i % 2 else A.conj() for i in range(50)), start=A)
    x = normal((n, k), "float64")
    for B, arrays in ((terms, 2), (terms @ terms.T + terms, 3)):
        want = B @ x
        gc.collect()
        tracemalloc.start()
        got = B @ x
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < (arrays + 0.5) * x.nbytes
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "k"), [(128, 9), (128, 130), (1 << 13, 40), (1 << 14, 72)])
def test_wide_tiles_in_every_order_exactly(n, k, dtype):
    """Values are units and x is small whole numbers: every sum is exact, whatever the order."""
    rng = np.random.default_rng(n + k)
    units = [1, -1, 1j, -1j] if np.dtype(dtype).kind == "c" else [1, -1]
    factors = [
        lo.KroneckerSparse(rng.choice(units, tuple(p)).astype(dtype))
        for p in lo.Chain.square_dyadic(n)
    ]
    C, P = lo.Product(tuple(factors)), lo.Permutation(rng.permutation(n))
    x = rng.integers(-3, 4, (n, k)).astype(dtype)
    products = (C, C @ lo.Permutation.bit_reversal(n), P @ C @ P)
    for A in products if n < 1000 else products[1:2]:
        for B in (A, A.H, A.conj()):
            z = one_by_one(B, x.astype("complex128" if x.dtype.kind == "c" else "float64"))
            for layout in LAYOUTS.values():
                np.testing.assert_array_equal(B @ layout(x), z)


def test_a_folded_reversal_moves_whole_vectors():
    A = chain(lo.Chain.square_dyadic(1 << 12), "complex64") @ lo.Permutation.bit_reversal(1 << 12)
    x = normal((1 << 12, 1), "complex64")
    for B in (A, A.H):
        B @ x
        (step,) = plans_of(B)[0].steps
        assert all(s.mode for s in step.program.sides)


def test_whether_to_pack_survives_copies():
    B = lo.Product(chain(lo.Chain.square_dyadic(8), "float32").factors, pack=False)
    for C in (pickle.loads(pickle.dumps(B)), B.astype("float64"), B.to(like=np.ones(1)), B.conj()):
        assert not C.pack


@pytest.mark.parametrize(
    ("blocks", "numbers", "shape", "at", "run", "every"),
    [
        ([0, 8], [0, 1], (1, 2, 1, 4), 0, 1, 1),  # reads beyond the values
        ([-1, 0], [0, 1], (1, 2, 1, 4), 0, 1, 1),  # before them
        ([0, 2], [0, 1], (1, 2, 1, 4), 1, 1, 1),  # writes beyond the tile
        ([0, 2], [0, 1], (1, 2, 1, 4), -1, 1, 1),
        ([0, 2], [0, 1], (2, 2, 1, 4), 0, 1, 1),  # another number of tiles
        ([0, 2], [0, 1], (1, 2, 2, 4), 0, 1, 1),  # parts of complex numbers
        ([0, 2], [0, 1], (1, 2, 1, 0), 0, 1, 1),  # no lanes
        ([0, 2], [0, 1], (1, 2, 1, 4), 0, 0, 1),
    ],
)
def test_packing_touches_no_other_memory(blocks, numbers, shape, at, run, every):
    values, out = np.arange(8.0), np.zeros(shape)
    tables = np.array(blocks, np.int64), np.array(numbers, np.int64)
    with pytest.raises(ValueError, match="cannot pack float64"):
        cpu.pack(values, *tables, out, at, run, every, False)
    assert not out.any()


def test_packing_puts_numbers_where_it_says():
    values, out = np.arange(8) + 1j, np.full((2, 4, 2, 2), np.nan)
    cpu.pack(values, np.array([0, 2, 4]), np.array([1, 0]), out, 1, 1, 2, True)
    want = np.array([[[1, 3], [0, 2]], [[5, 0], [4, 0]]])  # tile, number, lane
    np.testing.assert_array_equal(out[:, [1, 3], 0], want)
    np.testing.assert_array_equal(out[:, [1, 3], 1], [[[-1, -1]] * 2, [[-1, 0]] * 2])
    assert np.isnan(out[:, [0, 2]]).all()


# -- values that repeat ---------------------------------------------------------------------


def packed_bytes(A):
    return sum(copy.nbytes for plan in plans_of(A) for copy in plan.packed)


@pytest.mark.parametrize("k", [1, 40])
@pytest.mark.parametrize(("outer", "inner"), [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize("n", [2**9, 3**6])
def test_what_repeats_is_packed_once(n, outer, inner, k):
    patterns = lo.Chain.mixed_radix(n)
    values = [normal(tuple(p), "float32", i) for i, p in enumerate(patterns)]
    alike = [repeating(v, outer, inner) for v in values]
    A, B = (lo.Product(tuple(map(lo.KroneckerSparse, v))) for v in (alike, values))
    x = normal((n, k), "float32")
    for C in (A, A.H, B):
        for layout in ("C", "F"):
            assert_within(C @ LAYOUTS[layout](x), one_by_one(C, x.astype("float64")), C, x)
    if outer:
        assert packed_bytes(A) < packed_bytes(B) / 2


@pytest.mark.parametrize("at", [(0, 0, 0, 0), (40, 1, 0, 17), (63, 1, 1, 31)])
def test_values_that_nearly_repeat_do_not(at):
    values = repeating(normal((64, 2, 2, 32), "float64"), True, True)
    other = lo.KroneckerSparse(repeating(normal((32, 2, 2, 64), "float64")))
    x = normal((4096, 1), "float64")
    values[at] = 3.0
    A = other @ lo.KroneckerSparse(values)
    assert_within(A @ x, one_by_one(A, x), A, x)
    values[at] = np.nan  # equal to nothing
    assert np.isnan(other @ lo.KroneckerSparse(values) @ x).sum() == 2
