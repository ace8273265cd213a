"""Counts: entries, bytes, flops, depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._array import nbytes
from .base import LinearOperator
from .chain import plans_of
from .tree import fold


@dataclass(frozen=True)
class Info:
    """What an operator holds and what one product costs; see `LinearOperator.info`.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    places : tuple of str
    entries : int
        Numbers held, each array once, index arrays left out.
    nbytes, values_nbytes : int
        Bytes of all arrays held, and of the values alone.
    flops : int
        Real multiplications and additions for one column of `x`, of the stored values: 2 per
        entry used (8 where it is complex), 1 (2) per entry of a scaling.
    depth : int
        Longest path from the root to a leaf.
    nodes : int
        Operators in the expression.
    dense_entries, dense_nbytes : int
        The same operator as a dense matrix of its dtype.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    places: tuple[str, ...]
    entries: int
    nbytes: int
    values_nbytes: int
    flops: int
    depth: int
    nodes: int
    dense_entries: int
    dense_nbytes: int

    def __str__(self) -> str:
        m, n = self.shape
        share = f"{self.entries / self.dense_entries:.4f}" if self.dense_entries else "-"
        rows = [
            ("shape", f"{m} x {n}"),
            ("dtype", str(self.dtype)),
            ("place", ", ".join(self.places) or "follows x"),
            ("entries", f"{self.entries:,} ({share} of dense)"),
            ("bytes", f"{self.nbytes:,} ({self.dense_nbytes:,} dense)"),
            ("flops per column", f"{self.flops:,}"),
            ("nodes, depth", f"{self.nodes}, {self.depth}"),
        ]
        return "\n".join(f"{name:<17} {value}" for name, value in rows)


def info(op: LinearOperator) -> Info:
    """See `LinearOperator.info`."""
    depths: list[int] = []

    def visit(node, below):
        depths.append(1 + max(below, default=0))
        return depths[-1]

    depth = fold(op, visit)
    m, n = op.shape
    return Info(
        shape=op.shape,
        dtype=op.dtype,
        places=op.places,
        entries=entries(op),
        nbytes=held_bytes(op, indices=True),
        values_nbytes=held_bytes(op, indices=False),
        flops=fold(op, _flops),
        depth=depth,
        nodes=len(depths),
        dense_entries=m * n,
        dense_nbytes=m * n * op.dtype.itemsize,
    )


def entries(op: LinearOperator) -> int:
    """Numbers held by the expression, each array once."""
    found: dict[int, int] = {}

    def visit(node, below):
        found.update((id(a), node._numbers(f.name, a)) for f, a in node._arrays() if not f.metadata)

    fold(op, visit)
    return sum(found.values())


def count_entries(leaf: LinearOperator) -> int:
    """Numbers held by one leaf."""
    return sum(leaf._numbers(f.name, a) for f, a in leaf._arrays() if not f.metadata)


def held_bytes(op: LinearOperator, indices: bool) -> int:
    """Bytes of the arrays held by the expression, each array once; with `indices` also those of
    the plans kept and of the packed copies that they read."""
    found = sum(nbytes(a) for a in _held(op, indices))
    return found + _planned_bytes(op) if indices else found


def _planned_bytes(op: LinearOperator) -> int:
    plans: list = []
    fold(op, lambda node, below: plans.extend(plans_of(node)))
    copies = {id(p): p.nbytes for plan in plans for p in plan.packed}
    return sum(copies.values()) + sum(plan.nbytes for plan in plans)


def _held(op: LinearOperator, indices: bool) -> list:
    found = {}

    def visit(node, below):
        for f, a in node._arrays():
            if indices or not f.metadata:
                found[id(a)] = a

    fold(op, visit)
    return list(found.values())


def _flops(op: LinearOperator, below: tuple[int, ...]) -> int:
    return op._flops(*below)
