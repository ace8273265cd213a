"""Whether torch.compile or torch.func looks on: what is kept by operators is then not for later.

While torch.compile traces, what is done with operators alone is run at once.  Under a transform of
torch.func every new tensor belongs to that transform, constants too, and dies with it: operators
that outlive it are to keep none.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["apart", "at_once", "outside", "tracing", "transforming"]


def tracing() -> bool:
    """Whether Dynamo reads this code instead of Python running it."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_dynamo_compiling()


def transforming() -> bool:
    """Whether vmap, grad, jvp ... of torch.func is at work."""
    torch = sys.modules.get("torch")
    return torch is not None and torch._C._are_functorch_transforms_active()


def apart(x: Any) -> Any:
    """An operator that keeps nothing in `x`, if that is one and torch.func transforms; else `x`."""
    if not (transforming() and hasattr(x, "_with_operands")):
        return x
    from .traced import copied

    return copied(x, {})


def outside(f: Callable, op: Any, *args: Any) -> Any:
    """``f(op, *args)``, of an operator that torch.func has no part in, as if it were not at work:
    what is derived of index vectors is to be read."""
    if transforming():
        from .traced import outside as found

        return found(f, op, *args)
    return f(op, *args)


def at_once(f: Callable) -> Callable:
    """`f`, of operators and scalars, to an operator: while torch.compile traces it is run, and
    its result is a constant of the graph."""

    @functools.wraps(f)
    def g(*args):
        if tracing():
            from .traced import made

            return made(f, *args)
        return f(*map(apart, args))

    return g
