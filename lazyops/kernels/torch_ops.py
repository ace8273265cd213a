"""Products of stages as operations of torch: differentiable, traced, mapped over batches.

Imported when a tensor arrives, never before.  Two operations are registered:

    lazyops::chain(x, arrays, forms, scales)                      the product of the stages and x
    lazyops::chain_grad(g, x, arrays, forms, scales, wanted)      its gradients, for a gradient g

`arrays` are the values, diagonals and index vectors of the stages, `forms` says what each stage is,
`scales` holds (real, imaginary) of each scalar.  On the CPU both run the compiled kernels on the
memory of the tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from .._array import dtype_name, join_dtypes, real_dtype, with_complex
from ..pattern import Pattern
from . import cuda, torch_cpu
from .stage import Stage

__all__ = ["Chain", "chain", "obstacle"]

TRANSPOSE, CONJ, DIAGONAL, INDEX, SCALE, COMPLEX_SCALE = 1, 2, 4, 8, 16, 32
DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)

MAPPED = torch._C._are_functorch_transforms_active  # by which torch's own functions go
LIBRARY = torch.library.Library("lazyops", "FRAGMENT")
LIBRARY.define("chain(Tensor x, Tensor[] arrays, int[] forms, float[] scales) -> Tensor")
LIBRARY.define(
    "chain_grad(Tensor g, Tensor x, Tensor[] arrays, int[] forms, float[] scales, bool[] wanted)"
    " -> Tensor[]"
)


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
        self.values = [a for a, f in _arrays_with_forms(arrays, forms) if f != INDEX]
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
            return forward_ad.unpack_dual(x).tangent is not None
        return self._recorded(x)

    @property
    def plans(self) -> list[Any]:
        """The plans kept, for those who count their bytes."""
        return list(self.fixed.plans.values())

    def _recorded(self, x: torch.Tensor) -> bool:
        """Whether somebody listens: autograd, forward mode, a subclass, a tracer."""
        if type(x) is not torch.Tensor or torch.compiler.is_compiling():
            return True
        if x.requires_grad or forward_ad.unpack_dual(x).tangent is not None:
            return True
        return any(t.requires_grad for t in self.values)


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
    if torch.compiler.is_compiling():
        return Traced.apply(forms, scales, x, *arrays)
    how = Product if MAPPED() else Eager
    return how.apply(forms, scales, x, *arrays)


def stages_of(arrays: Sequence[Any], forms: Sequence[int], scales: Sequence[float]) -> list[Stage]:
    """The stages again, with `arrays` as they come: tensors or NumPy arrays."""
    found, following, pairs = [], iter(arrays), iter(zip(scales[::2], scales[1::2], strict=True))
    for form in forms:
        if form in (SCALE, COMPLEX_SCALE):
            re, im = next(pairs)
            found.append(Stage(scale=re if form == SCALE else complex(re, im)))
            continue
        array = next(following)
        if form == INDEX:
            found.append(Stage(index=array))
        elif form & DIAGONAL:
            found.append(Stage(array, conj=bool(form & CONJ)))
        else:
            pattern = Pattern(*map(int, array.shape))
            transpose = bool(form & TRANSPOSE)
            pattern = pattern.T if transpose else pattern
            found.append(Stage(array, pattern, None, None, transpose, bool(form & CONJ)))
    return found


def _arrays_with_forms(arrays, forms):
    return zip(arrays, (f for f in forms if f not in (SCALE, COMPLEX_SCALE)), strict=True)


# -- what the operations do -------------------------------------------------------------------


def _chain_cpu(x, arrays, forms, scales):
    return torch_cpu.product(stages_of, x, arrays, forms, scales)


def _chain_cuda(x, arrays, forms, scales):
    return cuda.product(stages_of(arrays, forms, scales), x)


def _chain_grad_cuda(g, x, arrays, forms, scales, wanted):
    return cuda.gradients(stages_of(arrays, forms, scales), g, x, wanted)


def _chain_fake(x, arrays, forms, scales):
    rows = x.shape[0]
    for s in stages_of(arrays, forms, scales):
        if s.pattern is not None:
            rows = s.pattern.shape[0]
            break
    dtype = _result(x, arrays, forms)
    if torch_cpu.is_turned(x):
        return x.new_empty((x.shape[1], rows), dtype=dtype).T
    return x.new_empty((rows, x.shape[1]), dtype=dtype)


def _result(x, arrays, forms):
    dtype = x.dtype
    for array, form in _arrays_with_forms(arrays, forms):
        if form != INDEX:
            dtype = torch.promote_types(dtype, array.dtype)
    if COMPLEX_SCALE in forms:
        dtype = torch.promote_types(dtype, torch.complex64)
    return dtype


def _chain_grad_cpu(g, x, arrays, forms, scales, wanted):
    return torch_cpu.gradients(stages_of, g, x, arrays, forms, scales, wanted)


def _chain_grad_fake(g, x, arrays, forms, scales, wanted):
    found = []
    if wanted[0]:
        found.append(torch.empty_like(x.T if torch_cpu.is_turned(g) else x))
        if torch_cpu.is_turned(g):
            found[0] = found[0].contiguous().T
        else:
            found[0] = found[0].contiguous()
    found += [a.new_empty(a.shape) for a, w in zip(arrays, wanted[1:], strict=True) if w]
    return found


# -- derivatives ------------------------------------------------------------------------------


class Traced(torch.autograd.Function):
    """``lazyops::chain`` for torch.compile, which follows no `jvp`: differentiated once."""

    @staticmethod
    def forward(forms, scales, x, *arrays):
        return CHAIN(x, list(arrays), forms, scales)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.forms, ctx.scales, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, g):
        x, *arrays = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[2:])
        found = iter(GRAD(g, x, arrays, ctx.forms, ctx.scales, wanted))
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
            found = iter(GRAD(g, x, arrays, ctx.forms, ctx.scales, wanted))
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
            x = x.movedim(x_dim, 1)  # (n, batch, k): more columns
            n, batch, k = x.shape
            y = Product.apply(forms, scales, x.reshape(n, batch * k), *arrays)
            return y.reshape(-1, batch, k), 1
        found = [
            Product.apply(forms, scales, *_picked((x, *arrays), in_dims[2:], i))
            for i in range(info.batch_size)
        ]
        return torch.stack(found), 0


class Eager(torch.autograd.Function):
    """`Product` where no transform of torch.func is at work: with a context of its own, a function
    spares the 50 us in which torch looks at a signature."""

    @staticmethod
    def forward(ctx, forms, scales, x, *arrays):
        ctx.forms, ctx.scales = forms, scales
        ctx.save_for_backward(x, *arrays)
        ctx.save_for_forward(x, *arrays)
        return CHAIN(x, list(arrays), forms, scales)

    backward = staticmethod(Product.backward)
    jvp = staticmethod(Product.jvp)


class Gradients(torch.autograd.Function):
    """``lazyops::chain_grad``, recorded."""

    @staticmethod
    def forward(forms, scales, wanted, g, x, *arrays):
        return tuple(GRAD(g, x, list(arrays), forms, scales, wanted))

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
        totals: list[Any] = [0.0 * t for t, w in zip(tensors[1:], ctx.wanted, strict=True) if w]
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
        found = [
            Gradients.apply(forms, scales, wanted, *_picked(tensors, in_dims[3:], i))
            for i in range(info.batch_size)
        ]
        return tuple(torch.stack(same) for same in zip(*found, strict=True)), (0,) * sum(wanted)


def _picked(tensors, dims, i):
    return [t if d is None else t.select(d, i) for t, d in zip(tensors, dims, strict=True)]


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


LIBRARY.impl("chain", _chain_cpu, "CPU")
LIBRARY.impl("chain_grad", _chain_grad_cpu, "CPU")
LIBRARY.impl("chain", _chain_cuda, "CUDA")
LIBRARY.impl("chain_grad", _chain_grad_cuda, "CUDA")
torch.library.register_fake("lazyops::chain", _chain_fake, lib=LIBRARY)
torch.library.register_fake("lazyops::chain_grad", _chain_grad_fake, lib=LIBRARY)
CHAIN = torch.ops.lazyops.chain.default
GRAD = torch.ops.lazyops.chain_grad.default
