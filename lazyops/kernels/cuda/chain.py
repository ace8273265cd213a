"""A product of stages on a device: plans made when they are needed, and measured on request."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._array import Array, cast, conj, dtype_name, is_complex_name, needs_grad, place
from ..reference import ks_matmat
from ..stage import Stage, result_dtype
from . import machine as _machine
from . import table
from .cost import FREE, Bias
from .plan import DevicePlan, inverse, make_plan
from .plan import obstacle as _obstacle
from .segments import resolved
from .text import ITEMSIZE

ALIGNED = 16
CANDIDATES = (  # what `tune` measures besides what the model takes
    Bias(dense=2),
    Bias(dense=0),
    Bias(dense=0, matmul=False),
    *(Bias(dense=0, radix=radix) for radix in (2, 4, 8, 16)),
    *(Bias(dense=0, tile=kilobytes << 10) for kilobytes in (32, 64, 112)),
    Bias(dense=0, runs=False),
    Bias(dense=0, runs=False, radix=16),
)


def stages_obstacle(stages: Sequence[Stage], x: Array) -> str | None:
    """Why a product is not run by kernels of a device; None if it is."""
    if (number := _machine.device_of(x)) is None:
        return "it takes CuPy arrays and torch tensors on a CUDA device"
    if (why := _machine.missing()) is not None:
        return why
    arrays = [a for s in stages if (a := s.held) is not None]
    if any(_machine.device_of(a) != number for a in arrays):
        return "values and x are not on one device"
    if any(map(is_recorded, (x, *arrays))):
        return "gradients are recorded"
    if 0 in x.shape:
        return "there is nothing to multiply"
    return _obstacle(stages, result_dtype(stages, dtype_name(x.dtype)))


def is_recorded(x: Array) -> bool:
    """Whether a gradient flows through `x`, and somebody listens."""
    if not needs_grad(x):
        return False
    import torch

    return torch.is_grad_enabled()


def plan(
    stages: Sequence[Stage],
    x: Array,
    bias: Bias | None = None,
    copies: dict[tuple, Any] | None = None,
) -> DevicePlan:
    """The plan for arrays like `x`: its dtype, width, order and alignment.

    Without a `bias`, by the table of what `lo.tune` measured, and else by the model.
    """
    number = _machine.device_of(x)
    assert number is not None
    here = _machine.machine(number, place(x).library)
    if bias is None:
        bias = table.lookup(key_of(stages, x)) or FREE
    made = plan_on(here, stages, x, bias, copies=copies)
    here.settle()
    return made


def plan_on(
    here: Any,
    stages: Sequence[Stage],
    x: Array,
    bias: Bias = FREE,
    frozen: bool = False,
    copies: dict[tuple, Any] | None = None,
) -> DevicePlan:
    """The plan of a machine for arrays like `x`."""
    name = result_dtype(stages, dtype_name(x.dtype))
    fortran = in_fortran_order(x)
    rows, columns = x.shape
    return make_plan(
        stages, rows, columns, name, not fortran, aligned(x, name), here, bias=bias, frozen=frozen,
        copies=copies,
    )  # fmt: skip


def key_of(stages: Sequence[Stage], x: Array) -> str:
    """The key of the table for arrays like `x`."""
    number, library = _machine.device_of(x), place(x).library
    assert number is not None
    device = _machine.machine(number, library).device.name
    name = result_dtype(stages, dtype_name(x.dtype))
    return table.key_of(stages, device, library, name, x.shape[1], in_fortran_order(x))


def in_fortran_order(x: Array) -> bool:
    """Whether rows lie side by side and columns do not."""
    strides = x.stride() if hasattr(x, "stride") else x.strides
    return bool(x.shape[1] > 1 and strides[0] < strides[1])


def aligned(x: Array, name: str) -> int:
    """Bytes that every row, or column in Fortran order, of an array like `x` is aligned to."""
    side = x.shape[0] if in_fortran_order(x) else x.shape[1]
    found = ALIGNED
    while found > 1 and side * ITEMSIZE[name] % found:
        found //= 2
    return found


class Measured(NamedTuple):
    """A plan that was timed."""

    seconds: float
    bias: Bias
    plan: str


class DeviceChain:
    """A product of stages on one device, with its plans by dtype, width, order and alignment."""

    def __init__(self, stages: Sequence[Stage]):
        self.stages = tuple(stages)
        self._plans: dict[tuple, DevicePlan] = {}
        self._copies: dict[tuple, Any] = {}  # of the values, as plans read them
        self._state: list[int] = []
        self._chain: Any = None  # of torch_ops
        self._adjoint: DeviceChain | None = None

    def __call__(self, x: Array) -> Array | None:
        """The product; None where the kernels do not take this `x`."""
        if hasattr(x, "data_ptr") and (recorder := self._recorder(x)) is not None:
            if 0 in x.shape:
                return None
            from .autograd import OfX, of_x_alone

            return OfX.apply(self, x) if of_x_alone(self, x) else recorder.record(x)
        found = self.plan_for(x)
        return None if found is None else found(ready(x, found))

    def plan_for(self, x: Array) -> DevicePlan | None:
        """The plan for arrays like `x`; None where the kernels do not take them."""
        state = [version(a) for s in self.stages if (a := s.held) is not None]
        if state != self._state:  # merged and packed copies are of values that changed since
            self._plans, self._copies, self._state = {}, {}, state
        key = self._key(x)
        found = self._plans.get(key)
        if found is None:
            if stages_obstacle(self.stages, x) is not None:
                return None
            found = self._plans.setdefault(key, plan(self.stages, x, copies=self._copies))
        return found

    @property
    def adjoint(self) -> DeviceChain:
        """The conjugate transpose."""
        if self._adjoint is None:
            self._adjoint = DeviceChain(adjoint_of(self.stages))
        return self._adjoint

    def _recorder(self, x: Array) -> Any:
        """What records a product of tensors for derivatives; None where nobody listens."""
        if self._chain is None:
            from .. import torch_ops

            if torch_ops.obstacle(self.stages, x) is not None:
                return None
            self._chain = torch_ops.Chain(self.stages, False)
        return self._chain if self._chain.recorded(x) else None

    def _key(self, x: Array) -> tuple:
        name = dtype_name(x.dtype)
        return _machine.device_of(x), name, x.shape[1], in_fortran_order(x), aligned(x, name)

    def measure(self, x: Array, until: float, clock: Callable[[], float]) -> Iterator[Measured]:
        """Plans for arrays like `x`, each timed; the model's first, then while `clock` allows."""
        found: dict[str, Measured] = {}
        for bias in (FREE, *CANDIDATES):  # one at a time: each has copies of the values
            made = plan(self.stages, x, bias)
            found.setdefault(str(made), Measured(made.seconds, bias, str(made)))
        first, *others = found.values()
        for candidate in (first, *sorted(others, key=lambda c: c.seconds)):
            made = plan(self.stages, x, candidate.bias)
            call = functools.partial(made, ready(x, made))
            yield candidate._replace(seconds=made.machine.seconds(call, until, clock))
            if clock() >= until:
                return

    def use(self, x: Array, best: Measured) -> str:
        """Take this plan for arrays like `x` from now on; the key it stands under."""
        key = key_of(self.stages, x)
        table.remember(key, best.bias)
        self._plans.pop(self._key(x), None)
        return key


def adjoint_of(stages: Sequence[Stage]) -> list[Stage]:
    """The stages of the conjugate transpose."""
    found = []
    for s in reversed(stages):
        if s.index is not None:
            found.append(Stage(index=inverse(np.asarray(s.index))))
        elif s.scale is not None:
            found.append(Stage(scale=np.conj(s.scale) if np.iscomplexobj(s.scale) else s.scale))
        elif s.values is None:
            found.append(s)
        else:
            found.append(s.flipped.conjugated(is_complex_name(dtype_name(s.values.dtype))))
    return found


def by_stages(stages: Sequence[Stage], x: Array) -> Array:
    """The product in the array API, one stage after the other."""
    x = cast(x, result_dtype(stages, dtype_name(x.dtype)))
    for s in reversed(stages):
        if s.index is not None:
            x = x[s.index, :]
        elif s.scale is not None:
            x = x * s.scale
        elif s.pattern is None:
            x = (conj(s.values) if s.conj else s.values)[:, None] * x
        else:
            x = ks_matmat(s.values, x, s.transpose, s.conj)
    return x


def version(array: Array) -> int:
    """A number that changes with the values of a tensor; CuPy arrays and inference have none."""
    if not hasattr(array, "is_inference") or array.is_inference():
        return -1
    return array._version


def ready(x: Array, plan: DevicePlan) -> Array:
    """`x` as the kernels of a plan read it: of its dtype, in one piece, aligned."""
    x = cast(x, plan.dtype)
    if plan.fortran:
        return ready_rows(x.T).T
    return ready_rows(x)


def ready_rows(x: Array) -> Array:
    if hasattr(x, "contiguous"):
        x = resolved(x).contiguous()
        return x if x.data_ptr() % ALIGNED == 0 else x.clone()
    if not x.flags.c_contiguous or x.data.ptr % ALIGNED:
        x = x.copy(order="C")
    return x
