"""Permutations, also by formula: bit reversal, perfect shuffle, digit reversal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._array import Array, array_namespace, is_array, is_numpy, namespace_of, to_numpy
from ..kernels import Stage
from .base import LinearOperator
from .node import INDEX
from .scalar import check_size
from .stretches import stretches, take


@dataclass(eq=False, repr=False)
class Permutation(LinearOperator):
    """Reorder: ``(P @ x)[i] = x[index[i]]``.

    Parameters
    ----------
    index : integer array of shape (n,)
        Holds 0 .. n-1 once each.

    Raises
    ------
    ValueError
        If it does not; the message names the first offending place.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> lo.Permutation([2, 0, 1]) @ np.array([10., 20., 30.])
    array([30., 10., 20.])
    """

    index: Array = field(metadata=INDEX)

    def _check(self):
        index = as_index(self.index, "a permutation")
        object.__setattr__(self, "index", index)
        if is_numpy(index) or str(index.device) != "meta":  # a meta tensor has no numbers
            _check_is_permutation(index)

    def _shape(self):
        return self.index.shape[0], self.index.shape[0]

    def _matmat(self, x):
        return take_rows(x, self.index, self._cache)

    def _between(self, x):
        return take_rows(x, self.index, self._cache, axis=1)

    def _stage(self):
        return Stage(index=self.index)

    def _adjoint(self):
        if is_numpy(self.index):
            inverse = np.empty_like(self.index)
            inverse[self.index] = np.arange(len(inverse))
        else:
            inverse = array_namespace(self.index).argsort(self.index)
        return Permutation(inverse, copy=False)

    def _facts(self):
        return {"unitary": True}

    def _label(self):
        return f"P{self.shape[0]}"

    # -- by formula ----------------------------------------------------------------------

    @classmethod
    def bit_reversal(cls, n: int) -> Permutation:
        """Reverse the bits of the position; `n` is a power of two.

        >>> Permutation.bit_reversal(8).index
        array([0, 4, 2, 6, 1, 5, 3, 7])
        """
        n = check_size(n, "the size of a bit reversal")
        if n < 1 or n & (n - 1):
            raise ValueError(f"bit reversal takes a power of two, got {n}")
        return cls.digit_reversal([2] * (n.bit_length() - 1))

    @classmethod
    def digit_reversal(cls, radices: Sequence[int]) -> Permutation:
        """Position with digits (i_1 ... i_L), most significant first, takes from (i_L ... i_1).

        The digit i_l runs below ``radices[l]``; the size is their product.

        >>> Permutation.digit_reversal([2, 3]).index
        array([0, 2, 4, 1, 3, 5])
        """
        n = math.prod(radices)
        positions = np.arange(n).reshape(tuple(reversed(radices)))
        return cls(np.ascontiguousarray(positions.transpose()).reshape(n))

    @classmethod
    def perfect_shuffle(cls, p: int, q: int) -> Permutation:
        """Transpose a p x q array stored by rows: ``(P @ x)[i*p + j] = x[j*q + i]``.

        >>> Permutation.perfect_shuffle(2, 3).index
        array([0, 3, 1, 4, 2, 5])
        """
        p, q = check_size(p, "p of a perfect shuffle"), check_size(q, "q of a perfect shuffle")
        return cls(np.ascontiguousarray(np.arange(p * q).reshape(p, q).T).reshape(p * q))


def as_index(index: Any, what: str) -> Array:
    """`index` as a vector of 64-bit integers (of its library), or an error that says why not."""
    if not is_array(index):
        index = np.asarray(index)
        if index.size == 0:
            index = index.astype(np.int64)
        index.flags.writeable = False
    xp = array_namespace(index)
    if index.ndim != 1:
        raise ValueError(f"the index of {what} is a vector, got shape {tuple(index.shape)}")
    if not xp.isdtype(index.dtype, "integral"):
        raise TypeError(f"the index of {what} holds integers, got dtype {index.dtype}")
    if index.dtype == xp.int64:
        return index
    index = xp.astype(index, xp.int64)
    if is_numpy(index):
        index.flags.writeable = False
    return index


def _check_is_permutation(index: Array) -> None:
    host = to_numpy(index)
    n = len(host)
    outside = np.flatnonzero((host < 0) | (host >= n))
    if outside.size:
        i = int(outside[0])
        raise ValueError(
            f"a permutation of {n} holds 0 .. {n - 1} once each: index[{i}] is {host[i]}"
        )
    counts = np.bincount(host, minlength=n)
    if n and counts.max() > 1:
        value = int(np.flatnonzero(counts > 1)[0])
        first, second = np.flatnonzero(host == value)[:2]
        raise ValueError(
            f"a permutation of {n} holds 0 .. {n - 1} once each: "
            f"{value} stands at {first} and at {second}"
        )


def take_rows(x: Array, index: Array, cache: dict[Any, Any], axis: int = 0) -> Array:
    """``x[index]`` along an axis, wherever `x` lives; moved indices are kept in `cache`."""
    if is_numpy(x) and is_numpy(index):
        found = stretches(index, cache)
        return np.take(x, index, axis=axis) if found is None else take(x, found, axis)
    return array_namespace(x).take(x, index_for(x, index, cache), axis=axis)


def index_for(x: Array, index: Array, cache: dict[Any, Any]) -> Array:
    """`index` in the library and on the device of `x`: indices follow `x`, values do not."""
    key = ("index", id(index), array_namespace(x), str(x.device))
    if key not in cache:
        if is_numpy(x):
            moved = to_numpy(index)
        else:
            moved = namespace_of(x).asarray(to_numpy(index).copy(), device=x.device)
        cache[key] = moved
    return cache[key]
