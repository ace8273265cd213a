"""Time-domain aliasing: the orthogonal part of a modified cosine transform before its cosines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._array import Array, array_namespace, is_numpy
from .base import LinearOperator
from .diagonal import in_one_dtype, require_array
from .scalar import check_size


@dataclass(eq=False, repr=False)
class Lapped(LinearOperator):
    """Rotations of the samples that mirror each other at the borders of blocks, or the transpose.

    A signal of `count` blocks of N samples becomes `count` columns of N, by rows.  With
    the quarters (a, b, c, d) of a frame of 2 N samples, each times its quarter of the window,
    a column is ``(-reversed(c) - d, a - reversed(b))``, what a cosine transform of type IV makes a
    modified one of.  The first frame has no a, the last no d: there b and c have weight 1.

    Parameters
    ----------
    window : real array of shape (2 N,), N even
        Symmetric, with ``window[j]**2 + window[j + N]**2 == 1`` (Princen and Bradley, 1986).
    count : int
        Blocks, at least 1.
    transposed : bool
    """

    window: Array
    count: int
    transposed: bool = False
    makes_new = True

    def _check(self):
        require_array(self.window, 1, "Lapped takes its window as a vector")
        object.__setattr__(self, "count", check_size(self.count, "the number of blocks"))
        if self.window.shape[0] % 4 or not self.window.shape[0] or not self.count:
            raise ValueError(
                f"Lapped takes a window of a multiple of 4 entries and a block or more, got "
                f"{self.window.shape[0]} entries and {self.count} blocks"
            )

    def _shape(self):
        n = self.window.shape[0] // 2 * self.count
        return n, n

    def _matmat(self, x):
        window, x = in_one_dtype(self.window, x)
        xp, k, n = array_namespace(x), x.shape[1], self.shape[0]
        rows = window.shape[0] // 2
        if self.transposed:
            x = xp.reshape(x, (rows, self.count, k))
        else:
            x = xp.permute_dims(xp.reshape(x, (self.count, rows, k)), (1, 0, 2))
        rotate = _rotated_in_place if is_numpy(x) else _rotated
        y = rotate(x, xp.reshape(window, (4, -1, 1, 1)), not self.transposed)
        if self.transposed:
            y = xp.permute_dims(y, (1, 0, 2))
        return xp.reshape(y, (n, k))

    def _adjoint(self):
        return Lapped(self.window, self.count, not self.transposed, copy=False)

    def _conj(self):
        return self

    def _facts(self):
        return {"unitary": True}

    def _label(self):
        text = f"lapped({self.shape[0]}, {self.window.shape[0]})"
        return f"{text}.T" if self.transposed else text


def _rotated(x: Array, quarters: Array, last: bool) -> Array:
    """Both halves of each column from the mirrored other half and from the next column.

    Where `last` is set the upper half looks at the column behind, and the last column has none
    there; otherwise at the column before, and the first has none.  The lower half does the
    opposite.  The transpose is the same with `last` turned round.
    """
    xp, h = array_namespace(x), x.shape[0] // 2
    a, b, c, d = (quarters[i, ...] for i in range(4))
    upper, lower = x[:h, :, :], x[h:, :, :]
    one = _joined(xp.flip(lower, axis=0), upper, -b, -d, last)
    two = _joined(xp.flip(upper, axis=0), lower, -c, a, not last)
    return xp.concat([one, two], axis=0)


def _rotated_in_place(x: np.ndarray, quarters: np.ndarray, last: bool) -> np.ndarray:
    """The same with two passes over each half and one piece of memory."""
    h = x.shape[0] // 2
    x = np.ascontiguousarray(x)
    a, b, c, d = quarters
    y = np.empty(x.shape, np.result_type(x, quarters))
    first, rest, but_last = slice(0, 1), slice(1, None), slice(0, -1)
    upper = y[:h], x[: h - 1 : -1], x[:h], -b, -d, last
    lower = y[h:], x[h - 1 :: -1], x[h:], -c, a, not last
    for out, near, far, w, v, at_end in (upper, lower):
        here, there = (but_last, rest) if at_end else (rest, but_last)
        edge = slice(-1, None) if at_end else first
        np.multiply(w, near, out=out)
        out[:, here] += v * far[:, there]
        np.negative(near[:, edge], out=out[:, edge])
    return y


def _joined(near: Array, far: Array, w: Array, v: Array, last: bool) -> Array:
    """``w near[:, p] + v far[:, p +- 1]``; ``-near`` in the column that has no neighbour there."""
    xp = array_namespace(near)
    if last:
        return xp.concat([w * near[:, :-1, :] + v * far[:, 1:, :], -near[:, -1:, :]], axis=1)
    return xp.concat([-near[:, :1, :], w * near[:, 1:, :] + v * far[:, :-1, :]], axis=1)
