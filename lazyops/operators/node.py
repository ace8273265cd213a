"""What a kind of operator is made of: fields, hooks, and what is derived from them alone."""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar

import scipy.sparse.linalg

from .._array import Array, Place, conj, dtype_name, is_array, is_complex_name, own
from .._array import place as place_of
from ..kernels import Stage
from .law import NEUTRAL, Law, join_laws
from .tracing import outside
from .tree import fold, from_records, map_operators, run, to_records

INDEX = {"role": "index"}  # metadata of a field that holds integers: never counts for the dtype
ITSELF = object()  # in a cache: the partner is the operator itself


@dataclass(eq=False, repr=False)
class Node(scipy.sparse.linalg.LinearOperator):
    """The part of `LinearOperator` that a new kind is written against; see its docstring."""

    copy: InitVar[bool] = field(default=True, kw_only=True)

    kind: ClassVar[str] = "bool"  # joins the dtype as a Python scalar would: see law.py
    precedence: ClassVar[int] = 9  # 1 sum, 2 product; a name is an atom
    makes_new = False  # whether _matmat never hands back `x`, a view of it, or a shared array
    _is_composite: ClassVar[bool] = False  # whether it is made of operators: it has _steps

    # -- construction --------------------------------------------------------------------

    def __post_init__(self, copy: bool):
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if is_array(value):
                object.__setattr__(self, f.name, own(value, copy))
        self._check()
        operands = tuple(_operators_in(self))
        self._settle(self._shape(), self._law_of(operands), self._places_of(operands))

    def _settle(self, shape: tuple[int, int], law: Law, places: frozenset[Place]) -> None:
        """Last step of every construction: the facts that all methods rely on."""
        self._law, self._places = law, places
        self._cache: dict[Any, Any] = {}
        super().__init__(law.declared, shape)

    @classmethod
    def _restore(cls, fields: dict[str, Any]) -> Node:
        """The operator with these fields; arrays are held, not copied."""
        return cls(**fields, copy=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ and name != "ndim":
            raise AttributeError(
                f"operators are immutable: {name} of {self.kind_name} is set; build a new operator"
            )
        object.__setattr__(self, name, value)

    # -- what a kind defines -------------------------------------------------------------

    def _shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        raise NotImplementedError(f"{type(self).__name__} does not define _shape()")

    def _check(self) -> None:
        """Raise where the fields make no sense (optional)."""

    def _matmat(self, x: Array) -> Array:
        """``self @ x`` for a checked `x` of shape (columns, k); may return `x` or a view of it."""
        if self._is_composite:
            return run(self, x)
        raise NotImplementedError(f"{type(self).__name__} does not define _matmat(x)")

    def _between(self, x: Array) -> Array | None:
        """The product along the middle axis of an `x` of shape (before, columns, after), where
        it needs no transposed copy (optional): how factors of `kron` run."""
        return None

    def _numbers(self, name: str, array: Array) -> int:
        """How many numbers the array of a field holds, codes of several bits counted as one."""
        return math.prod(map(int, array.shape))

    def _stage(self) -> Stage | None:
        """The arrays by which kernels run a factor in one pass with its neighbours (optional)."""
        return None

    def _family(self, x: Array) -> tuple | None:
        """Transforms of one family run along their axes of an n-D array in one call (optional)."""
        return None

    def _along(self, x: Array, axes: tuple[int, ...]) -> Array:
        """The transforms of this family along `axes` of an `x` of any number of axes."""
        raise NotImplementedError(f"{type(self).__name__} does not define _along(x, axes)")

    def _adjoint(self, *operands: Node) -> Node:
        """The conjugate transpose; of a composite, given the adjoints of its operands."""
        raise NotImplementedError(f"{self.kind_name} knows no adjoint")

    def _conj(self, *operands: Node) -> Node:
        """The entrywise conjugate; by default every operand or array held is conjugated."""
        if operands:
            return self._with_operands(operands)
        return self._map_arrays(lambda a: conj(a), lambda index: index)

    def _moved(self, xp: Any, device: Any, name: str | None) -> Node:
        """A leaf in another namespace, on another device, in another precision."""
        from .move import moved_values

        return moved_values(self, xp, device, name)

    def _facts(self, *operands: dict[str, bool | None]) -> dict[str, bool | None]:
        """What is known for sure of `hermitian`, `unitary`, `positive`; unnamed means unknown."""
        return {}

    def _dense(self) -> Array | None:
        """The matrix, fresh, where that costs less than products with unit vectors (optional)."""
        return None

    def _flops(self, *operands: int) -> int:
        """Real operations for one column of `x`, given those of the operands."""
        if operands:
            return sum(operands)
        held = [a for f, a in self._arrays() if not f.metadata]
        return sum(2 * flop_weight(a) * math.prod(a.shape) for a in held)

    def _label(self) -> str:
        """How the operator is written in an expression."""
        m, n = self.shape
        return f"{type(self).__name__}{m}" if m == n else f"{type(self).__name__}{m}x{n}"

    def _pieces(self) -> Iterable[str | tuple[Node, int]]:
        """The text of a composite: strings, and operands with the precedence they need."""
        yield self._label()

    # -- derived structure ---------------------------------------------------------------

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls._is_composite = hasattr(cls, "_steps")

    @property
    def kind_name(self) -> str:
        return type(self).__name__

    @property
    def _operands(self) -> tuple[Node, ...]:
        return tuple(_operators_in(self)) if self._is_composite else ()

    def _arrays(self) -> Iterable[tuple[dataclasses.Field, Array]]:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if is_array(value):
                yield f, value

    def _law_of(self, operands: tuple[Node, ...]) -> Law:
        names = [dtype_name(a.dtype) for f, a in self._arrays() if f.metadata != INDEX]
        law = Law(frozenset(names), self.kind) if names or self.kind != "bool" else NEUTRAL
        return join_laws([law, *(o._law for o in operands)]) if operands else law

    def _places_of(self, operands: tuple[Node, ...]) -> frozenset[Place]:
        found = {place_of(a) for f, a in self._arrays() if f.metadata != INDEX}
        return frozenset(found).union(*(o._places for o in operands))

    def _map_arrays(self, values: Callable, index: Callable) -> Node:
        """The same leaf with `values` applied to its values and `index` to its index arrays."""
        changed = {
            f.name: index(a) if f.metadata == INDEX else values(a) for f, a in self._arrays()
        }
        if all(changed[f.name] is a for f, a in self._arrays()):
            return self
        return dataclasses.replace(self, **changed, copy=False)

    def _with_operands(self, operands: tuple[Node, ...]) -> Node:
        """The same composite of other operands."""
        if all(new is old for new, old in zip(operands, self._operands, strict=True)):
            return self
        following = iter(operands)
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return type(self)(**map_operators(fields, lambda _: next(following)))

    # -- copies and pickles ------------------------------------------------------------------

    def __reduce__(self):
        return from_records, (to_records(self),)

    def __copy__(self):
        return self


del Node.copy  # the keyword of every constructor is not an attribute of operators


def _operators_in(op: Node) -> Iterable[Node]:
    stack = [getattr(op, f.name) for f in reversed(dataclasses.fields(op))]
    while stack:
        value = stack.pop()
        if isinstance(value, Node):
            yield value
        elif type(value) is tuple:
            stack.extend(reversed(value))


def paired(root: Node, name: str, make: Callable, deep: bool = True) -> Node:
    """`root`'s partner under an involution.  The one that was asked holds the other, which knows
    it weakly: neither a cycle that keeps memory, nor a partner built twice."""

    def visit(op, operands):
        other = outside(make, op, operands)
        if other is op:
            op._cache[name] = ITSELF
            return op
        other = op._cache.setdefault(name, other)
        if known_partner(other, name) is None:
            other._cache[name] = weakref.ref(op)
        return other

    def known(op):
        partner = known_partner(op, name)
        return _relative(op, name) if partner is None else partner

    if deep:
        return fold(root, visit, known)
    partner = known(root)
    return visit(root, ()) if partner is None else partner


def known_partner(op: Node, name: str) -> Node | None:
    """The adjoint ``"H"``, transpose ``"T"`` or ``"conj"`` if it has been built already."""
    other = op._cache.get(name)
    if other is ITSELF:
        return op
    if isinstance(other, weakref.ref):
        other = other()
        if other is None:
            op._cache.pop(name, None)
    return other


INVOLUTIONS = {"H": 1, "conj": 2, "T": 3}  # H conj = T: their codes combine by exclusive or


def _relative(op: Node, name: str) -> Node | None:
    """The partner that other partners of `op` know, in whatever order A, A.H, A.T and A.conj()
    were asked for.  Held weakly: another one than `op` may hold it, and `op` too."""
    if not any(key in op._cache for key in INVOLUTIONS):
        return None
    found = {0: op}
    reached = [0]
    for code in reached:
        for key, step in INVOLUTIONS.items():
            if code ^ step not in found and (other := known_partner(found[code], key)) is not None:
                found[code ^ step] = other
                reached.append(code ^ step)
    other = found.get(INVOLUTIONS[name])
    if other is op:
        op._cache[name] = ITSELF
    elif other is not None:
        op._cache[name] = weakref.ref(other)
        if known_partner(other, name) is None:
            other._cache[name] = weakref.ref(op)
    return other


def flop_weight(a: Array) -> int:
    """A complex multiplication and addition cost four times the real ones."""
    return 4 if is_complex_name(dtype_name(a.dtype)) else 1
