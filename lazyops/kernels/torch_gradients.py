"""Derivatives of ``lazyops::chain``: backward, forward, of any order, over batches."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

from . import torch_library as library
from .torch_library import COMPLEX_SCALE, CONJ, DIAGONAL, INDEX, SCALE, TRANSPOSE

__all__ = ["Eager", "Product", "Traced", "gradients_by_stages"]

MAPPED = torch._C._are_functorch_transforms_active  # by which torch's own functions go


class Traced(torch.autograd.Function):
    """``lazyops::chain`` for torch.compile, which follows no `jvp`: differentiated once."""

    @staticmethod
    def forward(forms, scales, x, *arrays):
        return library.CHAIN(x, list(arrays), forms, scales)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.forms, ctx.scales, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, g):
        x, *arrays = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[2:])
        found = iter(library.GRAD(g, x, arrays, ctx.forms, ctx.scales, wanted))
        return None, None, *[next(found) if w else None for w in wanted]


class Product(Traced):
    """``lazyops::chain``, recorded: to be differentiated backward, forward, and over batches."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.forms, ctx.scales, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx, g):
        wanted = list(ctx.needs_input_grad[2:])
        x, *arrays = ctx.saved_tensors
        if torch.is_grad_enabled() or forward_ad._current_level >= 0 or MAPPED():
            found = iter(Gradients.apply(ctx.forms, ctx.scales, wanted, g, x, *arrays))
        else:  # nobody differentiates again
            found = iter(library.GRAD(g, x, arrays, ctx.forms, ctx.scales, wanted))
        return None, None, *(next(found) if w else None for w in wanted)

    @staticmethod
    def jvp(ctx, forms, scales, *tangents):
        """Linear in `x` and in each array: the sum of products with one replaced."""
        tensors = ctx.saved_tensors
        return sum(
            Product.apply(ctx.forms, ctx.scales, *tensors[:i], t, *tensors[i + 1 :])
            for i, t in enumerate(tangents)
            if t is not None
        )

    @staticmethod
    def vmap(info, in_dims, forms, scales, x, *arrays):
        _, _, x_dim, *array_dims = in_dims
        if all(d is None for d in array_dims):
            y = Product.apply(forms, scales, _columns(x, x_dim, info.batch_size), *arrays)
            return y.unflatten(1, (info.batch_size, -1)), 1
        together = _side_by_side((x, *arrays), in_dims[2:], info.batch_size)
        y = Product.apply(forms, scales, *together)
        return y.unflatten(0, (info.batch_size, -1)), 0


class Eager(torch.autograd.Function):
    """`Product` where no transform of torch.func is at work: with a context of its own, a function
    spares the 50 us in which torch looks at a signature."""

    @staticmethod
    def forward(ctx, forms, scales, x, *arrays):
        ctx.forms, ctx.scales = forms, scales
        ctx.save_for_backward(x, *arrays)
        ctx.save_for_forward(x, *arrays)
        return library.CHAIN(x, list(arrays), forms, scales)

    backward = staticmethod(Product.backward)
    jvp = staticmethod(Product.jvp)


class Gradients(torch.autograd.Function):
    """``lazyops::chain_grad``, recorded."""

    @staticmethod
    def forward(forms, scales, wanted, g, x, *arrays):
        return tuple(library.GRAD(g, x, list(arrays), forms, scales, wanted))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.forms, ctx.scales, ctx.wanted, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx, *seeds):
        """Derivatives of the gradients, to any order: through `gradients_by_stages`."""
        again = torch.is_grad_enabled()
        needs = ctx.needs_input_grad[3:]
        with torch.enable_grad():
            tensors = [t.view_as(t) if again else t.detach() for t in ctx.saved_tensors]
            for t, needed in zip(tensors, needs, strict=True):
                if needed and not t.requires_grad:
                    t.requires_grad_()
            g, x, *arrays = tensors
            outputs = gradients_by_stages(g, x, arrays, ctx.forms, ctx.scales, ctx.wanted)
            pairs = [
                (o, s) for o, s in zip(outputs, seeds, strict=True)
                if s is not None and o.requires_grad
            ]  # fmt: skip
            found = iter(
                torch.autograd.grad(
                    [o for o, _ in pairs],
                    [t for t, needed in zip(tensors, needs, strict=True) if needed],
                    [s for _, s in pairs],
                    allow_unused=True,
                    create_graph=again,
                )
            )
        return None, None, None, *(next(found) if needed else None for needed in needs)

    @staticmethod
    def jvp(ctx, forms, scales, wanted, *tangents):
        """Each gradient is linear in `g`, in `x` or not of it, and in the other arrays."""
        tensors = ctx.saved_tensors
        totals: list[Any] = [
            torch.zeros_like(t) for t, w in zip(tensors[1:], ctx.wanted, strict=True) if w
        ]
        for i, t in enumerate(tangents):
            if t is None:
                continue
            asked = list(ctx.wanted)
            if i:
                asked[i - 1] = False  # does not depend on itself
            replaced = (*tensors[:i], t, *tensors[i + 1 :])
            found = iter(Gradients.apply(ctx.forms, ctx.scales, asked, *replaced))
            at = 0
            for now, ever in zip(asked, ctx.wanted, strict=True):
                if now:
                    totals[at] = totals[at] + next(found)
                at += ever
        return tuple(totals)

    @staticmethod
    def vmap(info, in_dims, forms, scales, wanted, *tensors):
        size = info.batch_size
        if all(d is None for d in in_dims[5:]) and not any(wanted[1:]):
            g, x = (_columns(t, d, size) for t, d in zip(tensors[:2], in_dims[3:5], strict=True))
            found = Gradients.apply(forms, scales, wanted, g, x, *tensors[2:])
            return tuple(y.unflatten(1, (size, -1)) for y in found), (1,) * len(found)
        found = Gradients.apply(forms, scales, wanted, *_side_by_side(tensors, in_dims[3:], size))
        return tuple(y.unflatten(0, (size, -1)) for y in found), (0,) * len(found)


def _columns(x, dim, size):
    """A batch of (n, k) as more columns of one, (n, size * k)."""
    x = x.unsqueeze(1).expand(-1, size, -1) if dim is None else x.movedim(dim, 1)
    return x.flatten(1)


def _side_by_side(tensors, dims, size):
    """The tensors of a batch of products as those of one product, of block diagonal stages: `size`
    factors (a, b, c, d) along a diagonal are a factor (size * a, b, c, d)."""
    found = []
    for t, dim in zip(tensors, dims, strict=True):
        t = t.unsqueeze(0).expand(size, *t.shape) if dim is None else t.movedim(dim, 0)
        if t.dtype == torch.int64:  # an index vector: each finds what is its own
            t = t + t.shape[1] * torch.arange(size, device=t.device)[:, None]
        found.append(t.flatten(0, 1))
    return found


def gradients_by_stages(g, x, arrays, forms, scales, wanted):
    """What ``chain_grad`` gives, stage by stage in differentiable operations."""
    singles = _singles(arrays, forms, scales)
    inputs = [x]  # of the stages, the one applied first in front
    for single in reversed(singles[1:]):
        inputs.append(by_itself(single, inputs[-1]))
    inputs.reverse()
    found: list[Any] = []
    asked = iter(wanted[1:])
    for single, x_in in zip(singles, inputs, strict=True):
        held, (form,), _ = single
        if held and next(asked):
            found.append(_values_grad(held[0], form, g, x_in))
        g = by_itself(_flipped(single), g)
    if wanted[0]:
        found.insert(0, as_kind(g, x))
    return found


def by_itself(single, x):
    held, forms, scales = single
    return Product.apply(forms, scales, x, *held)


def _singles(arrays, forms, scales):
    """(arrays, forms, scales) of each stage by itself."""
    following, pairs = iter(arrays), iter(zip(scales[::2], scales[1::2], strict=True))
    found: list[tuple[list, list, list]] = []
    for form in forms:
        if form in (SCALE, COMPLEX_SCALE):
            found.append(([], [form], list(next(pairs))))
        else:
            found.append(([next(following)], [form], []))
    return found


def _flipped(single):
    """The adjoint of a stage."""
    held, (form,), scales = single
    if form == INDEX:
        return [torch.argsort(held[0])], [form], []
    if form in (SCALE, COMPLEX_SCALE):
        return [], [form], [scales[0], -scales[1]]
    flip = 0 if form & DIAGONAL else TRANSPOSE
    return held, [form ^ flip ^ CONJ], []


def _values_grad(values, form, g, x):
    """Gradient of a real function of ``stage @ x`` with respect to the values of the stage."""
    if form & DIAGONAL:
        found = (g * x.conj()).sum(1)
    else:
        a, b, c, d = values.shape
        left, right = (x.conj(), g) if form & TRANSPOSE else (g, x.conj())
        found = torch.einsum(
            "abdn,acdn->abcd", left.reshape(a, b, d, -1), right.reshape(a, c, d, -1)
        )
    return as_kind(found.conj() if form & CONJ else found, values)


def as_kind(gradient, of):
    """A gradient in the dtype of what it belongs to: of a real tensor, the real part."""
    if gradient.is_complex() and not of.is_complex():
        gradient = gradient.real
    return gradient.to(of.dtype)
