"""Chains on few bits beside the same chain in float32, in one process, in turns: time and bytes.

    python benchmarks/low_bits.py [--quick] [--write docs/benchmarks/low_bits.md]

Each row is the float32 chain and its quantized copies, one vector (or some columns), timed in the
same rounds by the timing of `lazyops bench` (lazyops/bench.py): medians, ratios within a row.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import lazyops as lo
from lazyops import bench, kernels
from lazyops.bench import Limits, packed, timed

rng = np.random.default_rng(0)
FORMATS = ("bf16", "fp16", "e4m3", "e5m2", "int8", "e2m1", "int4")
MARKS = {"bf16": 1.4, "e4m3": 1.9, "e5m2": 1.9, "int8": 1.9}  # one vector, N = 2^20 and 2^22
BYTES = 0.26  # of an e4m3 chain, of those in float32
ROWS: list[tuple[str, str, str, str, str]] = []


def row(what, ratio, figure, mark=None, least=True):
    met = "" if mark is None else "yes" if (figure >= mark if least else figure <= mark) else "NO"
    told = "" if mark is None else f"{'>=' if least else '<='} {mark:g}"
    ROWS.append((what, ratio, f"{figure:.3g}", told, met))
    print(f"{what:36} {ratio:34} {figure:8.3f}   {told:8} {met}", flush=True)


def quantized(A, form):
    return lo.Product(tuple(lo.QuantizedKroneckerSparse.nearest(f.values, form) for f in A.factors))


def beside(n, columns, forms, budget, marks):
    A = bench.random_product(lo.Chain.square_dyadic(n), "float32", rng)
    x = bench.normal((n, columns) if columns > 1 else n, "float32", rng)
    made = {form: quantized(A, form) for form in forms}
    calls = {"float32": lambda: A @ x}
    for form, Q in made.items():
        calls[form] = lambda Q=Q: Q @ x
    if marks:
        H = made["e4m3"].H
        calls["adjoint e4m3"] = lambda: H @ x
    for call in calls.values():
        call()  # packs
    times = timed(calls, budget)
    many = "one vector" if columns == 1 else f"{columns} columns"
    what = f"dyadic 2^{n.bit_length() - 1}, {many}"
    print(f"-- {what}: " + ", ".join(f"{k} {v * 1e6:.1f} us" for k, v in times.items()), flush=True)
    for form in calls:
        if form != "float32":
            mark = MARKS.get(form) if marks else None
            row(what, f"float32 / {form}", times["float32"] / times[form], mark)
    return A, made


def sizes(A, made):
    """Bytes held, bytes with the packed copies, bytes in a file: of those of float32."""
    with tempfile.TemporaryDirectory() as folder:

        def on_disk(B):
            path = os.path.join(folder, "A.safetensors")
            lo.save(path, B)
            return os.path.getsize(path)

        whole, file = A.values_nbytes, on_disk(A)
        copies = sum(a.nbytes for a in packed(A))
        what = f"dyadic 2^{A.shape[0].bit_length() - 1}"
        for form, Q in made.items():
            mark = BYTES if form == "e4m3" else None
            row(what, f"{form} / float32, held", Q.values_nbytes / whole, mark, False)
            both = (Q.values_nbytes + sum(a.nbytes for a in packed(Q))) / (whole + copies)
            row(what, f"{form} / float32, with packed copies", both, mark, False)
            row(what, f"{form} / float32, in a file", on_disk(Q) / file, mark, False)


GROWN = """
import gc, os, sys, numpy as np, lazyops as lo
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
rng, n = np.random.default_rng(0), int(sys.argv[1])
def factor(p):
    codes = rng.integers(0, 0x50, tuple(p), dtype=np.uint8)
    return lo.QuantizedKroneckerSparse(codes, "e4m3", p, copy=False)
def product(n):
    return lo.Product(tuple(map(factor, lo.Chain.square_dyadic(n))))
product(1 << 10) @ np.ones(1 << 10, np.float32)
A, x = product(n), rng.standard_normal(n, dtype=np.float32)
gc.collect()
before = resident()
for _ in range(5):
    A @ x, A.H @ x
dropped = resident()
for _ in range(5):
    y, z = A @ x, A.H @ x
whole = 4 * sum(f.pattern.entries for f in A.factors)
print((dropped - before) / whole, (resident() - before) / whole)
"""


def growth(n):
    """Resident memory after five products and five of the adjoint, less that before."""
    if os.path.exists("/proc/self/statm"):
        done = subprocess.run(
            [sys.executable, "-c", GROWN, str(n)], capture_output=True, text=True, check=True
        )
        what = f"dyadic 2^{n.bit_length() - 1}"
        dropped, held = map(float, done.stdout.split())
        row(what, "e4m3 / float32, growth", dropped, 0.3, False)
        row(what, "the same with two results held", held)


def write(path, limits, distances):
    lines = [
        "# Chains on few bits",
        "",
        "`python benchmarks/low_bits.py --write docs/benchmarks/low_bits.md`: one dyadic chain in",
        "float32 and in codes of few bits, one vector unless columns are named, medians of calls",
        "in turns; a ratio of times is that of float32 over that of the format. Beyond the caches",
        "a product costs what its values take to be read; within them decoding costs what it",
        "saves. Batches take a little longer than in float32: the gain there is memory. Integers",
        "have a scale for every block of four values, of which two bytes are packed.",
        "",
        f"Machine: {bench.machine()}, level {limits.level}, {kernels.num_threads()} threads,",
        f"{distances[0]:.0f} ns apart before and {distances[1]:.0f} ns after (a free machine: 100",
        "to 400 ns; far more: something else took the processor).",
        "",
        "| product | ratio | figure | mark | met |",
        "|---|---|---|---|---|",
        *("| " + " | ".join(r) + " |" for r in ROWS),
        "",
    ]
    pathlib.Path(path).write_text("\n".join(lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write")
    given = parser.parse_args()
    limits = Limits()
    before = limits.distance()
    if given.quick:
        sizes(*beside(1 << 12, 1, ("bf16", "e4m3"), 0.0, False))
    else:
        for n in (14, 16, 18):
            beside(1 << n, 1, FORMATS, 3.0, False)
        beside(1 << 12, 256, FORMATS, 3.0, False)
        beside(1 << 16, 32, FORMATS, 3.0, False)
        sizes(*beside(1 << 20, 1, FORMATS, 6.0, True))
        growth(1 << 20)
        beside(1 << 22, 1, ("bf16", "e4m3", "e5m2", "int8"), 12.0, True)
    if given.write:
        write(given.write, limits, (before, limits.distance()))


if __name__ == "__main__":
    main()
