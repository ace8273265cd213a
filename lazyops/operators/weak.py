"""Operators whose values are constants of mathematics: they follow `x` as Python numbers do."""

from __future__ import annotations

from dataclasses import dataclass

from .._array import CPU_LIBRARIES, dtype_name
from .base import LinearOperator
from .host import readable, through_host
from .law import Law


@dataclass(eq=False, repr=False)
class Weak(LinearOperator):
    """An operator with weak values: its products have the library, device and precision of `x`.

    A window or the weights of an interpolation are held once, in double precision, and moved and
    cast where an `x` asks for it; each copy is kept.  float32 stays float32, as with ``2.0 * A``.
    """

    operator: LinearOperator

    def _check(self):
        if not _in_double(self.operator):
            held = ", ".join(sorted(self.operator._law.strong))
            raise TypeError(
                f"weak values are held in double precision, {self.operator!r} holds {held}: use it "
                f"as it is, or give it astype('float64')"
            )

    def _shape(self):
        return self.operator.shape

    def _law_of(self, operands):
        return Law(frozenset(), "complex" if self.operator._is_complex else "float")

    def _places_of(self, operands):
        return frozenset()

    def _steps(self, x):
        name = self._law.result(dtype_name(x.dtype))
        if self.operator._places <= CPU_LIBRARIES and readable(x):
            host = self.operator.to(namespace="numpy", dtype=name)
            return through_host(self, host._matmat, x)
        y = yield self.operator.to(like=x, dtype=name), x
        return y

    def _with_operands(self, operands):
        """Another precision asked for by `astype` is no concern of values that follow `x`."""
        return super()._with_operands(operands) if all(map(_in_double, operands)) else self

    def _adjoint(self, adjoint):
        return Weak(adjoint)

    def _facts(self, operand):
        return operand

    @property
    def precedence(self):
        return self.operator.precedence

    def _pieces(self):
        yield (self.operator, 0)


def _in_double(op: LinearOperator) -> bool:
    return op._law.strong <= {"float64", "complex128"}
