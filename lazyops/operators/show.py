"""How operators look: the expression, the tree, and the tree in a notebook."""

from __future__ import annotations

import html as _html
from collections.abc import Iterator

from .base import LinearOperator
from .info import count_entries
from .tree import fold

ELIDED = 20  # nodes shown in an error message
CHILDREN = 12  # operands shown under one node of a tree
LINES = 400  # nodes shown in a tree


def expression(op: LinearOperator) -> str:
    """The expression as it was written."""
    return "".join(_tokens(op))


def short(op: LinearOperator) -> str:
    """The expression for an error message: its beginning, where it is long."""
    text: list[str] = []
    nodes = 0
    for token in _tokens(op):
        nodes += token not in (" @ ", " + ", " - ", ", ", "(", ")")
        if nodes > ELIDED:
            return "".join(text).rstrip(" @+-,") + " ..."
        text.append(token)
    return "".join(text)


def _tokens(root: LinearOperator) -> Iterator[str]:
    stack: list = [(root, 0)]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
            continue
        op, needed = item
        if not op._is_composite:
            yield f"({op._label()})" if op.precedence < needed else op._label()
            continue
        if op.precedence < needed:
            stack.append(")")
        stack.extend(reversed(list(op._pieces())))
        if op.precedence < needed:
            yield "("


def _describe(op: LinearOperator, entries: int) -> str:
    """One line: kind or label, shape, dtype, place, entries."""
    m, n = op.shape
    name = op.kind_name if op._is_composite else op._label()
    place = ", ".join(op.places) or "follows x"
    return f"{name}  {m}x{n}  {op.dtype}  {place}  {entries:,} entries"


def _lines(root: LinearOperator) -> Iterator[tuple[int, str, bool]]:
    """(depth, text, whether nodes stand below it), top down; what is left out is counted."""
    counts: dict[int, int] = {}

    def count(node, below):
        counts[id(node)] = sum(below) if below else count_entries(node)
        return counts[id(node)]

    fold(root, count)
    stack: list[tuple[int, LinearOperator | str]] = [(0, root)]
    shown = 0
    while stack:
        depth, op = stack.pop()
        if isinstance(op, str):
            yield depth, op, False
            continue
        if shown == LINES:
            yield depth, "... and more: tree() shows the first nodes of a long expression", False
            return
        shown += 1
        yield depth, _describe(op, counts[id(op)]), op._is_composite
        operands = op._operands
        if len(operands) > CHILDREN:
            stack.append((depth + 1, f"... and {len(operands) - CHILDREN} more"))
        stack.extend((depth + 1, o) for o in reversed(operands[:CHILDREN]))


def tree(op: LinearOperator) -> str:
    """One line per node, operands indented below it; entries of each occurrence of a node."""
    return "\n".join("  " * depth + text for depth, text, _ in _lines(op))


def html(op: LinearOperator) -> str:
    """The tree as nested ``<details>``: it collapses without JavaScript."""
    parts: list[str] = []
    open_depths: list[int] = []
    for depth, text, has_operands in _lines(op):
        while open_depths and open_depths[-1] >= depth:
            parts.append("</details>")
            open_depths.pop()
        text = _html.escape(text)
        indent = f'style="margin-left:{1 if depth else 0}em"'
        if has_operands:
            parts.append(f"<details open {indent}><summary>{text}</summary>")
            open_depths.append(depth)
        else:
            parts.append(f"<div {indent}>{text}</div>")
    parts.extend("</details>" for _ in open_depths)
    return '<div class="lazyops" style="font-family:monospace">' + "".join(parts) + "</div>"
