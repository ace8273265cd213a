"""Derivatives of ``lazyops::chain``: backward, forward, of any order, over batches.

``y = K_1 ... K_L x`` is linear in `x` and in each array.  So are its gradients, in `g` and in all
but one of these: every derivative is a sum of products, or of gradients, with one tensor replaced.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

from . import torch_library as library

__all__ = ["Eager", "Gradients", "Product"]

MAPPED = torch._C._are_functorch_transforms_active  # by which torch's own functions go
below_autograd = torch._C._AutoDispatchBelowAutograd  # what follows is differentiated here


class Product(torch.autograd.Function):
    """``lazyops::chain``, recorded: to be differentiated backward, forward, and over batches."""

    @staticmethod
    def forward(forms, scales, x, *arrays):
        with below_autograd():
            return library.CHAIN(x, list(arrays), forms, scales)

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
            with below_autograd():
                found = iter(library.GRAD(g, x, arrays, ctx.forms, ctx.scales, wanted))
        return None, None, *(next(found) if w else None for w in wanted)

    @staticmethod
    def jvp(ctx, forms, scales, *tangents):
        return _product_of_each(ctx.forms, ctx.scales, ctx.saved_tensors, tangents)

    @staticmethod
    def vmap(info, in_dims, forms, scales, x, *arrays):
        return library.batched_product(
            Product.apply, info.batch_size, in_dims[2:], forms, scales, x, *arrays
        )


class Eager(torch.autograd.Function):
    """`Product` where no transform of torch.func is at work: with a context of its own, a function
    spares the 50 us in which torch looks at a signature."""

    @staticmethod
    def forward(ctx, forms, scales, x, *arrays):
        ctx.forms, ctx.scales = forms, scales
        ctx.save_for_backward(x, *arrays)
        ctx.save_for_forward(x, *arrays)
        with below_autograd():
            return library.CHAIN(x, list(arrays), forms, scales)

    backward = staticmethod(Product.backward)
    jvp = staticmethod(Product.jvp)


class Gradients(torch.autograd.Function):
    """``lazyops::chain_grad``, recorded."""

    @staticmethod
    def forward(forms, scales, wanted, g, x, *arrays):
        with below_autograd():
            return tuple(library.GRAD(g, x, list(arrays), forms, scales, wanted))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.forms, ctx.scales, ctx.wanted, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx, *seeds):
        """The gradients meet the seeds in ``Re <g, sum of products with one tensor replaced>``."""
        g, *tensors = ctx.saved_tensors
        following = iter(seeds)
        others = [next(following) if w else None for w in ctx.wanted]
        needs_g, *needs = ctx.needs_input_grad[3:]
        of_g = _product_of_each(ctx.forms, ctx.scales, tensors, others) if needs_g else None
        found = _gradients_of_each(ctx.forms, ctx.scales, needs, g, tensors, others)
        return None, None, None, of_g, *found

    @staticmethod
    def jvp(ctx, forms, scales, wanted, *tangents):
        (g, *tensors), (of_g, *others) = ctx.saved_tensors, tangents
        found = _gradients_of_each(ctx.forms, ctx.scales, ctx.wanted, g, tensors, others)
        if of_g is not None:
            own = iter(Gradients.apply(ctx.forms, ctx.scales, ctx.wanted, of_g, *tensors))
            found = [
                _sum(f, next(own)) if w else None for f, w in zip(found, ctx.wanted, strict=True)
            ]
        pairs = zip(found, tensors, ctx.wanted, strict=True)
        return tuple(torch.zeros_like(t) if f is None else f for f, t, w in pairs if w)

    @staticmethod
    def vmap(info, in_dims, forms, scales, wanted, *tensors):
        apply = Gradients.apply
        return library.batched_gradients(
            apply, info.batch_size, in_dims[3:], forms, scales, wanted, *tensors
        )


def _product_of_each(forms, scales, tensors, others):
    """The sum of the products with one tensor replaced by its other, where there is one."""
    total = None
    for i, other in enumerate(others):
        if other is not None:
            replaced = (*tensors[:i], other, *tensors[i + 1 :])
            total = _sum(total, Product.apply(forms, scales, *replaced))
    return total


def _gradients_of_each(forms, scales, wanted, g, tensors, others):
    """The sums of the gradients with one tensor replaced; of itself none depends on it."""
    totals: list[Any] = [None] * len(tensors)
    for i, other in enumerate(others):
        asked = [w and i != j for j, w in enumerate(wanted)]
        if other is None or not any(asked):
            continue
        replaced = (*tensors[:i], other, *tensors[i + 1 :])
        found = iter(Gradients.apply(forms, scales, asked, g, *replaced))
        totals = [_sum(t, next(found)) if a else t for t, a in zip(totals, asked, strict=True)]
    return totals


def _sum(one, other):
    return other if one is None else one + other


# -- of the operations themselves: in graphs of torch.export they stand alone ----------------------


def _keep_product(ctx, inputs, output):
    x, arrays, ctx.forms, ctx.scales = inputs
    ctx.save_for_backward(x, *arrays)


def _product_back(ctx, g):
    x, *arrays = ctx.saved_tensors
    wanted = [ctx.needs_input_grad[0], *_needs(ctx.needs_input_grad[1], arrays)]
    found = iter(Gradients.apply(ctx.forms, ctx.scales, wanted, g, x, *arrays))
    of_x, *of_arrays = (next(found) if w else None for w in wanted)
    return of_x, of_arrays, None, _nothing(ctx.scales)


def _keep_gradients(ctx, inputs, output):
    g, x, arrays, ctx.forms, ctx.scales, ctx.wanted = inputs
    ctx.save_for_backward(g, x, *arrays)


def _gradients_back(ctx, seeds):
    g, *tensors = ctx.saved_tensors
    following = iter(seeds)
    others = [next(following) if w else None for w in ctx.wanted]
    needs = [ctx.needs_input_grad[1], *_needs(ctx.needs_input_grad[2], tensors[1:])]
    of_g = _product_of_each(ctx.forms, ctx.scales, tensors, others)
    of_x, *of_arrays = _gradients_of_each(ctx.forms, ctx.scales, needs, g, tensors, others)
    return of_g, of_x, of_arrays, None, _nothing(ctx.scales), None


def _nothing(numbers):
    """The gradient of a list of numbers: torch takes an empty one for a list of tensors."""
    return None if numbers else []


def _needs(found, arrays):
    return found if isinstance(found, (list, tuple)) else [found] * len(arrays)


about = library.LIBRARY
torch.library.register_autograd(
    "lazyops::chain", _product_back, setup_context=_keep_product, lib=about
)
torch.library.register_autograd(
    "lazyops::chain_grad", _gradients_back, setup_context=_keep_gradients, lib=about
)
