"""The shape of the repository is tested like everything else."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

import lazyops

SOURCE = pathlib.Path(__file__).parent.parent / "lazyops"
INSTALLED = pathlib.Path(lazyops.__file__).parent
LAYERS = {  # each may import those on lower levels, and itself
    **dict.fromkeys(["_array", "pattern", "drawing", "smallest"], 0),
    "kernels": 1,
    **dict.fromkeys(["operators", "versions"], 2),
    "rewrite": 3,
    "butterfly": 4,
    "transforms": 5,
    **dict.fromkeys(["io", "solve", "torch", "dask", "testing", "tuning"], 6),
    **dict.fromkeys(["bench", "commands", "demo"], 7),
    "__main__": 8,
}
# imported when a tensor arrives
TORCH = {
    "torch",
    "kernels/torch_ops.py",
    "kernels/torch_library.py",
    "kernels/torch_gradients.py",
    "kernels/torch_cpu.py",
    "kernels/cuda/autograd.py",
    "operators/traced.py",
}
OUTSIDE = {"numpy", "scipy", "array_api_compat"}  # what may be imported at module level
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(f.relative_to(SOURCE)) for f in FILES]


def imports(file, source=None):
    """(dotted name, whether at module level) of every import: plain, relative, dynamic."""
    package = ("lazyops", *file.relative_to(SOURCE).with_suffix("").parts)
    package = package[:-1] if package[-1] == "__init__" else package
    is_package = file.name == "__init__.py"
    tree = ast.parse(file.read_text() if source is None else source)
    nested = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _is_typing_only(f)
        for node in ast.walk(f)
    }
    for node in ast.walk(tree):
        top = id(node) not in nested
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            level = node.level - is_package
            base = package[: len(package) - level] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{name}.{alias.name}", top) for alias in node.names)
        elif isinstance(node, ast.Call) and _is_dynamic(node.func) and node.args:
            argument = node.args[0]
            text = argument.value if isinstance(argument, ast.Constant) else ast.unparse(argument)
            if isinstance(argument, ast.JoinedStr):
                text = "".join(v.value for v in argument.values if isinstance(v, ast.Constant))
            yield str(text), top


def _is_typing_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _is_dynamic(func):
    return ast.unparse(func) in ("__import__", "importlib.import_module", "import_module")


def layer_of(name):
    parts = name.split(".")
    if parts[0] != "lazyops":
        return None
    return LAYERS.get(parts[1]) if len(parts) > 1 else None


def violations(file, source=None):
    own = file.relative_to(SOURCE).with_suffix("").parts[0]
    for name, top in imports(file, source):
        root = name.split(".")[0]
        if root == "lazyops":
            target = layer_of(name)
            if target is None and LAYERS[own] < 6:
                yield f"{own} imports the whole package"
            elif target is not None and target > LAYERS[own]:
                yield f"{own} may not import {name}"
        elif root == "torch" and TORCH & {own, file.relative_to(SOURCE).as_posix()}:
            continue
        elif top and root not in OUTSIDE | set(sys.stdlib_module_names):
            yield f"{own} imports {root} at module level"


INNER = [f for f in FILES if f != SOURCE / "__init__.py"]  # the top joins what is below it


@pytest.mark.parametrize("file", INNER, ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_point_left(file):
    assert file.relative_to(SOURCE).with_suffix("").parts[0] in LAYERS
    assert list(violations(file)) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("from ..operators import Dense", "kernels may not import lazyops.operators"),
        ("from .. import operators", "kernels may not import lazyops.operators"),
        ("import lazyops.rewrite.engine", "kernels may not import lazyops.rewrite.engine"),
        ("def f():\n    from lazyops.io import save", "kernels may not import lazyops.io"),
        ("import importlib\nimportlib.import_module('lazyops.butterfly')", "lazyops.butterfly"),
        ("__import__('lazyops.testing')", "kernels may not import lazyops.testing"),
        ("import lazyops", "kernels imports the whole package"),
        ("import torch", "kernels imports torch at module level"),
        ("if True:\n    import cupy", "kernels imports cupy at module level"),
    ],
)
def test_the_rule_catches(source, message):
    found = list(violations(SOURCE / "kernels" / "made_up.py", source))
    assert any(message in line for line in found), found


def test_what_the_rule_allows():
    allowed = "from .._array import Array\ndef f():\n    import torch\nimport numpy.linalg"
    assert list(violations(SOURCE / "kernels" / "made_up.py", allowed)) == []


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_only_one_file_knows_array_api_compat(file):
    if file.name != "_array.py":
        assert "array_api_compat" not in {name.split(".")[0] for name, _ in imports(file)}


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_file_is_one_idea(file):
    assert len(file.read_text().splitlines()) <= 500  # about 400 is where to ask


def test_import_is_light():
    heavy = "{'torch', 'cupy', 'dask', 'matplotlib', 'pandas', 'hypothesis'}"
    code = f"import lazyops, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True, text=True, check=True, env=_environment(),
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_import_changes_nothing_global():
    code = (
        "import sys, warnings, os, numpy, scipy.sparse.linalg\n"
        "before = sys.getrecursionlimit(), list(warnings.filters), dict(os.environ)\n"
        "before += (numpy.get_printoptions(), numpy.geterr())\n"
        "import lazyops\n"
        "after = sys.getrecursionlimit(), list(warnings.filters), dict(os.environ)\n"
        "after += (numpy.get_printoptions(), numpy.geterr())\n"
        "assert before == after\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, env=_environment())


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(INSTALLED.parent)}
