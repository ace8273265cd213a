"""Gradients of a product of stages, with respect to `x` and to the values of the stages.

With ``y = K_1 ... K_L x`` and a gradient g of a real function of y, ``g_q = K_q^H ... K_1^H g``
meets ``x_q``, what enters factor q: its values get ``g_{q-1} conj(x_q)`` summed over the columns.
Neighbouring factors are one call of the compiled kernel (``src/grad.cpp``), which keeps what it
needs of a few columns in cache; diagonals, permutations and scalars are NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from . import cpu
from .plan import one
from .repack import adjoint_of
from .stage import Stage

__all__ = ["Piece", "back", "chain_gradient", "pieces_of"]

MOST = 256  # factors of one call


class Piece(NamedTuple):
    """Neighbouring factors, or one other stage; whether the gradient of each is wanted."""

    stages: list[Stage]
    wanted: list[bool]


def pieces_of(stages: Sequence[Stage], wanted: Sequence[bool]) -> list[Piece]:
    """The stages in pieces; `wanted` has an entry for each stage that holds an array."""
    asked = iter(wanted)
    found: list[Piece] = []
    for stage in stages:
        holds = stage.values is not None or stage.index is not None
        want = next(asked) if holds else False
        last = found[-1] if found else None
        chains = last and stage.pattern is not None and last.stages[0].pattern is not None
        if last is not None and chains and len(last.stages) < MOST:
            last.stages.append(stage)
            last.wanted.append(want)
        else:
            found.append(Piece([stage], [want]))
    return found


def back(piece: Piece, g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The gradient of what enters a piece, and those wanted, in the dtypes of the values."""
    if piece.stages[0].pattern is not None:
        return chain_gradient(piece.stages, g, x, piece.wanted)
    (stage,) = piece.stages
    found = []
    if piece.wanted[0]:
        sums = (g * x.conj()).sum(1)
        found.append(like(sums.conj() if stage.conj else sums, stage.values))
    (adjoint,) = adjoint_of([stage])
    return one(adjoint, g, g.dtype), found


def chain_gradient(
    stages: Sequence[Stage], g: np.ndarray, x: np.ndarray, wanted: Sequence[bool]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gradients of ``stages[0] @ stages[1] @ ... @ x``, all of them factors.

    Parameters
    ----------
    stages : of n columns and m rows
    g, x : arrays of shape (m, k) and (n, k), of one dtype, in any order
    wanted : whether the gradient of the values of each stage is

    Returns
    -------
    gradient of x, in the order of `g`; list of those wanted, in the dtypes of the values
    """
    found = cpu.library()
    if isinstance(found, str):
        raise RuntimeError(found)
    order = list(zip(stages, wanted, strict=True))[::-1]  # the one applied first in front
    held = [np.ascontiguousarray(s.values, g.dtype) for s, _ in order]
    records = np.array(
        [
            [
                v.__array_interface__["data"][0],
                *v.shape,
                cpu.TRANSPOSE * s.transpose + cpu.CONJ * s.conj,
                w,
            ]
            for v, (s, w) in zip(held, order, strict=True)
        ],
        np.int64,
    )
    turned = g.shape[1] > 1 and g.strides[0] == g.itemsize != g.strides[1]
    gx = np.empty((x.shape[0], g.shape[1]), g.dtype, "F" if turned else "C")
    asked = [s.values for s, w in order if w]
    sums = np.empty(sum(v.size for v in asked), g.dtype)
    if g.shape[1]:
        outcome = found.chain_grad(records.ctypes.data, len(held), x, g, gx, sums)
    else:  # the kernel shares out columns
        outcome, sums = 0, np.zeros_like(sums)
    if outcome == cpu.NO_MEMORY:
        raise MemoryError("no memory for the intermediate results of a gradient")
    if outcome:
        raise ValueError(
            f"gradients of {g.dtype} {g.shape} do not fit x of {x.dtype} {x.shape}: {outcome}"
        )
    gradients, at = [], 0
    for v in asked:
        gradients.append(like(sums[at : at + v.size].reshape(v.shape), v))
        at += v.size
    return gx, gradients[::-1]


def like(gradient: np.ndarray, values: np.ndarray) -> np.ndarray:
    """In the dtype of what it belongs to: of a real array, the real part; memory of its own."""
    real = gradient.real if values.dtype.kind != "c" else gradient
    return np.array(real, values.dtype, order="C")
