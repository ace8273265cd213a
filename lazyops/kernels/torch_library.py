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

__all__ = ["CHAIN", "DTYPES", "GRAD", "arrays_with_forms", "stages_of"]

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


LIBRARY.impl("chain", _chain_cpu, "CPU")
LIBRARY.impl("chain_grad", _chain_grad_cpu, "CPU")
LIBRARY.impl("chain", _chain_cuda, "CUDA")
LIBRARY.impl("chain_grad", _chain_grad_cuda, "CUDA")
torch.library.register_fake("lazyops::chain", _chain_fake, lib=LIBRARY)
torch.library.register_fake("lazyops::chain_grad", _chain_grad_fake, lib=LIBRARY)
CHAIN = torch.ops.lazyops.chain.default
GRAD = torch.ops.lazyops.chain_grad.default
