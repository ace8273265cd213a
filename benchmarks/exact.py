"""Exact chains beside scipy.fft: errors, entries, speed, and the marks.

    python benchmarks/exact.py [--quick] [--write docs/benchmarks/exact.md]

Errors are root mean squares of the relative error for Gaussian x against the transform in long
double, in u sqrt(log2 n).  Times are medians of calls in turns (lazyops/bench.py), one vector.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import sys

import numpy as np
import scipy.fft

import lazyops as lo
from lazyops import bench
from lazyops.butterfly.exact import prime
from lazyops.operators import Kron, fold

POWERS = [1 << k for k in range(1, 17)]
OTHERS = [3, 13, 26, 48, 97, 100, 127, 131, 257, 263, 360, 509, 1000, 1009, 2018, 2003, 5040, 10007,
          16411, 17947, 65537]  # fmt: skip
rng = np.random.default_rng(0)


def normal(shape, dtype):
    return bench.normal(shape, dtype, rng)


def entries(A) -> int:
    """How many numbers one product multiplies by in its factors."""

    def visit(node, below):
        if isinstance(node, lo.KroneckerSparse):
            return node.values.size
        if isinstance(node, Kron):
            return sum(
                m * node.shape[0] // f.shape[0] for m, f in zip(below, node.factors, strict=True)
            )
        return sum(below)

    return fold(A, visit)


def rms(f, n, times):
    x = rng.standard_normal((n, times)) + 1j * rng.standard_normal((n, times))
    want = scipy.fft.fft(x.astype(np.clongdouble), axis=0)
    got = np.stack([f(x[:, j].copy()) for j in range(times)], axis=1)
    error = np.linalg.norm((got - want).astype(complex), axis=0)
    error /= np.linalg.norm(want.astype(complex), axis=0)
    return math.sqrt((error**2).mean()) / (2.0**-53 * math.sqrt(math.log2(n)))


def errors(sizes, times):
    """n, entries for each of n, error, that of scipy.fft, mark met."""
    for n in sizes:
        count = max(1, min(times, times * 1000 // n))
        A = lo.butterfly.dft(n)
        own, other = rms(A.__matmul__, n, count), rms(scipy.fft.fft, n, count)
        power = n & (n - 1) == 0
        met = own <= 0.8 if power else own <= min(1.5, 1.25 * other)
        mark = "<= 0.8" if power else "<= 1.5, 1.25 scipy"
        yield (
            f"error of dft({n})",
            f"{own:.3f}",
            f"{other:.3f}",
            f"{entries(A) / n:.0f}",
            mark,
            met,
        )


def both_ways(primes):
    """Rader and Bluestein: their errors, and the time of one vector and of 32."""
    one = np.longdouble(1)
    for p in primes:
        ways = [w(p, one, "complex128") for w in (prime.rader, prime.bluestein)]
        told = " / ".join(f"{rms(A.__matmul__, p, 30):.3f}" for A in ways)
        x, c = normal((p, 32), "complex128"), normal(p, "complex128")
        t = bench.timed({"r": lambda: ways[0] @ c, "b": lambda: ways[1] @ c,
                         "r32": lambda: ways[0] @ x, "b32": lambda: ways[1] @ x})  # fmt: skip
        print(f"-- {p}: error of Rader / Bluestein {told}; their times {t['r'] / t['b']:.2f}, "
              f"of 32 columns {t['r32'] / t['b32']:.2f}", flush=True)  # fmt: skip


def speed(sizes):
    """Ratio to scipy.fft of complex64, and of real transforms in float32."""
    for n in sizes:
        c, x = normal(n, "complex64"), normal(n, "float32")
        F, C, D, R = (lo.butterfly.dft(n, dtype="complex64"), lo.butterfly.dct(n, dtype="float32"),
                      lo.butterfly.dct(n, 4, dtype="float32"),
                      lo.butterfly.rdft(n, dtype="complex64"))  # fmt: skip
        A = lo.butterfly.circulant(x)
        leaf = lo.ifft(n) @ lo.Diagonal(scipy.fft.fft(x)) @ lo.fft(n)
        t = bench.timed({
            "dft": lambda: F @ c, "fft": lambda: scipy.fft.fft(c),
            "dct2": lambda: C @ x, "scipy2": lambda: scipy.fft.dct(x),
            "dct4": lambda: D @ x, "scipy4": lambda: scipy.fft.dct(x, 4),
            "rdft": lambda: R @ x, "rfft": lambda: scipy.fft.rfft(x),
            "circulant": lambda: A @ x, "leaf": lambda: leaf @ x,
        })  # fmt: skip
        mark = None
        if n & (n - 1) == 0 and n >= 1 << 14:
            mark = {18: 0.85, 20: 1.0}.get(n.bit_length() - 1, 0.5)
        ratio = t["dft"] / t["fft"]
        told, met = (f"<= {mark}", ratio <= mark) if mark else ("-", True)
        yield (f"time of dft({n}), complex64", f"{t['dft'] * 1e6:.1f} us",
               f"{t['fft'] * 1e6:.1f} us", f"{ratio:.2f}", told, met)  # fmt: skip
        for own, other in (("dct2", "scipy2"), ("dct4", "scipy4"), ("rdft", "rfft"),
                           ("circulant", "leaf")):  # fmt: skip
            yield (f"time of {own}, n = {n}, float32", f"{t[own] * 1e6:.1f} us",
                   f"{t[other] * 1e6:.1f} us", f"{t[own] / t[other]:.2f}", "-", True)  # fmt: skip


HEAD = ("what", "here", "scipy.fft", "entries/n or ratio", "mark", "met")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", metavar="FILE", type=pathlib.Path)
    arguments = parser.parse_args()
    quick, rows, missed = arguments.quick, [], 0
    sizes = [1 << 10, 1 << 14, 1000] if quick else [1 << k for k in (10, 12, 14, 16, 18, 20)] + [
        1000, 1009, 5040, 10007, 100000]  # fmt: skip
    load = os.getloadavg()[0]
    print(f"machine: {bench.machine()}, load {load:.1f}", flush=True)
    for part in (errors(POWERS, 30), errors(OTHERS, 100), speed(sizes)):
        for *texts, met in part:
            rows.append([*texts, "yes" if met else "NO"])
            missed += not met
            print(f"{texts[0]:38} {texts[1]:>12} {texts[2]:>12} {texts[3]:>9}  {texts[4]:20} "
                  f"{rows[-1][-1]}", flush=True)  # fmt: skip
    if not quick:
        both_ways([257, 1009, 2003, 65537])
    if arguments.write:
        write(arguments.write, rows, load)
    print(f"{missed} missed")
    return missed


def write(path: pathlib.Path, rows, load: float) -> None:
    lines = [
        "# Measurements: exact chains",
        "",
        f"`python benchmarks/exact.py --write FILE` on {bench.machine()}, load {load:.1f}.",
        "Errors in u sqrt(log2 n), mean square over Gaussian x, against the transform in long",
        "double; times of one vector, medians of calls in turns. Circulants are beside",
        "`ifft diag fft` of leaves.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    path.write_text("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
