"""Plans of factors whose values change from call to call: what a plan costs is paid once.

A plan takes a millisecond to make and its packed copies some microseconds to fill.  A training step
changes the values alone, so the plan is kept, with arrays of its own that are filled anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from .._array import real_dtype
from .packing import Block, moves
from .plan import Plan, plan, shape_class
from .stage import Stage, is_complex, result_dtype

__all__ = ["Repacked", "adjoint_of"]


class Repacked:
    """The product of `stages` for an `x` of dtype `dtype`, and its adjoint, with values to come.

    `stages` say the shapes; index arrays and scalars are those of every call.
    """

    def __init__(self, stages: Sequence[Stage], dtype: str):
        name = result_dtype(stages, dtype)
        held = name if is_complex(stages) else real_dtype(name)
        self.stages = [
            s if s.values is None else s._replace(values=np.empty(s.values.shape, held))
            for s in stages
        ]
        self.has_diagonal = any(s.values is not None and s.pattern is None for s in stages)
        self.lock = threading.Lock()  # between filling and running
        self.plans: dict[tuple, Plan] = {}
        self.moves: dict[int, list[Callable[[], None]]] = {}  # by the packed copy they fill

    def fill(self, arrays: Sequence[np.ndarray]) -> None:
        """New values: one array for each stage that has one."""
        for stage, array in zip(_with_values(self.stages), arrays, strict=True):
            np.copyto(stage.values, array)
        if self.has_diagonal:  # diagonals lie in the programs themselves
            self.plans.clear()
            self.moves.clear()
        for calls in self.moves.values():
            for call in calls:
                call()

    def plan(self, x: np.ndarray, adjoint: bool = False) -> Plan:
        """The plan for arrays like `x`; its packed copies hold what was filled last."""
        key = (adjoint, x.dtype, *shape_class(x.shape[1], x.strides, x.itemsize))
        if (found := self.plans.get(key)) is not None:
            return found
        stages = adjoint_of(self.stages) if adjoint else self.stages
        made = self.plans[key] = plan(stages, x, changing=True)
        for step in made.steps:
            if step.program is None:
                continue
            for part, copy in zip(step.program.parts, step.program.packed, strict=True):
                if id(copy) not in self.moves:  # the adjoint reads the same one
                    blocks = [b for b in part.blocks if isinstance(b, Block)]
                    calls = list(moves(part.run, blocks, step.program.kind, copy.values))
                    self.moves[id(copy)] = calls
        return made


def _with_values(stages: Sequence[Stage]) -> list[Stage]:
    return [s for s in stages if s.values is not None]


def adjoint_of(stages: Sequence[Stage]) -> list[Stage]:
    """The stages of the conjugate transpose."""
    found = []
    for s in reversed(stages):
        if s.index is not None:
            inverse = np.empty(len(s.index), np.int64)
            inverse[s.index] = np.arange(len(s.index))
            found.append(Stage(index=inverse))
        elif s.scale is not None:
            found.append(Stage(scale=np.conj(s.scale) if np.iscomplexobj(s.scale) else s.scale))
        else:
            found.append(s.flipped.conjugated(s.values is not None and s.values.dtype.kind == "c"))
    return found
