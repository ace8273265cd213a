"""The kinds of operators that files hold: each with its fields, and what a field may be.

A file names a kind by a word of this table, never by a path to code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._array import Array, is_array, is_numpy, to_numpy
from ..kernels.formats import format_named
from ..operators import (
    Assumed,
    BlockDiag,
    Circulant,
    Convolution,
    Cosine,
    Cumulative,
    Dense,
    Diagonal,
    Extension,
    Foreign,
    Fourier,
    Frames,
    Function,
    GridConvolution,
    Hadamard,
    HalfFourier,
    Hartley,
    HStack,
    Identity,
    Kron,
    KroneckerSparse,
    Lapped,
    LinearOperator,
    Modulation,
    Nonuniform,
    Permutation,
    Product,
    QuantizedKroneckerSparse,
    RealFourier,
    RealPart,
    Restriction,
    Scalar,
    Sparse,
    Stencil,
    StencilSum,
    Sum,
    VStack,
    Wavelet,
    Weak,
    Zero,
)
from ..operators.boundary import MODES
from ..operators.convolution import METHODS
from ..operators.fourier import NORMS
from ..operators.grid_convolution import METHODS as GRID_METHODS

Check = Callable[[Any], bool]
Fields = dict[str, Any]

MAX_BITS = 1024  # of a size: nested kron would otherwise build integers without end
MAX_AXES, MAX_LEVEL, MAX_TAPS, MAX_NAME = 16, 256, 4096, 64  # of a wavelet transform


class Kind(NamedTuple):
    """What a file may say of one class, and what must hold among its fields."""

    cls: type[LinearOperator]
    fields: dict[str, Check]
    check: Callable[[Fields], None] = lambda fields: None
    coded: Callable[[Fields], str | None] = lambda fields: None  # the name, in files, of the
    # numbers whose bits the array in `codes` holds


# -- what a field may be -------------------------------------------------------------------


def flag(value: Any) -> bool:
    return type(value) is bool


def size(value: Any) -> bool:
    return type(value) is int and value >= 0


def integer(value: Any) -> bool:
    return type(value) is int


def sizes(value: Any) -> bool:
    return type(value) is tuple and len(value) == 2 and all(map(size, value))


def number(value: Any) -> bool:
    return isinstance(value, (int, float, complex, np.generic)) or (
        is_array(value) and value.ndim == 0
    )


def values(ndim: int) -> Check:
    return lambda value: is_array(value) and value.ndim == ndim


def index(value: Any) -> bool:
    return is_numpy(value) and value.ndim == 1 and value.dtype in (np.int32, np.int64)


def points(value: Any) -> bool:
    return is_numpy(value) and value.ndim == 2 and value.dtype == np.float64


def modes(value: Any) -> bool:
    return points(value) or (type(value) is tuple and all(map(size, value)))


def accuracy(value: Any) -> bool:
    return value is None or type(value) is float


def codes(value: Any) -> bool:
    return is_array(value) and value.ndim in (1, 4, 5)


def scales(value: Any) -> bool:
    return value is None or (is_array(value) and value.ndim == 2)


def pattern(value: Any) -> bool:
    return type(value) is tuple and len(value) == 4 and all(type(n) is int and n > 0 for n in value)


def form(value: Any) -> bool:
    return isinstance(value, str) and format_named(value).name == value


def operator(value: Any) -> bool:
    return isinstance(value, LinearOperator)


def operators(value: Any) -> bool:
    return type(value) is tuple and len(value) > 0 and all(map(operator, value))


def norm(value: Any) -> bool:
    return value in NORMS


def method(value: Any) -> bool:
    return value in METHODS


def grid_filter(value: Any) -> bool:
    return is_array(value) and 0 < value.ndim <= MAX_AXES


def grid_method(value: Any) -> bool:
    return value in GRID_METHODS


def kind_of_cosine(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 4


def weights(value: Any) -> bool:
    return type(value) is tuple and len(value) > 0 and all(type(w) is float for w in value)


def corners(value: Any) -> bool:
    return type(value) is tuple and all(
        type(c) is tuple and len(c) == 3 and size(c[0]) and size(c[1]) and type(c[2]) is float
        for c in value
    )


def axes(value: Any) -> bool:
    return type(value) is tuple and 0 < len(value) <= MAX_AXES and all(map(size, value))


def level(value: Any) -> bool:
    return size(value) and value <= MAX_LEVEL


def bank(value: Any) -> bool:
    """Four filters, as tuples of floats; what lengths they may have is checked by the class."""
    return type(value) is tuple and all(
        type(f) is tuple and len(f) <= MAX_TAPS and all(type(v) is float for v in f) for f in value
    )


def mode(value: Any) -> bool:
    return value in MODES


def text(value: Any) -> bool:
    return type(value) is str and len(value) <= MAX_NAME


def facts(value: Any) -> bool:
    if type(value) is not tuple or not all(type(v) is tuple and len(v) == 2 for v in value):
        return False
    known = ("hermitian", "unitary", "positive")
    return all(name in known and flag(fact) for name, fact in value)


def plain(value: Any, allowed: Check) -> Any:
    """The value of a field as files hold it: NumPy's integers and bools as Python's."""
    if allowed is flag:
        return bool(value)
    if allowed in (size, integer, level):
        return int(value)
    if allowed is sizes:
        return tuple([int(n) for n in value])
    if allowed is form:
        return value.name
    if allowed is pattern:
        return tuple(value)
    if allowed is index:
        host = to_numpy(value)
        return host if index(host) else host.astype(np.int64)
    return value


# -- what must hold among the fields: compiled code trusts index arrays ----------------------


def check_below(index: Array, n: int, what: str) -> None:
    """Raise unless 0 <= index < n everywhere."""
    outside = np.flatnonzero((index < 0) | (index >= n))
    if outside.size:
        i = int(outside[0])
        raise ValueError(f"{what}[{i}] is {int(index[i])}, outside 0 .. {n - 1}")


def check_index(fields: Fields) -> None:
    check_below(fields["index"], fields["n"], "index")


def check_sparse(fields: Fields) -> None:
    indices, indptr = fields["indices"], fields["indptr"]
    rows, columns = fields["size"]
    nnz = len(indices)
    if len(fields["data"]) != nnz:
        raise ValueError(f"{len(fields['data'])} entries of data, {nnz} indices")
    if len(indptr) != rows + 1:
        raise ValueError(f"indptr has {len(indptr)} entries for {rows} rows")
    if indptr[0] != 0 or indptr[-1] != nnz or (indptr[1:] < indptr[:-1]).any():
        raise ValueError(f"indptr does not rise from 0 to {nnz}")
    check_below(indices, columns, "indices")


def one_size(axis: int) -> Callable[[Fields], None]:
    def check(fields: Fields) -> None:
        found = sorted({block.shape[axis] for block in fields["blocks"]})
        if len(found) > 1:
            raise ValueError(f"blocks of {found[0]} and {found[1]} {('rows', 'columns')[axis]}")

    return check


def no_nested(name: str, cls: type) -> Callable[[Fields], None]:
    """Products hold no products: those that a hostile file nests would double at each level."""

    def check(fields: Fields) -> None:
        if any(type(member) is cls for member in fields[name]):
            raise ValueError(f"a {cls.__name__} stands directly inside another")
        if cls is Kron:
            bits = sum(max(member.shape).bit_length() - 1 for member in fields[name])
            if bits > MAX_BITS:
                raise ValueError(f"its size takes {bits} bits, at most {MAX_BITS} are allowed")

    return check


FLOATS = {  # those that files have a name for
    format_named(name): code
    for name, code in (
        ("fp16", "F16"),
        ("bf16", "BF16"),
        ("e4m3", "F8_E4M3"),
        ("e5m2", "F8_E5M2"),
    )
}
FLAGS = {"transposed": flag, "conjugated": flag}

KINDS = {
    "Assumed": Kind(Assumed, {"operator": operator, "assumed": facts}),
    "BlockDiag": Kind(BlockDiag, {"blocks": operators}),
    "Circulant": Kind(Circulant, {"column": values(1)}),
    "Convolution": Kind(
        Convolution,
        {"kernel": values(1), "n": size, "start": size, "rows": size, "method": method},
    ),
    "Cosine": Kind(
        Cosine,
        {"n": size, "sine": flag, "type": kind_of_cosine, "norm": norm, "transposed": flag},
    ),
    "Cumulative": Kind(Cumulative, {"n": size, "transposed": flag}),
    "Dense": Kind(Dense, {"array": values(2), "conjugated": flag}),
    "Diagonal": Kind(Diagonal, {"values": values(1)}),
    "Extension": Kind(Extension, {"index": index, "n": size}, check_index),
    "Fourier": Kind(Fourier, {"n": size, "inverse": flag, "norm": norm}),
    "Frames": Kind(
        Frames,
        {
            "window": values(1),
            **dict.fromkeys(("n", "hop"), size),
            "first": integer,
            **dict.fromkeys(("count", "size"), size),
            "shift": integer,
            "periodic": flag,
            "transposed": flag,
        },
    ),
    "GridConvolution": Kind(
        GridConvolution,
        {
            "kernel": grid_filter,
            **dict.fromkeys(("sizes", "start", "rows"), axes),
            "method": grid_method,
        },
    ),
    "Hadamard": Kind(Hadamard, {"n": size, "norm": norm}),
    "HalfFourier": Kind(
        HalfFourier,
        {"n": size, "inverse": flag, "norm": norm, "transposed": flag, "doubled": flag},
    ),
    "Hartley": Kind(Hartley, {"n": size, "norm": norm}),
    "HStack": Kind(HStack, {"blocks": operators}, one_size(0)),
    "Identity": Kind(Identity, {"n": size}),
    "Kron": Kind(Kron, {"factors": operators}, no_nested("factors", Kron)),
    "KroneckerSparse": Kind(KroneckerSparse, {"stored": values(4), **FLAGS}),
    "Lapped": Kind(Lapped, {"window": values(1), "count": size, "transposed": flag}),
    "Modulation": Kind(Modulation, {"n": size, "step": integer}),
    "Nonuniform": Kind(
        Nonuniform,
        {"points": points, "modes": modes, "sign": integer, "eps": accuracy, "transposed": flag},
    ),
    "Permutation": Kind(Permutation, {"index": index}),
    "Product": Kind(Product, {"factors": operators}, no_nested("factors", Product)),
    "QuantizedKroneckerSparse": Kind(
        QuantizedKroneckerSparse,
        {
            "codes": codes,
            "format": form,
            "stored": pattern,
            "scales": scales,
            "pair": flag,
            **FLAGS,
        },
        coded=lambda fields: FLOATS.get(format_named(fields["format"])),
    ),
    "RealFourier": Kind(
        RealFourier, {"n": size, "inverse": flag, "norm": norm, "transposed": flag}
    ),
    "RealPart": Kind(RealPart, {"operator": operator}),
    "Restriction": Kind(Restriction, {"index": index, "n": size}, check_index),
    "Scalar": Kind(Scalar, {"n": size, "alpha": number}),
    "Sparse": Kind(
        Sparse,
        {"data": values(1), "indices": index, "indptr": index, "size": sizes, **FLAGS},
        check_sparse,
    ),
    "Stencil": Kind(
        Stencil,
        {"rows": size, "columns": size, "first": integer, "weights": weights, "corners": corners},
    ),
    "StencilSum": Kind(StencilSum, {"stencils": operators}),
    "Sum": Kind(Sum, {"terms": operators}, no_nested("terms", Sum)),
    "VStack": Kind(VStack, {"blocks": operators}, one_size(1)),
    "Weak": Kind(Weak, {"operator": operator}),
    "Wavelet": Kind(
        Wavelet,
        {
            "sizes": axes,
            "bank": bank,
            "level": level,
            "mode": mode,
            "inverse": flag,
            "transposed": flag,
            "name": text,
        },
    ),
    "Zero": Kind(Zero, {"size": sizes}),
}
NAMES = {kind.cls: name for name, kind in KINDS.items()}

NOT_SAVEABLE = {  # class: why
    Function: "it runs Python functions, which are no data",
    Foreign: "it wraps an operator of another library, whose data are not known here",
}
