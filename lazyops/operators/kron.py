"""Kronecker product and Kronecker sum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import Array, array_namespace, has_complex_values, is_numpy
from .algebra import _operators, add
from .base import LinearOperator
from .cosine import Cosine
from .fourier import Fourier, by_scipy
from .hartley import Hartley
from .host import readable
from .real_fourier import HalfFourier, RealFourier
from .scalar import Identity, is_one

# Run by SciPy on NumPy arrays, and on tensors of the CPU too, along others than the last axis:
# there torch's FFT makes copies, in pages that the system has to clear.
SCIPYS = (Cosine, Fourier, HalfFourier, Hartley, RealFourier)


@dataclass(eq=False, repr=False)
class Kron(LinearOperator):
    """``kron(factors[0], factors[1], ...)``, in the order of ``numpy.kron``; see `kron`.

    Factors of one family of transforms (``_family``) run in one n-D call, in place of one call
    and two transpositions each.
    """

    factors: tuple[LinearOperator, ...]
    precedence = 9

    def __post_init__(self, copy: bool):
        found: list[LinearOperator] = []
        for factor in _operators("a Kronecker product", self.factors):
            found.extend(factor.factors if isinstance(factor, Kron) else (factor,))
        object.__setattr__(self, "factors", tuple(found))
        super().__post_init__(copy)
        acting = [f for f in found if not is_one(f)]
        self.makes_new = bool(acting) and all(f.makes_new for f in acting)
        self._signal = tuple([f.shape[1] for f in found])
        self._strided = all(isinstance(f, SCIPYS) for f in acting) and acting[:1] != found[-1:]

    def _shape(self):
        shapes = [f.shape for f in self.factors]
        return math.prod(m for m, _ in shapes), math.prod(n for _, n in shapes)

    def _matmat(self, x):
        if self._by_host(x):
            return by_scipy(self, x)
        passes = self._passes(x)
        if len(passes) != 1 or 0 in x.shape:
            return super()._matmat(x)
        axes = passes[0]
        factor = self.factors[axes[0]]
        if factor._family(x) is None:
            return super()._matmat(x)
        # one n-D call and nothing else; factors are square, their shape is that of the signal
        n, k = x.shape
        shape = self._signal if k == 1 else (*self._signal, k)
        if is_numpy(x):
            return factor._along(x.reshape(shape), axes).reshape(n, k)
        xp = array_namespace(x)
        return xp.reshape(factor._along(xp.reshape(x, shape), axes), (n, k))

    def _by_host(self, x: Array) -> bool:
        return self._strided and not is_numpy(x) and readable(x)

    def _steps(self, x):
        if self._by_host(x):
            return by_scipy(self, x)
        xp = np if is_numpy(x) else array_namespace(x)
        k = int(x.shape[1])
        sizes = [f.shape[1] for f in self.factors]
        for axes in self._passes(x):
            axis, factor = axes[0], self.factors[axes[0]]
            if factor._family(x) is not None and k:
                x = factor._along(xp.reshape(x, (*sizes, k) if k > 1 else tuple(sizes)), axes)
                continue
            before, after = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :]) * k
            x = xp.reshape(x, (before, sizes[axis], after))
            y = factor._between(x) if k else None
            if y is None:
                columns = xp.permute_dims(x, (1, 0, 2))
                y = yield factor, xp.reshape(columns, (sizes[axis], before * after))
                y = xp.permute_dims(xp.reshape(y, (factor.shape[0], before, after)), (1, 0, 2))
            x, sizes[axis] = y, factor.shape[0]
        return xp.reshape(x, (self.shape[0], k))

    def _passes(self, x: Array) -> list[tuple[int, ...]]:
        """The axes in the order of `_order`, those of one family of transforms together."""
        key = ("passes", is_numpy(x), has_complex_values(x))  # what families depend on
        if key not in self._cache:
            found: dict[Any, tuple[int, ...]] = {}
            for axis in self._order():
                if not is_one(self.factors[axis]):
                    family = self.factors[axis]._family(x)
                    name = axis if family is None else family
                    found[name] = (*found.get(name, ()), axis)
            self._cache[key] = list(found.values())
        return self._cache[key]

    def _order(self) -> list[int]:
        """Factors that shrink their axis first, those that widen it last: least work between."""
        ratio = [m / n if n else 1.0 for m, n in (f.shape for f in self.factors)]
        return sorted(range(len(self.factors)), key=ratio.__getitem__)

    def _adjoint(self, *adjoints):
        return Kron(adjoints)

    def _facts(self, *operands):
        found = {f: all_or_none(o[f] for o in operands) for f in operands[0]}
        return found

    def _flops(self, *operands):
        sizes = [f.shape[1] for f in self.factors]
        total = 0
        for axis in self._order():
            times = math.prod(sizes[:axis]) * math.prod(sizes[axis + 1 :])
            total += operands[axis] * times
            sizes[axis] = self.factors[axis].shape[0]
        return total

    def _pieces(self):
        yield "kron("
        for i, factor in enumerate(self.factors):
            if i:
                yield ", "
            yield (factor, 0)
        yield ")"


def all_or_none(values) -> bool | None:
    """True where all are True; else unknown."""
    return True if all(v is True for v in values) else None


def kron(*operators: Any) -> LinearOperator:
    """Kronecker product, ordered as ``numpy.kron``.

    ``kron(A, B) @ x.reshape(-1)`` is ``(A @ x @ B.T).reshape(-1)`` for a matrix `x` by rows.
    Fourier, cosine, sine and Hartley transforms among the factors run as n-D transforms.

    Parameters
    ----------
    *operators : operators, matrices or sparse matrices

    Returns
    -------
    LinearOperator of shape (product of rows, product of columns)

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.kron(lo.Identity(2), [[1., 2.]]).to_dense()
    array([[1., 2., 0., 0.],
           [0., 0., 1., 2.]])
    """
    found = _operators("kron", operators)
    return found[0] if len(found) == 1 else Kron(tuple(found))


def kronsum(*operators: Any) -> LinearOperator:
    """Kronecker sum ``A (x) I (x) I + I (x) B (x) I + ...`` of square operators.

    Raises
    ------
    ValueError
        If one of them is not square.
    """
    found = _operators("kronsum", operators)
    for op in found:
        if op.shape[0] != op.shape[1]:
            m, n = op.shape
            raise ValueError(f"kronsum takes square operators, {op!r} is {m}x{n}")
    eyes = [Identity(op.shape[0]) for op in found]
    terms = [kron(*eyes[:i], op, *eyes[i + 1 :]) for i, op in enumerate(found)]
    return add(*terms)
