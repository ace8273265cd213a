"""Restriction: keep some entries of `x`, in any order, with repeats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._array import Array, array_namespace, is_array, is_numpy, to_numpy
from .base import LinearOperator
from .node import INDEX
from .permutation import as_index, index_for, take_rows
from .scalar import check_size
from .stretches import put, stretches


@dataclass(eq=False, repr=False)
class Restriction(LinearOperator):
    """``(R @ x)[i] = x[index[i]]`` for an `x` of length n; see `restrict`."""

    index: Array = field(metadata=INDEX)
    n: int

    def _check(self):
        _check_positions(self)

    def _shape(self):
        return int(self.index.shape[0]), self.n

    def _matmat(self, x):
        return self._along(x, 0)

    def _between(self, x):
        return self._along(x, 1)

    def _along(self, x: Array, axis: int) -> Array:
        if not is_numpy(x) and (run := self._run) is not None:
            return x[run, :] if axis == 0 else x[:, run, :]
        return take_rows(x, self.index, self._cache, axis)

    @property
    def _run(self) -> slice | None:
        """The one slice that does it, where its step is positive: every library has those."""
        found = stretches(to_numpy(self.index), self._cache)
        if not isinstance(found, list) or len(found) > 1 or found[0].step < 1:
            return None
        return found[0].source

    def _adjoint(self):
        return Extension(self.index, self.n, copy=False)

    def _label(self):
        return f"R{self.shape[0]}x{self.n}"


@dataclass(eq=False, repr=False)
class Extension(LinearOperator):
    """The adjoint of a restriction: entry i of `x` is added to ``y[index[i]]``."""

    index: Array = field(metadata=INDEX)
    n: int

    def _check(self):
        _check_positions(self)

    def _shape(self):
        return self.n, int(self.index.shape[0])

    def _matmat(self, x):
        if not is_numpy(x):
            return self._gather(x)
        if (found := stretches(to_numpy(self.index), self._cache)) is not None:
            return put(x, found, self.n, 0)
        if self._repeats and x.dtype.char in "fdFD":
            return self._matrix(x.dtype) @ x
        y = np.zeros((self.n, x.shape[1]), x.dtype)
        np.add.at(y, self.index, x) if self._repeats else y.__setitem__(self.index, x)
        return y

    def _between(self, x):
        if not is_numpy(x):
            return None
        found = stretches(to_numpy(self.index), self._cache)
        return None if found is None else put(x, found, self.n, 1)

    def _matrix(self, dtype: np.dtype) -> Any:
        """As a sparse matrix of ones, six times as fast as adding entry by entry."""
        key = ("matrix", dtype.char.lower())
        if key not in self._cache:
            import scipy.sparse

            host = to_numpy(self.index)
            order = np.argsort(host, kind="stable")
            starts = np.append(0, np.cumsum(np.bincount(host, minlength=self.n)))
            ones = np.ones(len(host), dtype.char.lower())
            shape = (self.n, len(host))
            self._cache[key] = scipy.sparse.csr_array((ones, order, starts), shape=shape)
        return self._cache[key]

    @property
    def _repeats(self) -> bool:
        if "repeats" not in self._cache:
            host = to_numpy(self.index)
            self._cache["repeats"] = bool(host.size and np.bincount(host).max() > 1)
        return self._cache["repeats"]

    def _gather(self, x: Array) -> Array:
        """By gathers alone, which every library has and torch differentiates: the j-th
        occurrence of each position is one gather from `x` with a row of zeros below it."""
        xp = array_namespace(x)
        zero = xp.zeros((1, x.shape[1]), dtype=x.dtype, device=x.device)
        padded = xp.concat([x, zero], axis=0)
        if "rounds" not in self._cache:
            self._cache["rounds"] = _rounds(to_numpy(self.index), self.n)
        y = None
        for source in self._cache["rounds"]:
            t = xp.take(padded, index_for(x, source, self._cache), axis=0)
            y = t if y is None else y + t
        return y

    def _adjoint(self):
        return Restriction(self.index, self.n, copy=False)

    def _label(self):
        return f"R{self.shape[1]}x{self.n}.H"


def _rounds(index: np.ndarray, n: int) -> list[np.ndarray]:
    """For round j: where in `x` the j-th entry for each output stands; len(index) where none."""
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=n)
    starts = np.cumsum(counts) - counts
    padded = np.append(order, len(index))
    return [
        padded[np.where(counts > j, starts + j, len(index))]
        for j in range(max(int(counts.max(initial=0)), 1))
    ]


def _check_positions(op: Restriction | Extension) -> None:
    """Both hold plain positions: what the compiled gathers of NumPy and SciPy rely on."""
    object.__setattr__(op, "n", check_size(op.n, "n of a restriction"))
    object.__setattr__(op, "index", as_index(op.index, "a restriction"))
    if not is_numpy(op.index) and str(op.index.device) == "meta":
        return
    host = to_numpy(op.index)
    outside = np.flatnonzero((host < 0) | (host >= op.n))
    if outside.size:
        i = int(outside[0])
        raise IndexError(f"index[{i}] is {host[i]}, outside an axis of {op.n} entries")


def restrict(index: Any, n: int) -> LinearOperator:
    """The operator ``x -> x[index]`` for an `x` of length `n`.

    Parameters
    ----------
    index : slice, boolean mask of length n, or integers (negative ones count from the end)
    n : int

    Raises
    ------
    IndexError
        If an index lies outside; the message names it.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.restrict([0, -1], 4) @ [1., 2., 3., 4.]
    array([1., 4.])
    """
    n = check_size(n, "n of restrict")
    return Restriction(positions(index, n), n, copy=False)


def positions(index: Any, n: int) -> np.ndarray:
    """The positions 0 .. n-1 that `index` selects, as NumPy would along an axis of length n."""
    if isinstance(index, slice):
        return _locked(np.arange(*index.indices(n), dtype=np.int64))
    found = to_numpy(index) if is_array(index) else np.asarray(index)
    if found.size == 0 and not is_array(index):
        found = found.astype(np.int64)  # an empty list is one of integers
    if found.dtype == bool:
        if found.shape != (n,):
            raise IndexError(f"a boolean mask over {n} entries has shape ({n},), got {found.shape}")
        return _locked(np.flatnonzero(found))
    found = as_index(found, "a restriction")
    outside = np.flatnonzero((found < -n) | (found >= n))
    if outside.size:
        i = int(outside[0])
        raise IndexError(f"index[{i}] is {found[i]}, outside an axis of {n} entries")
    return _locked(np.where(found < 0, found + n, found))


def _locked(index: np.ndarray) -> np.ndarray:
    index.flags.writeable = False
    return index
