"""Mutants of the CUDA text: a line changed as a slip would change it, and a case that must notice.

A mutant is caught where the emulator reports an error or the result is outside of its bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cuda_cases import (
    CODED,
    FACTORS,
    GRADIENTS,
    RUNS,
    code_case,
    factor_case,
    gradient_case,
    run_case,
)
from emulated import Emulator


class Mutant(NamedTuple):
    """`old` of the text becomes `new`; `run` with `case` must notice."""

    kernel: str
    slip: str
    old: str
    new: str
    run: Callable
    case: tuple[Any, ...]

    def caught(self) -> str | None:
        """What noticed it; None where nothing did.  ValueError where the text has no such line."""
        found = []

        def change(whole):
            found.append(self.old in whole)
            return whole.replace(self.old, self.new)

        try:
            self.run(*self.case, Emulator(orders=(0,), change=change))
        except AssertionError as error:
            seen: str | None = str(error)
        else:
            seen = None
        if not any(found):
            raise ValueError(f"no text of this case has {self.old!r} any more")
        return seen


def factor(case, slip, old, new=""):
    kernel = {True: "factor_small"}.get(max(FACTORS[case][0][1:3]) <= 16)
    few = FACTORS[case][1] <= 8
    return Mutant(
        kernel or ("factor_few" if few else "factor_tile"), slip, old, new, factor_case,
        FACTORS[case],
    )  # fmt: skip


def run(case, slip, old, new=""):
    return Mutant("chain", slip, old, new, run_case, RUNS[case])


def gradient(case, slip, old, new=""):
    return Mutant("gradient", slip, old, new, gradient_case, GRADIENTS[case])


def code(case, slip, old, new=""):
    return Mutant("decoder", slip, old, new, code_case, CODED[case])


def barrier_of(line, spaces):
    """A barrier inside of a macro, with what stands in front of its backslash."""
    return f"{line}{spaces}\\\n"


END_OF_TILE = "    }\n    __syncthreads();\n  }\n  constexpr int WIDE_B"
FEW_IN_PARTS = "split, lane, n))) = p;\n  }\n  __syncthreads();"

MUTANTS = [
    factor(1, "a guard is missing", "if (t >= is.a) return;"),
    factor(1, "the permutation is lost", "if (PERMUTED) row = perm[row];\n    const X*",
           "const X*"),
    factor(
        0, "an index is off by one", "(i64(i) * C + s) * is.d + k;\n    if (PERMUTED)",
        "(i64(i) * C + s + 1) * is.d + k;\n    if (PERMUTED)",
    ),
    factor(4, "a stride is that of x", "first * is.y_column", "first * is.x_column"),
    factor(0, "values are read transposed", "r * by.r + s * by.s);\n#pragma",
           "r * by.s + s * by.r);\n#pragma"),
    factor(2, "values are not conjugated",
           "f.conjugated ? conj(f.values[i]) : f.values[i]; }\ntemplate",
           "f.values[i]; }\ntemplate"),
    factor(7, "sums are kept in single precision", "typedef f64 A;", "typedef f32 A;"),
    factor(6, "bits of bfloat16 are shifted by one less", "u32(h.bits) << 16", "u32(h.bits) << 15"),
    factor(8, "a barrier is missing", "    __syncthreads();\n#pragma unroll(", "#pragma unroll("),
    factor(12, "halves of a piece stay changed", "swap ? p.e[h ^ 2 % PIECE] : p.e[h]", "p.e[h]"),
    factor(19, "halves of a piece stay changed", "swap ? p.e[h ^ 2 % PIECE] : p.e[h]", "p.e[h]"),
    factor(8, "a barrier is missing", END_OF_TILE,
           END_OF_TILE.replace("    __syncthreads();\n", "")),
    factor(8, "a guard is missing", "s0 + s < is.c && n0 + n", "n0 + n"),
    factor(10, "a guard is missing", " || k >= is.d) continue", ") continue"),
    factor(8, "sums are twisted", "multiply_add(sum[p][q], v[p]", "multiply_add(sum[q][p], v[p]"),
    factor(10, "a thread has rows of another", "me / LANES_N : me % LANES_B",
           "me / LANES_N : me % LANES_N"),
    factor(11, "a piece lies elsewhere", "(q / PIECE * lanes + lane)", "(q / PIECE + lane)"),
    factor(17, "a piece is of columns", "WIDE_B > 1 ? sum[p + h][q]", "WIDE_B > 1 ? sum[q][p + h]"),
    factor(8, "a term is left out", "s0 += DEPTH)", "s0 += DEPTH + 1)"),
    factor(13, "a barrier is missing", FEW_IN_PARTS, FEW_IN_PARTS.rpartition("\n")[0]),
    factor(16, "a barrier is missing", FEW_IN_PARTS, FEW_IN_PARTS.rpartition("\n")[0]),
    factor(13, "a term is counted twice", "s += SPLIT)", "s += SPLIT - 1)"),
    factor(16, "a term is counted twice", "s += SPLIT)", "s += SPLIT - 1)"),
    factor(13, "threads write past the rows", " || first + to >= rows"),
    factor(14, "threads write past the columns", "if (n >= is.columns || ", "if ("),
    factor(13, "a part is left out", "q < SPLIT; ++q) add", "q < SPLIT - 1; ++q) add"),
    factor(16, "parts lie in one place", "split * PITCH", "split * (PITCH - N * LANES)"),
    run(0, "a barrier is missing", barrier_of("  __syncthreads();", " " * 50), "  \\\n"),
    run(6, "a barrier is missing", "  __syncthreads();\n  store<LAST_ROWS>", "  store<LAST_ROWS>"),
    run(5, "a stride is that of rows", "by_s = TRANSPOSED ? B * step",
        "by_s = TRANSPOSED ? C * step"),
    run(4, "a stride is that of columns", "TRANSPOSED ? step : C * step",
        "TRANSPOSED ? step : B * step"),
    run(7, "the permutation is lost", "if (perm) row = perm[row];"),
    run(7, "the permutation is lost", "if (scatter) row = scatter[row];"),
    run(8, "a guard is missing", "n0 + n < is.columns && k0 + k < is.inner", "k0 + k < is.inner"),
    run(0, "a guard is missing", "if (n0 + n >= is.columns || k0 + k >= is.inner) continue;"),
    run(2, "a guard is always true", "if (k0 + me.k >= is.inner) continue;", "continue;"),
    run(3, "the sign of a product", "s.x -= v.y * x.y", "s.x += v.y * x.y"),
    run(3, "the sign of a product", "s.y += v.y * x.x", "s.y -= v.y * x.x"),
    run(3, "values are not conjugated", "v.y = -v.y; return v", "return v"),
    run(2, "two places are one", "TILE_COLUMNS + k * TILE_N + n", "TILE_COLUMNS + k + n"),
    run(4, "an input is that of another block", "from = ai * C * DI + di",
        "from = ai * B * DI + di"),
    run(0, "a swizzle that is no bijection", "p ^ ((p >> SWIZZLE & 1) * MASK0)",
        "p & ~((p >> SWIZZLE & 1) * MASK0)"),
    run(4, "one buffer for two", "IN_PLACE ? in : in + BUFFER", "in"),
    run(0, "tiles are numbered wrongly", "* TILE_N; block /= of_n;", "* TILE_N;"),
    run(5, "a block of packed values begins elsewhere", "(g * d + l) * (B * C)",
        "(g * d + l) * (B * B)"),
    gradient(4, "a factor is not conjugated", "u[s] = conj(up(z", "u[s] = (up(z"),
    gradient(2, "the adjoint is the transpose", "f.conjugated = !f.conjugated;", ""),
    gradient(0, "a barrier is missing",
             barrier_of("  if (number > 0 || gx) {", " " * 66) + "    __syncthreads();",
             barrier_of("  if (number > 0 || gx) {", " " * 66) + "    "),
    gradient(0, "columns are counted by every part", "u64(parts) * TILE_N", "TILE_N"),
    gradient(0, "parts are written to one place", "to += part * (", "to += 0 * ("),
    gradient(3, "a guard is missing", "if (k0 + k >= is.inner) continue;\n    const i64 at",
             "const i64 at"),
    gradient(0, "a column is left out", "for (int n = 0; n < TILE_N; ++n) {\n      A u",
             "for (int n = 1; n < TILE_N; ++n) {\n      A u"),
    gradient(3, "a stride is that of rows", "to[at + (r * C + s) * d]", "to[at + (r * B + s) * d]"),
    code(0, "subnormal numbers are normal ones", "return rest >> MANTISSA ?", "return true ?"),
    code(1, "half of a byte is taken for the other", ">> (i & 1) * 4", ">> (~i & 1) * 4"),
    code(1, "a bit is lost", "* 4 & 15", "* 4 & 7"),
    code(2, "a third byte is not read", "if (shift + BITS > 16)", "if (shift + BITS > 24)"),
    code(2, "both parts are the real one", "code_of<BITS>(p, 2 * i + 1)",
         "code_of<BITS>(p, 2 * i)"),
    code(3, "the exponent is shifted", "sign | rest << (23 - MANTISSA));\n  //",
         "sign | rest << (24 - MANTISSA));\n  //"),
    code(4, "values are not conjugated", "f.conjugated ? conj(v) : v;", "v;"),
    code(5, "the sign is not extended", "(32 - BITS)) >> (32 - BITS)", "(32 - BITS)) >> 0"),
    code(6, "the sign is not extended", "(32 - BITS)) >> (32 - BITS)", "(32 - BITS)) >> 0"),
]  # fmt: skip
