"""In which order the junctions of a chain are split: by name, as a list, or as a tree."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

ORDERS = ("balanced", "left-to-right", "right-to-left")

Order = str | tuple[int, ...]  # a name, or all the junctions (from 1) one after the other


def balanced(splits: int) -> list[int]:
    """The splits 1 .. `splits`, middle one first, then each half (arXiv 2411.04506, section 6).

    >>> balanced(5)
    [3, 1, 2, 4, 5]
    """
    if splits <= 2:
        return list(range(1, splits + 1))
    middle = splits // 2 if splits % 2 == 0 else (splits + 1) // 2
    return [middle, *balanced(middle - 1), *(q + middle for q in balanced(splits - middle))]


def splits_in_order(order: Order, splits: int) -> list[int]:
    """The junctions 1 .. `splits` in this order."""
    if not isinstance(order, str):
        return list(order)
    if order == "left-to-right":
        return list(range(1, splits + 1))
    if order == "right-to-left":
        return list(range(splits, 0, -1))
    return balanced(splits)


def is_nested(order: Sequence[int]) -> bool:
    """Whether every split takes a single factor off one end of what is left.

    The projections of the steps are then nested and their errors orthogonal: what is split later
    lies in the range of what was kept before (T4 of arXiv 2411.04506's argument for one end).

    >>> is_nested([1, 4, 2, 3]), is_nested([2, 1, 3])
    (True, False)
    """
    first, last = 0, len(order) + 1
    for q in order:
        if q == first + 1:
            first = q
        elif q == last - 1:
            last = q
        else:
            return False
    return True


def checked_order(order: Any, factors: int | None) -> Order:
    """`order` as a name or as junctions; `factors` is None where no chain is given.

    >>> checked_order(((1, 2), (3, 4)), 4)
    (2, 1, 3)
    >>> checked_order([3, 1, 2], 4)
    (3, 1, 2)

    Raises
    ------
    ValueError
        If it is none of the names, no list of every junction, and no tree of every factor.
    """
    if order is None:
        return "balanced"
    if isinstance(order, str) or not isinstance(order, Iterable):
        if order not in ORDERS:
            names = ", ".join(ORDERS)
            raise ValueError(f"order is one of {names}, a list or a tree, got {order!r}")
        return order
    if factors is None:
        raise ValueError(f"order {order!r} is of the factors of a chain: pass the chain as well")
    given = list(order)
    flat = all(not isinstance(child, Iterable) for child in given)
    if flat and len(given) == factors - 1:
        if sorted(given) != list(range(1, factors)):
            raise ValueError(f"order lists the junctions 1 .. {factors - 1} once each, got {given}")
        return tuple(map(operator.index, given))
    leaves, found = _junctions(given)
    if leaves != list(range(1, factors + 1)):
        raise ValueError(
            f"order as a tree has the factors 1 .. {factors} as leaves, in this order, got {leaves}"
        )
    return tuple(found)


def _junctions(tree: Any) -> tuple[list[int], list[int]]:
    """Leaves of a tree, and its junctions from the root on; several children: left to right."""
    if not isinstance(tree, Iterable):
        return [operator.index(tree)], []
    parts = [_junctions(child) for child in tree]
    if not parts or not all(leaves for leaves, _ in parts):
        raise ValueError("order as a tree has no empty node")
    own = [leaves[-1] for leaves, _ in parts[:-1]]
    inner = [q for _, junctions in parts for q in junctions]
    return [leaf for leaves, _ in parts for leaf in leaves], own + inner
