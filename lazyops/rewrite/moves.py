"""Rules of what only moves entries: permutations, restrictions, and their adjoints."""

from __future__ import annotations

import numpy as np

from .._array import to_numpy
from ..operators import Diagonal, Extension, Identity, Permutation, Restriction
from .engine import Rules

RULES = Rules()


@RULES.product(Extension, Extension)
def extension_extension(left, right):
    """E1 E2 = E, index = index1[index2]"""
    return Extension(to_numpy(left.index)[to_numpy(right.index)], left.n, copy=False)


@RULES.product(Permutation, Extension)
def permutation_extension(left, right):
    """P E = E', each entry goes where P takes it"""
    return Extension(to_numpy(left.H.index)[to_numpy(right.index)], right.n, copy=False)


@RULES.product(Extension, Restriction)
def extension_restriction(left, right):
    """R.H R = diag(how often R takes each entry)"""
    index = to_numpy(right.index)
    if not np.array_equal(to_numpy(left.index), index):
        return None
    counts = np.bincount(index, minlength=right.n)
    if (counts == 1).all():
        return Identity(right.n)
    small = np.min_scalar_type(-int(counts.max(initial=0)))  # joins no precision to that of x
    return Diagonal(counts.astype(small), copy=False) if small.itemsize <= 2 else None


@RULES.product(Restriction, Extension)
def restriction_extension(left, right):
    """R E = R', where E puts one entry on each place that R takes"""
    taken, put = to_numpy(left.index), to_numpy(right.index)
    counts = np.bincount(put, minlength=right.n)
    if (counts[taken] != 1).any():
        return None
    where = np.zeros(right.n, np.int64)
    where[put] = np.arange(len(put))
    index = where[taken]
    if np.array_equal(index, np.arange(len(put))):
        return Identity(len(put))
    return Restriction(index, len(put), copy=False)
