"""Cases of the CUDA kernels, each against what NumPy gives: factors, runs, gradients, codes."""

from __future__ import annotations

import numpy as np
from emulated import named
from theory import gamma

import lazyops as lo
from lazyops.kernels.cuda import launches
from lazyops.kernels.cuda.cost import Bias
from lazyops.kernels.cuda.launches import Held, Layout
from lazyops.kernels.cuda.plan import make_plan, obstacle
from lazyops.kernels.cuda.text import SUMS
from lazyops.kernels.integers import ScaledInteger
from lazyops.kernels.reference import ks_matmat
from lazyops.kernels.stage import result_dtype
from lazyops.pattern import Pattern

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
    ((3, 40, 50, 1), 4, "float32", True, False, False),
    ((2, 36, 20, 1), 37, "float32", False, False, False),
    ((2, 36, 20, 5), 64, "complex128", True, False, False),
    ((1, 20, 40, 20), 12, "bfloat16", False, True, False),
    ((3, 40, 50, 1), 4, "complex128", False, False, True),
    ((1, 70, 33, 1), 1, "bfloat16", True, False, False),
    ((2, 40, 50, 1), 3, "complex64", True, True, False),
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


def gradient_case(patterns, columns, dtype, along, tile_n, tile_k, parts, more, machine):
    """Of x: the adjoint. Of values: ``sum_n g[(i, r, k), n] conj(z[(i, s, k), n])``."""
    held = run_of(patterns, dtype, more)
    perm, scatter = orders(held, more)
    m, n = held[-1].pattern.shape[0], held[0].pattern.shape[1]
    x, g = (laid(draw((k, columns), dtype, k + 1), along) for k in (n, m))
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


KERNELS = Bias(dense=0, matmul=False)  # what the emulator is for


def plan_of(A, x, machine, frozen=False, bias=KERNELS):
    stages = [f._stage() for f in (A._operands if isinstance(A, lo.Product) else (A,))]
    dtype = result_dtype(stages, x.dtype.name)
    assert obstacle(stages, dtype) is None
    along = bool(x.flags.c_contiguous)
    aligned = 16 if x.shape[1] % 8 == 0 else 4
    made = make_plan(stages, *x.shape, dtype, along, aligned, machine, frozen=frozen, bias=bias)
    return made, laid(x.astype(named(dtype)), along)


def spread(factor, rng, form):
    """A factor whose values use many of the exponents that a format has."""
    if not isinstance(factor, lo.KroneckerSparse):
        return factor
    shape = factor.stored.shape
    most = min(9, (1 << getattr(form, "exponent_bits", 2) - 1) - 1)
    return lo.KroneckerSparse(
        factor.stored * rng.standard_normal(shape) * 2.0 ** rng.integers(-most, most, shape)
    )


CODED = [  # format, whether real and imaginary parts are codes, adjoint
    (lo.FloatFormat(4, 3), False, False),
    (lo.FloatFormat(2, 1), False, False),
    (lo.FloatFormat(5, 5), True, False),
    (lo.FloatFormat(8, 7), False, True),
    (lo.FloatFormat(8, 3), True, True),
    (ScaledInteger(8), False, False),
    (ScaledInteger(4), True, False),
    *((lo.FloatFormat(*bits), pair, pair) for pair in (False, True)
      for bits in ((5, 2), (3, 2), (5, 10), (5, 6))),
]  # fmt: skip


def code_case(form, pair, adjoint, machine):
    """A chain whose values are codes, in kernels that decode them."""
    rng = np.random.default_rng(6)
    A = lo.butterfly.dft(8) if pair else lo.butterfly.hadamard(32)
    A = lo.Product(tuple(spread(f, rng, form) for f in A._operands))
    Q = lo.butterfly.quantize(A, form, method="nearest").operator
    Q = Q.H if adjoint else Q
    x = draw((A.shape[1], 8), "float32")
    made, given = plan_of(Q, x, machine)
    dense = Q.to_dense()
    most = np.abs(dense) @ np.abs(x)
    assert most.max() > 0, "all values are rounded to zero"
    assert_near(made(given), dense @ wide(x), np.maximum(most, most.max()), 400, "float32")
    assert any("codes" in step.launch.variant.values for step in made.steps)
