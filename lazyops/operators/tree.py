"""Walks over expressions, each with a stack of its own: depth never meets the recursion limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from .base import LinearOperator

T = TypeVar("T")


def fold(
    root: LinearOperator,
    visit: Callable[[LinearOperator, tuple[T, ...]], T],
    known: Callable[[LinearOperator], T | None] = lambda node: None,
) -> T:
    """``visit(node, results of its operands)``, operands first, every shared node once.

    Below a node whose result is `known` already, nothing is walked.
    """
    done: dict[int, T] = {}
    stack = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if not ready and (result := known(node)) is not None:
            done[id(node)] = result
            continue
        operands = node._operands
        if ready or not operands:
            done[id(node)] = visit(node, tuple([done[id(o)] for o in operands]))
        else:
            stack.append((node, True))
            stack.extend([(o, False) for o in reversed(operands) if id(o) not in done])
    return done[id(root)]


def run(root: LinearOperator, x: Any) -> Any:
    """``root @ x`` for a composite: its `_steps` asks for products of operands, one at a time."""
    waiting: list[Any] = []
    steps, value = root._steps(x), None
    while True:
        try:
            operand, x = steps.send(value)
        except StopIteration as stop:
            value = stop.value
            if not waiting:
                return value
            steps = waiting.pop()
            continue
        if operand._is_composite:
            waiting.append(steps)
            steps, value = operand._steps(x), None
        else:
            value = operand._matmat(x)


# -- an expression as a flat list: what pickle and files are made of -------------------------


class Ref(NamedTuple):
    """Stands for the operator of record number `node`."""

    node: int


class Record(NamedTuple):
    """One node: its class, and its fields with every operator replaced by a `Ref`."""

    kind: Any
    fields: dict[str, Any]


def to_records(root: LinearOperator) -> list[Record]:
    """The nodes, operands before those that use them; the last one is `root`."""
    records: list[Record] = []

    def visit(node, refs):
        following = iter(refs)
        fields = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
        records.append(Record(type(node), map_operators(fields, lambda _: next(following))))
        return Ref(len(records) - 1)

    fold(root, visit)
    return records


def from_records(records: list[Record]) -> LinearOperator:
    """The expression again.  Arrays are held as they come, not copied."""
    nodes: list[LinearOperator] = []
    for kind, fields in records:
        nodes.append(kind._restore(_resolve(fields, nodes)))
    return nodes[-1]


def _resolve(fields: dict[str, Any], nodes: list) -> dict[str, Any]:
    def visit(value):
        if isinstance(value, Ref):
            return nodes[value.node]
        if type(value) is tuple:
            return tuple([visit(v) for v in value])
        return value

    return {name: visit(value) for name, value in fields.items()}


def map_operators(fields: dict[str, Any], f: Callable[[LinearOperator], Any]) -> dict[str, Any]:
    """The fields with `f` applied to each operator, in tuples too, in the order of the fields."""
    from .node import Node

    def visit(value):
        if isinstance(value, Node):
            return f(value)
        if type(value) is tuple:
            return tuple([visit(v) for v in value])
        return value

    return {name: visit(value) for name, value in fields.items()}
