"""Products and gradients of torch tensors on the CPU, against NumPy's path and the forward product.

    python benchmarks/tensors.py [--write docs/benchmarks/torch.md]

Medians over rounds in which all contestants take turns, in one process.
"""

from __future__ import annotations

import argparse
import copy
import pathlib
import statistics
import sys
import time
from collections.abc import Iterable

import torch
from wavelet import keep_memory

import lazyops as lo
from lazyops import bench, kernels
from lazyops.torch import ButterflyLinear

ABOUT = """# Tensors on the CPU

`python benchmarks/tensors.py --write docs/benchmarks/torch.md`: medians of calls in turns; memory
that is freed stays in the process, for all alike.  "Columns" is `A @ x` for an operator of values
that ask for gradients, "rows" is a `ButterflyLinear` of the same chain on a batch.

The marks are those of the device, where a product is bound by memory.  Here it is bound by
arithmetic and runs near the limit of it, and a gradient does four times its work: the product
again (twice within a segment of factors, as only what enters a segment is kept), the adjoint, and
the sums for the values, which no vector of a longer kind holds.  Over a product that is not to be
differentiated comes what torch takes to record one, and the values packed anew, as a training step
changes them.
"""
Row = tuple[str, float, float | None]  # what, figure, mark


def medians(contestants, rounds=41):
    times = {name: [] for name in contestants}
    for turn in range(rounds + 2):
        for name, f in contestants.items():
            start = time.perf_counter()
            f()
            if turn > 1:
                times[name].append(1e6 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", metavar="FILE", help="a page for the table")
    options = parser.parse_args()
    keep_memory()
    rows = [row for n in (64, 1024, 4096) for row in of_size(n)]
    lines = ["| what | figure | mark | met |", "|---|---|---|---|"]
    for what, figure, mark in rows:
        met = "" if mark is None else "yes" if figure <= mark else "NO"
        lines.append(
            f"| {what} | {figure:.3g} | {'' if mark is None else f'<= {mark:g}'} | {met} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    if options.write:
        about = (
            f"{bench.machine()}, torch {torch.__version__}, {kernels.num_threads()} threads of the "
            f"kernels, {torch.get_num_threads()} of torch; float32."
        )
        pathlib.Path(options.write).write_text("\n".join([ABOUT, about, "", *lines]) + "\n")


def of_size(n: int) -> Iterable[Row]:
    chain = lo.Chain.square_dyadic(n)
    values = [torch.randn(tuple(p)) / 2 for p in chain]
    A = lo.Product([lo.KroneckerSparse(v) for v in values])
    B = lo.Product([lo.KroneckerSparse(v.numpy().copy()) for v in values])
    x = torch.randn(n)
    host = x.numpy()
    found = medians({"torch": lambda: A @ x, "numpy": lambda: B @ host}, 401)
    yield f"one vector, N = {n}: us beside NumPy's path", found["torch"] - found["numpy"], 10
    if n == 64:
        return
    trained = [v.clone().requires_grad_() for v in values]
    C = lo.Product([lo.KroneckerSparse(v) for v in trained])
    layer = ButterflyLinear(chain, bias=False)
    for what, x in (("columns", torch.randn(n, 256)), ("rows", torch.randn(256, n))):
        y, g = x.clone().requires_grad_(), torch.randn(x.shape)
        if what == "rows":
            still = copy.deepcopy(layer).requires_grad_(False)
            f, fixed, held = layer, still, list(layer.parameters())
        else:
            f, fixed, held = lambda x: C @ x, lambda x: A @ x, trained
        found = medians(
            {
                "product": lambda fixed=fixed, x=x: fixed(x),
                "recorded": lambda f=f, y=y: f(y),
                "x": lambda fixed=fixed, y=y, g=g: torch.autograd.grad(fixed(y), y, g),
                "all": lambda f=f, y=y, g=g, held=held: torch.autograd.grad(f(y), [y, *held], g),
            }
        )
        size = f"256 {what}, N = {n}"
        yield f"{size}: product, us", found["product"], None
        yield f"{size}: product to be differentiated, us", found["recorded"], None
        for base in ("product", "recorded"):
            of = "the product" if base == "product" else "the product to be differentiated"
            yield f"{size}: forward + backward over {of}", found["all"] / found[base], 4.5
            yield f"{size}: the same for x only", found["x"] / found[base], 2.2


if __name__ == "__main__":
    main()
