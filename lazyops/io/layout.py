"""The safetensors layout: 8 bytes of length, a JSON header, raw numbers.  No operators here.

Everything read is checked against the size of the file, with Python's integers, before anything
is allocated.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

MAX_HEADER = 16 << 20  # bytes
MAX_AXES = 32
ALIGN = 8  # of the first number in the file

DTYPES = {  # as numbers are stored; NumPy has no name for the last three, only their bits
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
    "BF16": "<u2",
    "F8_E4M3": "u1",
    "F8_E5M2": "u1",
}


class Stored(NamedTuple):
    """A tensor to be written: `bits()` gives it, contiguous, when its turn comes."""

    name: str
    code: str
    shape: tuple[int, ...]
    bits: Callable[[], np.ndarray]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(DTYPES[self.code]).itemsize


class Entry(NamedTuple):
    """A tensor of a file: what the header says, bytes counted from the start of the file."""

    code: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Header(NamedTuple):
    metadata: dict[str, str]
    entries: dict[str, Entry]


# -- writing -------------------------------------------------------------------------------


def write(
    file: BinaryIO,
    tensors: Sequence[Stored],
    describe: Callable[[Mapping[str, str]], dict[str, str]],
) -> None:
    """Write `tensors`, and the metadata that `describe` makes of their SHA-256 (name -> hex).

    The numbers are read once: the header is written last, into the place kept for it.
    Wide numbers come first, so that all of them are aligned.
    """
    tensors = sorted(tensors, key=lambda t: -np.dtype(DTYPES[t.code]).itemsize)
    unknown = dict.fromkeys((t.name for t in tensors), "0" * 64)
    length = len(_header(tensors, describe(unknown)))
    file.seek(8 + length)
    sums = {t.name: _write_one(file, t) for t in tensors}
    text = _header(tensors, describe({t.name: sums[t.name] for t in tensors}))
    if len(text) != length:
        raise AssertionError("the header changed its length with the checksums")
    file.seek(0)
    file.write(length.to_bytes(8, "little") + text)


def _header(tensors: Sequence[Stored], metadata: dict[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for t in tensors:
        start, end = end, end + t.nbytes
        header[t.name] = {"dtype": t.code, "shape": list(t.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGN)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"the expression is too long for a file: its header takes {len(text):,} bytes, "
            f"at most {MAX_HEADER:,} are allowed"
        )
    return text


def _write_one(file: BinaryIO, tensor: Stored) -> str:
    bits = tensor.bits()
    if bits.shape != tensor.shape or bits.dtype != np.dtype(DTYPES[tensor.code]):
        raise AssertionError(f"{tensor.name} is {bits.dtype}{bits.shape}, not as announced")
    raw = bits.reshape(-1).view(np.uint8).data
    file.write(raw)
    return hashlib.sha256(raw).hexdigest()


# -- reading -------------------------------------------------------------------------------


def read_header(file: BinaryIO, size: int) -> Header:
    """The header of a file of `size` bytes, checked; raises ValueError for any fault."""
    if size < 8:
        raise ValueError(f"{size} bytes are too few for a safetensors file")
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError(
            f"not a safetensors file, or a hostile one: a header of {length:,} bytes, "
            f"at most {MAX_HEADER:,} are allowed"
        )
    if 8 + length > size:
        raise ValueError(f"truncated: the header needs {8 + length:,} bytes of {size:,}")
    header = parse(file.read(length), "the header")
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("__metadata__ does not map strings to strings")
    entries = {name: _entry(name, found, 8 + length) for name, found in header.items()}
    _check_cover(entries, 8 + length, size)
    return Header(metadata, entries)


def parse(text: bytes | str, what: str) -> Any:
    """JSON without duplicate keys, NaN, or nesting that overflows the stack."""

    def pairs(items):
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a key stands there twice")
        return found

    def constant(name):
        raise ValueError(f"{name} is no JSON")

    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} is not valid JSON: {error}") from None


def _entry(name: str, found: Any, base: int) -> Entry:
    if not isinstance(found, dict) or set(found) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    code, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(f"tensor {name!r} has an unknown dtype: {code!r:.80}")
    if not _are_sizes(shape) or len(shape) > MAX_AXES:
        raise ValueError(f"tensor {name!r} has no shape, but {shape!r:.80}")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"tensor {name!r} has no data_offsets, but {offsets!r:.80}")
    nbytes = math.prod(shape) * np.dtype(DTYPES[code]).itemsize
    start, stop = offsets
    if stop - start != nbytes:
        raise ValueError(
            f"tensor {name!r} of dtype {code} and shape {tuple(shape)} needs {nbytes} bytes, "
            f"its offsets span {stop - start}"
        )
    return Entry(code, tuple(shape), base + start, base + stop)


def _are_sizes(found: Any) -> bool:
    return isinstance(found, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in found)


def _check_cover(entries: Mapping[str, Entry], base: int, size: int) -> None:
    """The tensors must fill the file from `base` on: no gap, no overlap, nothing after them."""
    end = base
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            fault = "a gap before" if entry.start > end else "an overlap at"
            raise ValueError(f"there is {fault} tensor {name!r}")
        end = entry.stop
    if end != size:
        fault = "truncated" if end > size else "bytes after the last tensor"
        raise ValueError(f"{fault}: the tensors end at {end:,}, the file at {size:,}")


def read_tensor(file: BinaryIO, name: str, entry: Entry, checksum: str) -> np.ndarray:
    """The stored numbers of one tensor: fresh, native, their SHA-256 compared."""
    raw = np.empty(entry.stop - entry.start, np.uint8)
    file.seek(entry.start)
    if file.readinto(raw.data) != raw.nbytes:  # type: ignore[attr-defined]
        raise ValueError(f"truncated while reading tensor {name!r}")
    if hashlib.sha256(raw.data).hexdigest() != checksum:
        raise ValueError(f"damaged: the SHA-256 of tensor {name!r} differs")
    if entry.code == "BOOL" and raw.max(initial=0) > 1:
        raise ValueError(f"tensor {name!r} holds bytes that are no bool")
    dtype = np.dtype(DTYPES[entry.code])
    return raw.view(dtype).reshape(entry.shape).astype(dtype.newbyteorder("="), copy=False)
