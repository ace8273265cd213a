"""What lazyops adds to one product, to one more link, to one more term, and to an import.

    python benchmarks/overhead.py [--json]

Each figure is a median over rounds in which all contestants take turns, in one process; the marks
are those of issue 2.  The raw product is what a careful user would write in NumPy by hand; for a
Kronecker-sparse factor it is the kernel itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

import lazyops as lo
from lazyops.kernels import ks_matmat

N = 64
ROUNDS = 60
HEAVY = ("torch", "cupy", "dask", "matplotlib")


def medians(contestants: dict[str, Callable], rounds: int = ROUNDS, repeat: int = 500):
    """Microseconds a call, the contestants interleaved; the order turns with every round."""
    names = list(contestants)
    times: dict[str, list[float]] = {name: [] for name in names}
    for f in contestants.values():
        f()
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            f = contestants[name]
            start = time.perf_counter_ns()
            for _ in range(repeat):
                f()
            times[name].append((time.perf_counter_ns() - start) / repeat / 1000)
    return {name: statistics.median(found) for name, found in times.items()}


def one_product():
    """(what, raw, ours, mark) for one ``A @ x`` on a vector."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(N)
    m, d = rng.standard_normal((N, N)), rng.standard_normal(N)
    v = rng.standard_normal((4, 4, 4, 4))
    ops = {
        "Dense": (lo.Dense(m), lambda: m @ x),
        "Diagonal": (lo.Diagonal(d), lambda: d * x),
        "Identity": (lo.Identity(N), lambda: x.copy()),
        "KroneckerSparse": (lo.KroneckerSparse(v), lambda: ks_matmat(v, x[:, None])[:, 0]),
    }
    runs = {}
    for name, (A, raw) in ops.items():
        np.testing.assert_allclose(A @ x, raw(), rtol=1e-12)
        runs["raw " + name], runs["A @ x " + name] = raw, (lambda A=A: A @ x)
    found = medians(runs)
    for name in ops:
        raw, ours = found["raw " + name], found["A @ x " + name]
        yield f"A @ x over raw, {name}", ours - raw, 3.0, "us", f"{raw:.2f} -> {ours:.2f} us"


def links():
    """(what, cost of one more link) in a product of diagonals, the multiplication itself left out.

    Both slopes, ours and that of the multiplications written out, are between neighbouring depths.
    """
    rng = np.random.default_rng(0)
    x, ds = rng.standard_normal(N), [rng.uniform(0.5, 1, N) for _ in range(50)]
    depths = (1, 2, 5, 10, 50)

    def by_hand(depth):
        def run():
            y = x
            for d in ds[:depth]:
                y = d * y
            return y

        return run

    chains = {k: lo.Product([lo.Diagonal(d) for d in ds[:k][::-1]]) for k in depths}
    runs = {("ours", k): (lambda A=A: A @ x) for k, A in chains.items()}
    runs |= {("raw", k): by_hand(k) for k in depths}
    found = medians(runs, repeat=100)
    for low, high in itertools.pairwise(depths):
        ours = (found["ours", high] - found["ours", low]) / (high - low)
        raw = (found["raw", high] - found["raw", low]) / (high - low)
        note = f"{found['ours', high]:.2f} us in all; {ours:.2f} a link, {raw:.2f} by hand"
        yield f"one more link, {low} to {high} diagonals", ours - raw, 1.0, "us", note


def long_sum():
    """Seconds to build a sum of 20 000 terms by ``+`` in a loop."""
    terms = [lo.Diagonal(np.ones(4)) for _ in range(20_000)]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        times.append(time.perf_counter() - start)
    assert len(total.terms) == 20_000
    yield "sum of 20 000 terms by + in a loop", statistics.median(times), 1.0, "s", ""


def imports(times: int = 9):
    """Milliseconds that a fresh interpreter needs for the import, start-up left out.

    Bytecode is cached, as where the package is installed, in a folder of our own.
    """
    found: dict[str, list[float]] = {"numpy": [], "scipy.sparse.linalg": [], "lazyops": []}
    with tempfile.TemporaryDirectory() as cache:
        for i in range(times + 1):
            for name in found:
                code = f"import time; t = time.perf_counter(); import {name}; "
                code += "print(1000 * (time.perf_counter() - t))"
                taken = float(_python(code, cache))
                if i:  # the first round fills the cache
                    found[name].append(taken)
        loaded = _python(
            f"import sys, lazyops; print(*[m for m in {HEAVY} if m in sys.modules])", cache
        ).split()
    ours = statistics.median(found.pop("lazyops"))
    note = ", ".join(f"{name} alone {statistics.median(t):.0f}" for name, t in found.items())
    yield "import lazyops", ours, 350.0, "ms", note
    note = ", ".join(loaded) or "none of " + ", ".join(HEAVY)
    yield "heavy libraries that it loads", len(loaded), 0, "", note


def _python(code: str, cache: str) -> str:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = cache
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    missed = 0
    for section in (one_product, links, long_sum, imports):
        for what, value, mark, unit, note in section():
            held = value <= mark
            missed += not held
            if options.json:
                line = json.dumps({"what": what, "value": value, "unit": unit, "mark": mark})
            else:
                verdict = "" if held else "  MISSED"
                line = f"{what:42s} {value:9.3g} {unit:2s}  mark {mark:g}{verdict}  {note}"
            sys.stdout.write(line.rstrip() + "\n")
            sys.stdout.flush()
    return missed


if __name__ == "__main__":
    sys.exit(main())
