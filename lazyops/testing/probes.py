"""Gaussian probes, and arrays brought to the host to be looked at."""

from __future__ import annotations

import numpy as np

from .._array import (
    LOW_BITS,
    Array,
    array_namespace,
    cast,
    convert,
    dtype_name,
    is_numpy,
    needs_grad,
    to_numpy,
)


def gaussian(rng: np.random.Generator, size: int, k: int) -> np.ndarray:
    """Complex Gaussian columns, shape (size, k); the mean of a squared modulus is 2."""
    return rng.standard_normal((size, k)) + 1j * rng.standard_normal((size, k))


def as_probe(host: np.ndarray, example: Array, name: str) -> Array:
    """`host` as an array where `example` lives; the real part where `name` is a real dtype."""
    host = host if name.startswith("complex") else np.real(host)
    host = np.array(host, dtype=name, order="C")
    if is_numpy(example):
        return host
    return convert(host, array_namespace(example), example.device)


def on_host(x: Array) -> np.ndarray:
    """The numbers of `x`, in NumPy."""
    x = x.detach() if needs_grad(x) else x
    return to_numpy(cast(x, "float32") if dtype_name(x.dtype) in LOW_BITS else x)


def same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    return x.dtype == y.dtype and x.tobytes() == y.tobytes()


def overwrite(y: Array) -> None:
    y[...] = 7
