"""Scalars as JSON, exactly: every bit, and the type, comes back."""

from __future__ import annotations

from typing import Any

import numpy as np

EXACT = 1 << 53  # JSON readers agree on integers below it
NUMPY = {"bool", "float16", "float32", "float64", "complex64", "complex128"} | {
    f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}


def encode(value: Any) -> Any:
    """JSON data for None, a bool, int, float, complex, str or NumPy scalar; TypeError for the rest.

    >>> encode(1.5), encode(1j), encode(np.float32(1))
    ({'float': '1.5'}, {'complex': ['0.0', '1.0']}, {'float32': '0000803f'})
    """
    if isinstance(value, np.generic):
        if value.dtype.name in NUMPY:
            little = value.dtype.newbyteorder("<")
            return {value.dtype.name: np.asarray(value, little).tobytes().hex()}
    elif value is None or isinstance(value, (bool, str)):
        return value
    elif isinstance(value, int):
        return int(value) if abs(value) < EXACT else {"int": hex(value)}
    elif isinstance(value, float):
        return {"float": repr(float(value))}
    elif isinstance(value, complex):
        return {"complex": [repr(value.real), repr(value.imag)]}
    name = value.dtype.name if isinstance(value, np.generic) else type(value).__name__
    raise TypeError(f"files hold no {name}")


def decode(data: Any) -> Any:
    """The scalar that `encode` wrote; ValueError for what it never writes."""
    if data is None or isinstance(data, (bool, str)) or type(data) is int:
        return data
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueError(f"{data!r:.80} is no scalar")
    [(kind, text)] = data.items()
    if kind == "complex" and isinstance(text, list) and len(text) == 2:
        return complex(_float(text[0]), _float(text[1]))
    if not isinstance(text, str):
        raise ValueError(f"{data!r:.80} is no scalar")
    if kind == "float":
        return _float(text)
    if kind == "int":
        return int(text, 16)
    if kind in NUMPY:
        dtype = np.dtype(kind).newbyteorder("<")
        raw = bytes.fromhex(text)
        if len(raw) != dtype.itemsize or (kind == "bool" and raw[0] > 1):
            raise ValueError(f"{data!r:.80} is no {kind}")
        return np.frombuffer(raw, dtype)[0].astype(kind)
    raise ValueError(f"{kind!r:.80} is no kind of scalar")


def _float(text: Any) -> float:
    if not isinstance(text, str) or len(text) > 40:
        raise ValueError(f"{text!r:.80} is no float")
    return float(text)
