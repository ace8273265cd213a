"""factorize() of a matrix that does not fit in memory: one read of it, panel by panel.

The blocks of the middle split lie in panels of rows and of columns: each panel is read, checked,
split by truncated SVDs and forgotten.  What is left are two factors of ``O(n^1.5 r)`` entries; all
further splits (arXiv 2411.04506, Algorithm 6.2) work on those, and their errors add to the bounds
as ever.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pattern import Chain
from .checkpoint import Checkpoint
from .discover import middles
from .estimate import gaussian
from .factorization import Factorization
from .halves import split
from .hierarchical import Cores, Part, Splitting, padded
from .intake import _exponent, _peak, working_dtype
from .orders import balanced
from .rounding import UNIT, coarsened, fewest_entries
from .run import Progress, Split, Step, _scaled_back, _times_power
from .sketch import Middle, butterfly
from .splits import Blocks, Matrix, Values
from .survey import finest_cores, nodes_of, split_energy
from .svd import Want, energy

PANEL_BYTES = 32 << 20  # of the matrix, read at a time
SAMPLED = 64  # rows and columns whose entries say how large those of a matrix are


@dataclass(frozen=True)
class Panels:
    """Panels of a matrix on disk, each of some classes of the middle split: of rows where rows lie
    together in the file, else of columns."""

    array: Any
    middle: Middle
    work: np.dtype

    @property
    def dtype(self) -> np.dtype:
        """dtype of the computation; `work` is that of the result."""
        return np.dtype(np.complex128 if self.work.kind == "c" else np.float64)

    @property
    def by_rows(self) -> bool:
        return isinstance(self.array, np.ndarray) and self.array.strides[-1] == self.array.itemsize

    @property
    def groups(self) -> list[range]:
        """The classes of each panel."""
        A, D = self.middle.classes
        count = D if self.by_rows else A
        whole = math.prod(self.middle.cores.shape) * np.dtype(self.array.dtype).itemsize
        step = max(1, PANEL_BYTES * count // max(whole, 1))
        return [range(j, min(j + step, count)) for j in range(0, count, step)]

    def blocks(self, classes: range, G: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, int]:
        """Blocks (1, A, D, 1, m/D, n/A) of some classes, what they add to the rows `rows_of` of
        ``A @ G``, their energy, all of them divided by a power of two; and its exponent."""
        A, D = self.middle.classes
        m, n = self.middle.cores.shape
        b1, c2 = m // D, n // A
        if self.by_rows:
            rows = self.rows_of(classes)
            panel, exponent = self._prepared(self.array[rows])
            sketch = panel @ G
            permuted = panel[:, self.middle.columns] if self.middle.reverse_columns else panel
            T = permuted.reshape(b1, len(classes), A, c2)
        else:
            columns = self.middle.columns[classes.start * c2 : classes.stop * c2]
            plain = not self.middle.reverse_columns
            which = slice(int(columns[0]), int(columns[-1]) + 1) if plain else columns
            panel, exponent = self._prepared(self.array[:, which])
            sketch = panel @ G[columns]
            permuted = panel[self.middle.rows] if self.middle.reverse_rows else panel
            T = permuted.reshape(b1, D, len(classes), c2)
        blocks = np.ascontiguousarray(T.transpose(2, 1, 0, 3)[None, :, :, None])
        return blocks, sketch, energy(panel), exponent

    def rows_of(self, classes: range) -> Any:
        """The rows of the matrix that some classes hold."""
        if not self.by_rows:
            return slice(None)
        D = self.middle.classes[1]
        return self.middle.rows.reshape(-1, D)[:, classes.start : classes.stop].reshape(-1)

    def _prepared(self, part: Any) -> tuple[np.ndarray, int]:
        found = np.asarray(part)
        exponent = _exponent(_finite_peak(found), self.work)
        panel = Matrix(found, self.dtype, exponent).prepared(found)
        _forget_pages(self.array)
        return panel, exponent


def _finite_peak(part: np.ndarray) -> float:
    try:
        return _peak(part, 0)
    except ValueError:
        i, j = np.unravel_index(np.argmin(np.isfinite(part)), part.shape)
        raise ValueError(
            f"the matrix is not finite: a panel holds {part[i, j]}; factorize needs finite numbers"
        ) from None


def _forget_pages(array: Any) -> None:
    """Give back the memory of the pages read: they count as ours until then."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


@dataclass
class Pass:
    """What one read of the matrix leaves: halves, error of the split, energy, and ``A @ G``, all
    of ``A * 2**-exponent``."""

    left: np.ndarray
    right: np.ndarray
    lower: float
    upper: float
    turn: float
    norm: float
    sketch: np.ndarray
    exponent: int


def factorize_panels(
    A: Any,
    chain: Chain | None,
    tol: float | None,
    *,
    permute: bool,
    checkpoint: str | os.PathLike[str] | None,
    rng: np.random.Generator,
    line: Progress,
    callback: Callable[[Step], object] | None,
) -> Factorization:
    """See `factorize`; `A` has ``shape``, ``dtype`` and slices, and is read once."""
    m, n = matrix_shape(A)
    work = working_dtype(np.dtype(A.dtype))
    if chain is None and tol is None:
        tol = 1e-6 if work in (np.float32, np.complex64) else 1e-10
    middle = _middle(A, chain, permute, work, rng)
    G = gaussian(n, rng)
    panels = Panels(A, middle, work)
    task = {
        "shape": [m, n], "dtype": str(A.dtype), "tol": tol, "file": _identity(A),
        "chain": None if chain is None else [list(p) for p in chain], "middle": repr(middle),
        "gaussian": hashlib.sha256(G.tobytes()).hexdigest(), "panels": len(panels.groups),
    }  # fmt: skip
    kept = Checkpoint(checkpoint, task)
    junctions = len(middle.cores) - 1
    rounding = 4 * (junctions + 1) * UNIT
    if work.itemsize < panels.dtype.itemsize:
        rounding += (junctions + 1) * 2.0**-24
    share = None if tol is None else max(tol - rounding, rounding) / junctions
    rank = None if tol is not None or chain is None else chain.ranks[middle.at - 1]
    done = _read_once(panels, Want(rank, share), G, kept, rng, line)
    return _finish(done, middle, chain, tol, share, G, work, rounding, rng, line, callback)


def matrix_shape(A: Any) -> tuple[int, int]:
    """Rows and columns of what can be read by panels.

    Raises
    ------
    TypeError
        If it is no array that can be sliced, or does not hold numbers.
    ValueError
        If it is not 2-D, or dask does not know its sizes.
    """
    kind = type(A).__name__
    if not isinstance(A, np.ndarray) and not hasattr(A, "chunks"):
        raise TypeError(
            f"checkpoint= reads NumPy arrays, memory maps, zarr and dask arrays, got {kind}: pass "
            "numpy.asarray(A)"
        )
    shape, dtype = tuple(A.shape), np.dtype(A.dtype)
    if len(shape) != 2:
        raise ValueError(f"factorize takes a 2-D array, got {len(shape)}-D of shape {shape}")
    if any(math.isnan(size) for size in shape):
        raise ValueError(
            f"the sizes {shape} of this dask array are not known: call A.compute_chunk_sizes()"
        )
    if dtype.kind not in "biufc" or dtype.itemsize > 16:
        raise TypeError(f"factorize takes real or complex numbers, got dtype {dtype}")
    return int(shape[0]), int(shape[1])


def _middle(A: Any, chain: Chain | None, permute: bool, work: np.dtype, rng) -> Middle:
    """Cores and permutation, from a sample of a memory map; of others no permutation is tried."""
    m, n = map(int, A.shape)
    found = [c for c in finest_cores(m, n) if len(c) > 1] if chain is None else [Cores.of(chain)]
    if not found or len(found[0]) < 2 or found[0].a * found[0].d > 1:
        raise ValueError(
            f"a {m}x{n} matrix is read by panels over two factors or more with a = 1 on the left "
            f"and d = 1 on the right; pass such a chain="
        )
    options = list(middles(found[0], [1] * (len(found[0]) - 1), permute))
    if not isinstance(A, np.ndarray) or len(options) == 1:
        return options[0]
    best, least = options[0], math.inf
    sample = Matrix(A, Panels(A, best, work).dtype, _sampled_exponent(A, work))
    for option in options:
        rows = option.rows if option.reverse_rows else None
        columns = option.columns if option.reverse_columns else None
        node = nodes_of(option.cores)[option.at - 1]
        tail = split_energy(sample.permuted(rows, columns), node, rng)
        rank = 1 if chain is None else chain.ranks[option.at - 1]
        error = tail.error(rank) / max(math.sqrt(tail.tail2[0]), 1e-300)
        if error < 0.5 * least:
            best, least = option, error
        if least <= 1e-13:
            break
    _forget_pages(A)
    return best


def _sampled_exponent(A: np.ndarray, work: np.dtype) -> int:
    """Of a grid of entries: enough to choose by; 0 where they are not finite, the read will say."""
    part = A[:: -(-A.shape[0] // SAMPLED), :: -(-A.shape[1] // SAMPLED)]
    return _exponent(_peak(part, 0), work) if np.isfinite(part).all() else 0


def _identity(A: Any) -> list[Any]:
    """Which file a memory map is of, and when that changed; nothing for what has no file."""
    name = getattr(A, "filename", None)
    if name is None or not os.path.exists(name):
        return []
    status = os.stat(name)
    return [os.path.realpath(name), status.st_size, status.st_mtime_ns]


def _read_once(panels: Panels, want: Want, G, kept: Checkpoint, rng, line: Progress) -> Pass:
    groups = panels.groups
    parts = []
    sketch = np.zeros((panels.middle.cores.shape[0], G.shape[1]), panels.dtype)
    scale: int | None = None  # of the sketch: that of the largest panel so far
    for i, classes in enumerate(groups):
        line.say(f"factorize: panel {i + 1} of {len(groups)}")
        part = kept.load(i)
        if part is None:
            part = _split_panel(panels, classes, want, G, np.random.default_rng([i, 1]))
            kept.keep(i, part)
        more, own = part.pop("sketch"), int(part["exponent"])
        if part["energy"] > 0:
            larger = own if scale is None else max(own, scale)
            sketch = _times_power(sketch, 0 if scale is None else scale - larger)
            sketch[panels.rows_of(classes)] += _times_power(more, own - larger)
            scale = larger
        parts.append(part)
    exponent = _on_one_scale(parts)
    total = {
        name: math.fsum(float(p[name]) for p in parts)
        for name in ("lower2", "upper2", "turn2", "energy")
    }
    left, right = _joined(parts, panels)
    lower, upper, turn, norm = map(math.sqrt, total.values())
    return Pass(left, right, lower, upper, turn, norm, sketch, exponent)


def _on_one_scale(parts: list[dict[str, Any]]) -> int:
    """Bring every panel from its own power of two to the largest, whose exponent is returned.

    Single numbers are squares; the left half is orthonormal, whatever the scale.
    """
    exponents = [int(p.pop("exponent")) for p in parts]
    largest = max((e for e, p in zip(exponents, parts, strict=True) if p["energy"] > 0), default=0)
    for part, exponent in zip(parts, exponents, strict=True):
        if (shift := exponent - largest) and part["energy"] > 0:
            for name in part.keys() - {"left"}:
                power = 2 * shift if part[name].ndim == 0 else shift
                part[name] = _times_power(part[name], power)
    return largest


def _split_panel(panels: Panels, classes: range, want: Want, G: np.ndarray, rng) -> dict[str, Any]:
    """Truncated SVDs of the blocks of a panel; an error is allowed relative to the panel's norm."""
    T, sketch, norm2, exponent = panels.blocks(classes, G)
    allowed = None if want.error is None else want.error * math.sqrt(norm2)
    halves = split(
        Blocks(T),
        T.shape[1],
        T.shape[2],
        Want(want.rank, allowed, want.rank or 1),
        orthonormal="left",
        unit=UNIT,
        rng=rng,
    )
    return {
        "left": halves.left,
        "right": halves.right,
        "lower2": np.float64(halves.lower**2),
        "upper2": np.float64(halves.upper**2),
        "turn2": np.float64(halves.turn**2),
        "energy": np.float64(norm2),
        "sketch": sketch,
        "exponent": np.int64(exponent),
    }


def _joined(parts: list[dict[str, Any]], panels: Panels) -> tuple[np.ndarray, np.ndarray]:
    """The halves of all panels side by side; those of lower rank are padded by zeros."""
    A, D = panels.middle.classes
    m, n = panels.middle.cores.shape
    b1, c2, groups = m // D, n // A, panels.groups
    ranks = [
        p["left"].shape[2] // (A if panels.by_rows else len(g))
        for p, g in zip(parts, groups, strict=True)
    ]
    left = np.zeros((b1, A, max(ranks), D), panels.dtype)
    right = np.zeros((A, max(ranks), D, c2), panels.dtype)
    while parts:  # freed one by one
        part, g, r = parts.pop(), groups[len(parts)], ranks[len(parts)]
        some = slice(g.start, g.stop)
        i, j = (slice(None), some) if panels.by_rows else (some, slice(None))
        left[:, i, :r, j] = part["left"].reshape(left[:, i, :r, j].shape)
        right[i, :r, j] = part["right"].reshape(right[i, :r, j].shape)
    return left.reshape(1, b1, -1, D), right.reshape(A, -1, c2, 1)


def _finish(
    done: Pass, middle: Middle, chain, tol, share, G, work, rounding, rng, line, callback
) -> Factorization:
    """The other splits, the certificate, and the error as ten Gaussian columns show it."""
    cores, q, norm = middle.cores, middle.at, done.norm or 1.0
    splitting = Splitting(Values(done.left), cores, UNIT, rng)
    splitting.parts = [Part(0, q, Values(done.left)), Part(q, len(cores), Values(done.right))]
    splitting.centre = 1
    A, _ = middle.classes
    splits = [Split(q, done.left.shape[2] // A, done.upper / norm)]
    lower, upper, turned, stopped = done.lower, done.upper, done.turn, False
    done.left = done.right = np.zeros(0)
    others = [*balanced(q - 1), *(q + p for p in balanced(len(cores) - 1 - q))]
    for step, p in enumerate([None, *others], 1):
        if p is not None:
            line.say(f"factorize: split {step} of {len(others) + 1}")
            rank = None if tol is not None else chain.ranks[p - 1]
            halves = splitting.split(p, Want(rank, None if share is None else share * norm))
            lower, upper = max(lower, halves.lower - turned), upper + halves.upper
            turned += halves.turn
            splits.append(Split(p, halves.rank, halves.upper / norm))
        last = splits[-1]
        told = Step(step, len(others) + 1, *last[:2], upper / norm, splitting.entries)
        if callback is not None and callback(told) and step <= len(others):
            stopped = True
            break
    values = splitting.values
    if chain is None and not stopped:
        ranks = [v.shape[2] // c for v, c in zip(values[:-1], cores.columns, strict=False)]
        values, _ = coarsened(values, cores, fewest_entries(cores, ranks)[1])
    elif tol is None and not stopped:
        pieces = zip(values, cores.rows, cores.columns, chain, strict=True)
        values = [padded(v, (b, c), p) for v, b, c, p in pieces]
    values = [v.astype(work, copy=False) for v in values]
    bounds = max(lower / norm - rounding, 0.0), upper / norm + rounding
    measured = float(np.linalg.norm(butterfly(values, middle) @ G - done.sketch))
    measured /= math.sqrt(G.shape[1]) * norm
    values = _scaled_back(values, done.exponent)
    return Factorization(
        butterfly(values, middle),
        Chain(v.shape for v in values),
        min(max(measured, bounds[0]), bounds[1]),
        *bounds,
        tuple(splits),
        _reason(values, middle, bounds[1], tol, stopped),
    )


def _reason(values, middle: Middle, bound: float, tol: float | None, stopped: bool) -> str:
    ranks = Chain(v.shape for v in values).ranks
    said = [f"{middle.name}; {len(values)} factors of ranks {ranks}; read once, by panels"]
    said.append("error from ten Gaussian columns, bounds from the splits")
    if stopped:
        said.insert(0, "stopped by the callback")
    elif tol is not None and bound > tol:
        said.append(f"the bound {bound:.2g} stays above tol {tol:.2g}")
    return "; ".join(said)
