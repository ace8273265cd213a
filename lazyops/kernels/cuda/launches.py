"""From a run of factors to kernels with their sizes and arguments: no device is touched here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...pattern import Pattern
from ..codes import INTEGER, SMALL, TABLE, Codes
from .text import ITEMSIZE, SUMS, TYPES, InnerStage, Variant
from .tiles import LINE, MASKS, Geometry, geometry, swizzle

MOST_SMALL = 16  # b and c up to which a thread has a block
FEW = 8  # columns up to which values are what costs
VECTOR = 16  # bytes of the widest access
SECTOR = 32  # bytes that memory reads at once
MOST_GRID = (1 << 31) - 1
MOST_COLUMNS = (1 << 32) - 256  # with the last block of them
SHARED = 227 * 1024  # bytes of shared memory that blocks of one processor have
REGISTERS = 1 << 16  # of one processor
HELD = 64  # registers of a thread of factor_small for its inputs

FACTOR = np.dtype(
    [("values", "u8"), ("table", "u8"), ("scale", "f4"), ("conjugated", "i4")], align=True
)
SHAPE = np.dtype(
    [(name, "u4") for name in ("a", "b", "c", "d", "columns")]
    + [(name, "i8") for name in ("x_row", "x_column", "y_row", "y_column")],
    align=True,
)
EXTENT = np.dtype(
    [(name, "u4") for name in ("outer", "inner", "columns")]
    + [(name, "i8") for name in ("x_row", "x_column", "y_row", "y_column")],
    align=True,
)
STRIDES = np.dtype([(name, "i8") for name in "irsk"])
NOTHING = np.uint64(0)


@dataclass(frozen=True)
class Held:
    """The values of one factor on a device.

    array : numbers of shape (a, b, c, d), or ``packed`` (a, d, b, c), or codes
    pattern : of the factor as it acts
    transposed, conjugated : what of the array the factor is
    codes : the `Codes` that `array` belongs to, or None
    table : float32 numbers of all codes on the device, where they are decoded by it
    """

    array: Any
    dtype: str
    pattern: Pattern
    transposed: bool = False
    conjugated: bool = False
    packed: bool = False
    codes: Codes | None = None
    table: Any = None

    @property
    def storage(self) -> str:
        """The type of types.cuh."""
        if self.codes is None:
            return TYPES[self.dtype]
        bits, pair = self.codes.format.bits, str(self.codes.pair).lower()
        kind = {SMALL: "SMALL", INTEGER: "INTEGER", TABLE: "TABLE"}[kind_of(self.codes)]
        exponent = self.codes.format.exponent_bits if kind == "SMALL" else 0
        return f"codes<{bits}, {kind}, {exponent}, {pair}>"

    @property
    def scale(self) -> float:
        """Of decoded codes: the kernel draws the first normal number as 2^-63."""
        if self.codes is None or kind_of(self.codes) == TABLE:
            return 1.0
        if kind_of(self.codes) == INTEGER:
            return 1.0
        form = self.codes.format
        if form.exponent_bits == 8:
            return 1.0
        first = 1 << (form.bits - 1 - form.exponent_bits)
        return float(np.float32(form.table[first]) * np.float32(2.0**63))

    @property
    def terms_together(self) -> int:
        """How many terms of a row of the result lie in one sector, where rows are further apart.

        0 where rows are neighbours, as with d > 1 or a transposed array.
        """
        by = self.strides()
        if by["s"] != 1:
            return 0
        bits = 8 * ITEMSIZE[self.dtype]
        if self.codes is not None:
            bits = self.codes.format.bits * (1 + self.codes.pair)
        return max(4, min(32, 1 << (8 * SECTOR // bits).bit_length() - 1))

    def strides(self) -> np.ndarray:
        a, b, c, d = self.pattern
        stored = (a, c, b, d) if self.transposed else (a, b, c, d)
        _, B, C, _ = stored
        if self.packed:
            i, r, s, k = d * B * C, C, 1, B * C
        else:
            i, r, s, k = B * C * d, C * d, d, 1
        return np.array((i, s, r, k) if self.transposed else (i, r, s, k), STRIDES)


def kind_of(codes: Codes) -> int:
    """How a device decodes: by the table where the format is not all a small float's."""
    coding = codes.coding
    if coding.code == SMALL and codes.format.exponent_bits == 8 and codes.format.bits != 16:
        return TABLE
    return coding.code


class Launch(NamedTuple):
    """A kernel, how many blocks of how many threads, and its arguments but for x and y."""

    variant: Variant
    grid: int
    threads: int
    arguments: tuple[Any, ...]


class Layout(NamedTuple):
    """How x and y of a launch lie: their columns side by side (C order) or their rows."""

    columns: int
    along_columns: bool
    aligned: int  # bytes that every row and the first number are aligned to

    def strides(self, rows_in: int, rows_out: int) -> tuple[int, int, int, int]:
        if self.columns > MOST_COLUMNS:
            raise ValueError(
                f"{self.columns} columns: a kernel takes {MOST_COLUMNS}, multiply fewer at a time"
            )
        if self.along_columns:
            return self.columns, 1, self.columns, 1
        return 1, rows_in, 1, rows_out

    def holds(self, count: int, dtype: str) -> bool:
        """Whether `count` neighbours begin where a wide access may."""
        return self.aligned % min(VECTOR, count * ITEMSIZE[dtype]) == 0

    def width(self, dtype: str, most: int) -> int:
        """How many neighbours are moved at once, a power of two."""
        width = max(1, min(most, VECTOR // ITEMSIZE[dtype]))
        count = self.columns if self.along_columns else most
        while width > 1 and (count % width or self.aligned % (width * ITEMSIZE[dtype])):
            width //= 2
        return width


def pointer_to(array: Any) -> np.uint64:
    """The address of the first number, on the device or here."""
    if array is None:
        return NOTHING
    if isinstance(array, np.ndarray):
        return np.uint64(array.ctypes.data)
    if hasattr(array, "data_ptr"):
        return np.uint64(array.data_ptr())
    return np.uint64(array.data.ptr)


def factor_record(held: Held) -> np.ndarray:
    row = (
        int(pointer_to(held.array)),
        int(pointer_to(held.table)),
        held.scale,
        int(held.conjugated),
    )
    return np.array(row, FACTOR)


def one_factor(held: Held, layout: Layout, dtype: str, perm: Any = None) -> Launch:
    """The kernel of one factor: by its blocks and the number of columns."""
    a, b, c, d = held.pattern
    columns = layout.columns
    common = {"ALONG_COLUMNS": int(layout.along_columns), "PERMUTED": int(perm is not None)}
    if max(b, c) <= MOST_SMALL:
        kernel = "factor_small"
        n = layout.width(dtype, FEW) if layout.along_columns else 1
        wide = n > 1
        if not wide:
            n = min(4, 1 << (columns - 1).bit_length())
        n, threads = min(n, _held_at_once(c, dtype)), 256
        constants = {"B": b, "C": c, "N": n, "WIDE": int(wide), "THREADS": threads}
        grid = -(-a * d * -(-columns // n) // threads)
    elif columns <= FEW:
        kernel, threads = "factor_few", 256
        n = 1 << (columns - 1).bit_length()
        split = held.terms_together
        constants = {
            "N": n,
            "SPLIT": split or 4,
            "SUMS_ARE_SIDE_BY_SIDE": int(split > 0),
            "WIDE": int(layout.along_columns and n == columns and layout.holds(n, dtype)),
            "THREADS": threads,
        }
        split = split or 4
        grid = a * -(-b * d // (threads // split))
    else:
        kernel = "factor_tile"
        constants, threads = _tile(held.pattern, layout, dtype)
        blocks = -(-b // constants["TILE_B"]) * -(-columns // constants["TILE_N"])
        grid = blocks * -(-d // constants["KS"]) * a
    variant = Variant(kernel, dtype, held.storage, tuple({**common, **constants}.items()))
    shape = np.array((a, b, c, d, columns, *layout.strides(a * c * d, a * b * d)), SHAPE)
    arguments = (factor_record(held), shape, held.strides(), pointer_to(perm))
    return Launch(variant, checked_grid(grid, held.pattern), threads, arguments)


def reads_apart(p: Pattern, layout: Layout) -> bool:
    """Whether lanes of the kernel of a factor would read values that are no neighbours.

    They run over the terms of a sum; or over k, where rows of x and y lie side by side.
    """
    tiled = max(p.b, p.c) > MOST_SMALL and layout.columns > FEW
    return tiled and layout.along_columns and p.d > 1


def _held_at_once(c: int, dtype: str) -> int:
    """Columns of c inputs that a thread of factor_small has: more would not fit the registers."""
    words = ITEMSIZE[SUMS[dtype]] // 4
    return 1 << max(1, HELD // (c * words)).bit_length() - 1


def _tile(p: Pattern, layout: Layout, dtype: str) -> tuple[dict[str, int], int]:
    """Sizes of factor_tile: blocks of the result, less of them where numbers are wide."""
    item, along = ITEMSIZE[SUMS[dtype]], layout.along_columns
    ks = max(8, SECTOR // ITEMSIZE[dtype]) if not along and p.d > 1 else 1
    rows, columns = (32, 16) if ks > 1 else (64, 64)
    if item >= 8:
        rows, columns = rows // 2, columns if ks > 1 else columns // 2
    own = 2 if item == 16 else 4  # more of them would not fit the registers
    piece = min(own, VECTOR // item)
    wide = layout.width(dtype, piece) == piece if along else p.d == 1 and p.b % piece == 0
    sizes = {
        "TILE_B": rows,
        "TILE_N": columns,
        "DEPTH": 8 if item >= 8 or ks > 1 else 16,
        "OWN": own,
        "KS": ks,
        "WIDE": int(wide),
    }
    return sizes, ks * (rows // own) * (columns // own)


def checked_grid(grid: int, what: Any) -> int:
    if grid > MOST_GRID:
        raise ValueError(
            f"{what} with so many columns takes {grid} blocks, a device takes {MOST_GRID}: "
            "multiply fewer columns at a time"
        )
    return max(1, int(grid))


class Run(NamedTuple):
    """A run as one kernel; the number of tiles but for columns."""

    variant: Variant
    records: np.ndarray
    extent: np.ndarray
    tiles: int


def run_of(
    factors: Sequence[Held],
    layout: Layout,
    dtype: str,
    tile_n: int,
    tile_k: int,
    *,
    perm: Any = None,
    scatter: Any = None,
    kernel: str = "chain",
) -> Run:
    """Factors, in the order in which they are applied, on tiles of tile_n columns and tile_k k."""
    shape = geometry([f.pattern for f in factors])
    which = 0 if layout.along_columns else (2 if shape.inner == 1 else 1)
    tile_k = 1 if which == 2 else tile_k
    gathers = perm is not None or scatter is not None
    tile = _tile_constants(shape, which, dtype, tile_n, tile_k)
    tile |= {
        "W": _width(shape, which, layout, dtype, tile_n, gathers),
        "PACKED": int(factors[0].packed),
        "PERMUTED": int(perm is not None),
        "SCATTERED": int(scatter is not None),
    }
    stages = tuple(InnerStage(*s, f.transposed) for s, f in zip(shape.stages, factors, strict=True))
    variant = Variant(kernel, dtype, factors[0].storage, tuple(tile.items()), stages)
    variant = variant._replace(
        constants=(*variant.constants, ("BLOCKS_PER_SM", _blocks_together(variant)))
    )
    rows = (shape.outer * shape.inner * r for r in (shape.first_rows, shape.last_rows))
    extent = (shape.outer, shape.inner, layout.columns, *layout.strides(*rows))
    return Run(
        variant,
        np.array([factor_record(f) for f in factors], FACTOR),
        np.array(extent, EXTENT),
        shape.outer * -(-shape.inner // tile_k),
    )


def _tile_constants(
    shape: Geometry, which: int, dtype: str, tile_n: int, tile_k: int
) -> dict[str, int]:
    """What the text of a run knows of its tile; see chain.cuh."""
    item = ITEMSIZE[SUMS[dtype]]
    n = min(tile_n, max(1, VECTOR // item))
    base = swizzle(which, tile_k if which == 1 else tile_n * tile_k, item)
    items = max(a * d for a, _, _, d in shape.stages) * tile_k * (tile_n // n)
    return {
        "FIRST_ROWS": shape.first_rows,
        "LAST_ROWS": shape.last_rows,
        "MOST_ROWS": shape.most_rows,
        "IN_PLACE": int(shape.in_place),
        "LAYOUT": which,
        "TILE_N": tile_n,
        "TILE_K": tile_k,
        "N": n,
        "SWIZZLE": base,
        **{f"MASK{j}": m for j, m in enumerate(MASKS[base])},
        "THREADS": int(min(512, max(64, 1 << (max(1, items - 1)).bit_length()))),
    }


def _width(
    shape: Geometry, which: int, layout: Layout, dtype: str, tile_n: int, gathers: bool
) -> int:
    """How many neighbours in memory a thread of a run loads and stores at once."""
    if which == 0:
        return layout.width(dtype, tile_n)
    if which == 1 or gathers:
        return 1
    width = Layout(0, False, layout.aligned).width(dtype, FEW)
    least = min(shape.first_rows, shape.last_rows)
    lanes = min(32, LINE // ITEMSIZE[SUMS[dtype]])  # that go at once: of one column, see chain.cuh
    while width > 1 and (
        shape.first_rows % width or shape.last_rows % width or least // width < lanes
    ):
        width //= 2
    return width


def _blocks_together(variant: Variant) -> int:
    """Blocks of a run that one processor holds, by its registers and its shared memory."""
    n, threads = variant.known("N"), variant.known("THREADS")
    words = ITEMSIZE[SUMS[variant.dtype]] // 4
    # inputs, sums and a row of values; addresses beside them
    needed = max(24 + words * (s.c * n + n + s.c) + 3 * s.c for s in variant.stages)
    fit = REGISTERS // (threads * (-(-needed // 8) * 8))
    return max(1, min(3, fit, SHARED // (variant.shared + 1024)))


def chain_launch(factors, layout, dtype, tile_n, tile_k, perm=None, scatter=None) -> Launch:
    run = run_of(factors, layout, dtype, tile_n, tile_k, perm=perm, scatter=scatter)
    blocks = run.tiles * -(-layout.columns // tile_n)
    grid = checked_grid(blocks, f"a run of {len(factors)} factors")
    arguments = (run.records, run.extent, pointer_to(perm), pointer_to(scatter))
    return Launch(run.variant, grid, run.variant.known("THREADS"), arguments)


def gradient_launch(
    factors, layout, dtype, tile_n, tile_k, results, parts, perm=None, scatter=None
) -> Launch:
    """The backward of a run: `results` are (parts, a, b, c, d) arrays of sums, or None."""
    run = run_of(
        factors, layout, dtype, tile_n, tile_k, perm=perm, scatter=scatter, kernel="gradient"
    )
    pointers = np.array([int(pointer_to(r)) for r in results], np.uint64)
    grid = checked_grid(run.tiles * parts, f"the gradient of a run of {len(factors)} factors")
    ends = pointer_to(perm), pointer_to(scatter), np.uint32(parts)
    arguments = (run.records, pointers, run.extent, *ends)
    return Launch(run.variant, grid, run.variant.known("THREADS"), arguments)
