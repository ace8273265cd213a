"""Operators under torch.compile and torch.func: imported when a product is traced or transformed.

Dynamo follows no weak tables and no compiled code.  What is done with operators alone is therefore
run while it traces, and the operator that comes of it is a constant of the graph, guarded by
identity.  A product is traced below Dynamo: it runs on the tensors that stand for `x` and for the
tensors held, which are inputs of the graph, so that gradients reach them.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any

import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from .._array import to_numpy
from . import door
from .base import LinearOperator
from .tree import fold


class Known:
    """Operators in graphs, as attributes: Dynamo follows those.  Their names are no other
    operator's in any process, since graphs are kept on disk.  Like all that Dynamo takes for a
    constant, they stay."""

    def name_of(self, op: LinearOperator) -> str:
        for name, known in vars(self).items():
            if known is op:
                return name
        name = f"operator_{uuid.uuid4().hex}"
        setattr(self, name, op)
        return name


KNOWN = Known()


def made(f: Callable, *args: Any) -> LinearOperator:
    """``f(*args)``, of operators, numbers and index arrays."""
    return getattr(KNOWN, _made(f, *args))


@torch.compiler.assume_constant_result
def _made(f: Callable, *args: Any) -> str:
    return KNOWN.name_of(f(*args))


def columns(op: LinearOperator, x: torch.Tensor) -> torch.Tensor:
    """``op @ x`` for an x of shape (n, k), while Dynamo traces."""
    name, held = _prepared(op, str(x.device))
    return _product(name, x, *held)


@torch.compiler.assume_constant_result
def _prepared(op: LinearOperator, device: str) -> tuple:
    """(name, tensors held) of the operator, with its values where those of `device` are and its
    index arrays on the host."""

    def visit(node, operands):
        return node._with_operands(operands) if operands else node._map_arrays(same, to_numpy)

    same = lambda a: a
    ready = fold(door.meeting(op, torch.empty(0, device=device)), visit)
    return KNOWN.name_of(ready), tuple(_tensors(ready))


def _tensors(op: LinearOperator) -> list[torch.Tensor]:
    held: dict[int, torch.Tensor] = {}

    def visit(node, _):
        held.update((id(a), a) for _, a in node._arrays() if isinstance(a, torch.Tensor))

    fold(op, visit)
    return list(held.values())


@torch.compiler.allow_in_graph
def _product(name: str, x: torch.Tensor, *held: torch.Tensor) -> torch.Tensor:
    """The product on stand-ins.  Leaves are made anew: nothing that is computed of stand-ins and
    kept outlives the trace."""
    op = getattr(KNOWN, name)
    stand_ins = {id(t): s for t, s in zip(_tensors(op), held, strict=True)}
    return door.foreign_columns(copied(op, stand_ins), x)


def copied(op: LinearOperator, others: dict[int, Any]) -> LinearOperator:
    """The same expression of new leaves, which have computed nothing yet, with other arrays in
    the place of those whose id is among `others`."""

    def visit(node, operands):
        if operands:
            return node._with_operands(operands)
        return _with(node, {f.name: others.get(id(a), a) for f, a in node._arrays()})

    return fold(op, visit)


def _with(op: LinearOperator, arrays: dict[str, Any]) -> LinearOperator:
    """The leaf with these arrays, unchecked, and nothing of what it has computed."""
    kept = {
        name: value
        for name, value in vars(op).items()
        if not isinstance(getattr(type(op), name, None), functools.cached_property)
    }
    new = object.__new__(type(op))
    new.__dict__.update(kept, **arrays, _cache={})
    return new


def outside(f: Callable, op: LinearOperator, *args: Any) -> Any:
    """See `tracing.outside`."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    if any(isinstance(a, torch.Tensor) and wrapped(a) for _, a in op._arrays()):
        return f(op, *args)
    with temporarily_clear_interpreter_stack():
        return f(op, *args)
