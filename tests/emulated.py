"""The CUDA text on this CPU: compiled by g++ with tests/native/emulator.h, and launched."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np

from lazyops.kernels.cuda.cost import Device
from lazyops.kernels.cuda.launches import Launch, pointer_to
from lazyops.kernels.cuda.text import SUMS, Variant, text

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
    """``emulate(arguments, grid, threads, shared, order) -> errors`` of a text, and ``moved()``."""
    whole += f"""
extern "C" long emulate(void** arguments, long grid, int threads, long shared, int order) {{
  return emulator::call({kernel}, arguments, grid, threads, shared, order);
}}
"""
    path = _folder() / f"{hashlib.sha256(whole.encode()).hexdigest()[:24]}.so"
    command = [COMPILER, "-O1", "-std=c++17", "-w", "-shared", "-fPIC", "-fno-gnu-unique"]
    command += ["-I", str(NATIVE), "-x", "c++", "-", "-o", str(path)]
    done = subprocess.run(command, input=whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    library = ctypes.CDLL(str(path))
    library.emulate.restype = library.moved.restype = ctypes.c_long
    return library


def bits_of(array) -> bytes:
    if hasattr(array, "data_ptr"):
        import torch

        return array.flatten().contiguous().view(torch.uint8).numpy().tobytes()
    return array.tobytes()


class Emulator:
    """Stands for a device: NumPy arrays, kernels by the emulator.  See `cuda.plan.Machine`."""

    device = Device()

    def __init__(self, orders=ORDERS, change=lambda whole: whole):
        self.orders, self.change = orders, change
        self.launches: list[Launch] = []
        self.moved: list[int] = []  # bytes of global memory in whole accesses, of each launch

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
        variant: Variant = launch.variant
        library = compiled(self.change(text(variant, emulated=True)), variant.kernel)
        pointers = [pointer_to(array) for array in (*inputs, *outputs)]
        values = [np.atleast_1d(v) for v in (*pointers, *launch.arguments)]
        addresses = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
        results = [array for array in (*outputs, *hidden) if array is not None]
        found: list[list[bytes]] = []
        for order in self.orders:
            errors = library.emulate(addresses, launch.grid, launch.threads, variant.shared, order)
            assert errors == 0, f"{errors} barriers or accesses are wrong in order {order}"
            self.moved.append(library.moved())
            found.append([bits_of(array) for array in results])
        assert all(bits == found[0] for bits in found), "a race: results depend on the order"

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
