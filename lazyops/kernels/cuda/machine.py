"""A CUDA device, for CuPy arrays and torch tensors: kernels compiled by NVRTC at first use."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._array import Array, place
from .cost import Device
from .launches import Launch, pointer_to
from .text import Variant, text

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
        return f"the CUDA driver is missing or too old (nvidia-smi shows it): {error}"
    if there // 1000 < needed // 1000:
        return (
            f"the driver is for CUDA {there // 1000}, CuPy for CUDA {needed // 1000}: "
            f"update the driver or install cupy-cuda{there // 1000}x"
        )
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
        self.device = measured(number)

    def empty(self, shape: tuple[int, ...], dtype: str, fortran: bool) -> Any:
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

    def launch(
        self, launch: Launch, inputs: Sequence, outputs: Sequence, hidden: Sequence = ()
    ) -> None:
        import cupy

        function = compiled(self.number, launch.variant)
        arguments = (*map(pointer_to, (*inputs, *outputs)), *launch.arguments)
        with cupy.cuda.Device(self.number), self._stream():
            function((launch.grid,), (launch.threads,), arguments, shared_mem=launch.variant.shared)

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


def measured(number: int) -> Device:
    """The model's constants, scaled from those of an H200 by what the device says of itself."""
    import cupy

    known = cupy.cuda.Device(number).attributes
    processors = known["MultiProcessorCount"]
    clock = known["ClockRate"] * 1e3  # Hz
    bandwidth = 2.0 * known["MemoryClockRate"] * 1e3 * known["GlobalMemoryBusWidth"] / 8
    base = Device()
    return base._replace(
        processors=processors,
        memory=0.9 * bandwidth if bandwidth else base.memory,
        l2_bytes=0.65 * known["L2CacheSize"],
        shared=processors * 128.0 * clock,
        flops=0.85 * processors * 256 * clock,
        shared_block=known["MaxSharedMemoryPerBlockOptin"],
        shared_processor=known["MaxSharedMemoryPerMultiprocessor"],
    )
