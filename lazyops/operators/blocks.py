"""Operators side by side, on top of each other, along the diagonal; blocks of any sizes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .._array import Array, array_namespace, is_array
from .algebra import _operators
from .base import LinearOperator
from .convert import aslinearoperator
from .kron import all_or_none
from .scalar import Zero


@dataclass(eq=False, repr=False)
class HStack(LinearOperator):
    """``[A, B, ...]`` side by side; see `hstack`."""

    blocks: tuple[LinearOperator, ...]

    def _check(self):
        for block in self.blocks[1:]:
            _check_equal(self.blocks[0], block, 0, "hstack", "rows")

    def _shape(self):
        return self.blocks[0].shape[0], sum(b.shape[1] for b in self.blocks)

    def _steps(self, x):
        y = None
        widths = [b.shape[1] for b in self.blocks]
        for block, piece in zip(self.blocks, cut(x, widths), strict=True):
            t = yield block, piece
            y = t if y is None else y + t
        return y

    def _adjoint(self, *adjoints):
        return VStack(adjoints)

    def _pieces(self):
        return _list("hstack", self.blocks)


@dataclass(eq=False, repr=False)
class VStack(LinearOperator):
    """``[A; B; ...]`` on top of each other; see `vstack`."""

    blocks: tuple[LinearOperator, ...]

    def _check(self):
        for block in self.blocks[1:]:
            _check_equal(self.blocks[0], block, 1, "vstack", "columns")

    def _shape(self):
        return sum(b.shape[0] for b in self.blocks), self.blocks[0].shape[1]

    def _steps(self, x):
        pieces = []
        for block in self.blocks:
            pieces.append((yield block, x))
        return join(pieces)

    def _adjoint(self, *adjoints):
        return HStack(adjoints)

    def _pieces(self):
        return _list("vstack", self.blocks)


@dataclass(eq=False, repr=False)
class BlockDiag(LinearOperator):
    """Blocks along the diagonal, zeros elsewhere; see `block_diag`."""

    blocks: tuple[LinearOperator, ...]

    def _shape(self):
        return sum(b.shape[0] for b in self.blocks), sum(b.shape[1] for b in self.blocks)

    def _steps(self, x):
        pieces = []
        widths = [b.shape[1] for b in self.blocks]
        for block, piece in zip(self.blocks, cut(x, widths), strict=True):
            pieces.append((yield block, piece))
        return join(pieces)

    def _adjoint(self, *adjoints):
        return BlockDiag(adjoints)

    def _facts(self, *operands):
        return {f: all_or_none(o[f] for o in operands) for f in operands[0]}

    def _pieces(self):
        return _list("block_diag", self.blocks)


def hstack(operators: Iterable[Any]) -> LinearOperator:
    """``[A, B, ...]``: operators with equally many rows, side by side."""
    found = _operators("hstack", operators)
    return found[0] if len(found) == 1 else HStack(tuple(found))


def vstack(operators: Iterable[Any]) -> LinearOperator:
    """``[A; B; ...]``: operators with equally many columns, on top of each other."""
    found = _operators("vstack", operators)
    return found[0] if len(found) == 1 else VStack(tuple(found))


def block_diag(operators: Iterable[Any]) -> LinearOperator:
    """Operators of any shapes along the diagonal."""
    found = _operators("block_diag", operators)
    return found[0] if len(found) == 1 else BlockDiag(tuple(found))


def block(rows: Sequence[Sequence[Any]]) -> LinearOperator:
    """A matrix of operators.

    Parameters
    ----------
    rows : sequence of sequences of operators or matrices
        As ``numpy.block``: the rows may be cut differently.  None stands for a block of
        zeros; its size is that of its row and of its column, which must then be a grid.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.block([[lo.Identity(2), None], [None, [[5.0]]]]).to_dense()
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 5.]])
    """
    if is_array(rows) or not len(rows) or not all(len(row) for row in rows):
        raise ValueError("block takes rows of operators, at least one in each row")
    grid = [[b if b is None else aslinearoperator(b) for b in row] for row in rows]
    if any(b is None for row in grid for b in row):
        return vstack([hstack(row) for row in _filled(grid)])
    return vstack([hstack(row) for row in grid])


def _filled(grid: list[list[LinearOperator | None]]) -> list[list[LinearOperator]]:
    if len({len(row) for row in grid}) > 1:
        raise ValueError("block with None takes equally many blocks in every row")
    heights = [_only(row, 0, f"row {i}") for i, row in enumerate(grid)]
    columns = zip(*grid, strict=True)
    widths = [_only(column, 1, f"column {j}") for j, column in enumerate(columns)]
    return [
        [Zero((h, w)) if b is None else b for b, w in zip(row, widths, strict=True)]
        for row, h in zip(grid, heights, strict=True)
    ]


def _only(line: Iterable[LinearOperator | None], axis: int, where: str) -> int:
    sizes = {b.shape[axis] for b in line if b is not None}
    if len(sizes) != 1:
        found = ", ".join(map(str, sorted(sizes))) or "None only"
        raise ValueError(f"{where} of block has no single size ({found}): write lo.Zero((m, n))")
    return sizes.pop()


def cut(x: Array, sizes: Sequence[int]) -> list[Array]:
    """Views of x, cut along its first axis."""
    ends = list(itertools.accumulate(sizes, initial=0))
    return [x[start:end, :] for start, end in itertools.pairwise(ends)]


def join(pieces: Sequence[Array]) -> Array:
    """The pieces one after the other along the first axis, in the dtype they promote to."""
    xp = array_namespace(*pieces)
    dtype = xp.result_type(*pieces)
    return xp.concat([xp.astype(p, dtype, copy=False) for p in pieces], axis=0)


def _list(name: str, blocks: Sequence[LinearOperator]):
    yield f"{name}(["
    for i, member in enumerate(blocks):
        if i:
            yield ", "
        yield (member, 0)
    yield "])"


def _check_equal(first, other, axis: int, name: str, what: str) -> None:
    if first.shape[axis] != other.shape[axis]:
        from .show import short

        (m, n), (p, q) = first.shape, other.shape
        raise ValueError(
            f"cannot {name} {short(first)} ({m}x{n}) and {short(other)} ({p}x{q}): "
            f"{first.shape[axis]} {what} and {other.shape[axis]} {what}"
        )
