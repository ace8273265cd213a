"""Which dtype an operator delivers: one rule, proved in the tests by looking at what comes out."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .._array import LOW_BITS, is_inexact_name, join_dtypes, with_complex

KINDS = ("bool", "float", "complex")  # of an operator that holds no values; they join upwards


class Law(NamedTuple):
    """What an operator knows of its dtype before it sees `x`.

    `strong` are the dtypes of the arrays it holds (they promote as in NumPy); `kind` joins
    like a Python scalar: a complex kind makes the result complex and keeps its precision.

    >>> Law(frozenset({"float32"}), "complex").result("float64")
    'complex128'
    """

    strong: frozenset[str]
    kind: str

    def join(self, other: Law) -> Law:
        if self == other:
            return self
        return Law(self.strong | other.strong, max(self.kind, other.kind, key=KINDS.index))

    def result(self, x: str) -> str:
        """Name of the dtype delivered for an `x` of dtype `x`; integers count as float64."""
        return _result(self, x)

    @property
    def declared(self) -> np.dtype:
        """The NumPy dtype shown to SciPy: of the values held, else what a float64 `x` gives."""
        floats = sorted(filter(is_inexact_name, self.strong))
        name = _result(self, floats[0] if floats else "float64")
        low = name in LOW_BITS or name not in np.sctypeDict
        return np.dtype("float32" if low else name)


@functools.cache
def _result(law: Law, x: str) -> str:
    name = x if is_inexact_name(x) else "float64"
    name = functools.reduce(join_dtypes, sorted(law.strong), name)
    return with_complex(name) if law.kind == "complex" else name


def join_laws(laws: Iterable[Law]) -> Law:
    """The law of an expression made of operators with these laws."""
    return functools.reduce(Law.join, dict.fromkeys(laws), NEUTRAL)


NEUTRAL = Law(frozenset(), "bool")


def law_of_scalar(alpha: object) -> Law:
    """Python scalars are weak, NumPy scalars and 0-d arrays strong (NEP 50)."""
    if isinstance(alpha, complex) and not isinstance(alpha, np.generic):
        return Law(frozenset(), "complex")
    return Law(frozenset(), "float")
