"""save() and load(): operators in files of the safetensors layout.  No code runs on load."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import Any, BinaryIO

from .._array import Array, is_array
from ..butterfly import Factorization
from ..operators import LinearOperator
from . import certificate, expression
from .atomic import replacing
from .layout import Entry, Stored, parse, read_header, read_tensor, write
from .tensors import Tensors, check_paired, restored, total

__all__ = ["load", "save"]

FORMAT, SCHEMA = "lazyops", 1
OURS = ("format", "schema", "expression", "dtypes", "sha256", "certificate")


def save(path: str | os.PathLike[str], A: LinearOperator | Factorization) -> None:
    """Write an operator, or a factorization with its certificate, to a file.

    The file has the safetensors layout: any reader of it finds the tensors (complex128 as pairs
    of float64).  It appears whole or not at all: a file that was there before stays until the
    new one is on the disk.

    Parameters
    ----------
    path : str or path-like
    A : LinearOperator or Factorization
        Values of any library; they are stored as they are, each array once.

    Raises
    ------
    TypeError
        If `A` is neither, or holds something that is no data (a `Function`); names the node.
    ValueError
        If the expression is too long for a file (half a million nodes, 16 MiB of JSON).
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, lazyops as lo
    >>> from lazyops.io import load, save
    >>> path = os.path.join(tempfile.mkdtemp(), "A.safetensors")
    >>> save(path, lo.Diagonal(np.arange(3.0)) @ lo.Permutation([2, 0, 1]))
    >>> load(path)
    D3 @ P3
    """
    found = A if isinstance(A, Factorization) else None
    operator = found.operator if found is not None else A
    if not isinstance(operator, LinearOperator):
        raise TypeError(
            f"save writes an operator or a factorization, got {type(A).__name__}: "
            "see lo.aslinearoperator"
        )
    tensors = Tensors()
    metadata = {
        "format": FORMAT,
        "schema": str(SCHEMA),
        "expression": _text(expression.encode(operator, tensors)),
        "dtypes": _text(tensors.dtypes),
    }
    if found is not None:
        metadata["certificate"] = _text(certificate.to_data(found))

    def describe(sums: Mapping[str, str]) -> dict[str, str]:
        whole = {**metadata, "sha256": _text(sums)}
        return {**whole, "digest": _digest(whole, tensors.stored)}

    with replacing(path) as file:
        write(file, tensors.stored, describe)


def load(
    path: str | os.PathLike[str], like: Array | None = None, max_bytes: int | None = None
) -> Any:
    """Read what `save` wrote: a LinearOperator, or a Factorization.

    Nothing in the file is executed, and nothing is allocated that the file does not hold.

    Parameters
    ----------
    path : str or path-like
    like : array, optional
        The values come in its library, on its device; as NumPy arrays without it.
    max_bytes : int, optional
        Refuse files whose tensors take more.

    Raises
    ------
    ValueError
        For whatever is wrong with the file: foreign, damaged, hostile, too new, too large.
    OSError
        If it cannot be read (``FileNotFoundError`` ...).
    """
    if like is not None and not is_array(like):
        raise TypeError(f"like= takes an array, got {type(like).__name__}")
    path = os.fsdecode(path)
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise ValueError(f"cannot load {path}: not a regular file")
    with open(path, "rb") as file:
        try:
            operator, data = _read(file, like, max_bytes)
            found = operator if data is None else certificate.from_data(data, operator)
        except OSError:
            raise
        except MemoryError:
            raise ValueError(f"cannot load {path}: it needs more memory than there is") from None
        except Exception as error:  # whatever a hostile file provokes: the file is bad
            raise ValueError(f"cannot load {path}: {error}") from error
    if like is None:
        return found
    moved = operator.to(like=like)
    return moved if data is None else certificate.from_data(data, moved)


def _read(file: BinaryIO, like: Array | None, max_bytes: int | None) -> tuple[LinearOperator, Any]:
    """The operator, and the certificate as data."""
    metadata, entries = read_header(file, os.fstat(file.fileno()).st_size)
    _check_schema(metadata)
    if max_bytes is not None and total(entries) > max_bytes:
        raise ValueError(f"its tensors take {total(entries):,} bytes, max_bytes is {max_bytes:,}")
    if metadata["digest"] != _digest(metadata, _as_stored(entries)):
        raise ValueError("damaged: the SHA-256 of the header differs")
    sums = _part(metadata, "sha256")
    if not isinstance(sums, dict) or set(sums) != set(entries):
        raise ValueError("the checksums are not those of the tensors")
    paired = _part(metadata, "dtypes")
    check_paired(paired, entries)
    nodes = _part(metadata, "expression")
    arrays = {}
    for name, entry in entries.items():
        array = restored(read_tensor(file, name, entry, sums[name]), name, entry.code, paired, like)
        if hasattr(array, "flags"):
            array.flags.writeable = False
        arrays[name] = array
    operator = expression.decode(nodes, arrays)
    return operator, _part(metadata, "certificate") if "certificate" in metadata else None


def _check_schema(metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ValueError("not written by lazyops: its metadata names no format 'lazyops'")
    schema = metadata.get("schema", "")
    if not (schema.isascii() and schema.isdecimal() and len(schema) < 10 and int(schema) > 0):
        raise ValueError(f"its schema is {schema!r:.40}, not a number from 1 on")
    if int(schema) > SCHEMA:
        raise ValueError(
            f"written by a newer lazyops (schema {schema}, this one reads {SCHEMA}): update lazyops"
        )
    for key in (*OURS[:-1], "digest"):
        if key not in metadata:
            raise ValueError(f"its metadata lack {key!r}")


def _part(metadata: Mapping[str, str], key: str) -> Any:
    return parse(metadata[key], f"its {key}")


def _text(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


def _digest(metadata: Mapping[str, str], tensors: list[Stored]) -> str:
    """SHA-256 of all that the header says; where the tensors stand, and their order, is free."""
    ours = [metadata.get(key) for key in OURS]
    rest = sorted([t.name, t.code, list(t.shape)] for t in tensors)
    return hashlib.sha256(_text([ours, rest]).encode()).hexdigest()


def _as_stored(entries: Mapping[str, Entry]) -> list[Any]:
    return [Stored(name, e.code, e.shape, _no_bits) for name, e in entries.items()]


def _no_bits() -> Any:
    raise AssertionError("known by its header only")
