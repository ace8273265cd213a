"""A CUDA device, for CuPy arrays and torch tensors: kernels compiled by NVRTC at first use."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._array import Array, place
from .cost import Device
from .errors import explained, kernel_of, result_of
from .launches import Launch, pointer_to
from .text import Variant, text

REPEATS, CALLS = 7, 10  # of a plan that is measured
STATIC_SHARED = 48 * 1024  # bytes that a kernel has without being asked for


def missing() -> str | None:
    """Why no kernel runs on a device here, in one sentence with the way out; None if they run."""
    return _missing()


@functools.cache
def _missing() -> str | None:
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed (pip install 'lazyops[cupy]')"
    except Exception as error:  # an installation without its libraries fails in its own ways
        return f"CuPy does not load: {error}"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "CuPy finds no CUDA device"
        needed, there = (
            cupy.cuda.runtime.runtimeGetVersion(),
            cupy.cuda.runtime.driverGetVersion(),
        )
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return (
            "the CUDA driver is missing or too old: update it (nvidia-smi shows it), or install "
            f"the CuPy that was built for it: {error}"
        )
    if there // 1000 < needed // 1000:
        return (
            f"the driver is for CUDA {there // 1000}, CuPy for CUDA {needed // 1000}: "
            f"update the driver or install cupy-cuda{there // 1000}x"
        )
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # whatever a library that is not found gives
        return f"NVRTC does not load (pip install 'cupy-cuda{needed // 1000}x[ctk]'): {error}"
    return None


def device_of(x: Array) -> int | None:
    """The number of the CUDA device that `x` is on, or None."""
    library, device = place(x)
    if library == "torch":
        return x.device.index if device.startswith("cuda") else None
    return int(x.device.id) if library == "cupy" else None


@functools.cache
def machine(device: int, library: str) -> CudaMachine:
    return CudaMachine(device, library)


class CudaMachine:
    """One device, for the arrays of one library; see `plan.Machine`."""

    def __init__(self, number: int, library: str):
        self.number, self.library = number, library
        # CuPy's matmul copies views that are not in one piece
        self.device = measured(number)._replace(strided=library == "torch")

    def empty(self, shape: tuple[int, ...], dtype: str, fortran: bool) -> Any:
        try:
            return self._empty(shape, dtype, fortran)
        except Exception as error:
            if (known := explained(error, self.number, result_of(shape, dtype))) is None:
                raise
            raise known from error

    def _empty(self, shape: tuple[int, ...], dtype: str, fortran: bool) -> Any:
        if self.library == "torch":
            import torch

            where = torch.device("cuda", self.number)
            if fortran:
                return torch.empty(shape[::-1], dtype=getattr(torch, dtype), device=where).mT
            return torch.empty(shape, dtype=getattr(torch, dtype), device=where)
        import cupy

        with cupy.cuda.Device(self.number):
            return cupy.empty(shape, dtype, order="F" if fortran else "C")

    def array(self, values: np.ndarray) -> Any:
        if self.library == "torch":
            import torch

            return torch.from_numpy(np.ascontiguousarray(values)).to(f"cuda:{self.number}")
        import cupy

        with cupy.cuda.Device(self.number):
            return cupy.asarray(values)

    def settle(self) -> None:
        """Wait for what the caller's stream has to do: a plan may next be used on another one."""
        import cupy

        try:
            with cupy.cuda.Device(self.number), self._stream():
                cupy.cuda.get_current_stream().synchronize()
        except Exception as error:
            if (known := explained(error, self.number, "a plan for new sizes")) is None:
                raise
            raise known from error

    def launch(
        self, launch: Launch, inputs: Sequence, outputs: Sequence, hidden: Sequence = ()
    ) -> None:
        import cupy

        arguments = (*map(pointer_to, (*inputs, *outputs)), *launch.arguments)
        shared = launch.variant.shared
        try:
            function = compiled(self.number, launch.variant)
            with cupy.cuda.Device(self.number), self._stream():
                function((launch.grid,), (launch.threads,), arguments, shared_mem=shared)
        except Exception as error:
            if (known := explained(error, self.number, kernel_of(launch.variant))) is None:
                raise
            raise known from error

    def seconds(self, call: Callable[[], Any], until: float, clock: Callable[[], float]) -> float:
        """The median time of a call on the device, warm; at most until `clock` says so."""
        import cupy

        with cupy.cuda.Device(self.number), self._stream():
            stream = cupy.cuda.get_current_stream()
            call()
            stream.synchronize()
            found: list[float] = []
            while len(found) < REPEATS and (not found or clock() < until):
                start, end = cupy.cuda.Event(), cupy.cuda.Event()
                start.record(stream)
                for _ in range(CALLS):
                    call()
                end.record(stream)
                end.synchronize()
                found.append(cupy.cuda.get_elapsed_time(start, end) * 1e-3 / CALLS)
        return float(np.median(found))

    def multiply(self, left: Any, right: Any, out: Any) -> None:
        if self.library == "torch":
            import torch

            torch.bmm(left, right, out=out)
            return
        import cupy

        with cupy.cuda.Device(self.number):
            cupy.matmul(left, right, out=out)

    def _stream(self):
        """The stream that the caller works on: CuPy's own is current already."""
        if self.library != "torch":
            return contextlib.nullcontext()
        import cupy
        import torch

        return cupy.cuda.ExternalStream(torch.cuda.current_stream(self.number).cuda_stream)


@functools.cache
def compiled(number: int, variant: Variant) -> Any:
    """A kernel, ready for a device; CuPy keeps what it compiled in the user's cache."""
    import cupy

    with cupy.cuda.Device(number):
        function = cupy.RawModule(code=text(variant), options=("-std=c++17",)).get_function(
            variant.kernel
        )
        if variant.shared > STATIC_SHARED:
            function.max_dynamic_shared_size_bytes = variant.shared
    return function


class Paper:
    """A device that is not here: plans can be made for it and read, not run."""

    def __init__(self, device: Device):
        self.device = device

    def array(self, values: np.ndarray) -> np.ndarray:
        return values

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"a plan made for a {self.device.name} on paper is read, not run")


def measured(number: int) -> Device:
    """The model's constants, scaled from those of an H200 by what the device says of itself."""
    import cupy

    known = cupy.cuda.Device(number).attributes
    name = cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()
    processors = known["MultiProcessorCount"]
    clock = known["ClockRate"] * 1e3  # Hz
    bandwidth = 2.0 * known["MemoryClockRate"] * 1e3 * known["GlobalMemoryBusWidth"] / 8
    base = Device()
    return base._replace(
        name=name,
        processors=processors,
        memory=0.9 * bandwidth if bandwidth else base.memory,
        l2_bytes=0.65 * known["L2CacheSize"],
        shared=processors * 128.0 * clock,
        flops=0.85 * processors * 256 * clock,
        matmul=0.85 * processors * 256 * clock,
        matmul_double=base.matmul_double * processors * 128.0 * clock / base.shared,
        matmul_half=base.matmul_half * processors * 128.0 * clock / base.shared,
        shared_block=known["MaxSharedMemoryPerBlockOptin"],
        shared_processor=known["MaxSharedMemoryPerMultiprocessor"],
    )
