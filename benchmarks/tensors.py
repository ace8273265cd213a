"""Products and gradients of torch tensors on the CPU, against NumPy's path and the forward product.

    python benchmarks/tensors.py

Medians over rounds in which all contestants take turns, in one process.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

import lazyops as lo


def medians(contestants, rounds=41):
    times = {name: [] for name in contestants}
    for turn in range(rounds + 2):
        for name, f in contestants.items():
            start = time.perf_counter()
            f()
            if turn > 1:
                times[name].append(1e6 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def say(what, value, mark, unit=""):
    verdict = "" if value <= mark else "  MISSED"
    sys.stdout.write(f"{what:58s} {value:8.2f}{unit}  mark {mark:g}{verdict}\n")


def main() -> None:
    for n in (64, 1024, 4096):
        chain = lo.Chain.square_dyadic(n)
        values = [torch.randn(tuple(p)) / 2 for p in chain]
        A = lo.Product([lo.KroneckerSparse(v) for v in values])
        B = lo.Product([lo.KroneckerSparse(v.numpy().copy()) for v in values])
        x = torch.randn(n)
        host = x.numpy()
        found = medians({"torch": lambda: A @ x, "numpy": lambda: B @ host}, 401)
        say(f"A @ x over NumPy's, one vector, N = {n}", found["torch"] - found["numpy"], 10, " us")
        if n == 64:
            continue
        trained = [v.clone().requires_grad_() for v in values]
        C = lo.Product([lo.KroneckerSparse(v) for v in trained])
        x = torch.randn(n, 256)
        y = x.clone().requires_grad_()
        g = torch.randn(n, 256)
        found = medians(
            {
                "product": lambda: A @ x,
                "recorded": lambda: C @ y,
                "x": lambda: torch.autograd.grad(A @ y, y, g),
                "all": lambda: torch.autograd.grad(C @ y, [y, *trained], g),
            }
        )
        sys.stdout.write("  ".join(f"{k} {v:.0f} us" for k, v in found.items()) + "\n")
        for base in ("product", "recorded"):
            say(f"forward + backward over {base}, N = {n}", found["all"] / found[base], 4.5)
            say(f"the same for x only, N = {n}", found["x"] / found[base], 2.2)


if __name__ == "__main__":
    main()
