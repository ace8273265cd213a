"""One axis of a signal of several."""

from __future__ import annotations

import math
from typing import Any

from ..operators import Identity, LinearOperator, aslinearoperator, kron
from .shifts import Shape, as_shape


def along_axis(op: Any, shape: Shape, axis: int) -> LinearOperator:
    """`op` along one axis of a signal of several, flattened in C order.

    ``along_axis(op, shape, axis) @ x.reshape(-1)`` is `op` of every vector along `axis`.  It is
    ``kron(I, op, I)``: products along one axis, and along several, simplify.  Transforms run
    along the axis where it lies, without a transposed copy.

    Parameters
    ----------
    op : operator or matrix of shape (m, shape[axis])
    shape : sequence of int
        Of the signal that comes in.
    axis : int
        Negative ones count from the end.

    Returns
    -------
    operator; the signal that leaves has `m` in place of ``shape[axis]``

    Raises
    ------
    ValueError
        If `op` does not take vectors of the length of that axis, or there is no such axis.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> x = np.arange(12.).reshape(3, 4)
    >>> y = lo.along_axis(lo.fft(4), x.shape, 1) @ x.reshape(-1)
    >>> bool(np.allclose(y.reshape(3, 4), np.fft.fft(x, axis=1)))
    True
    >>> A = lo.along_axis(lo.dct(3), x.shape, 0) @ lo.along_axis(lo.fft(4), x.shape, 1)
    >>> lo.simplify(A)
    kron(dct(3), fft(4))
    """
    op, sizes = aslinearoperator(op), as_shape(shape)
    if not -len(sizes) <= axis < len(sizes):
        raise ValueError(f"a signal of shape {sizes} has no axis {axis}")
    axis %= len(sizes)
    if op.shape[1] != sizes[axis]:
        m, n = op.shape
        raise ValueError(f"{op!r} ({m}x{n}) meets axis {axis} of shape {sizes}: {n} columns, "
                         f"{sizes[axis]} entries")  # fmt: skip
    before, after = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
    eyes = [[] if n == 1 else [Identity(n)] for n in (before, after)]
    return kron(*eyes[0], op, *eyes[1])
