"""Simplify an operator by rewriting neighbours until no rule applies.

A rule is given two neighbours of a product (or three), or two terms of a sum.  It returns

- the one operator they merge into, or
- the operators that replace them, in canonical order, or
- None, when it does not apply.

A merge makes the operator smaller and a swap makes it more ordered (scalars, diagonals,
permutations, factors), so rules that keep to this come to an end, whatever order they are
tried in.  Addition commutes: terms of one kind are brought together before neighbours meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..operators import LinearOperator, Product, Sum, Zero, add, compose, fold

Rewritten = LinearOperator | tuple[LinearOperator, ...] | None
Log = Callable[[str], None] | None


@dataclass(frozen=True)
class Rule:
    """An identity between operators: where it looks (`kinds`) and what it does (`rewrite`)."""

    kinds: tuple[type[LinearOperator], ...]
    rewrite: Callable[..., Rewritten]

    def __call__(self, *operators: LinearOperator) -> tuple[LinearOperator, ...] | None:
        if len(operators) != len(self.kinds) or not all(map(isinstance, operators, self.kinds)):
            return None
        new = self.rewrite(*operators)
        return (new,) if isinstance(new, LinearOperator) else new

    def __repr__(self) -> str:
        return f"{self.rewrite.__name__}: {(self.rewrite.__doc__ or '').splitlines()[0]}"


class Rules:
    """Tables of rules, tried in order.  Tables add up: ``structural.RULES + my_rules``."""

    def __init__(
        self,
        products: Iterable[Rule] = (),
        sums: Iterable[Rule] = (),
        nodes: Iterable[Rule] = (),
        collect: Iterable[Callable] = (),
    ):
        self.products, self.sums, self.nodes = list(products), list(sums), list(nodes)
        self.collect = list(collect)

    def product(self, *kinds: type[LinearOperator]) -> Any:
        """Register a rule for ``left @ right``, or for three neighbours.

        Its docstring is the identity it applies.
        """
        return _registering(self.products, kinds)

    def sum(self, left: type[LinearOperator], right: type[LinearOperator]) -> Any:
        """Register a rule for ``left + right``."""
        return _registering(self.sums, (left, right))

    def node(self, kind: type[LinearOperator]) -> Any:
        """Register a rule for one composite operator by itself."""
        return _registering(self.nodes, (kind,))

    def terms(self, rewrite: Callable) -> Callable:
        """Register a rule for all the terms of a sum at once: a list in, a list (or None) out."""
        self.collect.append(rewrite)
        return rewrite

    def __add__(self, other: Rules) -> Rules:
        return Rules(
            (*self.products, *other.products),
            (*self.sums, *other.sums),
            (*self.nodes, *other.nodes),
            (*self.collect, *other.collect),
        )


def _registering(table: list[Rule], kinds: tuple[type[LinearOperator], ...]) -> Any:
    def register(rewrite):
        table.append(Rule(kinds, rewrite))
        return rewrite

    return register


def simplify(operator: LinearOperator, rules: Rules, log: Log = None) -> LinearOperator:
    """See `lazyops.simplify`."""
    return fold(operator, lambda node, operands: _simplify_node(node, operands, rules, log))


def _simplify_node(node, operands, rules: Rules, log: Log) -> LinearOperator:
    if not operands:
        return node
    node = node._with_operands(operands)
    if isinstance(node, Product):
        factors = _rewrite_neighbours(node.factors, rules.products, rules, log)
        return node if _same(factors, node.factors) else _packed_as(node, compose(*factors))
    if isinstance(node, Sum):
        terms = _rewrite_terms(node, rules, log)
        return node if _same(terms, node.terms) else add(*terms)
    new = _first_that_applies(rules.nodes, (node,), log)
    return node if new is None else _renewed(new, (node,), rules, log)[0]


def _packed_as(node: Product, new: LinearOperator) -> LinearOperator:
    return new if node.pack or not isinstance(new, Product) else Product(new.factors, pack=False)


def _rewrite_terms(node: Sum, rules: Rules, log: Log) -> list[LinearOperator]:
    terms = list(node.terms)
    for collect in rules.collect:
        found = collect(terms)
        if found is not None:
            if log is not None:
                log(_line(terms, found, f"{collect.__name__}: {collect.__doc__}", " + "))
            terms = found
    by_kind: dict[type, list[LinearOperator]] = {}
    for term in terms:
        by_kind.setdefault(type(term), []).append(term)
    grouped = [term for group in by_kind.values() for term in group]
    done = _rewrite_neighbours(grouped, rules.sums, rules, log)
    if len(done) > 1:
        done = [term for term in done if not isinstance(term, Zero)] or done[:1]
    return terms if _same_members(done, terms) else done


def _rewrite_neighbours(
    operators: Iterable[LinearOperator], table: Sequence[Rule], rules: Rules, log: Log
) -> list[LinearOperator]:
    done: list[LinearOperator] = []  # no rule applies between two neighbours in here
    todo = list(operators)[::-1]
    while todo:
        done.append(todo.pop())
        for count in (2, 3):
            last = tuple(done[-count:])
            if len(last) < count or (new := _first_that_applies(table, last, log)) is None:
                continue
            del done[-count:]
            todo.extend(reversed(_flattened(_renewed(new, last, rules, log), table, rules)))
            break
    return done


def _flattened(operators, table, rules: Rules) -> list[LinearOperator]:
    """A product that a rule made among factors gives its factors, a sum among terms its terms."""
    kind, name = (Product, "factors") if table is rules.products else (Sum, "terms")
    return [f for op in operators for f in (getattr(op, name) if isinstance(op, kind) else (op,))]


def _renewed(new, old, rules: Rules, log: Log) -> tuple[LinearOperator, ...]:
    """What a rule built is simplified in its turn; what it handed through is already."""
    return tuple(op if any(op is o for o in old) else simplify(op, rules, log) for op in new)


def _first_that_applies(table: Sequence[Rule], operators, log: Log):
    for rule in table:
        if (new := rule(*operators)) is not None:
            if log is not None:
                log(_line(operators, new, repr(rule), " , "))
            return new
    return None


def _line(before, after, rule: str, between: str) -> str:
    return f"{between.join(map(repr, before))}  ->  {between.join(map(repr, after))}    [{rule}]"


def _same(new: Sequence[LinearOperator], old: Sequence[LinearOperator]) -> bool:
    return len(new) == len(old) and all(a is b for a, b in zip(new, old, strict=True))


def _same_members(new: Sequence[LinearOperator], old: Sequence[LinearOperator]) -> bool:
    return len(new) == len(old) and {id(op) for op in new} == {id(op) for op in old}
