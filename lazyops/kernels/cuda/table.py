"""What `lo.tune` found: a table in the user's cache, as JSON, that later plans look into.

A table that is broken, of another version of the kernels, or not ours is ignored with a warning
and written anew by the next `tune`: it never stops a product.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from ..stage import Stage
from .cost import Bias
from .text import FILES, source

VERSION = 1
FORMAT = "lazyops plans of devices"
_found: dict[str, Bias] = {}  # in this process, whatever the file says


def path() -> pathlib.Path:
    """``LAZYOPS_CACHE``, or the folder that the system has for such files; plus tuned.json."""
    if (folder := os.environ.get("LAZYOPS_CACHE")) is not None:
        return pathlib.Path(folder) / "tuned.json"
    home = pathlib.Path.home()
    if sys.platform == "win32":
        base = pathlib.Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "lazyops" / "tuned.json"


def key_of(
    stages: Sequence[Stage], device: str, library: str, dtype: str, columns: int, fortran: bool
) -> str:
    """What a measurement holds for: columns up to a factor of two."""
    bucket = max(0, columns - 1).bit_length()
    order = "F" if fortran else "C"
    return "|".join(
        [device, library, dtype, order, f"2^{bucket}", *(f for s in stages if (f := _form(s)))]
    )


def _form(stage: Stage) -> str:
    """A factor by its pattern and what its values are; permutations and diagonals by a letter."""
    if stage.index is not None:
        return "P"
    if stage.values is None:
        return ""
    kind = str(stage.coding[0]) if stage.coding else str(stage.values.dtype).rpartition(".")[2]
    if stage.pattern is None:
        return f"D {kind}"
    return ",".join(map(str, stage.pattern)) + f" {kind}{' T' if stage.transpose else ''}"


def lookup(key: str) -> Bias | None:
    """What was found best for a key; None where nothing was measured."""
    if (known := _found.get(key)) is not None:
        return known
    entry = read(path()).get(key)
    return None if entry is None else Bias(**entry["bias"])


def remember(key: str, bias: Bias) -> None:
    _found[key] = bias


def forget() -> None:
    """What this process knows; the file stays."""
    _found.clear()
    read.cache_clear()


@functools.cache
def read(at: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The entries of a table; none where there is no file, or it cannot be used."""
    try:
        text = at.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        return _ignored(at, str(error))
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _ignored(at, f"it is no JSON: {error}")
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        return _ignored(at, "it is not one that lazyops wrote")
    if (whole.get("version"), whole.get("kernels")) != (VERSION, kernels()):
        return {}  # measured with other kernels: true once, no fault of the file
    entries = whole.get("entries")
    if not isinstance(entries, dict) or not all(map(_is_entry, entries.values())):
        return _ignored(at, "an entry is not what lazyops writes")
    return entries


def _ignored(at: pathlib.Path, why: str) -> dict[str, dict[str, Any]]:
    warnings.warn(
        f"the table of tuned plans {at} is ignored, and written anew by the next lo.tune: {why}",
        RuntimeWarning,
        stacklevel=2,
    )
    return {}


def _is_entry(entry: Any) -> bool:
    bias = entry.get("bias") if isinstance(entry, dict) else None
    return (
        isinstance(bias, dict)
        and set(bias) == set(Bias._fields)
        and all(type(bias[k]) is type(v) for k, v in Bias()._asdict().items())
        and all(v >= 0 for v in bias.values())
    )


def text_of(entries: dict[str, dict[str, Any]]) -> str:
    """The file with these entries."""
    whole = {"format": FORMAT, "version": VERSION, "kernels": kernels(), "entries": entries}
    return json.dumps(whole, indent=1, sort_keys=True) + "\n"


@functools.cache
def kernels() -> str:
    """A number of the CUDA text: what was measured with another one does not hold."""
    names = sorted({"types", *(name for _, files in FILES.values() for name in files)})
    return hashlib.sha256("".join(map(source, names)).encode()).hexdigest()[:16]
