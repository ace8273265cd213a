"""What goes wrong on a device, said with the way out."""

from __future__ import annotations

import math
from typing import Any

from .text import ITEMSIZE

NO_MEMORY = ("OutOfMemoryError",)  # of CuPy and of torch
NO_MEMORY_SAID = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUDA out of memory")
CAPTURE_SAID = ("StreamCapture", "stream is capturing")
DRIVER = ("CUDARuntimeError", "CUDADriverError", "AcceleratorError")
COMPILER = ("CompileException", "NVRTCError")


def explained(error: Exception, number: int, what: str) -> Exception | None:
    """The error to raise in place of one of a library; None for those that are not the device's."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    said = str(error)
    if kinds.intersection(NO_MEMORY) or any(s in said for s in NO_MEMORY_SAID):
        return MemoryError(
            f"cuda:{number} has no room for {what}: multiply fewer columns at a time, or give back "
            "what libraries keep (torch.cuda.empty_cache(), "
            f"cupy.get_default_memory_pool().free_all_blocks()): {said}"
        )
    if any(s in said for s in CAPTURE_SAID):
        return RuntimeError(
            f"cuda:{number} captures a graph, and {what} waits or copies: plans and kernels are "
            "made by the first product of a size, so multiply once by such arrays before the "
            f"capture, and capture on a stream of its own: {said}"
        )
    if kinds.intersection(COMPILER) or "libnvrtc" in said:
        return RuntimeError(
            f"NVRTC does not compile {what} for cuda:{number}: install CuPy with the libraries of "
            "CUDA that it was built for (pip install 'cupy-cuda12x[ctk]'), or set "
            f"LAZYOPS_KERNEL=reference to multiply without kernels: {said}"
        )
    if kinds.intersection(DRIVER):
        return RuntimeError(
            f"cuda:{number} does not run {what}: update the driver (nvidia-smi shows it), install "
            "the CuPy that was built for it, or set LAZYOPS_KERNEL=reference to multiply without "
            f"kernels: {said}"
        )
    return None


def result_of(shape: tuple[int, ...], dtype: str) -> str:
    """How an array that does not fit is named."""
    size = math.prod(shape) * ITEMSIZE.get(dtype, 4)
    return f"a result of shape {shape} and {size / 2**30:.3g} GiB"


def kernel_of(variant: Any) -> str:
    return f"the kernel {variant.kernel} in {variant.dtype}"
