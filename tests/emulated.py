"""The CUDA text on this CPU: compiled by g++ with tests/native/emulator.h, and launched."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import pathlib
import shutil
import subprocess
import tempfile
from typing import NamedTuple

import numpy as np

from lazyops.kernels.cuda.cost import Device
from lazyops.kernels.cuda.launches import EXTENT, SHAPE, Launch, pointer_to
from lazyops.kernels.cuda.text import ITEMSIZE, SUMS, TYPES, Variant, text

NATIVE = pathlib.Path(__file__).parent / "native"
COMPILER = shutil.which("g++")
ORDERS = (0, 1, 2)  # of threads between two barriers: ascending, descending, scattered


@functools.cache
def _folder() -> pathlib.Path:
    folder = tempfile.TemporaryDirectory(prefix="lazyops-emulated-")
    _folder.keep = folder  # type: ignore[attr-defined]  # until the interpreter ends
    return pathlib.Path(folder.name)


@functools.cache
def compiled(whole: str, kernel: str) -> ctypes.CDLL:
    """``emulate(arguments, request, regions) -> errors`` of a text, and ``accounts(to)``.

    -fsanitize=thread puts a call at every access to memory, which emulator_trace.h answers: so
    the library of that sanitizer is not linked.
    """
    whole += f"""
extern "C" int emulate(void** arguments, const emulator::Request* q, const emulator::Region* r) {{
  return emulator::call({kernel}, arguments, *q, r);
}}
"""
    path = _folder() / f"{hashlib.sha256(whole.encode()).hexdigest()[:24]}.so"
    _run([*_COMPILE, "-O1", "-fsanitize=thread", "-", "-o", f"{path}.o"], whole)
    _run([COMPILER, "-shared", "-Wl,-Bsymbolic", f"{path}.o", _emulator(), "-o", str(path)])
    return ctypes.CDLL(str(path))


_COMPILE = [COMPILER, "-std=c++17", "-w", "-fPIC", "-fno-gnu-unique", "-I", str(NATIVE), "-c"]
_COMPILE += ["-x", "c++"]


@functools.cache
def _emulator() -> str:
    """The part that is the same for all texts."""
    path = _folder() / "emulator.o"
    _run([*_COMPILE, "-O2", str(NATIVE / "emulator.cpp"), "-o", str(path)])
    return str(path)


def _run(command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:  # no AssertionError: a mutant that is no C++ is not caught by a result
        raise RuntimeError(done.stderr[:4000])


# what emulator.h and emulator_trace.h take and give, field by field
REQUEST = np.dtype(
    [(name, "i8") for name in ("first", "stop", "shared")]
    + [(name, "i4") for name in ("threads", "order", "trace", "element", "regions", "whole")]
)
REGION = np.dtype([("begin", "u8"), ("bytes", "i8"), ("element", "i4"), ("role", "i4")])
ACCOUNT = np.dtype([(name, "i8") for name in ("asked", "taken", "worst", "counted")])
ROLES = ("read", "written", "values", "index", "shared")
ERRORS = {  # bits of what `emulate` returns
    1: "a barrier that some threads never reach",
    2: "an access that is not aligned",
    4: "an access outside of all arrays",
    8: "a race in shared memory",
    16: "a number of the result written twice",
    32: "a number of the result never written",
}


def regions(launch: Launch, inputs, outputs, hidden) -> np.ndarray:
    """The arrays that a launch may touch: those given, and those its arguments point to."""
    dtype = launch.variant.dtype
    item = ITEMSIZE[dtype]
    found = [(a, a.nbytes, item, "read") for a in inputs if a is not None]
    found += [(a, a.nbytes, item, "written") for a in outputs if a is not None]
    found += [(a, a.nbytes, ITEMSIZE[SUMS[dtype]], "written") for a in hidden]
    found = [(int(pointer_to(a)), *more) for a, *more in found]
    found += held_by(launch)
    rows = [(at, size, element, ROLES.index(role)) for at, size, element, role in found if at]
    return np.array(rows, REGION)


def held_by(launch: Launch):
    """(address, bytes, bytes of a number, role) of values, tables and permutations."""
    records, *others = launch.arguments
    is_ = next(o for o in others if getattr(o, "dtype", None) in (SHAPE, EXTENT))
    if launch.variant.stages:
        whole = int(is_["outer"]) * int(is_["inner"])
        entries = [whole * s.a * s.b * s.c * s.d for s in launch.variant.stages]
        first, last = launch.variant.known("FIRST_ROWS"), launch.variant.known("LAST_ROWS")
        ends = (whole * first, whole * last)
        perms = others[-3:-1] if launch.variant.kernel == "gradient" else others[-2:]
    else:
        a, b, c, d = (int(is_[name]) for name in "abcd")
        entries, ends, perms = [a * b * c * d], (a * c * d,), others[-1:]
    bits, element = bits_of_value(launch.variant.values)
    for record, count in zip(np.atleast_1d(records), entries, strict=True):
        yield int(record["values"]), -(-count * bits // 8), element, "values"
        if record["table"]:
            yield int(record["table"]), 4 << bits, 4, "index"
    for perm, rows in zip(perms, ends, strict=True):
        yield int(perm), 4 * rows, 4, "index"


def bits_of_value(storage: str) -> tuple[int, int]:
    """(bits, bytes that are read at once) of a value, by its type in types.cuh."""
    if storage.startswith("codes<"):
        bits, _, _, pair = storage[6:-1].split(", ")
        return int(bits) * (2 if pair == "true" else 1), max(1, int(bits) // 8)
    (dtype,) = (name for name, known in TYPES.items() if known == storage)
    return 8 * ITEMSIZE[dtype], ITEMSIZE[dtype]


class Seen(NamedTuple):
    """What one launch did to memory, by role: see `ACCOUNT`."""

    launch: Launch
    accounts: np.ndarray

    def efficiency(self, role: str) -> float:
        """Bytes asked for, of the bytes of the sectors that this takes."""
        account = self.accounts[ROLES.index(role)]
        return float(account["asked"] / account["taken"])

    @property
    def conflict(self) -> int:
        """How many times as long an access to shared memory takes as it could, at most."""
        return int(self.accounts[ROLES.index("shared")]["worst"])

    @property
    def moved(self) -> int:
        """Bytes of x and y."""
        return int(self.accounts["counted"][:2].sum())


def bits_of(array) -> bytes:
    if hasattr(array, "data_ptr"):
        import torch

        return array.flatten().contiguous().view(torch.uint8).numpy().tobytes()
    return array.tobytes()


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class Emulator:
    """Stands for a device: NumPy arrays, kernels by the emulator.  See `cuda.plan.Machine`."""

    device = Device()

    def __init__(self, orders=ORDERS, change=lambda whole: whole, trace=False):
        self.orders, self.change, self.trace = orders, change, trace
        self.launches: list[Launch] = []
        self.seen: list[Seen] = []
        self.moved: list[int] = []  # bytes of x and y, each time that they are, of each launch

    def array(self, values):
        return np.ascontiguousarray(values)

    def empty(self, shape, dtype, fortran):
        array = np.full(shape, np.nan if dtype != "int32" else 0, order="F" if fortran else "C")
        return array.astype(named(dtype), order="K")

    def launch(self, launch: Launch, inputs, outputs, hidden=()):
        """Run in every order of threads; the results must be the same bits.

        `hidden` are results that the arguments of the launch point to.
        """
        self.launches.append(launch)
        results = [array for array in (*outputs, *hidden) if array is not None]
        found: list[list[bytes]] = []
        for order in self.orders:
            self.run(launch, inputs, outputs, hidden, order)
            found.append([bits_of(array) for array in results])
        assert all(bits == found[0] for bits in found), "a race: results depend on the order"

    def run(self, launch, inputs, outputs, hidden=(), order=0, blocks=None):
        """All blocks, or some (first, stop), in one order of threads."""
        variant: Variant = launch.variant
        library = compiled(self.change(text(variant, emulated=True)), variant.kernel)
        pointers = [pointer_to(array) for array in (*inputs, *outputs)]
        values = [np.atleast_1d(v) for v in (*pointers, *launch.arguments)]
        addresses = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
        may = regions(launch, inputs, outputs, hidden)
        first, stop = blocks or (0, launch.grid)
        element, whole = ITEMSIZE[SUMS[variant.dtype]], blocks is None
        request = (
            first,
            stop,
            variant.shared,
            launch.threads,
            order,
            self.trace,
            element,
            len(may),
        )
        request = np.array((*request, whole), REQUEST)
        errors = library.emulate(addresses, pointer(request), pointer(may))
        said = [what for bit, what in ERRORS.items() if errors & bit]
        assert not said, f"{'; '.join(said)} in order {order}"
        accounts = np.zeros(len(ROLES), ACCOUNT)
        library.accounts(pointer(accounts))
        self.seen.append(Seen(launch, accounts))
        self.moved.append(self.seen[-1].moved)

    def settle(self):
        pass

    def multiply(self, left, right, out):
        """Batched matmul of the library: sums of half precision in single."""
        sums = SUMS[left.dtype.name]
        self.moved.append(right.nbytes + out.nbytes)
        out[...] = (left.astype(sums) @ right.astype(sums)).astype(out.dtype)


class EmulatedTorch(Emulator):
    """The same for torch tensors of the CPU, whose bmm is torch's own."""

    def __init__(self, orders=(0,), clock=None):
        super().__init__(orders)
        self.clock = clock  # of a machine whose plans take the time that it says

    def array(self, values):
        import torch

        return torch.from_numpy(np.array(values))

    def empty(self, shape, dtype, fortran):
        import torch

        found = torch.full(shape[::-1] if fortran else shape, np.nan, dtype=getattr(torch, dtype))
        return found.mT if fortran else found

    def multiply(self, left, right, out):
        import torch

        self.launches.append("matmul")
        torch.bmm(left, right, out=out)

    def seconds(self, call, until, clock):
        return self.clock(call)


def stand_in(monkeypatch, machine):
    """Torch tensors of the CPU are on a device from now on, which is `machine`."""
    from lazyops.kernels.cuda import machine as module

    monkeypatch.setattr(module, "missing", lambda: None)
    monkeypatch.setattr(module, "machine", lambda number, library: machine)
    monkeypatch.setattr(module, "device_of", lambda x: 0 if hasattr(x, "data_ptr") else None)
    return machine


def named(dtype: str) -> np.dtype:
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype)
