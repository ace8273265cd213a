"""Gradients of x alone, through values that want none: the packed plans of a chain and its adjoint.

Imported when a gradient is recorded, never before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import forward_ad

if TYPE_CHECKING:
    from .chain import DeviceChain


def of_x_alone(chain: DeviceChain, x: torch.Tensor) -> bool:
    """Whether only autograd listens, and to `x` only; `x` has memory."""
    if type(x) is not torch.Tensor or torch.compiler.is_compiling():
        return False
    if not x.requires_grad or forward_ad.unpack_dual(x).tangent is not None:
        return False
    held = [s.held for s in chain.stages if s.held is not None]
    return not any(a.requires_grad for a in held)


class OfX(torch.autograd.Function):
    """The product; its derivative is the adjoint, which is differentiable in its turn."""

    @staticmethod
    def forward(ctx: Any, chain: DeviceChain, x: torch.Tensor) -> torch.Tensor:
        ctx.chain, ctx.is_complex, ctx.dtype = chain, x.is_complex(), x.dtype
        y = chain(x.detach())
        assert y is not None  # it was asked before
        return y

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[None, torch.Tensor]:
        gx = ctx.chain.adjoint(g)
        if gx is None:
            raise RuntimeError("the kernels of the device do not take this gradient")
        return None, (gx if ctx.is_complex or not gx.is_complex() else gx.real).to(ctx.dtype)
