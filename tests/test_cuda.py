"""Kernels for CUDA devices, without one: the same text and plans on the emulator of the tests."""

from __future__ import annotations

import contextlib

import cuda_static
import numpy as np
import nvrtc
import pytest
from cuda_cases import (
    CODED,
    FACTORS,
    GRADIENTS,
    RUNS,
    assert_near,
    butterfly,
    code_case,
    draw,
    factor_case,
    gradient_case,
    laid,
    plan_of,
    run_case,
    wide,
)
from cuda_mutants import MUTANTS
from cuda_wide import WIDE
from emulated import COMPILER, Emulator, named

import lazyops as lo
from lazyops import kernels
from lazyops.kernels.cuda import launches
from lazyops.kernels.cuda.cost import H200, plan_runs
from lazyops.kernels.cuda.launches import Held, Layout
from lazyops.kernels.cuda.plan import obstacle
from lazyops.kernels.cuda.segments import on_device
from lazyops.kernels.cuda.text import FILES
from lazyops.kernels.cuda.tiles import MASKS
from lazyops.pattern import Chain, Pattern

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="the emulator is built by g++"),
    pytest.mark.skipif(kernels.FORCED == "reference", reason="the text is the same"),
]


@pytest.mark.parametrize("case", FACTORS, ids=lambda c: f"{c[0]} {c[2]}")
def test_one_factor(case):
    factor_case(*case, Emulator())


@pytest.mark.parametrize("case", RUNS, ids=lambda c: f"{len(c[0])} {c[2]} {c[6]}")
def test_a_run_in_one_kernel(case):
    run_case(*case, Emulator())


@pytest.mark.parametrize("case", GRADIENTS, ids=lambda c: f"{len(c[0])} {c[2]} {c[7]}")
def test_the_gradients_of_a_run_in_one_kernel(case):
    gradient_case(*case, Emulator())


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.kernel}: {m.slip}")
def test_mutants_of_the_text_are_caught(mutant):
    """A barrier dropped, an index or a sign changed: a case above must notice."""
    assert mutant.caught() is not None


def test_a_mutant_is_of_a_line_that_there_is():
    with pytest.raises(ValueError, match="no text of this case has 'no such line' any more"):
        MUTANTS[0]._replace(old="no such line").caught()
    with pytest.raises(RuntimeError, match="error"):  # what does not compile is not caught
        MUTANTS[0]._replace(new="if (").caught()


@pytest.mark.parametrize("case", WIDE, ids=lambda c: c.kernel)
def test_offsets_beyond_32_bits(case):
    """The last blocks of launches with more than 2^31 numbers, and the same with an int for one."""
    assert case.holds()
    assert case.notices()


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


@pytest.mark.parametrize("case", CODED, ids=lambda c: f"{c[0]} {c[1]} {c[2]}")
def test_codes_are_decoded_in_the_kernels(case):
    """Every code of the format, subnormal ones included, in a run and in a lone factor."""
    code_case(*case, Emulator(orders=(0,)))


def test_bytes_moved_are_the_bytes_planned():
    """x and y pass once for each run: whole accesses counted by the emulator."""
    for A, dtype in ((lo.butterfly.hadamard(256), "float32"), (lo.butterfly.dft(64), "complex64")):
        x = draw((A.shape[1], 32), dtype)
        machine = Emulator(orders=(0,))
        made, given = plan_of(A, x.astype(dtype), machine, frozen=True)
        made(given)
        assert machine.moved == [step.moved for step in made.steps]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "bfloat16"])
@pytest.mark.parametrize("radix", [2, 4, 8])
@pytest.mark.parametrize("layout", [0, 1, 2])
def test_shared_memory_is_moved_without_conflicts(radix, dtype, layout):
    levels = {2: 8, 4: 4, 8: 3}[radix]
    n, inner, along = radix**levels, 8 if layout == 1 else 1, layout == 0
    patterns = [(a, b, c, d * inner) for a, b, c, d in butterfly(n, radix)]
    held = [Held(np.ones(p, named(dtype)), dtype, Pattern(*p)) for p in patterns[::-1]]
    launch = launches.chain_launch(held, Layout(8, along, 16), dtype, 8 if inner == 1 else 4, 8)
    assert launch.variant.known("LAYOUT") == layout
    machine = Emulator(orders=(0,), trace=True)
    x, y = (laid(np.ones((n * inner, 8), named(dtype)), along) for _ in range(2))
    machine.launch(launch, [x], [y])
    assert machine.seen[0].conflict == 1


def largest_of_each():
    """Of the default launches, for each kernel, dtype and order, that with the largest blocks."""
    found = {}
    for one in cuda_static.default_launches():
        v = one.launch.variant
        size = max([s.b * s.c for s in v.stages] or [dict(v.constants).get("C", 0)])
        key = v.kernel, v.dtype, one.along
        found[key] = max(found.get(key, (0, one)), (size, one), key=lambda f: f[0])
    return tuple(one for _, one in found.values())


def test_memory_is_moved_in_whole_sectors():
    """Of default launches that memory binds; all of them: ``python benchmarks/gpu.py --static``."""
    count = 0
    for one in largest_of_each():
        kernel, in_place = one.launch.variant.kernel, "in place" in one.label
        if kernel == "gradient" or in_place or not cuda_static.is_main(one):
            continue
        seen = cuda_static.traced(one)
        assert seen.efficiency("read") >= 0.9, one.label
        assert seen.efficiency("written") >= 0.9, one.label
        assert seen.conflict <= 1, one.label
        count += 1
    assert count > 15


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
    held = Held(np.ones((1, 2, 2, 1), "float32"), "float32", Pattern(1, 2, 2, 1))
    with pytest.raises(ValueError, match="4294967296 columns: a kernel takes 4294967040, multiply"):
        launches.one_factor(held, Layout(1 << 32, True, 16), "float32")
    index = np.broadcast_to(np.int64(0), 1 << 31)
    with pytest.raises(ValueError, match=r"a permutation of 2147483648 rows.*LAZYOPS_KERNEL"):
        on_device(Emulator(), index)


def test_constants_go_to_a_device_once():
    """Tables and permutations: a product that reads values where they are copies nothing there."""

    class Counts(Emulator):
        copied = 0

        def array(self, values):
            self.copied += 1
            return super().array(values)

    A = lo.Permutation(np.arange(32)[::-1]) @ lo.butterfly.hadamard(32)
    A = lo.butterfly.quantize(A, lo.FloatFormat(8, 3), method="nearest").operator
    machine, x = Counts(orders=(0,)), draw((32, 8), "float32")
    plan_of(A, x, machine, frozen=True)
    assert machine.copied > 0
    before = machine.copied
    plan_of(A, x, machine, frozen=True)
    assert machine.copied == before


def test_without_cupy_it_says_so():
    from lazyops.kernels import cuda

    with contextlib.suppress(ImportError):
        import cupy

        pytest.skip(f"CuPy {cupy.__version__} is installed")
    assert cuda.missing().startswith("CuPy is not installed (pip install 'lazyops[cupy]')")
    assert "CUDA device" in cuda.stages_obstacle([], np.ones((2, 1)))


@pytest.mark.skipif(nvrtc.library() is None, reason="nvidia-cuda-nvrtc is not installed")
def test_default_variants_compile_without_spills():
    """By the compiler that a device's machine has, with CuPy's options; registers hold all.

    All of them: ``python benchmarks/gpu.py --static``.
    """
    for made in cuda_static.compile_all("sm_90", largest_of_each()):
        assert made.stack == 0, f"{made.registers} registers, {made.stack} bytes spilled: {made.of}"
        assert made.registers * made.of.launch.threads <= cuda_static.REGISTERS
        assert made.shared <= H200.shared_block


@pytest.mark.skipif(nvrtc.library() is None, reason="nvidia-cuda-nvrtc is not installed")
@pytest.mark.parametrize("arch", ["sm_80", "sm_100"])
def test_other_devices_compile(arch):
    found = [one for one in largest_of_each() if one.dtype == "float32"]
    assert {one.launch.variant.kernel for one in found} == set(FILES)
    for made in cuda_static.compile_all(arch, tuple(found)):
        assert made.stack == 0, made.of
