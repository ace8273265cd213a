"""explain(A, like=x): the steps that ``A @ x`` will run, and why."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._array import Array, cast, dtype_name, is_numpy
from ..kernels import plan_obstacle
from ..kernels.cuda import device_of, missing, paper_plan
from .algebra import Product
from .base import LinearOperator
from .chain import columns_like, links, plan_for, tensors_for

__all__ = ["explain"]


def explain(A: LinearOperator, like: Array | None = None, device: str | None = None) -> str:
    """The steps that ``A @ like`` runs: sizes, bytes and flops of each, and why.

    Parameters
    ----------
    A : LinearOperator
    like : array of shape (n,) or (n, k), optional
        By default one vector of the dtype of `A`.
    device : str, optional
        ``"H200"``: what such a device would run for an array like `like`, though it is not here.

    Returns
    -------
    str, one line for each step, the one that runs first on top; on a device with the floor, the
    time of a copy of x, y and the values

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> A, x = lo.butterfly.hadamard(4096), np.zeros((4096, 512), np.float32)
    >>> print(lo.explain(A, like=x, device="H200").splitlines()[1].partition(":")[0])
      run, 6 factors as 2 (64,8,8,1) (8,8,8,8) in kernel chain
    """
    x = np.zeros(A.shape[1], A.dtype) if like is None else like
    x = x[:, None] if x.ndim == 1 else x
    lines = [f"{A!r} @ {x.shape[0]}x{x.shape[1]} {dtype_name(x.dtype)}"]
    if device is not None or device_of(x) is not None:
        return "\n".join([*lines, *(f"  {line}" for line in _on_device(A, x, device))])
    if not is_numpy(x):
        return "\n".join([*lines, f"  every factor by itself: x is {type(x).__name__}"])
    name = "float64" if x.dtype.kind in "biu" else x.dtype.name
    lines += [f"  {line}" for line in _steps(A, cast(x, name))]
    return "\n".join(lines)


def _steps(A: LinearOperator, x: np.ndarray) -> list[str]:
    if not isinstance(A, Product):
        return [f"{A!r}: one operator"]
    lines: list[str] = []
    for at, link in reversed(tuple(enumerate(links(A)))):
        if not isinstance(link, tuple):
            lines.append(f"{link!r}: by itself, it has no stage")
            continue
        found = plan_for(A, at, link, x)
        if found is None:
            why = plan_obstacle([s for f in link if (s := f._stage()) is not None], x)
            why = why or "pack=False refuses packed copies"
            lines.append(f"{len(link)} factors, each by itself: {why}")
        else:
            lines += [line for step in found.steps for line in _of_step(step, x.shape[1])]
    return lines


def _on_device(A: LinearOperator, x: Array, device: str | None) -> list[str]:
    """Of a device that is here, or of one that is not."""
    if not isinstance(A, Product):
        made = _device_plan(A, 0, (A,), x, device) if A._stage() is not None else None
        return [_alone(A, x)] if made is None else str(made).splitlines()
    lines: list[str] = []
    for at, link in reversed(tuple(enumerate(links(A)))):
        if not isinstance(link, tuple):
            lines.append(_alone(link, x))
            continue
        made = _device_plan(A, at, link, x, device)
        if made is None:
            lines.append(f"{len(link)} factors, each by itself: {missing() or 'see A.info()'}")
        else:
            lines += str(made).splitlines()
    return lines


def _device_plan(op: LinearOperator, at: int, link: tuple, x: Array, device: str | None) -> Any:
    z = columns_like(x, link[-1].shape[1], x.shape[1])
    if device is not None:
        return paper_plan([s for f in link if (s := f._stage()) is not None], z, device)
    found = tensors_for(op, at, link, z)
    return None if found is None else found.plan_for(z)


def _alone(op: LinearOperator, x: Array) -> str:
    family = op._family(x)
    if family is not None and family[0] == "fft":
        return f"{op!r}: by the FFT of the library, cuFFT on a device"
    return f"{op!r}: by itself, it has no stage"


def _of_step(step: Any, columns: int) -> list[str]:
    if step.program is None:
        return [f"{len(step.stages)} stages by themselves: {step.why}"]
    program = step.program
    lines = [f"chain kernel, {step.why}, {program.nbytes:,} bytes of tables"]
    for part, packed in zip(program.parts, program.packed, strict=True):
        m, n = part.shape
        blocks = part.run.blocks
        entries = sum(s.pattern.entries for s in part.factors)
        flops = 2 * entries * columns * (4 if program.kind.parts == 2 else 1)
        size = program.kind.size * program.kind.parts
        moved = packed.nbytes + blocks * (m + n) * columns * size
        folded = [w for w, p in (("in", part.index), ("out", part.after)) if p is not None]
        lines.append(
            f"  run of {len(part.factors)} factors: {blocks} blocks of {m}x{n}, "
            f"tile of {part.run.rows} rows, {moved:,} bytes, {flops:,} flops"
            + (f", permutation folded ({', '.join(folded)})" if folded else "")
            + (", transposed" if part.reverse else "")
        )
    return lines
