"""Arrays of any library as tensors of a file, and back."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._array import (
    Array,
    array_namespace,
    dtype_name,
    is_array,
    is_numpy,
    place,
    to_numpy,
)
from .layout import DTYPES, Stored

CODES = {  # name of a dtype: how it is stored
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
    "complex128": "F64",  # as pairs along a last axis: safetensors has no name for it
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}
PAIRED = "complex128"
CODES_OF = "codes"  # the array is the bits of the numbers of the tensor
BITS = {"F16": "uint16", "BF16": "uint16", "F8_E4M3": "uint8", "F8_E5M2": "uint8"}
LOW_BITS = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


class Tensors:
    """Collects the arrays of an expression, each once, under names made of node and field."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []
        self.dtypes: dict[str, str] = {}  # of those that a reader is to take for something else
        self._coded: dict[Any, str] = {}
        self._names: dict[Any, str] = {}
        self._held: list[Array] = []  # so that no id is given to another array meanwhile

    def name_codes(self, array: Array, code: str) -> None:
        """To be said before `add`: `array` holds the bits of numbers of this name."""
        self._coded[_identity(array)] = code

    def add(self, name: str, array: Array) -> str:
        """The name of `array` in the file: `name`, or the one it has already."""
        key = _identity(array)
        if key not in self._names:
            self._names[key] = name
            self._held.append(array)
            self._store(name, array)
        return self._names[key]

    def _store(self, name: str, array: Array) -> None:
        logical = dtype_name(array.dtype)
        if logical not in CODES:
            raise TypeError(
                f"cannot save {name}: files hold no {logical}; use A.astype('float64') first"
            )
        if place(array).device == "meta":
            raise ValueError(f"cannot save {name}: a meta tensor has no numbers")
        shape = tuple(map(int, array.shape))
        if logical == PAIRED:
            self.dtypes[name] = PAIRED
            shape = (*shape, 2)
        code = self._coded.get(_identity(array))
        if code is not None:
            self.dtypes[name] = CODES_OF
        else:
            code = CODES[logical]
        self.stored.append(Stored(name, code, shape, lambda: _bits(array, code, shape)))


def _identity(array: Array) -> Any:
    """Equal for two arrays only if they are the same numbers in memory."""
    if is_numpy(array) and array.size:
        at = array.__array_interface__["data"][0]
        return at, array.shape, array.strides, array.dtype.name
    return id(array)


def _bits(array: Array, code: str, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers in C order and little-endian, as `code` stores them."""
    array = array.detach() if hasattr(array, "detach") else array  # torch: files know no gradient
    dtype = np.dtype(DTYPES[code])
    if code in LOW_BITS and dtype_name(array.dtype) == LOW_BITS[code]:
        signed = f"int{8 * dtype.itemsize}"  # an integer of that width is in every library
        bits = getattr(np if is_numpy(array) else array_namespace(array), signed)
        return np.asarray(to_numpy(array.view(bits)), order="C").view(dtype)
    host = to_numpy(array)
    if host.dtype.name == BITS.get(code):
        return np.asarray(host, order="C").astype(f"<u{dtype.itemsize}", copy=False).view(dtype)
    if host.dtype.name == PAIRED:
        return np.asarray(host, "<c16", order="C").reshape(-1).view("<f8").reshape(shape)
    return np.asarray(host, dtype, order="C")


def restored(
    found: np.ndarray, name: str, code: str, paired: Mapping[str, Any], like: Array | None
) -> Array:
    """The array that `found`, as stored, stands for; low-bit floats in the library of `like`."""
    if paired.get(name) == CODES_OF:
        return found.view(f"u{found.itemsize}")
    if name in paired:
        return found.reshape(-1).view(np.complex128).reshape(found.shape[:-1])
    if code in LOW_BITS:
        return _low_bits(found, name, LOW_BITS[code], like)
    return found


def _low_bits(found: np.ndarray, name: str, dtype: str, like: Array | None) -> Array:
    if is_array(like) and not is_numpy(like):
        xp = array_namespace(like)
        if (low := getattr(xp, dtype, None)) is not None:
            return xp.asarray(found.view(f"i{found.itemsize}")).view(low)
    try:
        library = importlib.import_module("ml_dtypes")
    except ImportError:
        raise ValueError(
            f"tensor {name!r} holds {dtype}, which NumPy lacks: pass like= a torch tensor, "
            "or install ml_dtypes"
        ) from None
    return found.view(getattr(library, dtype))


def check_paired(paired: Any, entries: Mapping[str, Any]) -> None:
    """Raise where `paired`, as read, maps anything but pairs of F64 to complex128, or small
    floats to their codes."""
    if not isinstance(paired, dict):
        raise ValueError("the dtypes are not a JSON object")
    for name, dtype in paired.items():
        entry = entries.get(name)
        of_codes = dtype == CODES_OF and entry is not None and entry.code in BITS
        of_pairs = dtype == PAIRED and entry is not None and entry.code == "F64"
        if not of_codes and not (of_pairs and entry.shape[-1:] == (2,)):
            raise ValueError(f"tensor {name!r} cannot be read as {dtype!r:.80}")


def total(entries: Mapping[str, Any]) -> int:
    """Bytes of all tensors."""
    return sum(math.prod(e.shape) * np.dtype(DTYPES[e.code]).itemsize for e in entries.values())
