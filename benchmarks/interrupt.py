"""How soon Ctrl-C ends a factorization: ``python benchmarks/interrupt.py [n]``.

First from within: a timer interrupts every 5 ms, and what passes between two interrupts is the time
that one call keeps from them (processor time of the thread, so that other processes don't count).
Then from outside: SIGINT to ``lazyops factorize`` at random moments, until the process has ended.
The exit code is the number of marks missed; the mark is half a second.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

import lazyops as lo

MARK = 0.5  # seconds
MOST = 60.0  # seconds given to one case: what is left is cut off, as Ctrl-C would


class Watch:
    """The longest time between two interrupts, and the function that it ended in."""

    def __enter__(self):
        self.longest, self.where = 0.0, ""
        self.last, self.end = time.thread_time(), time.perf_counter() + MOST
        signal.signal(signal.SIGALRM, self.tick)
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        return self

    def tick(self, number, frame):
        now = time.thread_time()
        if now - self.last > self.longest:
            self.longest = now - self.last
            self.where = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        self.last = now
        if time.perf_counter() > self.end:
            raise KeyboardInterrupt

    def __exit__(self, kind, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        return kind is KeyboardInterrupt


def cases(n: int, folder: str) -> dict[str, dict]:
    """Wishes whose blocks are of every size, down to the matrix as one block."""
    dyadic = lo.Chain.square_dyadic(n)
    return {
        "chain": {"chain": dyadic, "permutation": None},
        "chain, searched": {"chain": dyadic},
        "left-to-right": {"chain": dyadic, "order": "left-to-right"},
        "ranks 8": {"chain": lo.Chain.smallest(n, n, [8, 8, 8])},
        "monarch": {"chain": lo.Chain.monarch(n, n)},
        "tol 0.5": {"chain": dyadic, "tol": 0.5, "permutation": None},
        "nothing told": {},
        "max_entries": {"max_entries": 25 * n},
        "by panels": {"chain": dyadic, "checkpoint": os.path.join(folder, "kept")},
        "one block": {"chain": [(1, n, 9, 1), (1, 9, n, 1)], "permutation": None},
    }


def from_within(folder: str) -> float:
    worst = 0.0
    M = np.load(os.path.join(folder, "M.npy"), mmap_mode="r")
    for name, wishes in cases(M.shape[0], folder).items():
        start = time.perf_counter()
        with Watch() as watch:
            lo.factorize(M, **wishes)
        took = time.perf_counter() - start
        worst = max(worst, watch.longest)
        print(
            f"{name:<18} {took:6.1f} s   longest call {watch.longest:.3f} s  ({watch.where})",
            flush=True,
        )
    return worst


def from_outside(folder: str, words: list[str], delay: float) -> float | None:
    """Seconds from the signal to the end; None where the program was done before."""
    command = [sys.executable, "-m", "lazyops", "factorize", "M.npy", "-o", "out", *words]
    run = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    time.sleep(delay)
    if run.poll() is not None:
        run.communicate()
        os.unlink(os.path.join(folder, "out"))
        return None
    start = time.perf_counter()
    run.send_signal(signal.SIGINT)
    _, said = run.communicate()
    took = time.perf_counter() - start
    assert run.returncode == 130, (run.returncode, said)
    assert said.startswith("lazyops: interrupted"), said
    assert sorted(set(os.listdir(folder)) - {"kept"}) == ["M.npy"], os.listdir(folder)
    return took


def main() -> int:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    print(f"Gaussian noise, N = {n}, float32; mark {MARK} s")
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        M = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
        np.save(os.path.join(folder, "M.npy"), M)
        del M
        worst = [from_within(folder)]
        resumed = ["--chain", "square-dyadic", "--resume", "kept"]
        for words, most in (
            (["--chain", "square-dyadic"], 3.0),
            (["--max-entries", str(25 * n)], 9.0),
            (resumed, 1.5),
        ):
            times = []
            for _ in range(8):
                shutil.rmtree(os.path.join(folder, "kept"), ignore_errors=True)
                times.append(from_outside(folder, words, draw.uniform(0.8, most)))
            seen = [t for t in times if t is not None]
            worst += seen
            shown = " ".join(f"{t:.2f}" for t in seen) or "done before the signal"
            print(f"{' '.join(words):<40} signal to end: {shown} s", flush=True)
    return sum(t > MARK for t in worst)


if __name__ == "__main__":
    sys.exit(main())
