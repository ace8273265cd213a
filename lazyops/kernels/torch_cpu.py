"""Stages on CPU tensors: the compiled kernels run on the memory that the tensors own."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.weak import WeakIdKeyDictionary

from . import gradient
from .plan import obstacle as plan_obstacle
from .plan import one, plan, shape_class
from .repack import Repacked, adjoint_of
from .stage import Stage, result_dtype

__all__ = ["Fixed", "gradients", "index_tensor", "is_turned", "obstacle", "product"]

MOST = 64  # structures of products whose plans are kept, and plans kept for each
PROBE = np.empty((1, 1))


def obstacle() -> str | None:
    """Why the compiled kernels cannot run here; None if they can."""
    from . import plan_obstacle as asked

    return asked([], PROBE)


def is_turned(x: torch.Tensor) -> bool:
    """Whether columns lie one after the other; the result then does too."""
    return x.shape[1] > 1 and x.stride(0) == 1 and x.stride(1) != 1


def view(t: torch.Tensor) -> np.ndarray:
    """The memory of a tensor as an array (a copy only where torch has yet to conjugate it)."""
    t = t.detach()
    try:
        return t.numpy()
    except RuntimeError:  # yet to be conjugated or negated
        return t.resolve_conj().resolve_neg().numpy()


def tensor(y: np.ndarray, turned: bool) -> torch.Tensor:
    """A tensor on the memory of a fresh array, in the order promised."""
    return torch.from_numpy(np.asfortranarray(y) if turned else np.ascontiguousarray(y))


# -- values that stay: packed once --------------------------------------------------------------

VIEWS = WeakIdKeyDictionary()  # tensor -> (version, address, array): one array for A and A.H


def kept_view(t: torch.Tensor) -> np.ndarray:
    """The same array object for a tensor as long as its values stay: packed copies go by it."""
    state = version(t), t.data_ptr()
    known = VIEWS.get(t)
    if known is None or known[0] != state:
        host = view(t)
        if t.dtype == torch.int64:
            check_permutation(host)
        known = VIEWS[t] = state, host
    return known[1]


def check_permutation(index: np.ndarray) -> None:
    """An index vector may be loaded with a state, and compiled code reads where it points."""
    n = len(index)
    if n and (index.min() < 0 or index.max() >= n or np.bincount(index).max() > 1):
        raise ValueError(
            f"an index vector of {n} entries does not hold each of 0 to {n - 1} once: load the "
            "state of a layer that has this permutation"
        )


def host_of(t: torch.Tensor) -> np.ndarray:
    """The memory of values that may change, or of an index vector."""
    return kept_view(t) if t.dtype == torch.int64 else view(t)


def version(t: torch.Tensor) -> int:
    """A number that changes when the values do; tensors of inference mode have none."""
    return -1 if t.is_inference() else t._version


def index_tensor(index: Any) -> torch.Tensor:
    if isinstance(index, torch.Tensor):
        return index.cpu()
    index = np.asarray(index)
    return torch.from_numpy(index if index.flags.writeable else index.copy())


class Fixed:
    """A product of stages whose tensors require no gradient; its plans are its own."""

    def __init__(self, stages: Sequence[Stage], values: Sequence[torch.Tensor], pack: bool):
        self.stages, self.values, self.pack = stages, values, pack and factors(stages) > 1
        self.state: list[int] = []
        self.plans: dict[tuple, Callable[[np.ndarray], np.ndarray] | None] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor | None:
        """The product, or None where `x` has no memory that can be read, or no plan takes it."""
        state = [t._version for t in self.values]
        if state != self.state:
            self.plans, self.state = {}, state
        try:
            host = x.numpy()
        except (RuntimeError, TypeError):  # to be conjugated, of torch.func, bfloat16
            return None
        columns = host.shape[1]
        key = (host.dtype, *shape_class(columns, host.strides, host.itemsize))
        if key not in self.plans:
            self.plans[key] = self._plan(host)
        known = self.plans[key]
        return None if known is None else tensor(known(host), is_turned(x))

    def _plan(self, host: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
        stages = on_host(self.stages, kept_view)
        if not self.pack:
            return functools.partial(by_stages, stages)
        return None if plan_obstacle(stages, host) is not None else plan(stages, host)


def factors(stages: Sequence[Stage]) -> int:
    return sum(s.pattern is not None for s in stages)


def on_host(stages: Sequence[Stage], how: Callable[[Any], np.ndarray]) -> list[Stage]:
    found = []
    for s in stages:
        if s.index is not None:
            s = s._replace(index=how(s.index))
        elif s.values is not None:
            s = s._replace(values=how(s.values))
        found.append(s)
    return found


# -- values that change: packed for every call --------------------------------------------------


class Owned(Repacked):
    """Plans, and the tensors whose values they hold at the moment."""

    owners: Sequence[tuple[weakref.ref, int]] = ()

    def hold(self, tensors: Sequence[torch.Tensor], trusting: bool) -> None:
        """Pack these values.  `trusting`: unless they are there already, by their versions."""
        now = [(t, version(t)) for t in tensors]
        pairs = list(zip(now, self.owners, strict=False))
        same = all(r() is t and v == w and v >= 0 for (t, v), (r, w) in pairs)
        if trusting and same and len(now) == len(self.owners):
            return
        self.fill([view(t) for t in tensors])
        self.owners = [(weakref.ref(t), v) for t, v in now]

    def belongs_to(self, tensors: Sequence[torch.Tensor]) -> bool:
        return len(self.owners) == len(tensors) and all(
            r() is t for (r, _), t in zip(self.owners, tensors, strict=True)
        )

    @property
    def is_free(self) -> bool:
        return not self.owners or any(r() is None for r, _ in self.owners)


POOL: dict[tuple, list[Owned]] = {}
POOL_LOCK = threading.Lock()


def owned(stages_of: Callable, arrays, forms, scales, dtype: str) -> Owned:
    """Plans for these stages: those that hold these tensors, else free ones, else new ones."""
    tensors = values_of(arrays)
    about = [
        (a.shape, a.dtype) if a.dtype != torch.int64 else id(kept_view(a))  # which a plan keeps
        for a in arrays
    ]
    key = dtype, tuple(forms), tuple(scales), *about
    with POOL_LOCK:
        kept = POOL.setdefault(key, [])
        found = next((o for o in kept if o.belongs_to(tensors)), None)
        found = found or next((o for o in kept if o.is_free), None)
        if found is None:
            held = [host_of(a) for a in arrays]
            found = Owned(stages_of(held, forms, scales), dtype)
            kept.append(found)
            del kept[:-MOST]
        while len(POOL) > MOST:
            del POOL[next(iter(POOL))]
    return found


def values_of(arrays: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Without the index vectors of permutations."""
    return [a for a in arrays if a.dtype != torch.int64]


def are_few(arrays: Sequence[torch.Tensor]) -> bool:
    """Whether there are too few factors for a plan."""
    return sum(a.ndim == 4 for a in arrays) < 2


def product(stages_of: Callable, x, arrays, forms, scales) -> torch.Tensor:
    """``lazyops::chain`` on the CPU."""
    host = view(x)
    if are_few(arrays):
        stages = stages_of([host_of(a) for a in arrays], forms, scales)
        return tensor(by_stages(stages, host), is_turned(x))
    plans, values = owned(stages_of, arrays, forms, scales, host.dtype.name), values_of(arrays)
    with plans.lock:
        plans.hold(values, trusting=not any(t.requires_grad for t in values))
        return tensor(plans.plan(host)(host), is_turned(x))


def by_stages(stages: Sequence[Stage], x: np.ndarray) -> np.ndarray:
    """One stage after the other, nothing packed; fresh."""
    dtype = np.dtype(result_dtype(stages, x.dtype.name))
    y = x.astype(dtype, copy=False)
    for stage in reversed(stages):
        y = one(stage, y, dtype)
    return y.copy() if np.may_share_memory(x, y) else y


def gradients(stages_of: Callable, g, x, arrays, forms, scales, wanted) -> list[torch.Tensor]:
    """``lazyops::chain_grad`` on the CPU: x by the adjoint run, values from what meets there."""
    if not any(wanted[1:]):
        return [of_x(stages_of, g, x, arrays, forms, scales)] if wanted[0] else []
    host = stages_of([host_of(a) for a in arrays], forms, scales)
    g_host, x_host = view(g), view(x)
    dtypes = {s.values.dtype for s in host if s.values is not None}
    dtype = np.result_type(g_host, x_host, *dtypes)
    pieces = gradient.pieces_of(host, list(wanted[1:]))
    inputs = [x_host.astype(dtype, copy=False)]  # of the pieces, the one applied first in front
    for piece in reversed(pieces[1:]):
        inputs.append(
            functools.reduce(lambda y, s: one(s, y, dtype), piece.stages[::-1], inputs[-1])
        )
    found, y = [], g_host.astype(dtype, copy=False)
    for piece in pieces:
        y, of_values = gradient.back(piece, y, inputs.pop())
        found += of_values
    tensors = [torch.from_numpy(f) for f in found]
    if wanted[0]:
        tensors.insert(0, tensor(_as_kind(y, x_host.dtype), is_turned(g)))
    return tensors


def of_x(stages_of: Callable, g, x, arrays, forms, scales) -> torch.Tensor:
    """The adjoint run."""
    host, kind = view(g), view(x).dtype
    if are_few(arrays):
        stages = stages_of([host_of(a) for a in arrays], forms, scales)
        return tensor(_as_kind(by_stages(adjoint_of(stages), host), kind), is_turned(g))
    plans, values = owned(stages_of, arrays, forms, scales, kind.name), values_of(arrays)
    with plans.lock:
        plans.hold(values, trusting=True)  # autograd has seen that they did not change
        return tensor(_as_kind(plans.plan(host, adjoint=True)(host), kind), is_turned(g))


def _as_kind(y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    y = y.real if dtype.kind != "c" else y
    return y.astype(dtype, copy=False)
