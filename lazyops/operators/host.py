"""Code that knows NumPy alone, on the arrays of other libraries on the CPU; with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._array import Array, is_numpy, namespace_of, needs_grad, to_numpy

if TYPE_CHECKING:
    from .base import LinearOperator


def through_host(op: LinearOperator, product: Callable, x: Array) -> Array:
    """``product(x)``, which is ``op @ x`` for NumPy arrays, for an `x` that lives on the CPU."""
    if is_numpy(x):
        return product(x)
    return differentiable(op, lambda t: _brought_back(product(to_numpy(t)), t), x)


def differentiable(op: LinearOperator, product: Callable, x: Array) -> Array:
    """``product(x)``, which is ``op @ x`` by code that autograd does not see.

    A gradient goes back through ``op.H``.
    """
    if not needs_grad(x):
        return product(x)
    import torch

    class Applied(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return product(x.detach())

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            back = op.H @ gradient  # by the door: differentiable in its turn
            return back if x.is_complex() or not back.is_complex() else back.real

    return Applied.apply(x)


def readable(x: Array) -> bool:
    """Whether `x` is a tensor of torch whose memory NumPy can read, with nobody but autograd
    listening: no tracer, no ``torch.func``, no tangent."""
    if not hasattr(x, "untyped_storage"):
        return False
    import torch
    from torch.autograd import forward_ad

    if type(x) not in (torch.Tensor, torch.nn.Parameter) or torch.compiler.is_compiling():
        return False
    if forward_ad.unpack_dual(x).tangent is not None:
        return False
    try:
        x.detach().numpy()
    except (RuntimeError, TypeError):  # to be conjugated, of torch.func, elsewhere, bfloat16
        return False
    return True


def _brought_back(y: np.ndarray, x: Array) -> Array:
    return namespace_of(x).asarray(np.ascontiguousarray(y), device=x.device)
