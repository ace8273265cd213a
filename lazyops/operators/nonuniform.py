"""Fourier sums at points that are not on a grid: directly, or by finufft and cufinufft."""

from __future__ import annotations

import importlib
import math
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._array import (
    Array,
    array_namespace,
    cast,
    dtype_name,
    is_array,
    is_numpy,
    namespace_of,
    place,
    to_numpy,
    with_complex,
)
from .base import LinearOperator
from .host import differentiable, through_host
from .node import INDEX
from .scalar import check_size

CHUNK = 1 << 18  # entries of the matrix that are held at once
LEAST = {"complex64": 1e-6, "complex128": 1e-14}  # what finufft can hold to


@dataclass(eq=False, repr=False)
class Nonuniform(LinearOperator):
    """``y[j] = sum_k x[k] exp(sign i <k, points[j]>)``; see `lazyops.nudft` and `lazyops.nufft`.

    Parameters
    ----------
    points : array of shape (m, d)
        They follow `x` like an index: its precision is that of the result.
    modes : tuple of d ints, or array of shape (n, d)
        The k: all of a box, ``-(s // 2) .. (s - 1) // 2`` along each axis, in C order; or any.
    sign : {1, -1}
    eps : float or None
        The relative error that finufft is asked for; None: summed directly.
    transposed : bool
    """

    points: Array = field(metadata=INDEX)
    modes: Any = field(metadata=INDEX)
    sign: int = -1
    eps: float | None = None
    transposed: bool = False
    kind = "complex"
    makes_new = True

    def _check(self):
        points = coordinates(self.points, "the points")
        object.__setattr__(self, "points", points)
        d = points.shape[1]
        if is_array(self.modes):
            object.__setattr__(self, "modes", coordinates(self.modes, "the frequencies"))
            own = self.modes.shape[1]
        else:
            sizes = tuple(check_size(n, "a number of modes") for n in self.modes)
            object.__setattr__(self, "modes", sizes)
            own = len(sizes)
        if own != d:
            raise ValueError(f"the points have {d} coordinates, the modes {own}")
        if self.sign not in (1, -1):
            raise ValueError(f"sign is 1 or -1, got {self.sign!r}")
        if self.eps is not None:
            _check_fast(self)

    def _shape(self):
        n = self.modes.shape[0] if is_array(self.modes) else math.prod(self.modes)
        m = self.points.shape[0]
        return (n, m) if self.transposed else (m, n)

    def _matmat(self, x):
        name = with_complex(dtype_name(x.dtype))
        x = cast(x, name)
        if 0 in (*self.shape, x.shape[1]):
            xp = array_namespace(x)
            shape = (self.shape[0], x.shape[1])
            return xp.zeros(shape, dtype=getattr(xp, name), device=x.device)
        return self._directly(x) if self.eps is None else self._fast(x)

    # -- directly

    def _directly(self, x: Array) -> Array:
        """A few rows of the matrix at a time."""
        xp, m = array_namespace(x), self.points.shape[0]
        step = max(1, CHUNK // max(1, self.shape[0 if self.transposed else 1]))
        found: Any = []
        for start in range(0, m, step):
            end = min(start + step, m)
            rows = self._rows(self.points[start:end], x)
            if self.transposed:
                t = xp.permute_dims(rows, (1, 0)) @ x[start:end, :]
                found = t if start == 0 else found + t
            else:
                found.append(rows @ x)
        return found if self.transposed else xp.concat(found, axis=0)

    def _rows(self, points: np.ndarray, x: Array) -> Array:
        """``exp(sign i <k, point>)``, shape (points, modes), in the library and dtype of x."""
        if is_array(self.modes):
            rows = np.exp(1j * self.sign * (points @ self.modes.T))
        else:
            rows = np.ones((len(points), 1), np.complex128)
            for n, t in zip(self.modes, points.T, strict=True):
                axis = np.exp(1j * self.sign * np.outer(t, np.arange(-(n // 2), (n + 1) // 2)))
                rows = (rows[:, :, None] * axis[:, None, :]).reshape(len(points), -1)
        rows = rows.astype(dtype_name(x.dtype))
        return _beside(x, rows)

    # -- by finufft, on the CPU, and cufinufft, where x is

    def _fast(self, x: Array) -> Array:
        if place(x).device == "cpu":
            return through_host(self, self._planned, x)
        return differentiable(self, self._planned, x)

    def _planned(self, x: Array) -> Array:
        """One plan for all columns; plans sort the points, so the last one is kept."""
        xp, k, options = array_namespace(x), x.shape[1], _device_options(x)
        columns = xp.stack([x[:, j] for j in range(k)], axis=0)
        key = ("plan", dtype_name(x.dtype), k, place(x), *options.values())
        held = self._cache.get(key)
        if held is None:
            for old in [old for old in self._cache if isinstance(old, tuple) and old[0] == "plan"]:
                self._cache.pop(old, None)
            held = self._cache[key] = (threading.Lock(), self._plan(x, options))
        lock, plan = held
        if not is_array(self.modes) and not self.transposed:
            columns = xp.reshape(columns, (k, *self.modes))
        with lock:  # a plan has one workspace
            y = plan.execute(columns[0, ...] if k == 1 else columns)
        return xp.permute_dims(xp.reshape(y, (k, self.shape[0])), (1, 0))

    def _plan(self, x: Array, options: dict[str, int]) -> Any:
        """Type 2 from modes to points, type 1 back, type 3 between two sets of points."""
        library, name, k = _library(x), dtype_name(x.dtype), x.shape[1]
        real = "float32" if name == "complex64" else "float64"
        columns = lambda a: [_beside(x, np.ascontiguousarray(c, real)) for c in a.T]
        told: dict[str, Any] = {**options, "isign": self.sign, "dtype": name}
        eps = max(self.eps or 0.0, LEAST[name])
        if not is_array(self.modes):
            kind = 1 if self.transposed else 2
            plan = library.Plan(kind, self.modes, k, eps, **told)
            plan.setpts(*columns(self.points))
            return plan
        d = self.points.shape[1]
        source, target = (self.points, self.modes) if self.transposed else (self.modes, self.points)
        plan = library.Plan(3, d, k, eps, **told)
        axes = dict(zip("xyz", columns(source), strict=False))
        axes |= dict(zip("stu", columns(target), strict=False))
        plan.setpts(**axes)
        return plan

    def _adjoint(self):
        return Nonuniform(
            self.points, self.modes, -self.sign, self.eps, not self.transposed, copy=False
        )

    def _conj(self):
        return Nonuniform(
            self.points, self.modes, -self.sign, self.eps, self.transposed, copy=False
        )

    def _flops(self):
        return 8 * self.shape[0] * self.shape[1] if self.eps is None else 0

    def _label(self):
        m, n = self.shape
        name = "nudft" if self.eps is None else "nufft"
        return f"{name}[{m}x{n}]"


def coordinates(values: Any, what: str) -> np.ndarray:
    """Points as a locked array of doubles of shape (m, d)."""
    host = to_numpy(values) if is_array(values) else np.asarray(values)
    if host.ndim == 1:
        host = host[:, None]
    if host.ndim != 2 or host.dtype.kind not in "fiub":
        raise ValueError(
            f"{what} are real, of shape (m,) or (m, d), got {host.dtype} of shape {host.shape}"
        )
    host = np.array(host, np.float64)
    if not np.isfinite(host).all():
        raise ValueError(f"{what} hold NaN or Inf")
    host.flags.writeable = False
    return host


def _check_fast(op: Nonuniform) -> None:
    if not (isinstance(op.eps, (int, float)) and 0 < op.eps < 1):
        raise ValueError(f"eps is a relative error between 0 and 1, got {op.eps!r}")
    if not 1 <= op.points.shape[1] <= 3:
        raise ValueError(
            f"finufft takes points of 1 to 3 coordinates, got {op.points.shape[1]}; "
            f"lo.nudft takes any number"
        )


def _beside(x: Array, host: np.ndarray) -> Array:
    """A NumPy array as one of the library and the device of `x`."""
    return host if is_numpy(x) else namespace_of(x).asarray(host, device=x.device)


def _library(x: Array) -> Any:
    """finufft, or cufinufft where `x` lives on a GPU: their plans are called alike."""
    name, extra = ("finufft", "nufft") if place(x).device == "cpu" else ("cufinufft", "nufft-cuda")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"lo.nufft needs {name} for x on {place(x)}: pip install 'lazyops[{extra}]'; lo.nudft "
            f"needs nothing"
        ) from error


def _device_options(x: Array) -> dict[str, int]:
    """The GPU of `x` and the stream that its caller works on, as cufinufft is told them."""
    if place(x).device == "cpu" or not hasattr(x, "__cuda_array_interface__"):
        return {}
    if hasattr(x, "untyped_storage"):
        import torch

        stream = torch.cuda.current_stream(x.device).cuda_stream
        return {"gpu_device_id": x.device.index, "gpu_stream": stream}
    import cupy

    return {"gpu_device_id": x.device.id, "gpu_stream": cupy.cuda.get_current_stream().ptr}
