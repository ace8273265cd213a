"""What a factor of a product is to a kernel: arrays and integers, and runs of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._array import dtype_name, join_dtypes, with_complex
from ..pattern import Pattern
from .codes import Codes, Coding

__all__ = ["Group", "Stage", "groups", "result_dtype"]


class Stage(NamedTuple):
    """One factor, by its arrays.  With neither values, index nor scale it is the identity.

    values : (a, b, c, d) of a Kronecker-sparse factor, an array or `Codes`, or (n,) of a
        diagonal, or None
    pattern : of the factor as it acts: that of `values`, transposed where `transpose` is set
    index : ``y = x[index]``, a permutation, or None
    scale : a Python or NumPy scalar, or None
    """

    values: Any = None
    pattern: Any = None
    index: Any = None
    scale: Any = None
    transpose: bool = False
    conj: bool = False

    @property
    def flipped(self) -> Stage:
        """The transpose of a factor or a diagonal."""
        if self.pattern is None:
            return self
        return self._replace(pattern=self.pattern.T, transpose=not self.transpose)

    def conjugated(self, conj: bool) -> Stage:
        return self._replace(conj=self.conj != conj) if conj else self

    @property
    def held(self) -> Any:
        """The array that holds the values or their codes."""
        return self.values.array if isinstance(self.values, Codes) else self.values

    @property
    def coding(self) -> tuple[Coding, bool, bool] | None:
        """How codes become numbers: (coding, pairs, conjugated); None for numbers."""
        values = self.values
        if not isinstance(values, Codes):
            return None
        return values.coding, values.pair, self.conj and values.pair

    @property
    def packed_scales(self) -> np.ndarray | None:
        """Scales that are packed with the codes: see `Codes`."""
        return self.values.packed_scales if isinstance(self.values, Codes) else None


def with_scales_apart(stages: Sequence[Stage], packed: bool = False) -> list[Stage]:
    """Scales of blocks of codes as diagonals: on the rows of a factor, or before its transpose.

    `packed`: but for those that can be packed with the codes.
    """
    found: list[Stage] = []
    for stage in stages:
        values = stage.values
        scaled = isinstance(values, Codes) and values.scales is not None
        if scaled and not (packed and values.packed_scales is not None):
            a, b, _, d = values.shape
            rows = np.broadcast_to(values.scales[:, None, :], (a, b, d)).reshape(-1)
            pair = [Stage(rows), stage._replace(values=replace(values, scales=None))]
            found += reversed(pair) if stage.transpose else pair
        else:
            found.append(stage)
    return found


BOTH = frozenset({False, True})


def directions(first: Pattern, then: Pattern) -> frozenset[bool]:
    """Which of ``then @ first`` (False) and its transpose (True) is Kronecker-sparse."""
    found = {False} if then.chains_with(first) else set()
    return frozenset(found | ({True} if first.T.chains_with(then.T) else set()))


class Group(NamedTuple):
    """Stages that chain, in the order in which they are applied, between two permutations.

    `index` is applied first (None: nothing); `stages` are factors, diagonals and scalars;
    `after` is the permutation that follows, of the last group only.
    """

    index: np.ndarray | None  # type: ignore[assignment]
    stages: tuple[Stage, ...]
    after: np.ndarray | None = None

    @property
    def factors(self) -> list[Stage]:
        return [s for s in self.stages if s.pattern is not None]

    @property
    def transposed(self) -> bool:
        """Whether the group is taken as the transpose of a chain, with the values of that.

        Where it could be either, the factor whose array has the smallest id decides: a product
        and its adjoint take the same chain.
        """
        patterns = [s.pattern for s in self.factors]
        pairs = [directions(p, q) for p, q in itertools.pairwise(patterns)]
        ways = BOTH.intersection(*pairs)
        if len(ways) == 1:
            return next(iter(ways))
        return min(self.factors, key=lambda s: id(s.held)).transpose


def groups(stages: Sequence[Stage]) -> list[Group]:
    """The product ``stages[0] @ stages[1] @ ...`` as groups, the one applied first in front.

    Neighbouring permutations become one; a group ends where a permutation stands between two
    factors or where two factors do not chain.
    """
    found: list[Group] = []
    index: np.ndarray | None = None
    current: list[Stage] = []
    last: Pattern | None = None
    ways = BOTH
    for stage in reversed(stages):
        if stage.index is not None:
            if current:
                found.append(Group(index, tuple(current)))
                index, current, last = None, [], None
            index = stage.index if index is None else index[stage.index]
            continue
        if stage.pattern is not None:
            if last is not None and not (ways := ways & directions(last, stage.pattern)):
                found.append(Group(index, tuple(current)))
                index, current = None, []
            if not any(s.pattern for s in current):
                ways = BOTH
            last = stage.pattern
        elif stage.values is None and stage.scale is None:
            continue
        current.append(stage)
    if current or not found:
        found.append(Group(index, tuple(current)))
        index = None
    return _joined(found, index)


def _joined(found: list[Group], after: np.ndarray | None) -> list[Group]:
    """Groups without a factor join a neighbour that meets them without a permutation between."""
    result: list[Group] = []
    for group in found:
        meets = result and group.index is None
        if meets and not (group.factors and result[-1].factors):
            result[-1] = result[-1]._replace(stages=result[-1].stages + group.stages)
        else:
            result.append(group)
    if after is not None:
        result[-1] = result[-1]._replace(after=after)
    return result


def result_dtype(stages: Sequence[Stage], x: str) -> str:
    """Name of the dtype of the product for an `x` of dtype `x`; Python scalars are weak."""
    # every dtype once: its name costs a microsecond
    arrays = dict.fromkeys(s.values.dtype for s in stages if s.values is not None)
    for dtype in (*arrays, *(s.scale.dtype for s in stages if isinstance(s.scale, np.generic))):
        x = join_dtypes(x, dtype.name if isinstance(dtype, np.dtype) else dtype_name(dtype))
    return with_complex(x) if any(isinstance(s.scale, complex) for s in stages) else x


def is_complex(stages: Sequence[Stage]) -> bool:
    """Whether a value or a scalar is complex: if none is, complex `x` is twice as many columns."""
    return any(
        (s.values is not None and s.values.dtype.kind == "c")
        or isinstance(s.scale, (complex, np.complexfloating))
        for s in stages
    )
