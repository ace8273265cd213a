"""Which values of factors repeat: those of a DFT along the outer index, of a Hadamard along both.

A product of one vector takes what its values take to be read, so what repeats is read once.  It is
found by looking, so a chain that was loaded, transposed or rounded has it as well.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .stage import Stage

__all__ = ["ONCE", "Repeats", "repeats"]


class Repeats(NamedTuple):
    """Whether values (a, b, c, d) are the same for all outer indices, for all inner ones."""

    outer: bool
    inner: bool


ONCE = Repeats(False, False)
KNOWN: dict[int, tuple[weakref.ref, Repeats]] = {}  # by the id of the array that holds them


def repeats(stages: Sequence[Stage]) -> Repeats:
    """What holds for all of these stages."""
    found = [_known(s) for s in stages]
    found += [_of_scales(s.packed_scales) for s in stages if s.packed_scales is not None]
    return Repeats(all(r.outer for r in found), all(r.inner for r in found))


def _known(stage: Stage) -> Repeats:
    held = stage.held
    known = KNOWN.get(id(held))
    if known is not None and known[0]() is held:
        return known[1]
    found = _found(stage)
    key = id(held)
    KNOWN[key] = weakref.ref(held, lambda _: KNOWN.pop(key, None)), found
    return found


def _found(stage: Stage) -> Repeats:
    held: np.ndarray = stage.held
    if stage.coding is None:
        return Repeats(*(_same(np.moveaxis(held, axis, 0)) for axis in (0, 3)))
    shape = stage.values.shape
    if held.nbytes % shape[0] or not held.flags.c_contiguous:
        return ONCE
    (coding, pair, _) = stage.coding
    if coding.bits * (1 + pair) * (held_count := int(np.prod(shape[1:]))) % 8 or not held_count:
        return ONCE
    return Repeats(_same(held.reshape(shape[0], -1)), shape[3] == 1)


def _of_scales(scales: np.ndarray) -> Repeats:
    return Repeats(_same(scales), _same(scales.T))


def _same(values: np.ndarray) -> bool:
    """Whether ``values[i]`` is equal to ``values[0]`` for all i; NaN is equal to nothing."""
    if values.shape[0] == 1 or values.strides[0] == 0:
        return True
    few = (slice(4),) * (values.ndim - 1)
    if not np.array_equal(values[-1][few], values[0][few]):
        return False  # of most chains, seen without a pass over them
    step = max(1, (1 << 18) // max(values[0].size, 1))  # compared in pieces that caches hold
    return all(
        bool((values[i : i + step] == values[0]).all()) for i in range(0, values.shape[0], step)
    )
