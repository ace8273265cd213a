"""Sums, differences, real parts of butterflies: butterflies of larger ranks, exactly.

Over common cores the ranks of a sum add (blocks side by side), those of a real part double (a
complex number is a 2 x 2 real matrix); `rounding.lower_ranks` brings them down again.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from .form import Form, inverted
from .hierarchical import Cores
from .run import _times_power
from .splits import from_left_blocks, from_right_blocks, left_blocks, right_blocks, spread
from .svd import energy, triangle

Values = Sequence[np.ndarray]


def norm_of_form(form: Form) -> float:
    """Frobenius norm, in units of ``2**form.exponent``; the matrix is never formed."""
    return norm_of_factors(form.values.__getitem__, form.cores)


def distance(one: Form, other: Sequence[np.ndarray], exponent: int) -> float:
    """``||one - B||``, B given by its factors over the same cores times ``2**exponent``; in units
    of ``2**one.exponent``.  What rounding leaves of it is relative to the norms, not to squares.
    """
    shift = _times_power(other[0], min(max(exponent - one.exponent, -2000), 1000))
    terms = [one.values, [-shift, *other[1:]]]
    return norm_of_factors(lambda at: side_by_side(terms, one.cores, at), one.cores)


def norm_of_factors(factor: Callable[[int], np.ndarray], cores: Cores) -> float:
    """Frobenius norm of ``factor(0) @ factor(1) @ ...``, asked for from the last one on.

    The triangular factors of blockwise QRs go left; the orthonormal ones are not kept.
    """
    v = factor(len(cores) - 1)
    for at in range(len(cores) - 2, -1, -1):
        A, D = cores.columns[at], cores.rows[at + 1]
        R = triangle(right_blocks(v, A, D).swapaxes(-1, -2)).swapaxes(-1, -2)
        v = from_left_blocks(left_blocks(factor(at), A, D) @ R)
    return math.sqrt(energy(v))


def added(forms: Sequence[Form]) -> Form | str:
    """The sum, or why it is not a butterfly with the permutations of the terms."""
    guide = next((f for f in forms if not f.is_diagonal), forms[0])
    cores = guide.cores
    for f in forms:
        if not f.is_diagonal or guide.is_diagonal:
            if not f.same_ends(guide):
                return "two terms have different permutations at their ends"
            finer = common_cores(cores, f.cores)
            if finer is None:
                return f"two terms split differently: {cores} and {f.cores}"
            cores = finer
    terms = []
    for f in forms:
        if f.is_diagonal:
            values = _diagonal_over(f, guide, cores)
        else:
            values = refined(f.values, cores, _splits_of(f.cores, cores))
        if isinstance(values, str):
            return values
        terms.append(values)
    exponent = max(f.exponent for f in forms)
    for f, values in zip(forms, terms, strict=True):
        values[0] = _times_power(values[0], max(f.exponent - exponent, -2000))
    size = math.fsum(
        math.ldexp(norm_of_form(f) if f.size is None else f.size, f.exponent - exponent)
        for f in forms
    )
    both = tuple(side_by_side(terms, cores, at) for at in range(len(cores)))
    return Form(both, guide.rows, guide.columns, exponent, size, guide.is_diagonal)


def side_by_side(terms: Sequence[Values], cores: Cores, at: int) -> np.ndarray:
    """One factor of the sum of products of factors: blocks on the diagonal of the rank axes."""
    b, c = cores.rows[at], cores.columns[at]
    first, last = at == 0, at == len(cores) - 1
    parts = [_with_rank_axes(values[at], b, c) for values in terms]
    a, d = parts[0].shape[0], parts[0].shape[5]
    left = 1 if first else sum(p.shape[1] for p in parts)
    right = 1 if last else sum(p.shape[4] for p in parts)
    out = np.zeros((a, left, b, c, right, d), np.result_type(*parts))
    i = k = 0
    for p in parts:
        out[:, i : i + p.shape[1], :, :, k : k + p.shape[4]] += p
        i += 0 if first else p.shape[1]
        k += 0 if last else p.shape[4]
    return out.reshape(a, left * b, c * right, d)


def _with_rank_axes(v: np.ndarray, b: int, c: int) -> np.ndarray:
    """(a, left b, c right, d) -> (a, left, b, c, right, d)"""
    return v.reshape(v.shape[0], v.shape[1] // b, b, c, v.shape[2] // c, v.shape[3])


def real_part_of(form: Form) -> Form:
    """The entrywise real part: every number ``x + iy`` becomes ``[[x, -y], [y, x]]``, the ranks
    double; the first factor keeps the upper row, the last one the left column (algorithms.md, d.5).
    """
    cores, last = form.cores, len(form.values) - 1
    found = []
    for at, v in enumerate(form.values):
        x = _with_rank_axes(v, cores.rows[at], cores.columns[at])
        upper, lower = np.stack([x.real, -x.imag], 4), np.stack([x.imag, x.real], 4)
        wide = upper[:, None] if at == 0 else np.stack([upper, lower], 1)
        wide = wide[..., :1, :, :] if at == last else wide  # (a, 2, left, b, c, 2, right, d)
        a, up, left, b, c, across, right, d = wide.shape
        found.append(wide.reshape(a, up * left * b, c * across * right, d))
    size = norm_of_form(form) if form.size is None else form.size
    return dataclasses.replace(form, values=tuple(found), size=size)


# -- common cores ----------------------------------------------------------------------------


def _classes(cores: Cores) -> list[tuple[int, int]]:
    """Column classes and row classes of every split."""
    return [
        (
            cores.a * math.prod(cores.columns[:q]),
            math.prod(cores.rows[q:]) * cores.d,
        )
        for q in range(1, len(cores))
    ]


def common_cores(one: Cores, other: Cores) -> Cores | None:
    """Cores with the splits of both; None where no chain has them all.

    >>> common_cores(Cores((2, 4), (2, 4)), Cores((4, 2), (4, 2)))
    Cores(rows=(2, 2, 2), columns=(2, 2, 2), a=1, d=1)
    """
    if one == other:
        return one
    if (one.a, one.d, one.shape) != (other.a, other.d, other.shape):
        return None
    if any((1, 1) in zip(cores.rows, cores.columns, strict=True) for cores in (one, other)):
        return None  # a junction that splits nothing has no place of its own
    (m, n), a, d = one.shape, one.a, one.d
    both = sorted({*_classes(one), *_classes(other)}, key=lambda s: (s[0], -s[1]))
    path = [(a, m // a), *both, (n // d, d)]
    for (A, D), (A2, D2) in itertools.pairwise(path):
        if A2 % A or D % D2:
            return None
    rows = tuple(D // D2 for (_, D), (_, D2) in itertools.pairwise(path))
    columns = tuple(A2 // A for (A, _), (A2, _) in itertools.pairwise(path))
    return Cores(rows, columns, a, d)


def _splits_of(coarse: Cores, cores: Cores) -> list[int]:
    """Where the splits of coarser cores are among those of finer ones."""
    if coarse == cores:
        return list(range(1, len(cores)))
    known = set(_classes(coarse))
    return [q for q, classes in enumerate(_classes(cores), 1) if classes in known]


def refined(values: Values, cores: Cores, at: Sequence[int]) -> list[np.ndarray]:
    """Values over finer cores, of which these are the splits `at`; the same product exactly.

    The ranks of the new junctions are as large as their blocks.
    """
    found: list[np.ndarray] = []
    for v, (start, stop) in zip(values, itertools.pairwise((0, *at, len(cores))), strict=True):
        for q in range(start + 1, stop):
            left, v = _split_exactly(v, cores.columns[q - 1], math.prod(cores.rows[q:stop]))
            found.append(left)
        found.append(v)
    return found


def _split_exactly(v: np.ndarray, A: int, D: int) -> tuple[np.ndarray, np.ndarray]:
    """Two factors with the product v: one of them is the identity in every block."""
    T = spread(v, A, D)
    b, c = T.shape[-2:]
    unit = np.broadcast_to(np.eye(min(b, c), dtype=v.dtype), (*T.shape[:-2], min(b, c), min(b, c)))
    U, V = (unit, T) if b <= c else (T, unit)
    return from_left_blocks(U), from_right_blocks(V)


def _diagonal_over(form: Form, guide: Form, cores: Cores) -> list[np.ndarray] | str:
    """A permuted diagonal as a butterfly over the cores of another term."""
    d = form.values[0].reshape(-1)
    if guide.is_diagonal:
        return [form.values[0]]
    if cores.rows != cores.columns:
        return "a diagonal is added to factors that are not square"
    rows, columns = (
        _moved(to, index, len(d))
        for to, index in ((guide.rows, form.rows), (guide.columns, form.columns))
    )
    if not np.array_equal(rows, columns):
        return "a diagonal is added to a term with different permutations at its ends"
    w = np.empty_like(d)
    w[rows] = d
    found = []
    for at, (b, c) in enumerate(zip(cores.rows, cores.columns, strict=True)):
        a = cores.a * math.prod(cores.columns[:at])
        e = math.prod(cores.rows[at + 1 :]) * cores.d
        unit = np.eye(b, c, dtype=d.dtype)[None, :, :, None]
        scale = w.reshape(a, b, 1, e) if at == 0 else np.ones((a, 1, 1, e))
        found.append(unit * scale)
    return found


def _moved(to: np.ndarray | None, index: np.ndarray | None, n: int) -> np.ndarray:
    """Where the positions of one permutation stand in another one."""
    index = np.arange(n) if index is None else index
    return index if to is None else inverted(to)[index]
