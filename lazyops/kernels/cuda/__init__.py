"""Products on CUDA devices: CuPy arrays and torch tensors, kernels compiled at first use.

Needs CuPy (extra ``cupy``); without it, and for what the kernels do not take, the same arrays are
multiplied by the array API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._array import Array, array_namespace, dtype_name, place
from ...pattern import Pattern
from ..reference import check_sizes
from ..stage import Stage
from . import machine as _machine
from .chain import DeviceChain, adjoint_of, by_stages, plan, plan_on, ready, stages_obstacle
from .cost import DEVICES
from .machine import Paper
from .plan import DevicePlan

__all__ = [
    "DeviceChain",
    "DevicePlan",
    "device_of",
    "gradients",
    "ks_matmat",
    "missing",
    "obstacle",
    "paper_plan",
    "plan",
    "product",
    "stages_obstacle",
]


def missing() -> str | None:
    """Why no kernel runs on a device here, in one sentence with the way out; None if they run."""
    return _machine.missing()


def device_of(x: Array) -> int | None:
    """The number of the CUDA device that `x` is on, or None."""
    return _machine.device_of(x)


def paper_plan(stages: Sequence[Stage], x: Array, device: str) -> DevicePlan:
    """The plan of a device that is not here, for arrays like `x` on the CPU: to be read."""
    if device not in DEVICES:
        raise ValueError(f"no constants of a {device!r} are known: {', '.join(DEVICES)}")
    return plan_on(Paper(DEVICES[device]), stages, x)


def product(stages: Sequence[Stage], x: Array) -> Array:
    """``stages[0] @ stages[1] @ ... @ x`` with values read where they are: they may change."""
    number = device_of(x)
    if number is None or stages_obstacle(stages, x) is not None:
        return by_stages(stages, x)
    made = plan_on(_machine.machine(number, place(x).library), stages, x, frozen=True)
    return made(ready(x, made))


def gradients(stages: Sequence[Stage], g: Array, x: Array, wanted: Sequence[bool]) -> list[Array]:
    """Those wanted of the gradients of x and of each stage that holds an array, for `g` of y."""
    from . import backward

    number = device_of(x)
    assert number is not None
    if 0 in x.shape:
        held = [x, *(s.held for s in stages if s.held is not None or s.index is not None)]
        return [array_namespace(x).zeros_like(a) for a, w in zip(held, wanted, strict=True) if w]
    if any(wanted[1:]):
        here = _machine.machine(number, place(x).library)
        return backward.gradients(stages, g, x, wanted, here)
    gx = product(adjoint_of(stages), g)
    return [backward.as_kind(gx, dtype_name(x.dtype))] if wanted[0] else []


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
