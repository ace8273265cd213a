"""Real and imaginary part of an operator."""

from __future__ import annotations

from dataclasses import dataclass

from .._array import array_namespace, has_complex_values, real_dtype
from .algebra import compose
from .base import LinearOperator
from .law import Law
from .scalar import Scalar, Zero
from .tracing import at_once


@dataclass(eq=False, repr=False)
class RealPart(LinearOperator):
    """The entrywise real part of an operator; see `LinearOperator.real`."""

    operator: LinearOperator

    def _shape(self):
        return self.operator.shape

    def _law_of(self, operands):
        law = self.operator._law
        strong = frozenset(real_dtype(name) for name in law.strong)
        return Law(strong, "float" if law.kind == "complex" else law.kind)

    def _steps(self, x):
        xp = array_namespace(x)
        if not has_complex_values(x):
            y = yield self.operator, x
            return xp.real(y) if has_complex_values(y) else y
        k = x.shape[1]
        y = yield self.operator, xp.concat([xp.real(x), xp.imag(x)], axis=1)
        y = xp.real(y) if has_complex_values(y) else y
        return y[:, :k] + 1j * y[:, k:]

    def _adjoint(self, adjoint):
        return RealPart(adjoint)

    def _conj(self, conj):
        return self

    def _facts(self, operand):
        """(A + conj(A)) / 2, where conj(A) = A.T is as hermitian and as positive as A."""
        return {name: operand[name] or None for name in ("hermitian", "positive")}

    def _pieces(self):
        yield "real("
        yield (self.operator, 0)
        yield ")"


@at_once
def real_part(op: LinearOperator) -> LinearOperator:
    """The real part; `op` itself where it is real."""
    return RealPart(op) if op._is_complex else op


@at_once
def imaginary_part(op: LinearOperator) -> LinearOperator:
    """The imaginary part, as the real part of ``-1j * op``."""
    if not op._is_complex:
        return Zero(op.shape)
    return RealPart(compose(Scalar(op.shape[0], -1j), op))
