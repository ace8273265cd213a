"""Each kernel against higher precision, with the bound of the theorem and no other tolerance."""

import json
import os
import subprocess
import sys

import array_api_strict as strict
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lazyops.kernels import (
    KERNELS,
    KernelUnavailable,
    cpu,
    csr_buckets,
    csr_matmat,
    ks_dense,
    ks_fuse,
    ks_matmat,
    reference,
    set_num_threads,
    status,
)
from lazyops.pattern import Pattern

DTYPES = ["float32", "float64", "complex64", "complex128"]
WIDER = {"float32": "float64", "float64": "longdouble", "complex64": "complex128",
         "complex128": "clongdouble"}  # fmt: skip
NAMES = [k.name for k in KERNELS if k.name != "cuda"]  # those that take NumPy arrays
needs_cpu = pytest.mark.skipif(cpu.missing() is not None, reason=f"no cpu kernel: {cpu.missing()}")
kernels = pytest.mark.parametrize(
    "kernel", [pytest.param(n, marks=needs_cpu if n == "cpu" else ()) for n in NAMES]
)
quick = settings(max_examples=40, deadline=None, derandomize=True)


def normal(shape, dtype, seed=0):
    rng = np.random.default_rng([seed, *shape])
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def dense(values):
    """The matrix of a factor, by the definition."""
    a, b, c, d = values.shape
    K = np.zeros((a, b, d, a, c, d), values.dtype)
    for i, j, k, l in np.ndindex(a, b, c, d):
        K[i, j, l, i, k, l] = values[i, j, k, l]
    return K.reshape(a * b * d, a * c * d)


def product(values, x, transpose=False, conj=False):
    """K x, K^T x, conj(K) x or K^H x by einsum, in the dtype of the arrays."""
    a, b, c, d = values.shape
    values = values.conj() if conj else values
    if transpose:
        values, b, c = values.transpose(0, 2, 1, 3), c, b
    y = np.einsum("abcd,acdk->abdk", values, x.reshape(a, c, d, x.shape[1]))
    return y.reshape(a * b * d, x.shape[1])


def gamma(n, dtype):
    u = float(np.finfo(dtype).eps) / 2
    return n * u / (1 - n * u)


def relative_bound(terms, dtype):
    """Bound of the error of a sum of `terms` products, in any order, with or without FMA.

    In units of the same sum of absolute values. Real: a term is rounded once as a product and at
    most terms - 1 times in a sum. Complex: terms + 1 roundings of each real product, and sqrt(2)
    for the two parts together. The oracle in the wider dtype adds its own.
    """
    both = (dtype, WIDER[dtype])
    if np.dtype(dtype).kind == "c":
        return sum(np.sqrt(2) * gamma(terms + 1, t) for t in both)
    return sum(gamma(terms, t) for t in both)


def assert_within_theorem(y, values, x, transpose=False, conj=False):
    dtype = values.dtype.name
    wide = WIDER[dtype]
    if not np.finfo(wide).eps < np.finfo(dtype).eps:
        pytest.skip(f"this machine has no dtype wider than {dtype}")
    oracle = product(values.astype(wide), x.astype(wide), transpose, conj)
    size = product(abs(values).astype("longdouble"), abs(x).astype("longdouble"), transpose)
    assert y.dtype == values.dtype
    assert y.shape == oracle.shape
    terms = values.shape[1 if transpose else 2]
    assert np.all(abs(y - oracle) <= relative_bound(terms, dtype) * size)


def columns_of(pattern, transpose):
    return Pattern(*pattern).shape[0 if transpose else 1]


small = st.sampled_from([1, 2, 3, 4, 5, 7, 8])
patterns = st.one_of(
    st.tuples(st.sampled_from([1, 2, 3]), small, st.sampled_from([1, 2, 3, 4, 9, 17, 33]), small),
    st.tuples(st.just(1), small, small, st.sampled_from([15, 31, 48, 129])),
)
flags = (st.booleans(), st.booleans())  # transpose, conj


@kernels
@quick
@given(patterns, st.sampled_from([0, 1, 3, 17]), st.sampled_from(DTYPES), *flags)
@example((1, 3, 2, 1100), 1, "complex128", True, True)  # longer than a tile
@example((1, 2, 5, 2050), 1, "float32", False, False)
@example((1, 5, 3, 1), 70, "complex64", False, True)  # every width of a panel
def test_error_is_within_the_theorem(kernel, pattern, k, dtype, transpose, conj):
    values = normal(pattern, dtype)
    x = normal((columns_of(pattern, transpose), k), dtype, seed=1)
    y = ks_matmat(values, x, transpose, conj, kernel=kernel)
    assert_within_theorem(y, values, x, transpose, conj)


@needs_cpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_built_level_that_runs_here(dtype):
    built = cpu.built()
    has = cpu.cpu_level(built)
    runs = [level for level in built if cpu.runs(level, has)]
    assert cpu.library().level == runs[0]
    for level in runs:
        run = cpu.load(level, str(built[level])).ks_matmat
        for pattern in [(2, 3, 5, 1), (2, 5, 9, 2), (1, 9, 33, 3), (1, 2, 3, 100), (2, 17, 40, 1)]:
            for k, transpose in [(1, False), (1, True), (21, False), (21, True)]:
                values = normal(pattern, dtype)
                x = normal((columns_of(pattern, transpose), k), dtype)
                y = cpu.run(run, values, x, transpose, True)
                assert_within_theorem(y, values, x, transpose, True)


@pytest.mark.parametrize("pattern", [(1, 1, 1, 1), (2, 3, 4, 5), (3, 1, 4, 2)])
def test_dense_is_the_definition(pattern):
    values = normal(pattern, "complex128")
    np.testing.assert_array_equal(ks_dense(values), dense(values))
    x = normal((columns_of(pattern, False), 3), "complex128")
    np.testing.assert_allclose(product(values, x), dense(values) @ x)
    np.testing.assert_allclose(
        product(values, dense(values) @ x, True, True), dense(values).conj().T @ dense(values) @ x
    )


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "C": lambda x: x,
    "F": np.asfortranarray,
    "strided": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    "negative": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": read_only,
}


@kernels
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("k", [1, 5])
def test_any_layout_gives_the_same_fresh_array(kernel, layout, k):
    values, x = normal((2, 3, 4, 5), "complex64"), normal((40, k), "complex64")
    other = LAYOUTS[layout](x)
    y = ks_matmat(values, other, kernel=kernel)
    np.testing.assert_array_equal(other, x)
    np.testing.assert_array_equal(y, ks_matmat(values, x, kernel=kernel))
    assert y.flags.writeable
    assert not np.may_share_memory(y, other)
    turned = read_only(np.asfortranarray(values))
    np.testing.assert_allclose(ks_matmat(turned, x, kernel=kernel), y, rtol=1e-5)


@kernels
def test_a_product_is_the_same_bit_by_bit(kernel):
    values, x = normal((2, 9, 33, 3), "float32"), normal((198, 1), "float32")
    y = ks_matmat(values, x, kernel=kernel)
    moved = np.empty(x.size + 1, "float32")[1:].reshape(x.shape)  # another alignment
    moved[...] = x
    for again in (x, moved, x.copy()):
        np.testing.assert_array_equal(ks_matmat(values, again, kernel=kernel), y)


@kernels
def test_nothing_to_add_gives_zeros(kernel):
    for values, n in [(np.ones((2, 3, 0, 4)), 0), (np.ones((0, 3, 2, 4)), 0)]:
        y = ks_matmat(values, np.ones((n, 5)), kernel=kernel)
        np.testing.assert_array_equal(y, np.zeros((values.shape[0] * 12, 5)))


@kernels
def test_infinities_and_nans_stay_in_their_block(kernel):
    values, x = np.ones((2, 3, 4, 2)), np.ones((16, 1))
    x[0] = np.inf
    x[3] = np.nan
    y = ks_matmat(values, x, kernel=kernel).reshape(2, 3, 2)
    assert np.all(y[0, :, 0] == np.inf)
    assert np.all(np.isnan(y[0, :, 1]))
    assert np.all(y[1] == 4)


@pytest.mark.parametrize(
    ("values", "x", "expected"),
    [("float32", "complex64", "complex64"), ("float64", "float32", "float64"),
     ("float16", "float16", "float16"), ("longdouble", "float64", "longdouble"),
     ("int8", "float32", "float32"), (">f8", ">f8", "float64")],
)  # fmt: skip
def test_other_dtypes_join_and_run_on_the_reference(values, x, expected):
    v, w = np.ones((1, 2, 3, 4), values), np.ones((12, 1), x)
    y = ks_matmat(v, w)
    assert y.dtype == expected
    np.testing.assert_array_equal(y, np.full((8, 1), 3))


# -- other libraries: the reference, and no other -------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("transpose", "conj"), [(False, False), (True, False), (True, True)])
def test_array_api_strict(dtype, transpose, conj):
    values = normal((2, 3, 4, 5), dtype)
    x = normal((30 if transpose else 40, 3), dtype)
    y = ks_matmat(strict.asarray(values), strict.asarray(x), transpose, conj)
    assert type(y) is type(strict.asarray(x))
    assert_within_theorem(np.asarray(y), values, x, transpose, conj)
    np.testing.assert_array_equal(np.asarray(ks_dense(strict.asarray(values))), dense(values))


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_and_its_gradient(dtype):
    torch = pytest.importorskip("torch")
    values, x = normal((2, 3, 4, 5), dtype), normal((30, 3), dtype)
    v = torch.asarray(values).requires_grad_()
    y = ks_matmat(v, torch.asarray(x), transpose=True, conj=True)
    assert_within_theorem(y.detach().resolve_conj().numpy(), values, x, True, True)
    double = [torch.asarray(t, dtype=torch.complex128 if np.dtype(dtype).kind == "c" else
                            torch.float64).requires_grad_() for t in (values, x)]  # fmt: skip
    assert torch.autograd.gradcheck(lambda v, x: ks_matmat(v, x, True, True), double)


def test_torch_low_bits_join():
    torch = pytest.importorskip("torch")
    y = ks_matmat(torch.ones((1, 2, 3, 4), dtype=torch.bfloat16), torch.ones((12, 2)))
    assert y.dtype == torch.float32
    assert torch.all(y == 3)


# -- fusion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [((1, 2, 2, 4), (2, 2, 2, 2)), ((1, 3, 4, 6), (2, 4, 5, 3)), ((2, 3, 6, 4), (6, 4, 2, 2))],
)
def test_fuse_is_the_product(left, right):
    # small integers: every sum is exact, so the two must be equal
    rng = np.random.default_rng(0)
    left, right = (rng.integers(-9, 9, p).astype(t) for p, t in ((left, "f4"), (right, "f8")))
    fused = ks_fuse(left, right)
    assert fused.shape == Pattern(*left.shape).fused_with(Pattern(*right.shape))
    assert fused.dtype == "float64"
    np.testing.assert_array_equal(dense(fused), dense(left) @ dense(right))
    again = ks_fuse(strict.asarray(left), strict.asarray(right))
    np.testing.assert_array_equal(np.asarray(again), fused)


# -- sparse rows ----------------------------------------------------------------------------------


def random_csr(m, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    density = rng.choice([0, 0.1, 0.5, 1], (m, 1))  # rows of very different lengths, some empty
    return sp.csr_array(np.where(rng.random((m, n)) < density, normal((m, n), dtype, seed), 0))


@quick
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([0, 1, 3]),
       st.sampled_from(DTYPES), st.integers(0, 99), *flags)  # fmt: skip
def test_csr_matches_scipy(m, n, k, dtype, seed, transpose, conj):
    S = random_csr(m, n, dtype, seed)
    x = normal((m if transpose else n, k), dtype, seed)
    buckets = csr_buckets(S.indices, S.indptr, n, transpose)
    dense = S.toarray().T if transpose else S.toarray()
    dense = dense.conj() if conj else dense
    y = csr_matmat(S.data, x, buckets, conj)
    wide = WIDER[dtype]
    terms = (dense != 0).sum(1).max(initial=1)
    size = abs(dense).astype("longdouble") @ abs(x).astype("longdouble")
    assert y.shape == (dense.shape[0], k)
    assert y.dtype == dtype
    oracle = dense.astype(wide) @ x.astype(wide)
    bound = relative_bound(terms, dtype) + gamma(dense.shape[1] + 2, wide)
    assert np.all(abs(y - oracle) <= bound * size)
    assert sum(c.size for c in buckets.columns) <= 2 * S.nnz


def test_csr_in_other_libraries_and_in_pieces(monkeypatch):
    monkeypatch.setattr("lazyops.kernels.csr.CHUNK", 8)
    S = random_csr(30, 20, "float64")
    x = normal((20, 3), "float64")
    buckets = csr_buckets(S.indices, S.indptr, 20)
    y = csr_matmat(
        strict.asarray(S.data), strict.asarray(x), buckets.map(lambda i: strict.asarray(i))
    )
    np.testing.assert_allclose(np.asarray(y), S @ x, rtol=1e-12)
    torch = pytest.importorskip("torch")
    data = torch.asarray(S.data).requires_grad_()
    moved = buckets.map(torch.asarray)
    z = csr_matmat(data, torch.asarray(x), moved)
    np.testing.assert_allclose(z.detach().numpy(), S @ x, rtol=1e-12)
    assert torch.autograd.gradcheck(lambda data: csr_matmat(data, torch.asarray(x), moved), data)


def test_csr_padding_never_meets_an_infinity():
    S = sp.csr_array([[1.0, 1, 1], [0, 2, 0], [0, 0, 0]])
    x = np.array([[np.inf], [1], [1]])
    y = csr_matmat(S.data, x, csr_buckets(S.indices, S.indptr, 3))
    np.testing.assert_array_equal(y, [[np.inf], [2], [0]])


# -- which kernel runs, and what is said where none can -------------------------------------------


@kernels
@pytest.mark.parametrize(
    ("values", "x", "transpose", "message"),
    [
        ((2, 3, 4), (8, 1), False, r"values have shape \(a, b, c, d\), got \(2, 3, 4\)"),
        ((1, 2, 3, 4), (11, 1), False, r"a factor of pattern \(1, 2, 3, 4\) \(8x12\) by x of shape "
         r"\(11, 1\): x has shape \(12, k\)"),
        ((1, 2, 3, 4), (12, 1), True, r"the transpose of a factor of pattern \(1, 2, 3, 4\) "
         r"\(12x8\) by x of shape \(12, 1\): x has shape \(8, k\)"),
        ((1, 2, 3, 4), (12,), False, r"by x of shape \(12,\): x has shape \(12, k\)"),
        ((1, 2, 3, 4), (12, 1, 1), False, r"by x of shape \(12, 1, 1\): x has shape \(12, k\)"),
    ],
)  # fmt: skip
def test_wrong_sizes_raise(kernel, values, x, transpose, message):
    with pytest.raises(ValueError, match=message):
        ks_matmat(np.ones(values), np.ones(x), transpose, kernel=kernel)


def test_unknown_kernel_raises():
    with pytest.raises(ValueError, match=r"unknown kernel .cud.; lazyops has: cpu, cuda, ref"):
        ks_matmat(np.ones((1, 2, 2, 1)), np.ones((2, 1)), kernel="cud")


def test_a_forced_kernel_says_why_it_cannot_run():
    values = np.ones((1, 2, 2, 1))
    with pytest.raises(
        KernelUnavailable,
        match=r"kernel 'cpu' cannot run: it takes two arrays of one dtype among float32, float64, "
        r"complex64, complex128, got float64 and int64",
    ):
        ks_matmat(values, np.ones((2, 1), "int64"), kernel="cpu")
    with pytest.raises(KernelUnavailable, match=r"it takes NumPy arrays"):
        ks_matmat(strict.asarray(values), strict.ones((2, 1)), kernel="cpu")


def test_where_the_compiled_part_is_missing(tmp_path):
    why = cpu.find([str(tmp_path)])
    assert isinstance(why, str)
    assert why.startswith(f"its compiled part is not in {tmp_path}: lazyops was installed without")
    (tmp_path / "_ks_v2.so").write_text("no library")
    assert cpu.find([str(tmp_path)]).startswith("its compiled part does not load: ")


def test_status_is_plain_data_and_true():
    told = json.loads(json.dumps(status()))
    assert [k["name"] for k in told["kernels"]] == [k.name for k in KERNELS]
    for k in told["kernels"]:
        assert k["available"] == (k["obstacle"] is None)
    compiled = told["kernels"][0]
    assert set(compiled) >= {"level", "path", "compiler"} or not compiled["available"]


def in_a_process(code, **environment):
    # -P: not the folder we are in, which may be a clone with no compiled part
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


PRODUCTS = """
import numpy as np, array_api_strict as xp
from lazyops.kernels import FORCED, KERNELS, KernelUnavailable, cpu, ks_matmat
MISSING
v, x = np.ones((1, 2, 3, 4)), np.ones((12, 1))
print(FORCED, ks_matmat(v, x).sum(), float(xp.sum(ks_matmat(xp.asarray(v), xp.asarray(x)))))
"""


def test_the_environment_forces_a_kernel():
    done = in_a_process(PRODUCTS.replace("MISSING", ""), LAZYOPS_KERNEL="reference")
    assert done.stdout == "reference 24.0 24.0\n", done.stderr
    done = in_a_process(PRODUCTS.replace("MISSING", ""), LAZYOPS_KERNEL="cud")
    assert "ValueError: unknown kernel 'cud'; lazyops has: cpu, cuda, reference" in done.stderr
    done = in_a_process(
        PRODUCTS.replace("MISSING", "cpu.library = lambda: 'no compiler'"), LAZYOPS_KERNEL="cpu"
    )
    assert (
        "KernelUnavailable: LAZYOPS_KERNEL=cpu: kernel 'cpu' cannot run: no compiler" in done.stderr
    )


@needs_cpu
def test_the_environment_forces_the_cpu_kernel_where_it_can_run():
    done = in_a_process(PRODUCTS.replace("MISSING", ""), LAZYOPS_KERNEL="cpu")
    assert done.stdout == "cpu 24.0 24.0\n", done.stderr


def test_no_library_is_loaded_before_its_tensors_arrive():
    done = in_a_process(
        "import sys, lazyops.kernels; print({'torch', 'cupy', 'dask'} & set(sys.modules))"
    )
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize("pattern", [(1, 48, 40, 300), (40, 300, 48, 1), (7, 97, 61, 16)])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("width", [1, 3])
def test_the_number_of_threads_changes_no_bit(pattern, transpose, width):
    if cpu.missing():
        pytest.skip(cpu.missing())
    rng = np.random.default_rng(0)
    a, b, c, d = pattern
    values = rng.standard_normal(pattern) + 1j * rng.standard_normal(pattern)  # 9 MB and more
    x = rng.standard_normal((a * (b if transpose else c) * d, width)) + 0j
    try:
        found = []
        for n in (1, 2, 3, 7):
            set_num_threads(n)
            found.append(cpu.ks_matmat(values, x, transpose, True))
    finally:
        set_num_threads(None)
    assert all(y.tobytes() == found[0].tobytes() for y in found)
    want = reference.ks_matmat(values, x, transpose, True)
    scale = reference.ks_matmat(np.abs(values), np.abs(x), transpose)
    k = max(b, c) + 1
    bound = 2 * np.sqrt(2) * k * 2.0**-53 / (1 - k * 2.0**-53) * scale
    assert (np.abs(found[0] - want) <= bound).all()
