"""Draws layout.svg: where the values of a Kronecker-sparse factor stand in its matrix.

python docs/layout.py          writes it beside this file
"""

from __future__ import annotations

import itertools
import pathlib

PATTERN = A, B, C, D = 2, 2, 3, 2
CELL, GAP, TOP = 34, 60, 60
COLOURS = {(0, 0): "#7fb3d5", (0, 1): "#f0b27a", (1, 0): "#82c99a", (1, 1): "#c39bd3"}  # by (i, l)


def svg() -> str:
    """The picture: the matrix on the left, the blocks values[i, :, :, l] on the right."""
    rows, columns = A * B * D, A * C * D
    right = 20 + columns * CELL + GAP
    width, height = right + 2 * C * CELL + GAP, TOP + rows * CELL + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" '
        f'text-anchor="middle">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(
            20 + columns * CELL / 2,
            26,
            f"K of pattern (a, b, c, d) = {PATTERN}, {rows} x {columns}",
        ),
        text(right + C * CELL + GAP / 4, 26, "values[i, :, :, l]"),
    ]
    for row, column in itertools.product(range(rows), range(columns)):
        parts.append(cell(20 + column * CELL, TOP + row * CELL, "#ffffff"))
    for i, j, k, l in itertools.product(range(A), range(B), range(C), range(D)):
        row, column = (i * B + j) * D + l, (i * C + k) * D + l
        colour, label = COLOURS[i, l], f"{i}{j}{k}{l}"
        parts.append(cell(20 + column * CELL, TOP + row * CELL, colour, label))
        x = right + l * (C * CELL + GAP / 2) + k * CELL
        parts.append(cell(x, TOP + 30 + i * (B * CELL + 64) + j * CELL, colour, label))
    for i, l in itertools.product(range(A), range(D)):
        x = right + l * (C * CELL + GAP / 2) + C * CELL / 2
        parts.append(text(x, TOP + 20 + i * (B * CELL + 64), f"i = {i}, l = {l}"))
    foot = "cell i j k l: row = (i*b + j)*d + l, column = (i*c + k)*d + l; empty cells are zero"
    parts.append(text(width / 2, height - 16, foot))
    return "\n".join([*parts, "</svg>", ""])


def cell(x: float, y: float, fill: str, label: str = "") -> str:
    box = (
        f'<rect x="{x:g}" y="{y:g}" width="{CELL}" height="{CELL}" fill="{fill}" stroke="#999999"/>'
    )
    return box + (text(x + CELL / 2, y + CELL / 2 + 5, label) if label else "")


def text(x: float, y: float, content: str) -> str:
    return f'<text x="{x:g}" y="{y:g}">{content}</text>'


if __name__ == "__main__":
    pathlib.Path(__file__).with_name("layout.svg").write_text(svg())
