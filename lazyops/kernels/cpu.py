"""The compiled CPU kernel, by ctypes: NumPy arrays of one dtype among DTYPES.

The library is built for several levels of x86-64; the best one that this CPU has is loaded, once.
What memory a product touches is checked in C (src/buffers.h), on the arrays themselves; Python
decides what runs and words the errors.  One product of size 64 costs about a microsecond.
"""

from __future__ import annotations

import ctypes
import functools
import pathlib
import sys
from typing import Any, NamedTuple

import numpy as np

from .._array import Array
from .reference import check_sizes

__all__ = [
    "DTYPES",
    "Library",
    "facts",
    "find",
    "ks_matmat",
    "missing",
    "obstacle",
]

DTYPES = "float32, float64, complex64, complex128"
CHARS = "fdFD"
LEVELS = ("v4", "v3", "v2", "native")  # best first; native: the one build of other machines
BAD_DTYPE, BAD_ORDER, BAD_SIZES, NO_MEMORY = 1, 2, 3, 4  # enum Outcome
TRANSPOSE, CONJ = 1, 2
ndarray, empty = np.ndarray, np.empty


class Library(NamedTuple):
    """A loaded build of the kernels."""

    level: str
    path: str
    compiler: str
    ks_matmat: Any  # (values, x, y, flags) -> Outcome
    set_threads: Any  # (most threads of one product, or 0 for the default)
    threads: Any  # () -> the number in force
    chain: Any  # (address of a program, x, y) -> Outcome
    chain_grad: Any  # (address of records, their number, x, g, gx, sums) -> Outcome
    split: Any  # (blocks, left, right, facts, flags, exponent) -> Outcome
    vector_bytes: int  # of the vectors that the kernels are written in
    pack: Any  # (values, blocks, numbers, out, at, run, every, conj) -> Outcome
    pack_codes: Any  # (codes, where as above, bits, room, pair, parts, halves) -> Outcome
    read: Any  # (array) -> Outcome: every byte once, on all threads
    multiply_add: Any  # (rounds, parts) -> floating-point operations done, on all threads
    distance: Any  # (rounds) -> ns of a cache line to another thread and back
    decompose: Any  # (x, filters, low, high, start, first, rows) -> Outcome
    reconstruct: Any  # (low, high, filters, x, start, first, rows) -> Outcome
    add_shifted: Any  # (x, y, offsets, weights, start, stop) -> Outcome


def find(folders: list[str] | None = None) -> Library | str:
    """Load the best library among `folders`, or say in a sentence why there is none."""
    if sys.implementation.name != "cpython":
        return (
            f"it takes arrays through CPython's buffer protocol, this is {sys.implementation.name}"
        )
    folders = _folders() if folders is None else folders
    paths = built(folders)
    if not paths:
        return (
            f"its compiled part is not in {', '.join(folders)}: lazyops was installed without a "
            "C++ compiler (install g++ or clang++, then reinstall lazyops) or is imported from "
            "its sources (install it)"
        )
    try:
        has = cpu_level(paths)
        for level, path in paths.items():
            if runs(level, has):
                return load(level, str(path))
    except OSError as error:
        return f"its compiled part does not load: {error}"
    return "this CPU has less than x86-64-v2 (SSE4.2)"


def _folders() -> list[str]:
    """Where this package lies; an editable install has two: its sources and what was built."""
    return list(sys.modules[__package__].__path__)


def built(folders: list[str] | None = None) -> dict[str, pathlib.Path]:
    """The builds found, best level first."""
    found: dict[str, pathlib.Path] = {}
    for level in LEVELS:
        for folder in _folders() if folders is None else folders:
            path = pathlib.Path(folder) / f"_ks_{level}.so"
            if path.exists():
                found.setdefault(level, path)
    return found


def cpu_level(paths: dict[str, pathlib.Path]) -> int:
    """What this CPU can run, told by the most modest build."""
    return ctypes.CDLL(str(list(paths.values())[-1])).lazyops_cpu_level()


def runs(level: str, has: int) -> bool:
    return level == "native" or int(level[1:]) <= has


def load(level: str, path: str) -> Library:
    """One build, ready to be called."""
    library = ctypes.PyDLL(path)  # keeps the GIL: a large product releases it itself
    library.lazyops_init.argtypes = [ctypes.c_void_p] * 4
    library.lazyops_init.restype = None
    api = ctypes.pythonapi
    library.lazyops_init(
        *(
            ctypes.cast(function, ctypes.c_void_p)
            for function in (
                api.PyObject_GetBuffer,
                api.PyBuffer_Release,
                api.PyEval_SaveThread,
                api.PyEval_RestoreThread,
            )
        )
    )
    library.lazyops_compiler.restype = ctypes.c_char_p
    compiled = library.lazyops_ks_matmat
    compiled.argtypes = [ctypes.py_object] * 3 + [ctypes.c_int]
    compiled.restype = ctypes.c_int
    library.lazyops_set_threads.argtypes = [ctypes.c_int]
    library.lazyops_set_threads.restype = None
    chain = library.lazyops_chain
    chain.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    chain.restype = ctypes.c_int
    chain_grad = library.lazyops_chain_grad
    chain_grad.argtypes = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.py_object] * 4]
    chain_grad.restype = ctypes.c_int
    library.lazyops_pack.argtypes = [ctypes.py_object] * 4 + [ctypes.c_int64] * 3 + [ctypes.c_int]
    split = library.lazyops_split
    split.argtypes = [ctypes.py_object] * 4 + [ctypes.c_int] * 2
    split.restype = ctypes.c_int
    library.lazyops_pack_codes.argtypes = (
        [ctypes.py_object] * 4 + [ctypes.c_int64] * 5 + [ctypes.c_int, ctypes.c_int64, ctypes.c_int]
    )
    library.lazyops_read.argtypes = [ctypes.py_object]
    library.lazyops_multiply_add.argtypes = [ctypes.c_int64, ctypes.c_int]
    library.lazyops_multiply_add.restype = ctypes.c_double
    library.lazyops_distance.argtypes = [ctypes.c_int]
    library.lazyops_distance.restype = ctypes.c_double
    for level_of_bank in (library.lazyops_decompose, library.lazyops_reconstruct):
        level_of_bank.argtypes = [ctypes.py_object] * 4 + [ctypes.c_int64] * 3
    library.lazyops_add_shifted.argtypes = [ctypes.py_object] * 4 + [ctypes.c_int64] * 2
    return Library(
        level,
        path,
        library.lazyops_compiler().decode(),
        compiled,
        library.lazyops_set_threads,
        library.lazyops_threads,
        chain,
        chain_grad,
        split,
        library.lazyops_vector_bytes(),
        library.lazyops_pack,
        library.lazyops_pack_codes,
        library.lazyops_read,
        library.lazyops_multiply_add,
        library.lazyops_distance,
        library.lazyops_decompose,
        library.lazyops_reconstruct,
        library.lazyops_add_shifted,
    )


library = functools.cache(find)


def obstacle(values: Array, x: Array) -> str | None:
    """Why this kernel cannot multiply these arrays; None if it can."""
    if not (isinstance(values, ndarray) and isinstance(x, ndarray)):
        return "it takes NumPy arrays"
    dtype = values.dtype
    if dtype != x.dtype or dtype.char not in CHARS or not dtype.isnative:
        return f"it takes two arrays of one dtype among {DTYPES}, got {dtype} and {x.dtype}"
    return missing()


def missing() -> str | None:
    """Why this kernel cannot run on this machine, whatever the arrays; None if it can."""
    found = library()
    return found if isinstance(found, str) else None


def facts() -> dict[str, Any]:
    """Level, path and compiler of the loaded library, for `doctor`."""
    found = library()
    if isinstance(found, str):
        return {}
    return {
        "level": found.level,
        "path": found.path,
        "compiler": found.compiler,
        "threads": found.threads(),
    }


def ks_matmat(values: Array, x: Array, transpose: bool = False, conj: bool = False) -> Array:
    """See `reference.ks_matmat`.  Arrays that are not C contiguous are copied first."""
    found = library()
    if isinstance(found, str):
        raise RuntimeError(found)
    return run(found.ks_matmat, values, x, transpose, conj)


def pack(values, blocks, numbers, out, at: int, run: int, every: int, conj: bool) -> None:
    """Number e of block k, ``values.flat[blocks[k] + numbers[e]]``, goes to tile ``k // width``,
    place ``at + e // run * every + e % run``, lane ``k % width`` of `out`."""
    found = library()
    if isinstance(found, str):
        raise RuntimeError(found)
    outcome = found.pack(values, blocks, numbers, out, at, run, every, int(conj))
    if outcome:
        raise ValueError(f"cannot pack {values.dtype} {values.shape} into {out.shape}: {outcome}")


def pack_codes(
    codes, blocks, numbers, out, at: int, run: int, every: int, bits: int, room: int, pair, parts,
    halves=False,
) -> None:  # fmt: skip
    """As `pack`, for codes of `bits` each in a stream: into words of `room` bits for each, or, of
    16, one after the other (`halves`)."""
    found = library()
    if isinstance(found, str):
        raise RuntimeError(found)
    rest = at, run, every, bits, room, int(pair), parts, int(halves)
    outcome = found.pack_codes(codes, blocks, numbers, out, *rest)
    if outcome:
        raise ValueError(
            f"cannot pack codes {codes.dtype} {codes.shape} of {bits} bits into {out.shape}: "
            f"{outcome}"
        )


def run(compiled: Any, values: Array, x: Array, transpose: bool, conj: bool) -> Array:
    """A product by the compiled function of one build."""
    try:
        a, b, c, d = values.shape
        y = empty((a * (c if transpose else b) * d, x.shape[1]), values.dtype)
    except (ValueError, IndexError):
        check_sizes(values, x, transpose)
        raise
    outcome = compiled(values, x, y, (TRANSPOSE if transpose else 0) | (CONJ if conj else 0))
    if outcome == 0:
        return y
    if outcome == BAD_ORDER:
        values, x = np.ascontiguousarray(values), np.ascontiguousarray(x)
        return run(compiled, values, x, transpose, conj)
    if outcome == BAD_SIZES:
        check_sizes(values, x, transpose)
    raise TypeError(f"the compiled kernel takes no {values.dtype!r} with {x.dtype!r}")
