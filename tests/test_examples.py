"""Every example runs in a process of its own and says what its reader came for."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

import lazyops

FOLDER = pathlib.Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
LINES = {  # script: a line of its output, or the start of one
    "01_first_operator.py": "rows 10 to 19 of A   : R10x1000 @ D1000 @ (I1000 - 0.5 * P1000)",
    "02_solve_with_lsmr.py": "lsmr stopped for reason 2",
    "03_what_simplify_did.py": "simplified: K(1,2,2,4)",
    "04_factorize_dft_untold.py": "entries    : 9,216 instead of 262,144",
    "05_your_own_operator.py": "caught: Wrong49x50 (49x50) fails the check '<A x, y> = <x, A.H y>",
    "06_save_and_load.py": "refused: cannot load .../hadamard.safetensors: damaged:",
    "08_quantize.py": "bytes      : 20,480 instead of 163,840",
    "09_compressed_sensing.py": "A          : R",
    "10_butterfly_linear.py": "trained values: 128 instead of 256",
    "07_torch_gradients.py": "A = K(1,4,4,4) @ K(4,4,4,1) with values of torch on cpu",
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_example_runs(script, tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(script)],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={
            **os.environ, "LAZYOPS_EXAMPLE_SMALL": "1",
            "PYTHONPATH": str(pathlib.Path(lazyops.__file__).parent.parent),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    wanted = LINES[script.name]
    if "import torch" in script.read_text() and not importlib.util.find_spec("torch"):
        wanted = "torch is not installed"
    if "compressed" in script.name and not importlib.util.find_spec("skimage"):
        wanted = "scikit-image is not installed: pip install 'lazyops[docs]'"
    assert any(line.startswith(wanted) for line in done.stdout.splitlines()), done.stdout
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_example_is_short(script):
    source = script.read_text()
    assert len(source.splitlines()) <= 60
    assert source.startswith('"""'), "the docstring says what is shown"


def test_there_are_enough():
    assert len(SCRIPTS) >= 5
    assert set(LINES) == {script.name for script in SCRIPTS}
