"""Kernels for CUDA devices, without one: the same text and plans on the emulator of the tests."""

from __future__ import annotations

import contextlib
import ctypes

import numpy as np
import nvrtc
import pytest
from emulated import COMPILER, Emulator, compiled, named
from theory import gamma

import lazyops as lo
from lazyops import kernels
from lazyops.kernels.cuda import launches
from lazyops.kernels.cuda.cost import Bias, plan_runs
from lazyops.kernels.cuda.launches import Held, Layout
from lazyops.kernels.cuda.plan import make_plan, obstacle
from lazyops.kernels.cuda.text import ITEMSIZE, SUMS, text
from lazyops.kernels.cuda.tiles import MASKS
from lazyops.kernels.reference import ks_matmat
from lazyops.kernels.stage import result_dtype
from lazyops.pattern import Chain, Pattern

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="the emulator is built by g++"),
    pytest.mark.skipif(kernels.FORCED == "reference", reason="the text is the same"),
]
STORED = {"float16": 2.0**-11, "bfloat16": 2.0**-8}  # roundings of what is stored


def draw(shape, dtype, seed=0):
    rng = np.random.default_rng([seed, *shape])
    z = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        z = z + 1j * rng.standard_normal(shape)
    return z.astype(named(dtype))


def wide(x):
    return x.astype("complex128" if x.dtype.kind == "c" else "float64")


def assert_near(got, want, most, count, dtype):
    """|got - want| <= gamma_count most, and the rounding of what half precision stores."""
    bound = 4 * gamma(2 * count, SUMS[dtype]) * most + 2 * STORED.get(dtype, 0.0) * most
    excess = np.abs(wide(got) - want) - bound
    assert (excess <= 0).all(), f"{excess.max()} above the bound"


def multiply(held, x, perm=None, scatter=None):
    """Exactly enough: (result, sum of absolute values, roundings)."""
    z = wide(x) if perm is None else wide(x)[perm]
    most, count = np.abs(z), 0
    for f in held:
        v = wide(f.array)
        z = ks_matmat(v, z, f.transposed, f.conjugated)
        most = ks_matmat(np.abs(v), most, f.transposed)
        count += f.pattern.c + 2
    if scatter is not None:
        z, most = (moved(a, scatter) for a in (z, most))
    return z, most, count


def moved(array, to):
    found = np.empty_like(array)
    found[to] = array
    return found


def laid(x, along):
    return np.ascontiguousarray(x) if along else np.asfortranarray(x)


FACTORS = [  # pattern, columns, dtype, columns side by side, adjoint, permuted
    ((4, 2, 2, 8), 16, "float32", True, False, False),
    ((3, 4, 4, 5), 12, "float32", True, False, True),
    ((3, 3, 5, 7), 7, "complex128", True, True, False),
    ((6, 4, 4, 1), 10, "float32", False, False, False),
    ((2, 4, 8, 6), 5, "complex64", False, True, True),
    ((4, 2, 2, 8), 16, "float16", True, False, False),
    ((4, 2, 2, 8), 16, "bfloat16", True, False, False),
    ((2, 16, 16, 3), 8, "float64", True, False, False),
    ((2, 40, 24, 3), 50, "float32", True, False, True),
    ((2, 33, 20, 1), 37, "float32", False, False, False),
    ((2, 20, 33, 11), 19, "float32", False, False, False),
    ((1, 24, 24, 5), 21, "complex64", False, True, False),
    ((2, 40, 24, 3), 50, "bfloat16", True, False, False),
    ((2, 40, 24, 3), 1, "float32", True, False, False),
    ((2, 24, 40, 3), 5, "float64", False, False, True),
    ((1, 1, 1, 37), 3, "float32", True, False, True),
]


def factor_case(pattern, columns, dtype, along, adjoint, permuted, machine):
    p = Pattern(*pattern)
    held = Held(draw(p, dtype), dtype, p.T if adjoint else p, adjoint, adjoint)
    m, n = held.pattern.shape
    x = laid(draw((n, columns), dtype, 1), along)
    perm = np.random.default_rng(2).permutation(n).astype(np.int32) if permuted else None
    y = machine.empty((m, columns), dtype, not along)
    layout = Layout(columns, along, 16 if columns % 8 == 0 else 2)
    machine.launch(launches.one_factor(held, layout, dtype, perm), [x], [y])
    assert_near(y, *multiply([held], x, perm), dtype)


@pytest.mark.parametrize("case", FACTORS, ids=lambda c: f"{c[0]} {c[2]}")
def test_one_factor(case):
    factor_case(*case, Emulator())


def butterfly(n, radix=2):
    levels = round(np.log(n) / np.log(radix))
    return [(radix**k, radix, radix, n // radix ** (k + 1)) for k in range(levels)]


RUNS = [  # patterns, columns, dtype, columns side by side, tile, and what else
    (butterfly(64), 40, "float32", True, 16, 1, ""),
    (butterfly(256, 4), 20, "float32", True, 8, 1, "packed"),
    (butterfly(64)[:3], 12, "float64", True, 4, 4, ""),
    (butterfly(64)[3:], 12, "complex64", True, 8, 1, "adjoint"),
    ([(1, 4, 8, 6), (2, 8, 4, 3)], 10, "float64", True, 4, 2, ""),
    ([(2, 4, 8, 6), (4, 8, 4, 3)], 10, "complex128", True, 4, 2, "adjoint packed"),
    (butterfly(128), 10, "float32", False, 4, 1, ""),
    (butterfly(128), 10, "complex128", False, 4, 1, "permuted scattered"),
    (butterfly(64)[:3], 9, "float32", False, 4, 4, ""),
    (butterfly(64)[:3], 9, "float64", False, 2, 8, "adjoint permuted scattered"),
    (butterfly(64), 40, "float16", True, 16, 1, ""),
    (butterfly(64), 40, "bfloat16", True, 16, 1, "packed"),
    ([(1, 2, 2, 4), (2, 2, 2, 2), (4, 2, 2, 1), (2, 2, 2, 2)], 8, "float64", True, 8, 1, ""),
    (butterfly(32), 1, "float32", False, 1, 1, ""),
    ([(1, 3, 3, 5), (3, 5, 5, 1)], 7, "complex64", True, 4, 1, "permuted"),
]


def run_of(patterns, dtype, more):
    """Factors in the order in which they are applied."""
    adjoint = "adjoint" in more
    found = []
    for k, p in enumerate(patterns if adjoint else patterns[::-1]):
        values = draw(p, dtype, k) / np.sqrt(p[2]).astype(named(dtype))
        p = Pattern(*p)
        found.append(Held(values, dtype, p.T if adjoint else p, adjoint, adjoint))
    return found


def orders(held, more):
    rng = np.random.default_rng(3)
    n, m = held[0].pattern.shape[1], held[-1].pattern.shape[0]
    perm = rng.permutation(n).astype(np.int32) if "permuted" in more else None
    return perm, rng.permutation(m).astype(np.int32) if "scattered" in more else None


def as_packed(held):
    values = np.ascontiguousarray(held.array.transpose(0, 3, 1, 2))
    return Held(values, held.dtype, held.pattern, held.transposed, held.conjugated, True)


def run_case(patterns, columns, dtype, along, tile_n, tile_k, more, machine):
    held = run_of(patterns, dtype, more)
    perm, scatter = orders(held, more)
    x = laid(draw((held[0].pattern.shape[1], columns), dtype, 1), along)
    given = [as_packed(f) for f in held] if "packed" in more else held
    layout = Layout(columns, along, 16 if columns % 8 == 0 or not along else 2)
    launch = launches.chain_launch(given, layout, dtype, tile_n, tile_k, perm, scatter)
    y = machine.empty((held[-1].pattern.shape[0], columns), dtype, not along)
    machine.launch(launch, [x], [y])
    assert_near(y, *multiply(held, x, perm, scatter), dtype)
    if "packed" not in more:  # nothing outside x and y, and no number twice
        assert set(machine.moved) == {x.nbytes + y.nbytes}


@pytest.mark.parametrize("case", RUNS, ids=lambda c: f"{len(c[0])} {c[2]} {c[6]}")
def test_a_run_in_one_kernel(case):
    run_case(*case, Emulator())


GRADIENTS = [
    (butterfly(16), 12, "float64", True, 4, 1, 2, ""),
    (butterfly(64, 4), 40, "float32", True, 8, 1, 3, ""),
    (butterfly(64)[:3], 12, "complex128", True, 4, 4, 1, "permuted scattered"),
    ([(2, 4, 8, 6), (4, 8, 4, 3)], 10, "float64", True, 4, 2, 2, ""),
    ([(2, 4, 8, 6), (4, 8, 4, 3)], 10, "complex64", True, 4, 2, 2, "adjoint"),
    (butterfly(32), 10, "float32", False, 4, 1, 2, ""),
    (butterfly(64)[:3], 9, "float64", False, 4, 4, 2, "permuted"),
    (butterfly(64, 4), 40, "bfloat16", True, 8, 1, 3, ""),
]


@pytest.mark.parametrize("case", GRADIENTS, ids=lambda c: f"{len(c[0])} {c[2]} {c[7]}")
def test_the_gradients_of_a_run_in_one_kernel(case):
    """Of x: the adjoint. Of values: ``sum_n g[(i, r, k), n] conj(z[(i, s, k), n])``."""
    patterns, columns, dtype, along, tile_n, tile_k, parts, more = case
    held = run_of(patterns, dtype, more)
    perm, scatter = orders(held, more)
    m, n = held[-1].pattern.shape[0], held[0].pattern.shape[1]
    x, g = (laid(draw((k, columns), dtype, k + 1), along) for k in (n, m))
    machine = Emulator()
    sums = [machine.empty((parts, *f.pattern), SUMS[dtype], False) for f in held]
    gx = machine.empty((n, columns), dtype, not along)
    layout = Layout(columns, along, 16 if columns % 8 == 0 or not along else 2)
    launch = launches.gradient_launch(
        held, layout, dtype, tile_n, tile_k, sums, parts, perm, scatter
    )
    machine.launch(launch, [x, g], [gx], sums)
    z, back = wide(x), wide(g)
    z, back = (z[perm] if perm is not None else z), (back[scatter] if scatter is not None else back)
    inputs, most_z, most_g = [], np.abs(z), np.abs(back)
    for f in held:
        inputs.append((z, most_z))
        z = ks_matmat(wide(f.array), z, f.transposed, f.conjugated)
        most_z = ks_matmat(np.abs(wide(f.array)), most_z, f.transposed)
    roundings = sum(f.pattern.b + f.pattern.c + 4 for f in held) + columns
    for f, (z, most_z), found in zip(held[::-1], inputs[::-1], sums[::-1], strict=True):
        a, b, c, d = f.pattern
        into = [
            (u.reshape(a, b, d, -1), w.reshape(a, c, d, -1))
            for u, w in ((back, z.conj()), (most_g, most_z))
        ]
        want, most = (np.einsum("ardn,asdn->arsd", u, w) for u, w in into)
        assert_near(found.sum(axis=0), want, most, roundings, SUMS[dtype])
        back = ks_matmat(wide(f.array), back, not f.transposed, not f.conjugated)
        most_g = ks_matmat(np.abs(wide(f.array)), most_g, not f.transposed)
    if perm is not None:
        back, most_g = moved(back, perm), moved(most_g, perm)
    assert_near(gx, back, most_g, roundings, dtype)


MUTANTS = [  # what is changed in the text, and a case that must notice
    ("  __syncthreads();                                                  \\\n", "  \\\n", RUNS[0]),
    ("  __syncthreads();\n  store<LAST_ROWS>", "  store<LAST_ROWS>", RUNS[6]),
    ("by_s = TRANSPOSED ? B * step", "by_s = TRANSPOSED ? C * step", RUNS[5]),
    ("if (perm) row = perm[row];", "", RUNS[7]),
    ("if (scatter) row = scatter[row];", "", RUNS[7]),
    ("n0 + n < is.columns && k0 + k < is.inner", "k0 + k < is.inner", RUNS[8]),
    ("if (k0 + me.k >= is.inner) continue;", "continue;", RUNS[2]),
    ("s.x -= v.y * x.y", "s.x += v.y * x.y", RUNS[3]),
    ("v.y = -v.y; return v", "return v", RUNS[3]),
    ("    __syncthreads();\n#pragma unroll 8", "#pragma unroll 8", FACTORS[8]),
    (
        "    }\n    __syncthreads();\n  }\n#pragma unroll\n  for (int p = 0; p < OWN_B",
        "    }\n  }\n#pragma unroll\n  for (int p = 0; p < OWN_B",
        FACTORS[8],
    ),
    (
        "part[split][lane] = sum[n];\n    __syncthreads();",
        "part[split][lane] = sum[n];",
        FACTORS[13],
    ),
    ("if (PERMUTED) row = perm[row];\n    const X*", "const X*", FACTORS[1]),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m[0][:30])
def test_mutants_of_the_text_are_caught(mutant):
    """A barrier dropped, an index or a sign changed: the cases above must notice."""
    old, new, case = mutant
    changed = []

    def change(whole):
        if old in whole:
            changed.append(old)
        return whole.replace(old, new)

    machine = Emulator(change=change)
    run = run_case if len(case) == 7 else factor_case
    with pytest.raises(AssertionError):
        run(*case, machine)
    assert changed, "the text has no such line any more"


KERNELS = Bias(dense=0, matmul=False)  # what the emulator is for


def plan_of(A, x, machine, frozen=False, bias=KERNELS):
    stages = [f._stage() for f in (A._operands if isinstance(A, lo.Product) else (A,))]
    dtype = result_dtype(stages, x.dtype.name)
    assert obstacle(stages, dtype) is None
    along = bool(x.flags.c_contiguous)
    aligned = 16 if x.shape[1] % 8 == 0 else 4
    made = make_plan(stages, *x.shape, dtype, along, aligned, machine, frozen=frozen, bias=bias)
    return made, laid(x.astype(named(dtype)), along)


def products():
    rng = np.random.default_rng(5)
    F, H = lo.butterfly.dft(60), lo.butterfly.hadamard(64)
    P = lo.Permutation(rng.permutation(64))
    K = lo.KroneckerSparse(rng.standard_normal((1, 40, 24, 2)))
    return {
        "dft": lo.butterfly.dft(64),
        "dft, adjoint": F.H,
        "diagonal between": 2.5 * H.H @ lo.Diagonal(np.arange(1.0, 65)) @ H,
        "permutations": P @ H @ P @ H @ P,
        "permuted factor": lo.Permutation(rng.permutation(80)) @ K,
        "complex scalar": (1 - 2j) * H,
        "conjugate": F.conj(),
    }


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("name", list(products()))
def test_plans_equal_the_operator(name, fortran, frozen):
    """What a device would run, host side included, against the operator in NumPy."""
    A = products()[name]
    for columns, dtype in ((8, "float64"), (3, "complex128")):
        x = laid(draw((A.shape[1], columns), dtype), not fortran)
        machine = Emulator(orders=(2,))
        made, given = plan_of(A, x, machine, frozen)
        want, most = wide(A @ x), np.abs(A.to_dense()) @ np.abs(x)
        roundings = 8 * len(str(A)) if "K" in str(A) else 100
        assert_near(made(given), want, np.maximum(most, most.max()), roundings, made.dtype)


def spread(factor, rng):
    """A factor whose values use many exponents."""
    if not isinstance(factor, lo.KroneckerSparse):
        return factor
    shape = factor.stored.shape
    return lo.KroneckerSparse(
        factor.stored * rng.standard_normal(shape) * 2.0 ** rng.integers(-9, 9, shape)
    )


@pytest.mark.parametrize(
    "form",
    [lo.FloatFormat(4, 3), lo.FloatFormat(5, 2), lo.FloatFormat(2, 1), lo.FloatFormat(3, 2),
     lo.FloatFormat(5, 10), lo.FloatFormat(8, 7), lo.FloatFormat(5, 6)],
    ids=str,
)  # fmt: skip
def test_codes_are_decoded_in_the_kernels(form):
    """Every code of the format, subnormal ones included, in a run and in a lone factor."""
    rng = np.random.default_rng(6)
    for A in (lo.butterfly.hadamard(32), lo.butterfly.dft(8)):
        A = lo.Product(tuple(spread(f, rng) for f in A._operands))
        Q = lo.butterfly.quantize(A, form, method="nearest").operator
        for product in (Q, Q.H):
            x = draw((A.shape[1], 8), "float32")
            made, given = plan_of(product, x, Emulator(orders=(0,)))
            dense = product.to_dense()
            most = np.abs(dense) @ np.abs(x)
            assert_near(made(given), dense @ wide(x), np.maximum(most, most.max()), 400, "float32")
            assert any("codes" in step.launch.variant.values for step in made.steps)


def test_bytes_moved_are_the_bytes_planned():
    """x and y pass once for each run: whole accesses counted by the emulator."""
    for A, dtype in ((lo.butterfly.hadamard(256), "float32"), (lo.butterfly.dft(64), "complex64")):
        x = draw((A.shape[1], 32), dtype)
        machine = Emulator(orders=(0,))
        made, given = plan_of(A, x.astype(dtype), machine, frozen=True)
        made(given)
        assert machine.moved == [step.moved for step in made.steps]


PLACES = """
extern "C" void places(int* out, int stage, int s) {
#define STAGE(number, AI, B, C, DI, T)                                        \\
  if (stage == number)                                                        \\
    for (int t = 0; t < THREADS; ++t) {                                       \\
      const Item me = item<AI * DI>(t);                                       \\
      out[t] = place(me.block / DI * C * DI + me.block % DI + s * DI, me.k, me.n); \\
    }
  STAGES
}
"""


def conflicts(variant):
    """How many times as long the reads of a stage take as without bank conflicts, at most."""
    places = compiled(text(variant, emulated=True) + PLACES, variant.kernel).places
    threads, size = variant.known("THREADS"), ITEMSIZE[variant.dtype]
    width = size * (variant.known("N") if variant.known("LAYOUT") == 0 else 1)
    lanes = min(32, 128 // width)
    worst = 0.0
    for stage, inner in enumerate(variant.stages):
        for s in range(inner.c):
            out = (ctypes.c_int * threads)()
            places(out, stage, s)
            for turn in np.array(out).reshape(-1, lanes) * size:
                words = np.unique((np.unique(turn)[:, None] + np.arange(0, width, 4)) // 4)
                worst = max(worst, np.bincount(words % 32).max() / -(-len(words) // 32))
    return worst


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("radix", [2, 4, 8])
@pytest.mark.parametrize("along", [True, False])
def test_shared_memory_is_read_without_conflicts(radix, dtype, along):
    levels = {2: 8, 4: 4, 8: 3}[radix]
    held = [
        Held(np.ones(p, dtype), dtype, Pattern(*p)) for p in butterfly(radix**levels, radix)[::-1]
    ]
    launch = launches.chain_launch(held, Layout(64, along, 16), dtype, 8, 1)
    assert conflicts(launch.variant) == 1


def test_masks_are_pascals_triangle():
    for bits, masks in MASKS.items():
        assert all(0 <= m < max(1, 1 << bits) for m in masks)


def test_runs_and_merges():
    """Small batches are cut into more tiles; large ones pass once; codes are not merged."""
    N = Chain.square_dyadic(1024)
    one = plan_runs(list(N)[::-1], 65536, "float32")
    assert [len(c.merged) > 1 or c.tile_n > 0 for c in one] == [True]
    assert sum(sum(c.merged) for c in one) == len(N)
    big = plan_runs(list(Chain.square_dyadic(1 << 14))[::-1], 4096, "float32")
    assert len(big) == 2
    held = plan_runs(list(N)[::-1], 64, "float32", fixed=frozenset(range(10)))
    assert all(set(c.merged) == {1} for c in held)
    seconds = [
        sum(c.seconds for c in plan_runs(list(N)[::-1], b, "float32")) for b in (1, 512, 8192)
    ]
    assert seconds == sorted(seconds)


def test_what_devices_do_not_take():
    K = lo.KroneckerSparse(np.ones((1, 2, 2, 2)))
    assert "got float8" in obstacle([K._stage()], "float8_e5m2")
    assert "no factor" in obstacle([lo.Permutation([1, 0])._stage()], "float32")
    with pytest.raises(ValueError, match="blocks, a device takes 2147483647: multiply fewer"):
        launches.checked_grid(1 << 40, "a factor")


def test_without_cupy_it_says_so():
    from lazyops.kernels import cuda

    with contextlib.suppress(ImportError):
        import cupy

        pytest.skip(f"CuPy {cupy.__version__} is installed")
    assert cuda.missing().startswith("CuPy is not installed (pip install 'lazyops[cupy]')")
    assert "CUDA device" in cuda.stages_obstacle([], np.ones((2, 1)))


def default_variants():
    """What plans of usual products take: each kernel that a user would wait for."""
    found = {}
    for dtype in ("float32", "complex64", "bfloat16", "float64", "complex128"):
        for n, columns, along in ((1024, 4096, True), (4096, 64, True), (4096, 512, False)):
            layout = Layout(columns, along, 16)
            runs = plan_runs(
                list(Chain.square_dyadic(n))[::-1], columns, dtype, along_columns=along
            )
            for c in runs:
                held = [Held(None, dtype, p, packed=True) for p in c.patterns]
                if c.tile_n:
                    launch = launches.chain_launch(held, layout, dtype, c.tile_n, c.tile_k)
                else:
                    held = Held(None, dtype, c.patterns[0])
                    launch = launches.one_factor(held, layout, dtype)
                found[launch.variant] = None
        for pattern, columns in (((1, 64, 64, 64), 512), ((64, 64, 64, 1), 4), ((8, 4, 4, 8), 64)):
            for along in (True, False):
                held = Held(None, dtype, Pattern(*pattern))
                launch = launches.one_factor(held, Layout(columns, along, 16), dtype)
                found[launch.variant] = None
    return list(found)


@pytest.mark.skipif(nvrtc.library() is None, reason="nvidia-cuda-nvrtc is not installed")
def test_default_variants_compile_without_spills():
    """By the compiler that a device's machine has, with CuPy's options; registers hold all."""
    for variant in default_variants():
        registers, stack = nvrtc.resources(nvrtc.cubin(text(variant)))
        assert stack == 0, f"{registers} registers and {stack} bytes spilled: {variant}"


@pytest.mark.skipif(nvrtc.library() is None, reason="nvidia-cuda-nvrtc is not installed")
@pytest.mark.parametrize("arch", ["sm_80", "sm_100"])
def test_other_devices_and_gradients_compile(arch):
    held = [Held(None, "float32", Pattern(*p)) for p in butterfly(1024, 4)[::-1]]
    layout = Layout(4096, True, 16)
    launch = launches.gradient_launch(held, layout, "float32", 4, 1, [None] * 5, 8)
    for variant in (launch.variant, *default_variants()[:3]):
        nvrtc.cubin(text(variant), arch)
