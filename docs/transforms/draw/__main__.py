"""Draws the pictures of the pages on transforms.

    python docs/transforms/draw [NAME ...]       all of them, or those named

A public function ``NAME(figure)`` of a module in this folder draws on a matplotlib Figure; what it
draws becomes ``docs/transforms/NAME.svg``.  Text stays text, and nothing of the day or of the
machine is written: the same code gives the same file.
"""

from __future__ import annotations

import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Callable, Iterable

HERE = pathlib.Path(__file__).resolve().parent
STYLE = {
    "svg.hashsalt": "lazyops",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "image.cmap": "RdBu_r",
}


def drawings() -> dict[str, Callable]:
    """The functions that draw, by name; two of one name are an error."""
    found: dict[str, Callable] = {}
    for path in sorted(HERE.glob("[!_]*.py")):
        spec = importlib.util.spec_from_file_location(f"draw_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, f in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or f.__module__ != module.__name__:
                continue
            if name in found:
                raise ValueError(f"{path.name} and another module both draw {name}")
            found[name] = f
    return found


def draw(names: Iterable[str] = (), folder: pathlib.Path = HERE.parent) -> list[pathlib.Path]:
    """The files ``folder/NAME.svg``, written anew."""
    import matplotlib
    from matplotlib.figure import Figure

    known, written = drawings(), []
    for name in names or known:
        if name not in known:
            raise ValueError(f"no module here draws {name!r}; they draw {', '.join(known)}")
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "svg", **STYLE}):
            figure = Figure(figsize=(7, 2.4), layout="constrained")
            known[name](figure)
            written.append(folder / f"{name}.svg")
            figure.savefig(written[-1], metadata={"Date": None, "Creator": None})
    return written


if __name__ == "__main__":
    sys.path.remove(str(HERE))  # a module here may have the name of one elsewhere
    draw(sys.argv[1:])
