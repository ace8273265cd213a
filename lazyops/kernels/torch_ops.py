"""Products of stages and tensors: who listens, and what then runs.

Imported when a tensor arrives, never before.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from .._array import dtype_name, join_dtypes, real_dtype, with_complex
from . import cuda, torch_cpu
from .stage import Stage
from .torch_gradients import MAPPED, Eager, Product
from .torch_library import (
    COMPLEX_SCALE,
    CONJ,
    DIAGONAL,
    DTYPES,
    INDEX,
    SCALE,
    TRANSPOSE,
    arrays_with_forms,
    stages_of,
)

__all__ = ["Chain", "chain", "obstacle", "recorded"]


def obstacle(stages: Sequence[Stage], x: Any) -> str | None:
    """Why `Chain` does not take these stages; None if it does."""
    if not isinstance(x, torch.Tensor):
        return "it takes tensors"
    on_cpu = x.device.type == "cpu" and cuda.device_of(x) is None
    if not on_cpu and cuda.device_of(x) is None:
        return "it runs on the CPU and on CUDA devices"
    for s in stages:
        if s.coding is not None:
            return "it takes values, not codes"
        if s.values is not None:
            taken = DTYPES if on_cpu else (*DTYPES, torch.float16, torch.bfloat16)
            if not isinstance(s.values, torch.Tensor) or s.values.dtype not in taken:
                return f"it takes tensors of {', '.join(dtype_name(d) for d in taken)}"
            if not s.values.numel():
                return "there is nothing to multiply"
        if s.scale is not None and not isinstance(s.scale, (int, float, complex, np.generic)):
            return "it takes scalars of Python and NumPy"
        if isinstance(s.scale, int) and abs(s.scale) >> 1000:
            return "that many bits are too many for a float"
    return torch_cpu.obstacle() if on_cpu else None


class Chain:
    """``stages[0] @ stages[1] @ ...`` for tensors on the CPU: call it with an (n, k) tensor."""

    def __init__(self, stages: Sequence[Stage], pack: bool = True):
        arrays, forms, scales, strong = [], [], [], set()
        for s in stages:
            if s.index is not None:
                forms.append(INDEX)
                arrays.append(torch_cpu.index_tensor(s.index))
            elif s.values is not None:
                flags = TRANSPOSE * s.transpose + CONJ * s.conj
                forms.append(flags if s.pattern is not None else DIAGONAL + CONJ * s.conj)
                arrays.append(s.values)
                strong.add(dtype_name(s.values.dtype))
            elif s.scale is not None:
                alpha = complex(s.scale)
                is_complex = isinstance(s.scale, (complex, np.complexfloating))
                forms.append(COMPLEX_SCALE if is_complex else SCALE)
                scales += [alpha.real, alpha.imag]
                if isinstance(s.scale, np.generic):
                    strong.add(s.scale.dtype.name)
        self.arrays, self.forms, self.scales = arrays, forms, scales
        self.strong = tuple(sorted(strong))
        self.values = [a for a, f in arrays_with_forms(arrays, forms) if f != INDEX]
        self.fixed = torch_cpu.Fixed(stages_of(arrays, forms, scales), self.values, pack)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not self._recorded(x):
            y = self.fixed(x)
            if y is not None:
                return y
        return self.record(x)

    def record(self, x: torch.Tensor) -> torch.Tensor:
        """The product, with its derivatives."""
        return chain(x, self.arrays, self.forms, self.scales, self.strong)

    def recorded(self, x: torch.Tensor) -> bool:
        """Whether somebody listens: as `_recorded`, but nobody where gradients are off."""
        try:
            x.data_ptr()
        except RuntimeError:  # of torch.func
            return True
        off = type(x) is torch.Tensor and not torch.is_grad_enabled()
        if off and not torch.compiler.is_compiling():
            return self._has_tangent(x)
        return self._recorded(x)

    @property
    def plans(self) -> list[Any]:
        """The plans kept, for those who count their bytes."""
        return list(self.fixed.plans.values())

    def _recorded(self, x: torch.Tensor) -> bool:
        """Whether somebody listens: autograd, forward mode, a subclass, a tracer, torch.func."""
        if type(x) is not torch.Tensor or torch.compiler.is_compiling() or MAPPED():
            return True
        if x.requires_grad or self._has_tangent(x):
            return True
        return any(t.requires_grad for t in self.values)

    def _has_tangent(self, x: torch.Tensor) -> bool:
        """Whether forward mode is at work on `x` or on a value."""
        if forward_ad._current_level < 0:
            return False
        return any(forward_ad.unpack_dual(t).tangent is not None for t in (x, *self.values))


def chain(x, arrays, forms, scales, strong=()):
    """``lazyops::chain`` for an `x` of any floating dtype; `strong` are dtypes to join to."""
    name = dtype_name(x.dtype)
    joint = functools.reduce(join_dtypes, strong, name)
    if x.dtype not in DTYPES or any(real_dtype(s) not in ("float32", "float64") for s in strong):
        x = x.to(getattr(torch, joint))
    elif real_dtype(joint) != real_dtype(name):  # a scalar of NumPy may ask for more
        x = x.to(getattr(torch, with_complex(joint) if x.is_complex() else real_dtype(joint)))
    return recorded(forms, scales, x, arrays)


def recorded(forms, scales, x, arrays):
    """``lazyops::chain`` with its derivatives; `x` and the values are of dtypes among DTYPES."""
    if torch.compiler.is_dynamo_compiling():
        return _traced(forms, scales, x, *arrays)
    how = Product if MAPPED() else Eager
    return how.apply(forms, scales, x, *arrays)


@torch.compiler.allow_in_graph
def _traced(forms, scales, x, *arrays):
    """What Dynamo is not to look into: it follows a function of autograd, but not its `jvp`."""
    return Product.apply(forms, scales, x, *arrays)
