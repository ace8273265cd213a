"""Kernels: arrays in, arrays out.  Nothing here knows what an operator is.

``LAZYOPS_KERNEL=reference`` or ``cpu`` in the environment, read at import, forces one kernel:
``cpu`` still leaves to the reference what it does not take (tensors, other dtypes), but raises
where its compiled part is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .._array import Array
from . import cpu, cuda, filterbank, reference, shifts, split
from .codes import Codes, bits_joined, bits_split, held_shape
from .csr import Buckets, csr_buckets, csr_matmat
from .plan import Plan, obstacle, plan, shape_class
from .reference import ks_dense, ks_fuse
from .stage import Stage
from .threads import num_threads, set_num_threads

__all__ = [
    "KERNELS",
    "Buckets",
    "Codes",
    "Kernel",
    "KernelUnavailable",
    "Plan",
    "Stage",
    "bits_joined",
    "bits_split",
    "csr_buckets",
    "csr_matmat",
    "filterbank_obstacle",
    "held_shape",
    "ks_dense",
    "ks_fuse",
    "ks_matmat",
    "num_threads",
    "plan",
    "plan_obstacle",
    "set_num_threads",
    "shape_class",
    "shifts_obstacle",
    "split_obstacle",
    "status",
    "tensor_chain",
]


class KernelUnavailable(RuntimeError):
    """The kernel asked for cannot run on these arrays, or on this machine."""


@dataclass(frozen=True)
class Kernel:
    """One way to compute ``K @ x``."""

    name: str
    run: Callable[[Array, Array, bool, bool], Array]  # (values, x, transpose, conj) -> y
    obstacle: Callable[[Array, Array], str | None]  # why not for these arrays, or None
    missing: Callable[[], str | None]  # why not on this machine, whatever the arrays, or None
    facts: Callable[[], dict[str, Any]]  # what doctor prints


KERNELS = (  # fastest first; the first without an obstacle runs
    Kernel("cpu", cpu.ks_matmat, cpu.obstacle, cpu.missing, cpu.facts),
    Kernel("cuda", cuda.ks_matmat, cuda.obstacle, cuda.missing, dict),
    Kernel("reference", reference.ks_matmat, lambda values, x: None, lambda: None, dict),
)
FORCED = os.environ.get("LAZYOPS_KERNEL") or None


def ks_matmat(
    values: Array,
    x: Array,
    transpose: bool = False,
    conj: bool = False,
    *,
    kernel: str | None = None,
) -> Array:
    """Multiply a Kronecker-sparse factor by a matrix; see `reference.ks_matmat`.

    `kernel` forces one of the names in `KERNELS`; by default the fastest that can run.
    """
    if kernel is None:
        kernels = KERNELS if FORCED is None else _allowed(FORCED)
        for k in kernels:
            if k.obstacle(values, x) is None:
                return k.run(values, x, transpose, conj)
    k = _named(kernel)
    if (why := k.obstacle(values, x)) is not None:
        raise KernelUnavailable(f"kernel {k.name!r} cannot run: {why}")
    return k.run(values, x, transpose, conj)


def plan_obstacle(stages: Sequence[Stage], like: Array) -> str | None:
    """Why these stages are not run as a chain on arrays like this; None if they are."""
    if FORCED == "reference":
        return "LAZYOPS_KERNEL=reference"
    return obstacle(stages, like)


def tensor_chain(stages: Sequence[Stage], x: Array, pack: bool = True) -> Any:
    """What multiplies these stages by arrays like `x` that are not NumPy's; None if they go one by
    one, in the array API.  `torch_ops` is imported when the first tensor arrives."""
    if FORCED == "reference":
        return None
    if cuda.device_of(x) is not None:
        return cuda.DeviceChain(stages) if cuda.missing() is None else None
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return None
    from . import torch_ops

    return None if torch_ops.obstacle(stages, x) is not None else torch_ops.Chain(stages, pack)


def split_obstacle(T: Array) -> str | None:
    """Why `split.rank_one` is not used for these blocks; None if it is."""
    if FORCED == "reference":
        return "LAZYOPS_KERNEL=reference"
    return split.obstacle(T)


def filterbank_obstacle(filters: Array, x: Array) -> str | None:
    """Why `filterbank.decompose` and its partner are not used for `x`; None if they are."""
    if FORCED == "reference":
        return "LAZYOPS_KERNEL=reference"
    return filterbank.obstacle(filters, x)


def shifts_obstacle(x: Array, terms: int) -> str | None:
    """Why `shifts.add_shifted` is not used for `x`; None if it is."""
    if FORCED == "reference":
        return "LAZYOPS_KERNEL=reference"
    return shifts.obstacle(x, terms)


def _named(name: str | None) -> Kernel:
    for k in KERNELS:
        if k.name == name:
            return k
    names = ", ".join(k.name for k in KERNELS)
    raise ValueError(f"unknown kernel {name!r}; lazyops has: {names}")


def _allowed(forced: str) -> tuple[Kernel, ...]:
    """The kernels left by LAZYOPS_KERNEL: the one named, then the reference."""
    k = _named(forced)
    if (why := k.missing()) is not None:
        raise KernelUnavailable(f"LAZYOPS_KERNEL={forced}: kernel {forced!r} cannot run: {why}")
    return k, _named("reference")


def status() -> dict[str, Any]:
    """What can run here, as plain data: one entry for each kernel, fastest first.

    >>> status()["kernels"][-1]["name"]
    'reference'
    """
    kernels = [
        {"name": k.name, "available": k.missing() is None, "obstacle": k.missing(), **k.facts()}
        for k in KERNELS
    ]
    return {"forced": FORCED, "kernels": kernels}
