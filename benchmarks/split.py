"""How fast a matrix on a given chain is factorized, in reads of it: ``python benchmarks/split.py``.

A read is every byte of the matrix once, on all threads, measured in the same rounds.  The measured
error is left out (``measure=False``), the check for NaN and the certificate are not.  lazylinop's
`ksd` stands beside it where it is installed.  The exit code is the number of marks missed.
``--alone``: reads only, one thread and its processor time, where others use the machine too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings

import numpy as np
import scipy.linalg

import lazyops as lo
from lazyops.kernels import cpu

rng = np.random.default_rng(0)
ROUNDS = 15
ALONE = "--alone" in sys.argv
clock = time.process_time if ALONE else time.perf_counter
MARKS = {"exact": 5, "noisy 0.1": 5, "Hadamard": 5, "Gaussian": 60}  # reads
FASTER = 60  # than lazylinop's fastest order, N = 2048
MEMORY = 1.3  # times the matrix, N = 8192

PEAK = """
import sys; sys.path.insert(0, {folder!r})
import split
split.peak({n})
"""


def dyadic(n: int, dtype: str) -> np.ndarray:
    """A product of factors with uniform entries, of norm n, formed factor by factor."""
    A = np.eye(n, dtype=dtype)
    for p in reversed(lo.Chain.square_dyadic(n)):
        A = lo.KroneckerSparse(rng.random(p).astype(dtype)) @ A
        A /= np.linalg.norm(A) / np.sqrt(n)
    return A


def noisy(A: np.ndarray, level: float) -> np.ndarray:
    E = rng.standard_normal(A.shape, dtype=A.dtype)
    return A + A.dtype.type(level * np.linalg.norm(A) / np.linalg.norm(E)) * E


def medians(**work) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, call in work.items():
            time.sleep(0.005)  # nobody else's threads are still looking out for work
            start = clock()
            call()
            times[name].append(clock() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


def factorized(A: np.ndarray, measure: bool = False) -> lo.butterfly.Factorization:
    chain = lo.Chain.square_dyadic(len(A))
    return lo.factorize(A, chain, order="balanced", permutation=None, measure=measure)


def reads() -> int:
    missed = 0
    library = cpu.library()
    assert not isinstance(library, str), library
    exact = dyadic(4096, "float32")
    targets = {
        "exact": exact,
        "noisy 0.1": noisy(exact, 0.1),
        "Hadamard": scipy.linalg.hadamard(4096).astype("float32"),
        "Gaussian": rng.standard_normal((4096, 4096), dtype="float32"),
    }
    for name, A in targets.items():
        found = factorized(A, measure=True)
        t = medians(read=lambda A=A: library.read(A), factorize=lambda A=A: factorized(A))
        ratio = t["factorize"] / t["read"]
        missed += ratio > MARKS[name]
        print(
            f"N = 4096 float32 {name:<10} {1e3 * t['factorize']:6.1f} ms = {ratio:5.1f} reads of "
            f"{1e3 * t['read']:.2f} ms  mark {MARKS[name]:>2}  error {found.lower_bound:.2e} <= "
            f"{found.relative_error:.2e} <= {found.upper_bound:.2e}",
            flush=True,
        )
    return missed


def against_lazylinop() -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lazylinop.butterfly import Chain, ksd
    except ImportError as error:
        print(f"lazylinop is not here: {error}")
        return 0
    missed, exact = 0, dyadic(2048, "float64")
    chain = Chain.square_dyadic(exact.shape)
    for name, A in {"exact": exact, "noisy 0.1": noisy(exact, 0.1)}.items():
        rivals = []
        for order in ("l2r", "balanced"):
            start = time.perf_counter()
            ksd(A, chain, order=order)
            rivals.append(time.perf_counter() - start)
        t = medians(
            bounds=lambda A=A: factorized(A), measured=lambda A=A: factorized(A, measure=True)
        )
        ratio = min(rivals) / t["bounds"]
        missed += ratio < FASTER
        print(
            f"N = 2048 float64 {name:<10} {1e3 * t['bounds']:6.1f} ms, error measured too "
            f"{1e3 * t['measured']:6.1f} ms; lazylinop {1e3 * min(rivals):.0f} ms: {ratio:.0f} x "
            f"and {min(rivals) / t['measured']:.0f} x  mark {FASTER}",
            flush=True,
        )
    return missed


def peak_bytes() -> int:
    """Of this process since it began (Linux); ``ru_maxrss`` would count its parent."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def peak(n: int) -> None:
    """In a process of its own: the matrix, and memory beyond what was taken before, in matrices."""
    A = rng.standard_normal((n, n), dtype="float32")
    factorized(A[:64, :64].copy())
    before = peak_bytes()
    factorized(A, measure=True)
    print(1 + (peak_bytes() - before) / A.nbytes)


def memory() -> int:
    code = PEAK.format(folder=os.path.dirname(os.path.abspath(__file__)), n=8192)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    got = float(done.stdout)
    print(f"N = 8192 float32 Gaussian: peak memory {got:.2f} x the matrix  mark {MEMORY}")
    return got > MEMORY


if __name__ == "__main__":
    if ALONE:
        lo.set_num_threads(1)
        sys.exit(reads())
    sys.exit(reads() + against_lazylinop() + memory())
