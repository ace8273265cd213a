"""What is known of an operator for sure: hermitian, unitary, positive; True, False or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .base import LinearOperator
from .tree import fold

NAMES = ("hermitian", "unitary", "positive")
Facts = dict[str, bool | None]


def facts(op: LinearOperator) -> Facts:
    """The three facts of `op`, inferred from its parts; None where they do not decide."""
    return fold(op, _complete, lambda node: node._cache.get("facts"))


def _complete(op: LinearOperator, operands: tuple[Facts, ...]) -> Facts:
    m, n = op.shape
    found: Facts = dict.fromkeys(NAMES, False)
    if m == n:
        known = op._facts(*operands)
        found = {name: known.get(name) for name in NAMES}
        if found["positive"]:
            found["hermitian"] = True
    return op._cache.setdefault("facts", found)


@dataclass(eq=False, repr=False)
class Assumed(LinearOperator):
    """An operator with facts that its author vouches for; see `LinearOperator.assume`."""

    operator: LinearOperator
    assumed: tuple[tuple[str, bool], ...]

    def _shape(self):
        return self.operator.shape

    def _steps(self, x):
        y = yield self.operator, x
        return y

    def _adjoint(self, adjoint):
        return Assumed(adjoint, self.assumed)

    def _facts(self, operand):
        return {**operand, **dict(self.assumed)}

    @property
    def precedence(self):
        return self.operator.precedence

    def _pieces(self):
        yield (self.operator, 0)


def assume(op: LinearOperator, stated: Mapping[str, bool]) -> LinearOperator:
    """`op` with facts stated by the caller.

    Raises
    ------
    TypeError
        For a name that is no fact, or a value that is no bool.
    ValueError
        Where a fact contradicts what the structure decides.
    """
    known = facts(op)
    for name, value in stated.items():
        if name not in NAMES:
            raise TypeError(f"{name!r} is no fact of operators: there are {', '.join(NAMES)}")
        if not isinstance(value, bool):
            raise TypeError(f"a fact is True or False, got {name}={value!r}")
        if known[name] is not None and known[name] is not value:
            raise ValueError(f"{op!r} cannot be assumed {name}={value}: it is {known[name]}")
    return Assumed(op, tuple(stated.items())) if stated else op
