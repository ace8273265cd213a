"""What can be said of the CUDA kernels without a device, as figures beside their marks.

The launches are those of plans for an H200; NVRTC compiles all of them, and the emulator traces
their first blocks at the sizes that they are made for (memory that no block touches is never real).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import nvrtc
from cuda_cases import KERNELS, butterfly, draw, laid, plan_of
from cuda_mutants import MUTANTS
from cuda_wide import WIDE
from emulated import Emulator, Seen, named

import lazyops as lo
from lazyops.kernels.cuda import launches
from lazyops.kernels.cuda.backward import cuts
from lazyops.kernels.cuda.cost import H200, Case
from lazyops.kernels.cuda.launches import EXTENT, SECTOR, SHAPE, Held, Launch, Layout
from lazyops.kernels.cuda.machine import Paper
from lazyops.kernels.cuda.plan import make_plan
from lazyops.kernels.cuda.text import ITEMSIZE, text
from lazyops.kernels.integers import ScaledInteger
from lazyops.pattern import Pattern

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
REGISTERS = 1 << 16  # of a block, at most
DTYPES = ("float32", "complex64", "bfloat16", "float64", "complex128")


class Row(NamedTuple):
    """A figure beside its mark, as text; met is "yes", "NO", or "" where there is no mark."""

    what: str
    compared: str
    figure: str
    mark: str = ""
    met: str = ""


def row(what: str, compared: str, figure: float, mark: float, least: bool = True) -> Row:
    met = figure >= mark if least else figure <= mark
    told = f"{figure:.3g}" if isinstance(figure, float) else str(figure)
    return Row(what, compared, told, f"{'>=' if least else '<='} {mark:g}", "yes" if met else "NO")


class Default(NamedTuple):
    """A launch that a usual product takes, with the shapes of its x and y."""

    label: str
    launch: Launch
    dtype: str
    along: bool
    shapes: tuple[tuple[int, int], tuple[int, int]]
    keep: tuple = ()  # what the arguments of the launch point to


def steps_of(label: str, A, columns: int, dtype: str, along: bool, frozen: bool = False):
    """The kernels of a plan; those of matmul are the array library's."""
    stages = [f._stage() for f in (A._operands if isinstance(A, lo.Product) else (A,))]
    made = make_plan(stages, A.shape[1], columns, dtype, along, 16, Paper(H200), frozen=frozen,
                     bias=KERNELS)  # fmt: skip
    rows = A.shape[1]
    for step in made.steps:
        shapes = ((rows, columns), (step.rows, columns))
        yield Default(label, step.launch, dtype, along, shapes, step.keep)
        rows = step.rows


def chain_of(n: int, dtype: str):
    factors = [lo.KroneckerSparse(draw(p, dtype, k)) for k, p in enumerate(butterfly(n))]
    return lo.Product(tuple(factors))


def chains() -> Iterator[Default]:
    """Butterflies: packed and merged for themselves, in their place where values may change."""
    for dtype in DTYPES:
        for n, columns, along in ((1024, 65536, True), (4096, 64, True), (4096, 512, False)):
            A = chain_of(n, dtype)
            side = "columns" if along else "rows"
            label = f"chain {dtype} N={n}, {columns} {side}"
            yield from steps_of(label, A, columns, dtype, along)
            yield from steps_of(f"{label}, values in place", A, columns, dtype, along, True)
        yield from steps_of(f"adjoint {dtype}", chain_of(1024, dtype).H, 4096, dtype, True, True)


def singles() -> Iterator[Default]:
    """Single factors: small blocks of every radix, large blocks, few columns."""
    patterns = [((64, r, r, 64 // r), 16384) for r in (2, 4, 8, 16)]
    patterns += [((512, 8, 8, 1), 16384), ((1, 64, 64, 64), 4096), ((64, 64, 64, 1), 4096)]
    patterns += [((64, 64, 64, 1), 4), ((1, 64, 64, 64), 1)]
    for dtype in DTYPES:
        for pattern, columns in patterns:
            for along in (True, False):
                label = f"factor {dtype} {pattern}, {columns} {'columns' if along else 'rows'}"
                K = lo.KroneckerSparse(draw(pattern, dtype))
                yield from steps_of(label, K, columns, dtype, along)


def coded() -> Iterator[Default]:
    """Values of few bits, in chains and in lone factors."""
    forms = (lo.FloatFormat(4, 3), lo.FloatFormat(5, 6), ScaledInteger(8), ScaledInteger(4))
    for form in forms:
        for A, what in ((lo.butterfly.hadamard(1024), "chain"), (lo.butterfly.dft(256), "pairs")):
            Q = lo.butterfly.quantize(A, form, method="nearest").operator
            dtype = "float32" if what == "chain" else "complex64"
            yield from steps_of(f"{what} {form} N={A.shape[1]}", Q, 4096, dtype, True)
    for form in forms:
        K = lo.KroneckerSparse(draw((1, 64, 64, 64), "float32"))
        Q = lo.butterfly.quantize(K, form, method="nearest").operator
        for columns in (4, 512):
            yield from steps_of(f"factor {form}, {columns} columns", Q, columns, "float32", True)


def gradients() -> Iterator[Default]:
    """Runs of backward passes, as they are cut for an H200."""
    for dtype in DTYPES:
        for n, columns, along in ((1024, 4096, True), (4096, 512, False)):
            patterns = tuple(Pattern(*p) for p in butterfly(n)[::-1])
            layout = Layout(columns, along, 16)
            for cut in cuts(patterns, Case(columns, dtype, along)):
                held = [Held(None, dtype, p) for p in patterns[cut.start : cut.stop]]
                if not cut.tile_n:
                    continue
                launch = launches.gradient_launch(
                    held, layout, dtype, cut.tile_n, cut.tile_k, [None] * len(held), 8
                )
                label = f"gradient {dtype} N={n}, {columns} {'columns' if along else 'rows'}"
                yield Default(label, launch, dtype, along, ((n, columns), (n, columns)))


@functools.cache
def default_launches() -> tuple[Default, ...]:
    """Each kernel that a user of usual products would wait for, once."""
    found: dict = {}
    for make in (chains, singles, coded, gradients):
        for one in make():
            found.setdefault(one.launch.variant, one)
    return tuple(found.values())


# -- by NVRTC --------------------------------------------------------------------------------


class Compiled(NamedTuple):
    """What NVRTC made of a launch."""

    of: Default
    seconds: float
    registers: int
    stack: int
    shared: int  # bytes, those asked for at launch included


def compile_all(arch: str, given: tuple[Default, ...]) -> list[Compiled]:
    found = []
    for one in given:
        whole = text(one.launch.variant)
        begun = time.process_time()
        code = nvrtc.cubin(whole, arch)
        seconds = time.process_time() - begun  # others may share the CPU
        registers, stack, shared = nvrtc.resources(code)
        shared += one.launch.variant.shared
        found.append(Compiled(one, seconds, registers, stack, shared))
    return found


def compiled_rows() -> Iterator[Row]:
    for arch in ARCHITECTURES:
        found = compile_all(arch, default_launches())
        what = f"{len(found)} kernels of default plans, {arch}"
        spilled = [f.of.label for f in found if f.stack]
        yield row(what, "that spill registers", len(spilled), 0, False)
        most = max(f.registers * f.of.launch.threads for f in found)
        yield row(what, "registers of a block, at most", most, REGISTERS, False)
        each = [f.registers for f in found]
        told = f"{np.median(each):.0f}, {max(each)}"
        yield Row(what, "registers of a thread, median and most", told)
        shared = max(f.shared for f in found)
        if arch == "sm_90":  # the plans are for this one
            yield row(what, "shared bytes of a block, at most", shared, H200.shared_block, False)
        mean = 1e3 * float(np.mean([f.seconds for f in found]))
        yield row(what, "ms of this CPU for NVRTC, mean", mean, 400, False)


# -- by the emulator -------------------------------------------------------------------------


def traced(one: Default) -> Seen:
    """What the first block of a launch does to memory."""
    machine = Emulator(orders=(0,), trace=True)
    x, y = (empty(shape, one.dtype, one.along) for shape in one.shapes)
    machine.run(one.launch, [x], [y], blocks=(0, 1))
    return machine.seen[0]


@functools.cache
def traces() -> tuple[tuple[Default, Seen], ...]:
    """Of all but gradients, which are made without values and sums here."""
    return tuple(
        (d, traced(d)) for d in default_launches() if d.launch.variant.kernel != "gradient"
    )


def empty(shape, dtype, along):
    """Not real until it is touched, so that sizes are those of a device."""
    return np.empty(shape, named(dtype), order="C" if along else "F")


def conflict_rows() -> Iterator[Row]:
    """The most of any access to shared memory: loads and stores of tiles, stages, sums."""
    degrees: dict[str, list[int]] = {}
    for one, seen in traces():
        if (degree := seen.conflict) > 0:
            degrees.setdefault(one.launch.variant.kernel, []).append(degree)
    for kernel, found in degrees.items():
        what = f"{len(found)} launches of {kernel}"
        yield row(what, "degree of bank conflicts, at most", max(found), 1, False)


def is_main(one: Default) -> bool:
    """Launches that device memory binds, whose lanes have neighbours: columns, rows, enough k."""
    (rows, columns), (more, _) = one.shapes
    item = ITEMSIZE[one.dtype]
    in_memory = (rows + more) * columns * item > H200.l2_bytes
    arguments = [a for a in one.launch.arguments if getattr(a, "dtype", None) in (SHAPE, EXTENT)]
    d = int(arguments[0]["inner" if one.launch.variant.stages else "d"])
    return in_memory and (one.along or d == 1 or d * item >= SECTOR)


def sector_rows() -> Iterator[Row]:
    """The least of each kind, per instruction of a warp: caches may join what they read apart."""
    found: dict[tuple[str, str], list[float]] = {}
    for one, seen in traces():
        if not is_main(one):
            continue
        side = "columns" if one.along else "rows"
        kind = f"{one.launch.variant.kernel}, {side} side by side"
        kind += ", values in place" if "in place" in one.label or "adjoint" in one.label else ""
        for role in ("read", "written"):
            found.setdefault((kind, role), []).append(seen.efficiency(role))
    for (kind, role), parts in found.items():
        array = "x" if role == "read" else "y"
        yield row(f"{len(parts)} launches of {kind}", f"of the sectors of {array}, least",
                  min(parts), 0.9)  # fmt: skip


def bytes_rows() -> Iterator[Row]:
    """Runs and small factors: x and y once, as the plan says."""
    equal, count = 0, 0
    for A in (lo.butterfly.hadamard(256), lo.butterfly.dft(64),
              lo.KroneckerSparse(draw((4, 8, 4, 8), "float32"))):  # fmt: skip
        for dtype in DTYPES:
            for along in (True, False):
                x = laid(draw((A.shape[1], 32), dtype), along)
                machine = Emulator(orders=(0,))
                made, given = plan_of(A, x, machine, frozen=True)
                made(given)
                equal += machine.moved == [step.moved for step in made.steps]
                count += 1
    yield row(f"{count} plans of chains and factors", "bytes counted as planned", equal, count)


def mutant_rows() -> Iterator[Row]:
    caught = sum(mutant.caught() is not None for mutant in MUTANTS)
    kernels = len({mutant.kernel for mutant in MUTANTS})
    yield row(f"{len(MUTANTS)} mutants of {kernels} kernels", "caught", caught, len(MUTANTS))
    yield row("mutants", "of them", len(MUTANTS), 20)


def wide_rows() -> Iterator[Row]:
    right = sum(case.holds() for case in WIDE)
    caught = sum(case.notices() for case in WIDE)
    what = f"{len(WIDE)} launches beyond 2^31 numbers"
    yield row(what, "right", right, len(WIDE))
    yield row(what, "with 32-bit indices, caught", caught, len(WIDE))


ALL = (compiled_rows, conflict_rows, sector_rows, bytes_rows, mutant_rows, wide_rows)
