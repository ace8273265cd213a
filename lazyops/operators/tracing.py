"""Whether torch.compile traces; what is done with operators alone is then run at once."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

__all__ = ["at_once", "tracing"]


def tracing() -> bool:
    """Whether Dynamo reads this code instead of Python running it."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_dynamo_compiling()


def at_once(f: Callable) -> Callable:
    """`f`, of operators and scalars, to an operator: while torch.compile traces it is run, and
    its result is a constant of the graph."""

    @functools.wraps(f)
    def g(*args):
        if tracing():
            from .traced import made

            return made(f, *args)
        return f(*args)

    return g
