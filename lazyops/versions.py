"""Where lazyops runs, and on what."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import Any

from . import kernels

OPTIONAL = ("torch", "cupy", "dask", "ml_dtypes", "matplotlib")


def versions() -> dict[str, Any]:
    """Where lazyops runs, on what; nothing optional is imported.

    >>> list(versions()["packages"])[:3]
    ['numpy', 'scipy', 'array-api-compat']
    """
    packages = ("numpy", "scipy", "array-api-compat", *OPTIONAL)
    return {
        "lazyops": version("lazyops"),
        "folder": os.path.dirname(os.path.abspath(__file__)),
        "installed": version("lazyops") is not None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "packages": {name: version(name) for name in packages},
        "kernels": kernels.status(),
    }


def version(name: str) -> str | None:
    """Version of an installed distribution; None where there is none."""
    names = [name, *(f"cupy-cuda{v}x" for v in (14, 13, 12, 11))] if name == "cupy" else [name]
    for candidate in names:
        try:
            return importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def show_versions() -> None:
    """Print versions, places and kernels: what a report of a problem should contain."""
    found = versions()
    packages = found.pop("packages")
    status = found.pop("kernels")["kernels"]
    lines = [*found.items(), *packages.items()]
    for kernel in status:
        state = kernel["obstacle"] or kernel.get("level") or "available"
        lines.append((f"kernel {kernel['name']}", state))
    sys.stdout.write("".join(f"{name:<18} {value}\n" for name, value in lines))
