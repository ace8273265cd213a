"""An expression as JSON data: a list of nodes, operands before those that use them.

A node is ``[kind, {field: value}]``; a value is a scalar, a list of values (a tuple),
``{"node": i}`` for an operator, or ``{"tensor": name}`` for an array.
"""

from __future__ import annotations

from typing import Any

from .._array import Array, is_array
from ..operators import LinearOperator, Record, Ref, fold, from_records, to_records
from . import scalars
from .kinds import KINDS, MAX_BITS, NAMES, NOT_SAVEABLE, plain
from .tensors import Tensors

MAX_NODES = 1 << 19
MAX_DEPTH = 8  # of tuples in tuples


def encode(root: LinearOperator, tensors: Tensors) -> list:
    """The nodes of `root` as JSON data; its arrays go to `tensors`.

    Raises
    ------
    TypeError
        For a node that files cannot hold; the message says which, and what to do.
    """
    fold(root, _check_saveable)
    records = to_records(root)
    if len(records) > MAX_NODES:
        raise ValueError(f"files hold expressions of {MAX_NODES:,} nodes, got {len(records):,}")
    return [_node(i, record, tensors) for i, record in enumerate(records)]


def _node(i: int, record: Record, tensors: Tensors) -> list:
    name = NAMES[record.kind]
    kind = KINDS[name]
    fields = {
        f: plain(value, kind.fields[f])
        for f, value in record.fields.items()
        if f in kind.fields  # how a product runs (pack) is not what it is
    }
    if (code := kind.coded(fields)) is not None:
        tensors.name_codes(fields["codes"], code)
    return [name, {f: _encode(value, f"{i}.{f}", tensors) for f, value in fields.items()}]


def _check_saveable(node: LinearOperator, below: tuple) -> None:
    if type(node) in NAMES:
        if int(max(node.shape)).bit_length() > MAX_BITS:
            raise ValueError(f"files hold sizes of at most {MAX_BITS} bits")
        return
    kind = type(node)
    why = NOT_SAVEABLE.get(kind, f"files know no operators of the class {kind.__qualname__}")
    raise TypeError(
        f"cannot save {node._label()} ({node.kind_name}): {why}; save the parts around it, "
        "or put lo.Dense(A.to_dense()) in its place"
    )


def _encode(value: Any, name: str, tensors: Tensors) -> Any:
    if isinstance(value, Ref):
        return {"node": value.node}
    if type(value) is tuple:
        return [_encode(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]
    if is_array(value):
        return {"tensor": tensors.add(name, value)}
    try:
        return scalars.encode(value)
    except TypeError as error:
        raise TypeError(f"cannot save {name}: {error}") from None


def decode(nodes: Any, arrays: dict[str, Array]) -> LinearOperator:
    """The operator of checked JSON data; ValueError for anything that `encode` never writes."""
    if not isinstance(nodes, list) or not 0 < len(nodes) <= MAX_NODES:
        raise ValueError(f"the expression is not a list of 1 to {MAX_NODES:,} nodes")
    built: list[LinearOperator] = []
    used: set[str] = set()
    for i, node in enumerate(nodes):
        try:
            built.append(_build(node, built, arrays, used))
        except (TypeError, IndexError, OverflowError, ValueError) as error:
            what = node[0] if isinstance(node, list) and node else node
            raise ValueError(f"node {i} ({what!r:.40}): {error}") from None
    if unused := set(arrays) - used:
        raise ValueError(f"tensor {min(unused)!r} belongs to no node")
    return built[-1]


def _build(
    node: Any, built: list[LinearOperator], arrays: dict[str, Array], used: set[str]
) -> LinearOperator:
    if not isinstance(node, list) or len(node) != 2 or not isinstance(node[1], dict):
        raise ValueError("it is not a kind and its fields")
    name, found = node
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError("no kind of operator that this version knows")
    if set(found) != set(kind.fields):
        raise ValueError(f"its fields are {sorted(found)!r:.200}, not {sorted(kind.fields)}")
    fields = {f: _decode(found[f], built, arrays, used) for f in kind.fields}
    for f, allowed in kind.fields.items():
        if not allowed(fields[f]):
            raise ValueError(f"{f} = {found[f]!r:.80} does not fit")
    kind.check(fields)
    op = from_records([Record(kind.cls, fields)])
    if max(op.shape).bit_length() > MAX_BITS:
        raise ValueError(f"its size takes more than {MAX_BITS} bits")
    return op


def _decode(
    data: Any, built: list[LinearOperator], arrays: dict[str, Array], used: set[str], depth: int = 0
) -> Any:
    if isinstance(data, list):
        if depth == MAX_DEPTH:
            raise ValueError("lists are nested too deeply")
        return tuple([_decode(v, built, arrays, used, depth + 1) for v in data])
    if isinstance(data, dict) and len(data) == 1:
        [(key, value)] = data.items()
        if key == "node":
            if type(value) is not int or not 0 <= value < len(built):
                raise ValueError(f"node {value!r:.40} does not stand before it")
            return built[value]
        if key == "tensor":
            if not isinstance(value, str) or value not in arrays:
                raise ValueError(f"the file has no tensor {value!r:.80}")
            used.add(value)
            return arrays[value]
    return scalars.decode(data)
