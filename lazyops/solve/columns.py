"""What the solvers share: arithmetic of columns, what they check, what they tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._array import Array, cast, conj, dtype_name, is_array, real_dtype
from ..butterfly.run import Progress

Callback = Callable[[int, float], None]


class Watch:
    """The residuals so far, told to a callback and on a line of stderr."""

    def __init__(self, name: str, callback: Callback | None, progress: bool):
        self.name, self.callback = name, callback
        self.line = Progress(progress)
        self.history: list[float] = []

    def tell(self, residual: float) -> None:
        self.history.append(residual)
        step = len(self.history)
        self.line.say(f"{self.name}: step {step}, residual {residual:.2e}")
        if self.callback is not None:
            self.callback(step, residual)

    def ended(self, residual: float) -> tuple[float, ...]:
        self.line.clear()
        return (*self.history, residual)


def checked(A: Any, b: Array, name: str, square: bool = True) -> Array:
    """`b` as columns, in the dtype that its products have."""
    if not is_array(b) or b.ndim not in (1, 2):
        raise ValueError("b is an array of shape (n,) or (n, k)")
    m, n = A.shape
    if square and m != n:
        raise ValueError(f"{name} solves square systems, A is {m}x{n}")
    if b.shape[0] != m:
        raise ValueError(f"b of shape {tuple(b.shape)} does not meet A, {m}x{n}")
    joint = A.result_dtype(b.dtype) if hasattr(A, "result_dtype") else dtype_name(b.dtype)
    return cast(b[:, None] if b.ndim == 1 else b, joint)


def check_preconditioner(M: Any, n: int) -> None:
    if M is not None and tuple(M.shape) != (n, n):
        raise ValueError(f"M is {M.shape[0]}x{M.shape[1]}, a preconditioner here is {n}x{n}")


def like(x: Array, b: Array) -> Array:
    """`x` with as many axes as `b`."""
    return x[:, 0] if b.ndim == 1 else x


def dots(xp: Any, x: Array, y: Array) -> Array:
    """``x^H y`` of each column, real."""
    found = xp.sum(conj(x) * y, axis=0)
    return xp.real(found) if xp.isdtype(found.dtype, "complex floating") else found


def norms(xp: Any, x: Array) -> Array:
    """Norms of the columns, without overflow."""
    if not x.shape[0]:
        return cast(xp.sum(xp.abs(x), axis=0), real_dtype(dtype_name(x.dtype)))
    most = xp.max(xp.abs(x), axis=0)
    scale = xp.where(most > 0, most, xp.ones_like(most))
    scaled = xp.abs(x) / scale
    return cast(scale * xp.sqrt(xp.sum(scaled * scaled, axis=0)), real_dtype(dtype_name(x.dtype)))


def ratio(xp: Any, one: Array, other: Array, active: Array | None = None) -> Array:
    """one / other where a column is active, else 0; 0 where other is 0."""
    good = other != 0 if active is None else active & (other != 0)
    return xp.where(good, one / xp.where(good, other, xp.ones_like(other)), xp.zeros_like(one))


def worst(xp: Any, x: Array) -> float:
    return float(xp.max(x)) if x.shape[0] else 0.0
