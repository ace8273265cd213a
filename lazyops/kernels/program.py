"""The integers that `chain.cpp` runs: offsets, steps and addresses of the runs of a chain."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .memory import aligned
from .packing import Block, Packed, bytes_of, bytes_of_codes, packed
from .repeats import ONCE, repeats
from .runs import Class, Run, cut, radix_groups
from .stage import Group, Stage

__all__ = ["Part", "Program", "build", "parts_of"]

RADIX, FACTOR, DIAGONAL, SCALE = range(4)  # enum Op
BY_NUMBER, LANES, ROWS = range(3)  # enum Mode
WIDE, DIRECT_IN, DIRECT_OUT = 1, 2, 4  # flags of struct Run
TYPES = {"float32": 0, "float64": 1, "complex64": 2, "complex128": 3}  # enum Type
ROWS_AT_ONCE = 8  # of a factor, in stages.h
MANY_STEPS = 32  # in wide.h
FAR = 2 << 20  # bytes of values from which they are prefetched


class Part(NamedTuple):
    """A run in the direction in which it acts."""

    run: Run  # of the canonical direction
    blocks: list[Any]  # canonical order: a Block, or a Stage (diagonal, scalar)
    reverse: bool  # the blocks are applied last to first, each transposed
    conj: bool
    index: Any  # (n,) or None, applied to what comes in
    after: np.ndarray | None  # applied to what goes out

    @property
    def shape(self) -> tuple[int, int]:
        """Rows out and in of one block."""
        _, b, c, _ = self.run.fused
        return (c, b) if self.reverse else (b, c)

    @property
    def factors(self) -> list[Stage]:
        return [s for b in self.blocks if isinstance(b, Block) for s in b.stages]


def parts_of(group: Group, kind: Class, changing: bool = False) -> list[Part]:
    """A group cut into runs.  The cut is that of the canonical direction, so that the adjoint
    meets the same runs and the same packed values.

    `changing`: the values will be others, so none of them is known to repeat.
    """
    reverse = group.transposed
    conj = min(group.factors, key=lambda s: id(s.held)).conj
    stages = [s.flipped for s in reversed(group.stages)] if reverse else list(group.stages)
    # diagonals and scalars stay as they act: the kernel takes care of the direction
    stages = [s.conjugated(conj) if s.pattern is not None else s for s in stages]
    at = [i for i, s in enumerate(stages) if s.pattern is not None]
    runs = cut(tuple(stages[i].pattern for i in at), kind)
    found = []
    for run in runs:
        lo = 0 if run.start == 0 else at[run.start]
        hi = len(stages) if run.stop == len(at) else at[run.stop]
        blocks = _blocks(run, stages[lo:hi], kind, changing)
        found.append(Part(run, blocks, reverse, conj, None, None))
    if reverse:
        found.reverse()
    found[0] = found[0]._replace(index=group.index)
    found[-1] = found[-1]._replace(after=group.after)
    return found


def _blocks(run: Run, stages: Sequence[Stage], kind: Class, changing: bool) -> list[Any]:
    blocks: list[Any] = []
    offset = 0
    for group in radix_groups(run, stages, kind):
        if group[0].pattern is None:
            blocks.append(group[0])
            continue
        block = Block(group, offset, ONCE if changing else repeats(group))
        blocks.append(block)
        offset += bytes_of(block, run, kind)
    return blocks


# -- where numbers lie ------------------------------------------------------------------------


class Side(NamedTuple):
    row: np.ndarray  # (rows,)
    lane: np.ndarray  # (lanes,)
    index: Any  # (lanes, rows) or None
    mode: int
    pick: Any = None  # (rows,) in the order of memory, in mode ROWS


def natural(run: Run, rows: int, kind: Class) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the rows and of the blocks in a vector: number (i, r, l) at (i*rows + r)*D + l."""
    A, D = run.fused.a, run.fused.d
    lane = (np.arange(A)[:, None] * (rows * D) + np.arange(D)).ravel()
    order = run.order(kind)
    return np.arange(rows) * D, lane if order is None else lane[order]


def side(row: np.ndarray, lane: np.ndarray, table: np.ndarray | None, kind: Class) -> Side:
    """The numbers at ``row + lane``, or ``table[row + lane]``: as sums where that is possible."""
    if table is not None:
        where = table[row + lane[:, None]]  # (lanes, rows)
        new_row, new_lane = where[0] - where[0, 0], where[:, 0]
        if not np.array_equal(where, new_row + new_lane[:, None]):
            return Side(row, lane, np.ascontiguousarray(table, np.int64), BY_NUMBER)
        row, lane = new_row, new_lane
    return Side(row, lane, None, *_mode(row, lane, kind))


def _mode(row: np.ndarray, lane: np.ndarray, kind: Class) -> tuple[int, np.ndarray | None]:
    """How numbers are moved: neighbouring lanes, or neighbouring rows (and in which order)."""
    w, chunk = kind.lanes, kind.lanes // kind.parts
    full = lane[: len(lane) // w * w].reshape(-1, w)
    if len(full) and np.array_equal(full, full[:, :1] + np.arange(w)):
        return LANES, None
    if len(row) % chunk == 0:
        pick = np.arange(len(row)) if kind.batch else np.argsort(row, kind="stable")
        pieces = row[pick].reshape(-1, chunk)
        if np.array_equal(pieces, pieces[:, :1] + np.arange(chunk)):
            return ROWS, pick
    return BY_NUMBER, None


def sides_of(parts: Sequence[Part], kind: Class) -> tuple[list[Side], list[Side], int]:
    """In and out of each run, and how many numbers lie between two of them.

    What a run hands on is stored in the tile order of the next one, whatever permutation stands
    between: it reads it from first to last.
    """
    ins: list[Side] = []
    outs: list[Side] = []
    most = 0
    for q, part in enumerate(parts):
        rows = part.shape[1]
        if q == 0:
            ins.append(side(*natural(part.run, rows, kind), part.index, kind))
            continue
        width = group_of(part, kind) if kind.batch else kind.lanes
        tile, place = np.divmod(np.arange(part.run.blocks), width)
        held = np.arange(rows) * width, tile * (rows * width) + place
        ins.append(side(*held, None, kind))
        outs.append(handed(parts[q - 1], part, held, kind))
        most = max(most, -(-part.run.blocks // width) * width * rows)
    last = parts[-1]
    inverse = None
    if last.after is not None:
        inverse = np.empty(len(last.after), np.int64)
        inverse[last.after] = np.arange(len(inverse))
    outs.append(side(*natural(last.run, last.shape[0], kind), inverse, kind))
    return ins, outs, most


Held = tuple[np.ndarray, np.ndarray]


def handed(part: Part, then: Part, held: Held, kind: Class) -> Side:
    """The out side of a run; the next one holds row r of block l at ``held[0][r] + held[1][l]``."""
    sums = held_as_sums(part, then, held, kind) if then.index is None else None
    if sums is not None:
        return Side(*sums, None, *_mode(*sums, kind))
    row, lane = natural(then.run, then.shape[1], kind)
    at = row + lane[:, None]
    table = np.empty(at.size, np.int64)
    table[at if then.index is None else then.index[at]] = held[0] + held[1][:, None]
    return side(*natural(part.run, part.shape[0], kind), table, kind)


def held_as_sums(part: Part, then: Part, held: Held, kind: Class) -> Held | None:
    """Where the next run holds the rows and the blocks of a run, if that is a sum of the two.

    A place in the vector is written in digits so fine that rows and blocks of both runs are digits
    of it.  It is held at a multiple of its row in the next run plus a function of its block there:
    a sum over the rows and blocks of this run if that function is.  So nothing of the size of the
    vector is made to tell.
    """
    d, rows = part.run.fused.d, part.shape[0]
    D, Rows = then.run.fused.d, then.shape[1]
    ends = sorted({1, d, d * rows, D, D * Rows, part.run.blocks * rows})
    digits = list(itertools.pairwise(ends))[::-1]
    if any(b % a for a, b in digits):
        return None
    of_block = np.empty(then.run.blocks, np.int64)
    of_block[natural(then.run, 1, kind)[1]] = held[1]
    left = [(a, b // a) for a, b in digits if not D <= a < D * Rows]  # the digits of a block
    terms = of_block.reshape([count for _, count in left])
    mine = [d <= a < d * rows for a, _ in left]  # those among them of a row of this run
    by_row = terms[tuple(slice(None) if m else slice(1) for m in mine)]
    by_block = terms[tuple(slice(1) if m else slice(None) for m in mine)]
    if not np.array_equal(terms, by_row + by_block - of_block[0]):
        return None
    row, lane = (
        held[0][at // D % Rows] + of_block[at // (D * Rows) * D + at % D]
        for at in natural(part.run, rows, kind)
    )
    return row - row[0], lane


def group_of(part: Part, kind: Class) -> int:
    """Blocks side by side in a tile of the batch form, at most: so that pieces of memory are long.

    An array in Fortran order is turned in squares of as many numbers as a vector holds.
    """
    most = kind.lanes // kind.parts if kind.turned else kind.together
    return min(most, part.run.blocks)


def direct(s: Side, steps: Sequence[Sequence[int]], first: bool) -> bool:
    """Whether the first factors (or the last) can use memory itself, not a copy in the tile.

    The rows of a group must lie at sums of one number for each bit (struct Rows); a run of one
    step would have to do both.
    """
    if s.index is not None or len(steps) < 2:
        return False
    _, _, count, _, delta, *_ = steps[0 if first else -1]
    rows = s.row.reshape(-1, 1 << count, delta)
    j = np.arange(1 << count)
    bits = sum(
        (j >> q & 1)[None, :, None] * (rows[:, 1 << q, None] - rows[:, :1]) for q in range(count)
    )
    return bool(np.array_equal(rows - rows[:, :1], bits))


# -- the program ------------------------------------------------------------------------------


class Program:
    """The integers, and the arrays whose addresses are among them."""

    def __init__(self, parts: Sequence[Part], kind: Class):
        self.kind, self.parts = kind, list(parts)
        self.keep: list[Any] = []
        self.packed: list[Packed] = []
        ins, outs, mid = sides_of(parts, kind)
        self.sides = [*ins, *outs]
        records, steps = [], []  # type: ignore[var-annotated]
        for part, i, o in zip(parts, ins, outs, strict=True):
            mine = self._steps(part)
            records.append(self._record(part, i, o, len(steps), mine))
            steps += mine
        first, last = parts[0], parts[-1]
        self.rows, self.columns = last.run.blocks * last.shape[0], first.run.blocks * first.shape[1]
        self.entries = sum(s.pattern.entries for p in parts for s in p.factors)
        work = self.entries * (4 if kind.parts == 2 else 1)
        flags = [int(kind.batch), int(kind.turned)]
        head = [self.rows, self.columns, TYPES[kind.dtype], *flags, len(parts), work, mid]
        numbers = [*head, *(n for r in records for n in r), *(n for s in steps for n in s)]
        self.numbers = np.array(numbers, np.int64)
        self.address = self.numbers.ctypes.data

    @property
    def nbytes(self) -> int:
        """Bytes of index tables, programs and diagonals; the packed values are counted apart."""
        return self.numbers.nbytes + sum(a.nbytes for a in self.keep)

    def _at(self, array: np.ndarray | None) -> int:
        if array is None:
            return 0
        array = np.ascontiguousarray(array)
        self.keep.append(array)
        return array.ctypes.data

    def _record(self, part: Part, i: Side, o: Side, at: int, steps: list[list[int]]) -> list[int]:
        """struct Run."""
        kind, run = self.kind, part.run
        blocks = [b for b in part.blocks if isinstance(b, Block)]
        copy = packed(run, blocks, kind)
        self.packed.append(copy)
        sides = []
        for s in (i, o):
            row, lane = (np.asarray(t, np.int64) for t in (s.row, s.lane))
            sides += [
                self._at(row),
                self._at(lane),
                self._at(s.index),
                s.mode,
                len(row),
                self._at(s.pick),
            ]
        group = group_of(part, kind) if kind.batch else 1
        far = int(copy.nbytes > FAR)
        sizes = [max(s.pattern[1:3]) for b in blocks for s in b.stages if s.coding]
        spare = ROWS_AT_ONCE * max(sizes, default=0) * kind.parts * kind.width
        wide = 0
        if kind.batch and len(steps) <= MANY_STEPS and all(step[0] == RADIX for step in steps):
            wide = WIDE | DIRECT_IN * direct(i, steps, True) | DIRECT_OUT * direct(o, steps, False)
        return [
            run.blocks, run.rows, group, *sides, copy.values.ctypes.data, copy.values.shape[1],
            copy.values.shape[0], at, len(steps), int(part.conj), far, wide, spare,
        ]  # fmt: skip

    def _steps(self, part: Part) -> list[list[int]]:
        """struct Step, in the order in which they are applied."""
        found = []
        A, D = part.run.fused.a, part.run.fused.d
        rows = part.shape[1]
        for block in reversed(part.blocks) if part.reverse else part.blocks:
            if isinstance(block, Block):
                first, last = block.stages[0].pattern, block.stages[-1].pattern
                assert first is not None
                assert last is not None
                coded = block.stages[0].coding
                coding = (
                    0 if coded is None else self._at(coded[0].record(*coded[1:], self.kind.parts))
                )
                strides = block.strides(part.run)
                end = [first.d // D, block.offset, int(part.reverse), 0, coding, *strides]
                end += self._scales(block, part.run)
                if first[1:3] == (2, 2):
                    found.append([RADIX, last.a // A, len(block.stages), 0, *end])
                else:
                    found.append([FACTOR, first.a // A, *first[1:3], *end])
                    rows = last.shape[1 if part.reverse else 0] // (A * D)
            elif block.values is not None:
                values, per_tile = self._diagonal(block, part.run, rows)
                at = self._at(values)
                found.append([DIAGONAL, rows, 0, 0, 0, at, int(part.conj), per_tile, *[0] * 5])
            else:
                number = np.array(
                    [block.scale], "complex128" if self.kind.parts == 2 else "float64"
                )
                number = number.astype(self.kind.dtype).view(self._real)
                at = self._at(number)
                found.append([SCALE, rows, 0, 0, 0, at, int(part.conj), *[0] * 6])
        return found

    def _scales(self, block: Block, run: Run) -> tuple[int, int]:
        """Where the packed scales of a block lie in a tile, and numbers for each; 0: none."""
        if (first := block.stages[0]).packed_scales is None:
            return 0, 0
        _, b, c, _ = first.pattern
        return block.offset + bytes_of_codes(block, run, self.kind), b * c

    @property
    def _real(self) -> type:
        return np.float32 if self.kind.size == 4 else np.float64

    def _diagonal(self, stage: Stage, run: Run, rows: int) -> tuple[np.ndarray, int]:
        """A diagonal in the order of the tiles: (tiles, rows, parts, width)."""
        kind, width = self.kind, self.kind.width
        row, lane = natural(run, rows, kind)
        assert stage.values is not None
        values = stage.values.astype(kind.dtype)
        values = (values.conj() if stage.conj else values)[row + lane[:, None]]  # (blocks, rows)
        tiles = -(-run.blocks // width)
        out = aligned((tiles, rows, kind.parts, width), self._real)
        out[-1] = 0
        padded = out.transpose(0, 3, 1, 2)  # tiles, width, rows, parts
        v = values.view(self._real).reshape(run.blocks, rows, kind.parts)
        full = run.blocks // width
        padded[:full] = v[: full * width].reshape(full, width, rows, kind.parts)
        if full < tiles:
            padded[full, : run.blocks - full * width] = v[full * width :]
        return out, rows * kind.parts * width


def build(parts: Sequence[Part], kind: Class) -> Program:
    return Program(parts, kind)
