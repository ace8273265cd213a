"""The operations of torch that multiply by stages, and their gradients: what each device runs.

    lazyops::chain(x, arrays, forms, scales)                      the product of the stages and x
    lazyops::chain_grad(g, x, arrays, forms, scales, wanted)      its gradients, for a gradient g

`arrays` are the values, diagonals and index vectors of the stages, `forms` says what each stage is,
`scales` holds (real, imaginary) of each scalar.  On the CPU both run the compiled kernels on the
memory of the tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..pattern import Pattern
from . import cuda, torch_cpu
from .stage import Stage

__all__ = [
    "CHAIN",
    "DTYPES",
    "GRAD",
    "arrays_with_forms",
    "batched_gradients",
    "batched_product",
    "stages_of",
]

TRANSPOSE, CONJ, DIAGONAL, INDEX, SCALE, COMPLEX_SCALE = 1, 2, 4, 8, 16, 32
DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)

LIBRARY = torch.library.Library("lazyops", "FRAGMENT")
LIBRARY.define("chain(Tensor x, Tensor[] arrays, int[] forms, float[] scales) -> Tensor")
LIBRARY.define(
    "chain_grad(Tensor g, Tensor x, Tensor[] arrays, int[] forms, float[] scales, bool[] wanted)"
    " -> Tensor[]"
)


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


def arrays_with_forms(arrays, forms):
    return zip(arrays, (f for f in forms if f not in (SCALE, COMPLEX_SCALE)), strict=True)


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
    for array, form in arrays_with_forms(arrays, forms):
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


# -- batches, of torch.func.vmap ----------------------------------------------------------------


def batched_product(apply, size, dims, forms, scales, x, *arrays):
    """A batch of products in one: more columns or, of a batch of values, stages side by side.

    apply : of (forms, scales, x, *arrays)
    dims : the axis of the batch in `x` and in each array, or None

    Returns the products, and the axis of the batch.
    """
    if not size:
        return _none_of(apply(forms, scales, *_one_of((x, *arrays), dims))), 0
    if all(d is None for d in dims[1:]):
        y = apply(forms, scales, _columns(x, dims[0], size), *arrays)
        return y.unflatten(1, (size, -1)), 1
    y = apply(forms, scales, *_side_by_side((x, *arrays), dims, size))
    return y.unflatten(0, (size, -1)), 0


def batched_gradients(apply, size, dims, forms, scales, wanted, *tensors):
    """As `batched_product`, of the gradients: `tensors` are g, x and the arrays."""
    if not size:
        found = apply(forms, scales, wanted, *_one_of(tensors, dims))
        return tuple(map(_none_of, found)), (0,) * len(found)
    if all(d is None for d in dims[2:]) and not any(wanted[1:]):
        g, x = (_columns(t, d, size) for t, d in zip(tensors[:2], dims[:2], strict=True))
        found = apply(forms, scales, wanted, g, x, *tensors[2:])
        return tuple(y.unflatten(1, (size, -1)) for y in found), (1,) * len(found)
    found = apply(forms, scales, wanted, *_side_by_side(tensors, dims, size))
    return tuple(y.unflatten(0, (size, -1)) for y in found), (0,) * len(found)


def _columns(x, dim, size):
    """A batch of (n, k) as more columns of one, (n, size * k)."""
    x = x.unsqueeze(1).expand(-1, size, -1) if dim is None else x.movedim(dim, 1)
    return x.flatten(1)


def _side_by_side(tensors, dims, size):
    """The tensors of a batch of products as those of one product of block diagonal stages: `size`
    factors (a, b, c, d) along a diagonal are a factor (size * a, b, c, d)."""
    found = []
    for t, dim in zip(tensors, dims, strict=True):
        t = t.unsqueeze(0).expand(size, *t.shape) if dim is None else t.movedim(dim, 0)
        if t.dtype == torch.int64:  # an index vector: of the entries of its own product
            t = t + t.shape[1] * torch.arange(size, device=t.device)[:, None]
        found.append(t.flatten(0, 1))
    return found


def _one_of(tensors, dims):
    """Tensors of the shapes of one product, for a batch that has none."""
    shapes = [
        t.shape if d is None else t.movedim(d, 0).shape[1:]
        for t, d in zip(tensors, dims, strict=True)
    ]
    return [
        t if d is None
        else torch.arange(*shape, device=t.device) if t.dtype == torch.int64
        else t.new_zeros(shape)
        for t, d, shape in zip(tensors, dims, shapes, strict=True)
    ]  # fmt: skip


def _none_of(y):
    return y.unsqueeze(0)[:0]


def _chain_batched(info, dims, x, arrays, forms, scales):
    apply = lambda forms, scales, x, *arrays: CHAIN(x, list(arrays), forms, scales)
    dims = dims[0], *_of_list(dims[1], arrays)
    return batched_product(apply, info.batch_size, dims, forms, scales, x, *arrays)


def _chain_grad_batched(info, dims, g, x, arrays, forms, scales, wanted):
    apply = lambda f, s, w, g, x, *arrays: GRAD(g, x, list(arrays), f, s, w)
    dims = dims[0], dims[1], *_of_list(dims[2], arrays)
    found, out = batched_gradients(
        apply, info.batch_size, dims, forms, scales, wanted, g, x, *arrays
    )
    return list(found), list(out)


def _of_list(dims, arrays):
    return [None] * len(arrays) if dims is None else dims


LIBRARY.impl("chain", _chain_cpu, "CPU")
LIBRARY.impl("chain_grad", _chain_grad_cpu, "CPU")
LIBRARY.impl("chain", _chain_cuda, "CUDA")
LIBRARY.impl("chain_grad", _chain_grad_cuda, "CUDA")
torch.library.register_fake("lazyops::chain", _chain_fake, lib=LIBRARY)
torch.library.register_fake("lazyops::chain_grad", _chain_grad_fake, lib=LIBRARY)
torch.library.register_vmap("lazyops::chain", _chain_batched, lib=LIBRARY)
torch.library.register_vmap("lazyops::chain_grad", _chain_grad_batched, lib=LIBRARY)
CHAIN = torch.ops.lazyops.chain.default
GRAD = torch.ops.lazyops.chain_grad.default
