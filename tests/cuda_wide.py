"""Launches whose arrays have more than 2^31 numbers: in memory that is real only where touched."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from cuda_cases import draw
from emulated import Emulator
from theory import gamma

from lazyops.kernels.cuda import launches
from lazyops.kernels.cuda.launches import Held, Launch, Layout
from lazyops.kernels.reference import ks_matmat
from lazyops.pattern import Pattern

LARGE = (1 << 29) + 64


def sparse(shape, fortran=False) -> np.ndarray:
    """float32 zeros, none of them in memory yet.  OSError where so much is not promised."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    flat = np.frombuffer(mmap.mmap(-1, 4 * int(np.prod(shape)), flags=flags), np.float32)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


class Part(NamedTuple):
    """A launch, the arrays of it, blocks of it, and what they write where."""

    launch: Launch
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]
    hidden: list[np.ndarray]
    blocks: tuple[int, int]
    where: Callable[[], np.ndarray]
    want: np.ndarray  # and the sum of the absolute values of its terms: their bound
    most: np.ndarray
    terms: int
    keep: list[np.ndarray]  # values: the launch has their addresses only


class Wide(NamedTuple):
    """A kernel at offsets that 32 bits do not hold; `old` becomes `new`, which has 32."""

    kernel: str
    make: Callable[[], Part]
    old: str
    new: str

    def holds(self) -> bool:
        return self._run(lambda whole: whole)

    def notices(self) -> bool:
        """Whether the mutant is caught.  ValueError where the text has no such line."""
        found = []

        def change(whole):
            found.append(self.old in whole)
            return whole.replace(self.old, self.new)

        right = self._run(change)
        if not all(found):
            raise ValueError(f"the text of {self.kernel} has no {self.old!r} any more")
        return not right

    def _run(self, change) -> bool:
        part = self.make()
        machine = Emulator(change=change)
        try:
            machine.run(part.launch, part.inputs, part.outputs, part.hidden, 0, part.blocks)
        except AssertionError:
            return False
        bound = 4 * gamma(2 * part.terms, "float32") * part.most
        return bool((np.abs(part.where() - part.want) <= bound).all())


def product(values, x):
    """(exactly enough, of absolute values) of factors in the order in which they are applied."""
    x = x.astype("float64")
    most = np.abs(x)
    for v in values:
        x, most = ks_matmat(v.astype("float64"), x), ks_matmat(np.abs(v).astype("float64"), most)
    return x, most


def last_columns(pattern, kernel_columns: int, make: Callable) -> Part:
    """The last tile of columns, of the last k."""
    p, columns = Pattern(*pattern), LARGE
    values = draw(pattern, "float32")
    held = Held(values, "float32", p)
    n, m = p.shape[1], p.shape[0]
    x, y = sparse((n, columns)), sparse((m, columns))
    here = slice(columns - kernel_columns, columns)
    x[:, here] = draw((n, kernel_columns), "float32", 1)
    launch = make(held, Layout(columns, True, 16))
    # blocks run over columns first, then over k: the last ones have the last k
    rows = slice(p.d - 1, None, p.d) if p.a == 1 else slice(None)
    want, most = product([values], x[:, here])
    return Part(launch, [x], [y], [], (launch.grid - 1, launch.grid), lambda: y[rows, here],
                want[rows], most[rows], p.c + 2, [values])  # fmt: skip


def small() -> Part:
    return last_columns(
        (1, 2, 2, 4), 256, lambda held, layout: launches.one_factor(held, layout, "float32")
    )


def tile() -> Part:
    return last_columns(
        (1, 17, 17, 1), 64, lambda held, layout: launches.one_factor(held, layout, "float32")
    )


def chain() -> Part:
    def make(held, layout):
        return launches.chain_launch([held], layout, "float32", 16, 1)

    return last_columns((1, 2, 2, 4), 16, make)


def few() -> Part:
    """Values beyond 2^31 numbers: b c of a lone block."""
    b, c = (1 << 20), (1 << 11) + 8
    values, x = sparse((1, b, c, 1)), draw((c, 1), "float32")
    held = Held(values, "float32", Pattern(1, b, c, 1))
    launch = launches.one_factor(held, Layout(1, True, 4), "float32")
    lanes = launch.threads // launch.variant.known("SPLIT")  # the rows of the last block
    values[0, -lanes:, :, 0] = draw((lanes, c), "float32", 1)
    y = np.zeros((b, 1), np.float32)
    want, most = product([np.array(values[:, -lanes:])], x)
    blocks = launch.grid - 1, launch.grid
    return Part(launch, [x], [y], [], blocks, lambda: y[-lanes:], want, most, c + 2, [values])


def stacked(kernel: str) -> Part:
    """Values of a run beyond 2^31 numbers: neighbours in k, the last tile of them."""
    inner, tile_k = LARGE, 8
    patterns = [Pattern(1, 2, 2, inner * 2), Pattern(2, 2, 2, inner)]
    small_ = [
        draw((p.a, 2, 2, p.d // inner * tile_k), "float32", k) for k, p in enumerate(patterns)
    ]
    held, keep = [], []
    for p, tail in zip(patterns, small_, strict=True):
        values = sparse(tuple(p))
        blocks = values.reshape(p.a, 2, 2, p.d // inner, inner)
        blocks[..., -tile_k:] = tail.reshape(p.a, 2, 2, -1, tile_k)
        keep.append(values)
        held.append(Held(values, "float32", p))
    x, y = sparse((4 * inner, 1)), sparse((4 * inner, 1))
    tails = x.reshape(4, inner)[:, -tile_k:]
    tails[...] = draw((4, tile_k), "float32", 5)
    layout, z = Layout(1, True, 4), tails.reshape(-1, 1).copy()
    if kernel == "chain":
        launch = launches.chain_launch(held, layout, "float32", 1, tile_k)
        want, most = (a.reshape(4, tile_k) for a in product(small_, z))
        return Part(launch, [x], [y], [], (launch.grid - 1, launch.grid),
                    lambda: y.reshape(4, inner)[:, -tile_k:], want, most, 8, keep)  # fmt: skip
    g = sparse((4 * inner, 1))
    g.reshape(4, inner)[:, -tile_k:] = draw((4, tile_k), "float32", 6)
    sums = [sparse((1, *p)) for p in patterns]
    launch = launches.gradient_launch(held, layout, "float32", 1, tile_k, sums, 1)
    left = g.reshape(4, inner)[:, -tile_k:].reshape(2, 2, tile_k)  # (i, r, k) of the last factor
    right, above = (a.reshape(2, 2, tile_k) for a in product(small_[:1], z))
    want, most = (np.einsum("irk,isk->irsk", *both) for both in
                  ((left, right), (np.abs(left), above)))  # fmt: skip
    tail = lambda: sums[1].reshape(2, 2, 2, inner)[..., -tile_k:]
    return Part(launch, [x, g], [y], sums, (launch.grid - 1, launch.grid), tail, want, most, 8,
                keep)  # fmt: skip


def mutants() -> Iterator[Wide]:
    x_small = "x + row * is.x_row + first"
    yield Wide("factor_small", small, x_small, "x + int(row * is.x_row) + first")
    yield Wide("factor_tile", tile, "const i64 to = ((i64(i)", "const int to = ((i64(i)")
    yield Wide("factor_few", few, "block + s * by.s);", "int(block + s * by.s));")
    at = "x + row * by_row + i64(n0 + n) * by_column"
    yield Wide("chain", chain, at, "x + int(row * by_row + i64(n0 + n) * by_column)")
    yield Wide("chain, its values", lambda: stacked("chain"), "const i64 start = PACKED",
               "const int start = PACKED")  # fmt: skip
    yield Wide("gradient", lambda: stacked("gradient"), "const i64 at = (i64(i)",
               "const int at = (i64(i)")  # fmt: skip


WIDE: tuple[Any, ...] = tuple(mutants())
