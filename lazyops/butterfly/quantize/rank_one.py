"""The best rank-one matrix ``xh yh^T`` of few bits near ``x y^T``, for many pairs at once.

For a given ``xh`` the best ``yh`` is ``round(c y)`` with ``c = <xh, x> / ||xh||^2``; the best pair
is therefore ``(round(s x), round(c y))`` for one scalar s, and ``round`` changes only where some
``s x_i`` is half-way between two numbers of the format: finitely many s have to be looked at
(Gribonval, Mary, Riccietti, hal-04125381, Algorithm 5.1).  Complex scalars are drawn: as good as
the cells of hal-05520926 with eight exponents, in a thousandth of their time.

Costs are sums of squares, so nothing cancels: with ``c`` as above
``||x y^T - xh yh^T||^2 = ||x - c xh||^2 ||y||^2 + ||xh||^2 ||c y - yh||^2``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...kernels.formats import FloatFormat

CHUNK = 1 << 17  # bytes of the scaled vectors evaluated at a time: they stay in the cache
DRAWN = 4096  # complex scalars for each pair, and what is looked at of very many real ones
FIXED = 0  # seed
TURNS = 2  # alternations after the best drawn scalar
EVEN = 32  # scalars besides those of the theory, which knows no subnormals

Rounding = Callable[[np.ndarray], np.ndarray]


class Pairs(NamedTuple):
    """What was found, pair by pair: ``left (P, m)``, ``factor (P,)``, ``right (P, n)`` or None.

    ``left * factor`` is near x; `right` is the rounded ``factor * y``.
    """

    left: np.ndarray
    factor: np.ndarray
    right: np.ndarray | None


def rank_one(
    x: np.ndarray,
    y: np.ndarray,
    form: FloatFormat,
    other: FloatFormat | None = None,
    rng: np.random.Generator | int = FIXED,
) -> tuple[np.ndarray, np.ndarray]:
    """The pair of few bits whose outer product is nearest to that of `x` and `y`.

    Parameters
    ----------
    x, y : arrays of shape (m,), (n,), or (P, m), (P, n) for P pairs
    form, other : FloatFormat
        Of the result for `x`, and for `y` where that is another; exponents without bounds.
    rng : Generator or seed
        For complex numbers, whose scalars are drawn.

    Returns
    -------
    xh, yh : arrays of the same shapes
        Optimal for real numbers, the same for ``s x`` and ``y / s``; zero where one is zero.

    Examples
    --------
    >>> x, y = np.array([1.1, 2.2]), np.array([1.0, -3.0]) / 1.1
    >>> xh, yh = rank_one(x, y, FloatFormat(None, 1))  # two bits hold 1, 2 and 3
    >>> bool(np.allclose(np.outer(xh, yh), np.outer(x, y), rtol=1e-15))
    True
    """
    X, Y = np.atleast_2d(np.asarray(x)), np.atleast_2d(np.asarray(y))
    t, t2 = form.significand, (other or form).significand
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y):
        raise ValueError(f"rank_one takes as many x as y, got shapes {np.shape(x)}, {np.shape(y)}")
    swap = Y.shape[1] << t2 < X.shape[1] << t  # fewer scalars on that side, the same optimum
    if swap:
        X, Y, t, t2 = Y, X, t2, t
    ones = np.ones(X.shape), np.ones(Y.shape)
    found = nearest_pairs(X, Y, *ones, to_bits(t), to_bits(t2), t, rng, most=None)
    assert found.right is not None
    one, two = (found.right, found.left) if swap else (found.left, found.right)
    return one.reshape(np.shape(x)), two.reshape(np.shape(y))


def nearest_pairs(
    X: np.ndarray,
    Y: np.ndarray | None,
    weights: np.ndarray,
    weights_y: np.ndarray | None,
    round_x: Rounding,
    round_y: Rounding | None,
    significand: int,
    rng: np.random.Generator | int = FIXED,
    most: int | None = DRAWN,
    one_scale: bool = False,
) -> Pairs:
    """For each pair the scalar that is best, and what it leads to.

    Parameters
    ----------
    X : (P, m)
    Y : (P, n) or None
        None: the other side is not rounded; it then has no influence on the choice.
    weights, weights_y : (P, m), (P, n), real
        Of the squares of the entries of `X`, and of `Y` where there is one.
    round_x, round_y
        To the formats; `significand` is that of `round_x`, whose argument has its largest entry
        between 1 and 4, over all pairs where `one_scale`, else in each pair.
    most : int or None
        How many scalars at most are looked at; None: all that a real optimum takes.
    """
    size = np.abs(X).max(axis=1, initial=0.0)
    size = np.full_like(size, size.max(initial=0.0)) if one_scale else size
    unit = np.ldexp(1.0, np.where(size > 0, np.frexp(size)[1] - 1, 0))
    X = X / unit[:, None]
    complex_ones = np.iscomplexobj(X) or (Y is not None and np.iscomplexobj(Y))
    drawn = drawn_scalars(most or DRAWN, rng) if complex_ones else None
    count = X.shape[1] << (significand - 1)
    count = min(count, most or count) + EVEN if drawn is None else len(drawn)
    best = np.empty(len(X), complex if complex_ones else float)
    step = max(1, CHUNK // (best.itemsize * count * X.shape[1]))
    for start in range(0, len(X), step):
        at = slice(start, start + step)
        scalars = stable_scalars(X[at], significand, most, rng) if drawn is None else drawn[None, :]
        x, w = (z[at].T[:, :, None] for z in (X, weights))
        y, v = (None if z is None else z[at].T[:, :, None] for z in (Y, weights_y))
        cost = costs(x, y, w, v, scalars, round_x, round_y)
        choice = np.argmin(cost, axis=1)
        best[at] = np.broadcast_to(scalars, cost.shape)[np.arange(len(cost)), choice]
    left = round_x(best[:, None] * X)
    c = _projection(X.T, left.T, weights.T)
    if Y is None or weights_y is None or round_y is None:
        return Pairs(left, c * unit, None)
    found = Pairs(left, c, round_y(c[:, None] * Y))
    if complex_ones:
        found = alternated(found, X, Y, weights, weights_y, round_x, round_y)
    assert found.right is not None
    return Pairs(found.left, found.factor * unit, found.right * unit[:, None])


def alternated(
    found: Pairs,
    X: np.ndarray,
    Y: np.ndarray,
    weights: np.ndarray,
    weights_y: np.ndarray,
    round_x: Rounding,
    round_y: Rounding,
) -> Pairs:
    """Better pairs by turns: the best left one for the right one, and the other way round."""

    def error(left: np.ndarray, c: np.ndarray, right: np.ndarray) -> np.ndarray:
        lost = (weights * _square(X - c[:, None] * left)).sum(axis=1)
        kept = (weights * _square(left)).sum(axis=1)
        rounded = (weights_y * _square(c[:, None] * Y - right)).sum(axis=1)
        return lost * (weights_y * _square(Y)).sum(axis=1) + kept * rounded

    left, c, right = found
    assert right is not None
    least = error(left, c, right)
    for _ in range(TURNS):
        left2 = round_x(_projection(Y.T, right.T, weights_y.T)[:, None] * X)
        c2 = _projection(X.T, left2.T, weights.T)
        right2 = round_y(c2[:, None] * Y)
        now = error(left2, c2, right2)
        better = now < least
        left, right = (np.where(better[:, None], *z) for z in ((left2, left), (right2, right)))
        c, least = np.where(better, c2, c), np.minimum(now, least)
    return Pairs(left, c, right)


def costs(
    x: np.ndarray,
    y: np.ndarray | None,
    w: np.ndarray,
    v: np.ndarray | None,
    scalars: np.ndarray,
    round_x: Rounding,
    round_y: Rounding | None,
) -> np.ndarray:
    """Squared errors.  x, w : (m, P, 1)   y, v : (n, P, 1)   scalars : (P or 1, K)   -> (P, K)"""
    xh = round_x(x * scalars)
    c = _projection(x, xh, w)
    error = (w * _square(x - c * xh)).sum(axis=0)
    if y is None or v is None or round_y is None:
        return error
    cy = c * y
    rounded = (v * _square(cy - round_y(cy))).sum(axis=0)
    return error * (v * _square(y)).sum(axis=0) + (w * _square(xh)).sum(axis=0) * rounded


def _projection(x: np.ndarray, xh: np.ndarray, w: np.ndarray) -> np.ndarray:
    """``<xh, x> / <xh, xh>`` over the first axis, 0 where xh is zero."""
    inner = (w * (xh.conj() * x)).sum(axis=0)
    norm = (w * _square(xh)).sum(axis=0)
    return inner / np.where(norm > 0, norm, 1.0)


def _square(z: np.ndarray) -> np.ndarray:
    return z.real**2 + z.imag**2 if np.iscomplexobj(z) else z * z


# -- the scalars -------------------------------------------------------------------------------


def stable_scalars(
    X: np.ndarray, significand: int, most: int | None, rng: np.random.Generator | int = FIXED
) -> np.ndarray:
    """For each row one scalar of every interval of [1, 2) on which ``round(s x)`` does not change.

    1 comes first: what needs no scaling is not scaled.  Where there are more than `most` intervals,
    that many scalars are drawn.  (P, m) -> (P, K)
    """
    one = np.ones((len(X), 1))
    if most is not None and X.shape[1] << (significand - 1) > most:
        drawn = np.exp2(np.random.default_rng(rng).random(most))
        return np.concatenate([one, np.broadcast_to(drawn, (len(X), most))], axis=1)
    half = np.arange(2 ** (significand - 1), 2**significand) + 0.5
    half /= 2.0 ** (significand - 1)  # half-way numbers of [1, 2)
    fraction = 2 * np.abs(np.frexp(X)[0])
    fraction = np.where(fraction > 0, fraction, 1.0)
    ends = (half / fraction[:, :, None]).reshape(len(X), -1)
    ends = np.where(ends < 1, 2 * ends, ends)
    ends.sort(axis=1)
    ends = np.concatenate([one, ends, 2 * one], axis=1)
    middles = (ends[:, 1:] + ends[:, :-1]) / 2
    even = np.broadcast_to(1 + (np.arange(EVEN) + 0.5) / EVEN, (len(X), EVEN))
    return np.concatenate([one, middles, even], axis=1)  # the even ones: for subnormals


def drawn_scalars(count: int, rng: np.random.Generator | int = FIXED) -> np.ndarray:
    """Scalars of a fundamental domain of ``s -> 2 s, i s``: magnitudes in [1, 2), a quarter turn.

    A lattice with a drawn origin (the two-dimensional golden ratio): evener than independent ones.
    """
    golden = 1.324717957244746  # the root of g^3 = g + 1
    shift = np.random.default_rng(rng).random(2)
    at = np.arange(1, count)[:, None] * [1 / golden, 1 / golden**2] + shift
    radius, turn = (at % 1.0).T
    return np.concatenate([[1.0 + 0j], np.exp2(radius) * np.exp(0.5j * np.pi * turn)])


# -- roundings ---------------------------------------------------------------------------------


def to_bits(significand: int) -> Rounding:
    """To so many significand bits, exponents without bounds, in three operations (Veltkamp).

    To nearest, in either direction where two are nearest: both cost the same.
    """
    many = 2.0 ** (53 - significand) + 1

    def rounding(z: np.ndarray) -> np.ndarray:
        z = np.ascontiguousarray(z)
        parts = z.view(np.float64)
        large = parts * many
        return (large - (large - parts)).view(z.dtype)

    return rounding


def to_format(form: FloatFormat) -> Rounding:
    """To a format placed so that 4 is not beyond it; with the subnormals where those matter."""
    plain = to_bits(form.significand)
    if form.exponent_bits is None or form.exponent_bits > 4:
        return plain  # less than 2^-27 of the largest entry: nothing is seen of it
    scale = 2.0 ** np.floor(np.log2(form.max / 4))
    tiny, shift = form.tiny / scale, 1.5 * 2.0**52 * form.smallest / scale

    def rounding(z: np.ndarray) -> np.ndarray:
        z = np.ascontiguousarray(z)
        parts, y = z.view(np.float64), plain(z).view(np.float64)
        return np.where(np.abs(parts) < tiny, (parts + shift) - shift, y).view(z.dtype)

    return rounding
