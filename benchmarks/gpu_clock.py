"""Where the cases of benchmarks/gpu.py run: a CUDA device, or the CPU for a run without figures."""

from __future__ import annotations

import contextlib
import functools
import math
import pathlib
import sys
import time
import types
from typing import NamedTuple

import numpy as np

RING = 256e6  # bytes of arrays that a cold measurement goes through: more than L2 has
TESTS = pathlib.Path(__file__).parent.parent / "tests"
NO_FIGURE = "no figure: this was a dry run"


class Mark(NamedTuple):
    """What a figure has to reach, and what would be good; `least`: from below."""

    must: float
    good: float | None = None
    least: bool = True

    def __str__(self) -> str:
        sign = ">=" if self.least else "<="
        return f"{sign} {self.must:g}" + (f", {self.good:g}" if self.good is not None else "")

    def met(self, figure: float) -> str:
        """NO, yes, or good."""
        reached = lambda mark: figure >= mark if self.least else figure <= mark
        if not reached(self.must):
            return "NO"
        return "good" if self.good is not None and reached(self.good) else "yes"


class Row(NamedTuple):
    """A line of the table; `met` is empty where there is no mark, or no figure."""

    what: str
    compared: str
    figure: str
    mark: str
    met: str


class Place:
    """Rows, and what the cases ask for: sizes, arrays, times."""

    device: str
    dry: bool

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def row(self, what: str, compared: str, figure: float | None, mark: Mark | None = None) -> None:
        """Takes a figure down; None where a peer is not installed."""
        told = "" if mark is None else str(mark)
        if self.dry:
            found = Row(what, compared, NO_FIGURE, told, "")
        elif figure is None:
            found = Row(what, compared, "the peer is not installed", told, "")
        else:
            met = "" if mark is None else mark.met(figure)
            found = Row(what, compared, f"{figure:.3g}", told, met)
        self.rows.append(found)
        print(f"{what:48} {compared:36} {found.figure:>12}   {told:14} {found.met}", flush=True)


class Device(Place):
    """A CUDA device, by torch and CuPy."""

    device, dry = "cuda", False

    def size(self, n: int) -> int:
        return n

    def columns(self, count: int) -> int:
        return count

    def pattern(self, pattern):
        return pattern

    def ring(self, bytes_: float) -> int:
        """How many arrays of so many bytes make a ring."""
        return max(1, min(16, math.ceil(RING / bytes_)))

    @property
    def cupy(self):
        import cupy

        return cupy

    @property
    def csr(self):
        import cupyx.scipy.sparse

        return cupyx.scipy.sparse.csr_matrix

    def plans(self):
        """Where plans of the device are made and timed."""
        return contextlib.nullcontext()

    @functools.cached_property
    def copied(self) -> float:
        """Bytes per second of a copy."""
        import torch

        x = torch.empty(1 << 28, device="cuda")
        y = torch.empty_like(x)
        return 2 * x.numel() * 4 / self.seconds([lambda: y.copy_(x)] * 4)

    def seconds(self, calls, replays: int = 20) -> float:
        """Of one call on the device: a graph of all of them, replayed."""
        import torch

        graph, kept = captured(calls)
        times = []
        for _ in range(replays):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) * 1e-3 / len(calls))
        del kept
        return float(np.median(times))

    def waited(self, call, rounds: int = 50) -> float:
        """Seconds of one call with the wait for its result."""
        import torch

        call()
        times = []
        for _ in range(rounds):
            torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    def replayed(self, call) -> float:
        """Seconds of a graph of one call with the wait for its result."""
        graph, kept = captured([call])
        found = self.waited(graph.replay)
        del kept
        return found

    def compiled(self, variant) -> tuple[float, int]:
        """(seconds, bytes of spilled registers of a thread); never from a cache."""
        from lazyops.kernels.cuda.text import text

        code = f"{text(variant)}\n// {time.time_ns()}\n"
        begun = time.perf_counter()
        function = self.cupy.RawModule(code=code, options=("-std=c++17",)).get_function(
            variant.kernel
        )
        spilled = function.local_size_bytes
        return time.perf_counter() - begun, spilled

    def free(self) -> None:
        import torch

        torch.cuda.empty_cache()

    def __str__(self) -> str:
        import torch

        return (
            f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CuPy "
            f"{self.cupy.__version__}, a copy at {self.copied / 1e9:.0f} GB/s"
        )


def captured(calls):
    """A graph of calls, run once, and the results that it writes."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls[:2]:
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call() for call in calls]
    graph.replay()
    torch.cuda.synchronize()
    return graph, kept


class Dry(Place):
    """The CPU, with small sizes: every line of the cases runs, and no figure leaves it."""

    device, dry = "cpu", True
    copied = math.nan

    def size(self, n: int) -> int:
        return min(n, 64)

    def columns(self, count: int) -> int:
        return min(count, 8)

    def pattern(self, pattern):
        a, b, c, d = pattern
        return min(a, 2), b, c, min(d, 2)

    def ring(self, bytes_: float) -> int:
        return 2

    @property
    def cupy(self):
        return types.SimpleNamespace(
            from_dlpack=np.from_dlpack, asarray=np.asarray, arange=np.arange, int32=np.int32
        )

    @property
    def csr(self):
        import scipy.sparse

        return scipy.sparse.csr_matrix

    @contextlib.contextmanager
    def plans(self):
        """The stand-in of the tests: plans are made as on a device, and not run."""
        sys.path.insert(0, str(TESTS))
        try:
            import emulated

            from lazyops.kernels.cuda import machine as module

            before = module.missing, module.machine, module.device_of
            here = emulated.EmulatedTorch(clock=lambda call: 1e-6)
            module.missing, module.machine = lambda: None, lambda number, library: here
            module.device_of = lambda x: 0 if hasattr(x, "data_ptr") else None
            try:
                yield
            finally:
                module.missing, module.machine, module.device_of = before
        finally:
            sys.path.remove(str(TESTS))

    def seconds(self, calls, replays: int = 20) -> float:
        for call in calls:
            call()
        return math.nan

    def waited(self, call, rounds: int = 50) -> float:
        call()
        return math.nan

    replayed = waited

    def compiled(self, variant) -> tuple[float, int]:
        from lazyops.kernels.cuda.text import text

        assert f"{variant.kernel}(" in text(variant)
        return math.nan, 0

    def free(self) -> None:
        pass

    def __str__(self) -> str:
        return "no device"
