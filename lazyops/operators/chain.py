"""Products through the kernels: which neighbours run together, and the plans that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._array import Array, array_namespace, is_numpy
from ..kernels import Plan, Stage, plan, plan_obstacle, shape_class, tensor_chain
from ..kernels.cuda import DeviceChain, stages_obstacle
from .base import LinearOperator
from .tree import fold

__all__ = [
    "Link",
    "columns_like",
    "device_chains",
    "links",
    "nodes",
    "plan_for",
    "plans_of",
    "tensors_for",
]

Link = LinearOperator | tuple[LinearOperator, ...]  # one factor, or neighbours with a stage each
NO_PLAN = object()


def links(op: LinearOperator) -> tuple[Link, ...]:
    """The factors of a product, neighbours that have a stage in one tuple."""
    found = op._cache.get("links")
    if found is None:
        found = op._cache.setdefault("links", tuple(_links(op)))
    return found


def _links(op: LinearOperator) -> Iterator[Link]:
    streak: list[LinearOperator] = []
    for factor in op._operands:
        if factor._stage() is not None:
            streak.append(factor)
            continue
        yield from _streak(streak)
        streak = []
        yield factor
    yield from _streak(streak)


def _streak(streak: list[LinearOperator]) -> Iterator[Link]:
    if len(streak) > 1 and any(_is_factor(f._stage()) for f in streak):
        yield tuple(streak)
    else:
        yield from streak


def _is_factor(stage: Stage | None) -> bool:
    return stage is not None and stage.pattern is not None


def apply_link(op: LinearOperator, at: int, x: Array) -> Array:
    """``links(op)[at] @ x`` for neighbours with a stage each: by a plan where one can be made."""
    known = op._cache.get((at, x.dtype)) if x.shape[1] == 1 else None
    if known is not None and (y := known(x)) is not None:
        return y
    link = links(op)[at]
    assert isinstance(link, tuple)
    found: Any = plan_for(op, at, link, x) if is_numpy(x) else tensors_for(op, at, link, x)
    if found is not None:
        if x.shape[1] == 1:  # the short way for one vector, where the call is what takes time
            op._cache.setdefault((at, x.dtype), found)
        y = found(x)
        if y is not None:  # a device declines what wants a gradient
            return y
    for factor in reversed(link):
        x = factor._matmat(x)
    return x


def plan_for(op: LinearOperator, at: int, link: tuple, x: np.ndarray) -> Plan | None:
    """The plan for arrays of this dtype, width and order; kept by `op`."""
    key = ("plan", at, x.dtype, *shape_class(x.shape[1], x.strides, x.itemsize))
    found = op._cache.get(key)
    if found is None:
        found = op._cache.setdefault(key, make_plan(link, x) if op.pack else NO_PLAN)
    return None if found is NO_PLAN else found


def tensors_for(op: LinearOperator, at: int, link: tuple, x: Array) -> Any:
    """What multiplies tensors like `x`, kept by `op`; None where there is no such kernel."""
    key = ("tensors", at, type(x), getattr(x.device, "type", None))
    found = op._cache.get(key)
    if found is None:
        stages = [s for f in link if (s := f._stage()) is not None]
        made = tensor_chain(stages, x, getattr(op, "pack", True))
        found = op._cache.setdefault(key, NO_PLAN if made is None else made)
    return None if found is NO_PLAN else found


def device_chains(op: LinearOperator, x: Array) -> Iterator[tuple[DeviceChain, int]]:
    """What kernels of a device run as one piece in ``op @ x``, with the rows that each takes."""
    inside: set[int] = set()
    pieces: list[tuple[LinearOperator, int, tuple[LinearOperator, ...]]] = []
    for node in nodes(op):
        if node._operands and hasattr(node, "pack"):
            runs = [(node, at, f) for at, f in enumerate(links(node)) if isinstance(f, tuple)]
            pieces += runs
            inside.update(id(f) for *_, link in runs for f in link)
        elif _is_factor(node._stage()):
            pieces.append((node, 0, (node,)))
    for node, at, link in pieces:
        if len(link) == 1 and id(node) in inside:
            continue
        found = tensors_for(node, at, link, x)
        if isinstance(found, DeviceChain) and stages_obstacle(found.stages, x) is None:
            yield found, link[-1].shape[1]


def nodes(op: LinearOperator) -> list[LinearOperator]:
    """Every node of an expression once."""
    found: list[LinearOperator] = []

    def visit(node: LinearOperator, _: tuple) -> bool:
        found.append(node)
        return True

    fold(op, visit)
    return found


def columns_like(x: Array, rows: int, columns: int) -> Array:
    """An array of this shape in the library, on the device and in the order of `x`."""
    xp = array_namespace(x)
    strides = x.stride() if hasattr(x, "stride") else x.strides
    if min(rows, columns) > 1 and len(strides) > 1 and strides[0] < strides[1]:
        return xp.ones((columns, rows), dtype=x.dtype, device=x.device).T
    return xp.ones((rows, columns), dtype=x.dtype, device=x.device)


def make_plan(link: tuple[LinearOperator, ...], x: np.ndarray) -> Any:
    stages = [s for f in link if (s := f._stage()) is not None]
    if plan_obstacle(stages, x) is not None:
        return NO_PLAN
    return plan(stages, x)


def plans_of(op: LinearOperator) -> list[Plan]:
    """The plans kept by this node."""
    kept = list(op._cache.values())
    kept += [p for v in kept for p in getattr(v, "plans", ())]  # those for tensors
    found = {id(v): v for v in kept if isinstance(v, Plan)}
    return list(found.values())
