"""All lazyops asks of an array library.  The only file that imports array_api_compat."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

Array = Any  # an array of any library that follows the array API standard

__all__ = [
    "CPU_LIBRARIES",
    "LOW_BITS",
    "Array",
    "Place",
    "array_namespace",
    "can_meet",
    "cast",
    "conj",
    "convert",
    "copied",
    "dtype_name",
    "fresh",
    "has_complex_values",
    "is_array",
    "is_numpy",
    "join_dtypes",
    "namespace_of",
    "needs_grad",
    "own",
    "place",
    "real_dtype",
    "to_numpy",
    "with_complex",
]


class Place(NamedTuple):
    """Library and device of an array.

    >>> str(Place("torch", "cuda:0"))
    'torch on cuda:0'
    """

    library: str
    device: str

    def __str__(self) -> str:
        return f"{self.library} on {self.device}"


NUMPY = Place("numpy", "cpu")
CPU_LIBRARIES = frozenset({NUMPY, Place("torch", "cpu")})  # their arrays can share memory


def is_array(x: object) -> bool:
    """Whether `x` is an array of a library that follows the array API standard."""
    if isinstance(x, np.generic):
        return False
    return isinstance(x, np.ndarray) or is_array_api_obj(x)


def is_numpy(x: object) -> bool:
    return isinstance(x, np.ndarray)


def place(x: Array) -> Place:
    """Where `x` lives."""
    if isinstance(x, np.ndarray):
        return NUMPY
    library = type(x).__module__.partition(".")[0]
    device = str(array_api_compat.device(x))
    return Place(library, "cpu" if "CPU" in device.upper() else device)


def can_meet(one: Place, other: Place) -> bool:
    """Whether arrays of these places may be combined: one place, or two that share CPU memory."""
    return one == other or {one, other} <= CPU_LIBRARIES


def needs_grad(x: Array) -> bool:
    """Whether a gradient is to be recorded through `x` (torch tensors only)."""
    return bool(getattr(x, "requires_grad", False))


# -- dtypes, by name: 'float32' is the same promise in every library -----------------------


def dtype_name(dtype: Any) -> str:
    """``'float32'`` for numpy.float32, torch.float32, numpy.dtype('<f4') ...

    >>> dtype_name(np.dtype(">c8"))
    'complex64'
    """
    if isinstance(dtype, str):
        return dtype
    if isinstance(dtype, np.dtype):
        return _numpy_dtype_name(dtype)
    return np.dtype(dtype).name if isinstance(dtype, type) else _foreign_dtype_name(dtype)


# two caches: dtypes of one library may refuse to be compared with those of another
@functools.cache
def _numpy_dtype_name(dtype: np.dtype) -> str:
    return dtype.name  # made anew each time, for most of a microsecond


@functools.cache
def _foreign_dtype_name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


LOW_BITS = {"bfloat16", "float8_e4m3fn", "float8_e5m2"}


@functools.cache
def join_dtypes(one: str, other: str) -> str:
    """The dtype two strong dtypes promote to: NumPy's table, with the low-bit floats added.

    >>> join_dtypes("float32", "complex64"), join_dtypes("int8", "float32")
    ('complex64', 'float32')
    """
    if one == other:
        return one
    low = [name for name in (one, other) if name in LOW_BITS]
    if not low:
        return np.result_type(one, other).name
    rest = [name for name in (one, other) if name not in LOW_BITS]
    if not rest:
        return "float32"
    kind = np.dtype(rest[0]).kind
    return low[0] if kind in "biu" else np.result_type(rest[0], "float32").name


def is_complex_name(name: str) -> bool:
    return name.startswith(("complex", "clong"))


def is_inexact_name(name: str) -> bool:
    """Whether the dtype is floating or complex, low-bit floats included."""
    return name in LOW_BITS or np.dtype(name).kind in "fc"


@functools.cache
def real_dtype(name: str) -> str:
    """``complex128 -> float64``; a real dtype is returned as it is."""
    return np.dtype(name).type(0).real.dtype.name if is_complex_name(name) else name


@functools.cache
def with_complex(name: str) -> str:
    """The complex dtype of the same precision (complex64 for the 16-bit floats)."""
    if is_complex_name(name):
        return name
    return "complex64" if name in LOW_BITS else np.result_type(name, np.complex64).name


def cast(x: Array, name: str) -> Array:
    """`x` in the dtype called `name`; `x` itself when it already is."""
    if dtype_name(x.dtype) == name and (not is_numpy(x) or x.dtype.isnative):
        return x
    if is_numpy(x):
        return x.astype(name)
    xp = array_namespace(x)
    return xp.astype(x, getattr(xp, name))


def has_complex_values(x: Array) -> bool:
    if isinstance(x, np.ndarray):  # asked in every product: the name of a dtype takes a microsecond
        return x.dtype.kind == "c"
    return is_complex_name(dtype_name(x.dtype))


def conj(x: Array) -> Array:
    """Complex conjugate; `x` itself, not a copy, when its dtype is not complex."""
    if is_numpy(x):
        return x.conj() if x.dtype.kind == "c" else x
    if not has_complex_values(x):
        return x
    y = array_namespace(x).conj(x)
    return y.resolve_conj() if hasattr(y, "resolve_conj") else y  # torch: no lazy bit leaves here


# -- owning and moving ---------------------------------------------------------------------


def own(x: Array, copy: bool = True) -> Array:
    """`x` as an operator may hold it: NumPy data is copied and locked unless it is read-only.

    Arrays of other libraries are held by reference.
    """
    if not is_numpy(x):
        return x
    x = np.asarray(x)  # drops np.matrix and other subclasses
    if not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    elif copy and x.flags.writeable:
        x = x.copy(order="K")
    if copy:
        x = x.view()
        x.flags.writeable = False
    return x


def fresh(y: Array, x: Array) -> Array:
    """`y`, or a copy of it where it shares memory with `x` or cannot be written to."""
    if is_numpy(y):
        if not y.flags.writeable or np.may_share_memory(y, x):
            return y.copy()
        return y
    return copied(y) if y is x or _storage(y) == _storage(x) else y


def copied(x: Array) -> Array:
    """The same numbers in memory of their own; gradients flow through."""
    return x.clone() if hasattr(x, "clone") else array_namespace(x).asarray(x, copy=True)


def _storage(x: Array) -> Any:
    """A number that two arrays share when they share memory; None where that cannot be seen."""
    if hasattr(x, "untyped_storage"):  # torch
        try:
            return x.untyped_storage().data_ptr() or id(x)  # meta tensors have no address
        except (NotImplementedError, RuntimeError):
            return id(x)  # those of torch.func and of tracers have none either
    memory = getattr(getattr(x, "data", None), "mem", None)
    return id(x) if memory is None else memory.ptr  # others, CuPy


def to_numpy(x: Array) -> np.ndarray:
    """The same numbers in host memory; shares memory where the library allows it."""
    if is_numpy(x):
        return x
    if needs_grad(x):
        raise TypeError(
            "a torch tensor that requires grad cannot become a NumPy array without losing its "
            "gradient: call .detach() on it first"
        )
    if hasattr(x, "get"):  # CuPy
        return x.get()
    if hasattr(x, "resolve_conj") and (x.is_conj() or x.is_neg()):
        x = x.resolve_conj().resolve_neg()
    if place(x).device != "cpu":
        x = array_api_compat.to_device(x, _host_device(x))
    try:
        return np.asarray(x)
    except RuntimeError:  # under torch.func, of a tensor that has nothing to do with it
        return np.from_dlpack(x)


def _host_device(x: Array) -> Any:
    xp = array_namespace(x)
    devices = xp.__array_namespace_info__().devices()
    return next((d for d in devices if d is not None and "CPU" in str(d).upper()), "cpu")


def namespace_of(library: Any) -> Any:
    """The array-API namespace of a module, a library's name, or an array."""
    if is_array(library):
        return array_namespace(library)
    name = library if isinstance(library, str) else library.__name__
    name = name.removeprefix("array_api_compat.")
    if name in ("numpy", "torch", "cupy"):
        import importlib

        return importlib.import_module(f"array_api_compat.{name}")
    if isinstance(library, str):
        raise ValueError(
            f"unknown namespace {library!r}: pass 'numpy', 'torch', 'cupy' or a module"
        )
    return library


def convert(x: Array, xp: Any = None, device: Any = None, dtype: str | None = None) -> Array:
    """`x` in the namespace `xp`, on `device`, as `dtype`; None leaves that property as it is."""
    if xp is None or xp is array_namespace(x):
        if device is not None and str(array_api_compat.device(x)) != str(device):
            x = array_api_compat.to_device(x, device)
    elif needs_grad(x):
        raise TypeError(
            "values that require grad cannot move to another library: call .detach() on them first"
        )
    else:
        x = _import(xp, to_numpy(x), device)
    return x if dtype is None else cast(x, dtype)


def _import(xp: Any, host: np.ndarray, device: Any) -> Array:
    if any(stride < 0 for stride in host.strides):  # torch has no negative strides
        host = host.copy()
    if not host.flags.writeable and device in (None, "cpu"):
        try:  # share a read-only array: operators never write to what they hold
            return xp.from_dlpack(host)
        except (BufferError, RuntimeError, TypeError, AttributeError):
            host = host.copy()
    return xp.asarray(host if host.flags.writeable else host.copy(), device=device)


def nbytes(x: Array) -> int:
    """Bytes of the numbers of `x`; what a stride of 0 repeats counts once."""
    if is_numpy(x):
        once = [n for n, step in zip(x.shape, x.strides, strict=True) if step]
        return math.prod(once) * x.itemsize
    return math.prod(x.shape) * _itemsize(dtype_name(x.dtype))


@functools.cache
def _itemsize(name: str) -> int:
    if name in LOW_BITS:
        return 2 if name == "bfloat16" else 1
    return np.dtype(name).itemsize
