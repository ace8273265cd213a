"""Chains as text and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pattern import Chain, Pattern

PIXELS = 128  # at most, along a side of a picture


def cells(pattern: Pattern, most: int) -> list[list[bool]]:
    """The support on a grid of at most ``most x most`` rectangles: whether one entry is stored.

    >>> from lazyops.pattern import Pattern
    >>> cells(Pattern(2, 1, 1, 2), 2)
    [[True, False], [False, True]]
    """
    m, n = pattern.shape
    rows, columns = (_ranges(size, most) for size in (m, n))
    return [[_meets(pattern, i, k) for k in columns] for i in rows]


def _ranges(size: int, most: int) -> list[range]:
    count = min(size, most)
    return [range(i * size // count, (i + 1) * size // count) for i in range(count)]


def _meets(pattern: Pattern, rows: range, columns: range) -> bool:
    """Whether an entry ``((i, j, l), (i, k, l))`` lies in the rectangle."""
    _, b, c, d = pattern
    first = max(rows.start // (b * d), columns.start // (c * d))
    last = min(rows[-1] // (b * d), columns[-1] // (c * d))
    for i in range(first, last + 1):
        row, down = _within(rows, i * b * d, b * d)
        column, across = _within(columns, i * c * d, c * d)
        if (column - row) % d < down or (row - column) % d < across:  # two arcs of residues meet
            return True
    return False


def _within(part: range, start: int, size: int) -> tuple[int, int]:
    """First of `part` in the block from `start` on, counted from there, and how many are in it."""
    first, last = max(part.start, start), min(part.stop, start + size)
    return first - start, last - first


def text(chain: Chain, width: int) -> str:
    """A line for each factor, the ranks between them, and the supports below."""
    names = ["({},{},{},{})".format(*p) for p in chain]
    wide = max(map(len, names))
    lines = []
    for q, (name, p) in enumerate(zip(names, chain, strict=True)):
        if q:
            why = chain[q - 1].obstacle_with(p)
            between = f"rank {chain[q - 1].rank_with(p)}" if why is None else f"no chain: {why}"
            note = ", redundant" if why is None and q in _redundant(chain) else ""
            lines.append(f"{'':<{wide}}  {between}{note}")
        lines.append(f"{name:<{wide}}  {p.shape[0]}x{p.shape[1]}  {p.entries} entries")
    grids = [_grid(p, width) for p in chain]
    height = max(map(len, grids))
    blank = [" " * len(g[0]) for g in grids]
    padded = [g + [b] * (height - len(g)) for g, b in zip(grids, blank, strict=True)]
    return "\n".join([*lines, "", *("   ".join(row).rstrip() for row in zip(*padded, strict=True))])


def _redundant(chain: Chain) -> tuple[int, ...]:
    return chain.redundant if chain.obstacle is None else ()


def _grid(pattern: Pattern, width: int) -> list[str]:
    return [" ".join(".#"[cell] for cell in row) for row in cells(pattern, width)]


def plot(chain: Chain, axes: Sequence[Any] | None) -> list[Any]:
    """Supports side by side, on `axes` or in a new figure of matplotlib."""
    if axes is None:
        from matplotlib.figure import Figure

        axes = Figure(figsize=(2.2 * len(chain), 2.6)).subplots(1, len(chain), squeeze=False)[0]
    if len(axes) != len(chain):
        raise ValueError(f"the chain has {len(chain)} factors, got {len(axes)} axes")
    for ax, p in zip(axes, chain, strict=True):
        m, n = p.shape
        ax.imshow(cells(p, PIXELS), cmap="Greys", vmin=0, vmax=1.3, extent=(0, n, m, 0))
        ax.set_title("({},{},{},{})".format(*p), fontsize=8)
        ax.set_xlabel(f"{p.entries} entries", fontsize=8)
        ax.tick_params(labelsize=6)
    return list(axes)
