"""Products on CUDA devices: CuPy arrays and torch tensors, kernels compiled at first use.

Needs CuPy (extra ``cupy``); without it, and for what the kernels do not take, the same arrays are
multiplied by the array API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._array import Array, cast, dtype_name, needs_grad, place
from ...pattern import Pattern
from ..reference import check_sizes
from ..stage import Stage, result_dtype
from . import machine as _machine
from .plan import DevicePlan, make_plan
from .plan import obstacle as _obstacle

__all__ = [
    "DeviceChain",
    "DevicePlan",
    "device_of",
    "ks_matmat",
    "missing",
    "obstacle",
    "plan",
    "stages_obstacle",
]

missing, device_of = _machine.missing, _machine.device_of
ALIGNED = 16


def stages_obstacle(stages: Sequence[Stage], x: Array) -> str | None:
    """Why a product is not run by kernels of a device; None if it is."""
    if (number := _machine.device_of(x)) is None:
        return "it takes CuPy arrays and torch tensors on a CUDA device"
    if (why := missing()) is not None:
        return why
    arrays = [a for s in stages if (a := s.held) is not None]
    if any(_machine.device_of(a) != number for a in arrays):
        return "values and x are not on one device"
    if any(map(needs_grad, (x, *arrays))):
        return "gradients are recorded: by the array API"
    if 0 in x.shape:
        return "there is nothing to multiply"
    return _obstacle(stages, result_dtype(stages, dtype_name(x.dtype)))


def plan(stages: Sequence[Stage], x: Array) -> DevicePlan:
    """The plan for arrays like `x`: its dtype, width, order and alignment."""
    number = _machine.device_of(x)
    assert number is not None
    name = result_dtype(stages, dtype_name(x.dtype))
    fortran = in_fortran_order(x)
    here = _machine.machine(number, place(x).library)
    return make_plan(stages, x.shape[0], x.shape[1], name, not fortran, aligned(x, name), here)


def in_fortran_order(x: Array) -> bool:
    """Whether rows lie side by side and columns do not."""
    strides = x.stride() if hasattr(x, "stride") else x.strides
    return bool(x.shape[1] > 1 and strides[0] < strides[1])


def aligned(x: Array, name: str) -> int:
    """Bytes that every row, or column in Fortran order, of an array like `x` is aligned to."""
    from .text import ITEMSIZE

    side = x.shape[0] if in_fortran_order(x) else x.shape[1]
    found = ALIGNED
    while found > 1 and side * ITEMSIZE[name] % found:
        found //= 2
    return found


class DeviceChain:
    """A product of stages on one device, with its plans by dtype, width, order and alignment."""

    def __init__(self, stages: Sequence[Stage]):
        self.stages = tuple(stages)
        self._plans: dict[tuple, DevicePlan] = {}

    def __call__(self, x: Array) -> Array | None:
        """The product; None where the kernels do not take this `x`."""
        if needs_grad(x):
            return None
        name = dtype_name(x.dtype)
        key = name, x.shape[1], in_fortran_order(x), aligned(x, name)
        found = self._plans.get(key)
        if found is None:
            if stages_obstacle(self.stages, x) is not None:
                return None
            found = self._plans.setdefault(key, plan(self.stages, x))
        return found(ready(x, found))


def ready(x: Array, plan: DevicePlan) -> Array:
    """`x` as the kernels of a plan read it: of its dtype, in one piece, aligned."""
    x = cast(x, plan.dtype)
    if plan.fortran:
        return ready_rows(x.T).T
    return ready_rows(x)


def ready_rows(x: Array) -> Array:
    if hasattr(x, "contiguous"):
        x = x.contiguous()
        return x if x.data_ptr() % ALIGNED == 0 else x.clone()
    if not x.flags.c_contiguous or x.data.ptr % ALIGNED:
        x = x.copy(order="C")
    return x


def obstacle(values: Array, x: Array) -> str | None:
    """Why one factor is not multiplied by these kernels; None if it is."""
    if device_of(x) is None or len(values.shape) != 4:
        return "it takes CuPy arrays and torch tensors on a CUDA device"
    return stages_obstacle([Stage(values, Pattern(*map(int, values.shape)))], x)


def ks_matmat(values: Array, x: Array, transpose: bool = False, conj: bool = False) -> Any:
    """See `reference.ks_matmat`."""
    check_sizes(values, x, transpose)
    pattern = Pattern(*map(int, values.shape))
    stage = Stage(values, pattern.T if transpose else pattern, None, None, transpose, conj)
    made = plan([stage], x)
    return made(ready(x, made))
