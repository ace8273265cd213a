"""The commands: what they print, what they write, and one line for what is wrong."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
from numpy.testing import assert_array_equal

import lazyops as lo
from lazyops import bench, commands, demo
from lazyops.__main__ import main
from lazyops.butterfly import Factorization
from lazyops.io import load, save
from lazyops.kernels import FORCED, cpu

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(lo.__file__)))


def python(*arguments, cwd, path=(), timeout=120, **environment):
    """A Python of its own, with `path` as PYTHONPATH."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dft(here):
    np.save("A.npy", scipy.fft.fft(np.eye(64), axis=0))
    return here


def files(folder):
    return sorted(os.listdir(folder))


def dense(A):
    return A @ np.eye(A.shape[1])


# -- factorize -----------------------------------------------------------------------------


def test_factorize_reports_and_writes(dft, capsys):
    before = hashlib.sha256((dft / "A.npy").read_bytes()).hexdigest()
    assert main(["factorize", "A.npy", "-o", "A.safetensors"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    names = [line.split()[0] for line in out.splitlines()]
    assert names == ["matrix", "found", "chain", "entries", "error", "file", "time"]
    assert "A.npy, 64 x 64 complex128" in out
    assert "entries  768 = 0.188 of the matrix" in out
    found = load("A.safetensors")
    assert isinstance(found, Factorization)
    assert np.abs(dense(found.operator) - np.load("A.npy")).max() < 1e-13
    assert hashlib.sha256((dft / "A.npy").read_bytes()).hexdigest() == before
    assert files(dft) == ["A.npy", "A.safetensors"]


def test_factorize_as_json(dft, capsys):
    assert main(["factorize", "A.npy", "-o", "A.safetensors", "--tol", "1e-8", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["shape"] == [64, 64]
    assert report["dtype"] == "complex128"
    assert report["found"] is True
    assert sum(a * b * c * d for a, b, c, d in report["chain"]) == report["entries"] == 768
    assert report["lower_bound"] <= report["relative_error"] <= report["upper_bound"] < 1e-8
    assert report["bytes"] == os.path.getsize("A.safetensors")
    assert (report["input"], report["output"]) == ("A.npy", "A.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", ">f8", "int8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_dtype_and_order(dtype, order, here, capsys):
    matrix = np.asarray(scipy.linalg.hadamard(64), dtype, order=order)
    np.save("A.npy", matrix)
    assert main(["factorize", "A.npy", "-o", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] < 1000
    assert np.abs(dense(load("out").operator) - matrix).max() < 1e-4


def test_any_shape(here, capsys):
    rng = np.random.default_rng(0)
    np.save("A.npy", rng.standard_normal((30, 1)) * rng.standard_normal((1, 45)))
    assert main(["factorize", "A.npy", "-o", "out"]) == 0
    assert load("out").operator.shape == (30, 45)


def test_named_chains(dft, capsys):
    assert main(["factorize", "A.npy", "-o", "out", "--chain", "square-dyadic", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 6 * 2 * 64
    assert main(["factorize", "A.npy", "-o", "out", "--chain", "monarch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chain"] == [[1, 8, 8, 8], [8, 8, 8, 1]]
    np.save("B.npy", np.ones((4, 6)))
    assert main(["factorize", "B.npy", "-o", "other", "--chain", "square-dyadic"]) == 2
    assert "square-dyadic is for square matrices, this one is 4 x 6" in capsys.readouterr().err
    assert not os.path.exists("other")


def factorized(capsys, *arguments):
    assert main(["factorize", "A.npy", "-o", "out", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_chains_in_words(dft, capsys):
    words = {
        "auto": lo.factorize(np.load("A.npy")).chain,
        "mixed-radix": lo.Chain.square_dyadic(64),
        "monarch:4,16": lo.Chain.monarch(64, 64, 4, 16),
        "smallest:1": lo.Chain.smallest(64, 64, 1),
        "smallest:2,3": lo.Chain.smallest(64, 64, [2, 3]),
        "1,8,8,8;8,8,8,1": lo.Chain.monarch(64, 64),
        "1, 8, 16, 8; 8, 16, 8, 1": lo.Chain([(1, 8, 16, 8), (8, 16, 8, 1)]),
    }
    for word, chain in words.items():
        report = factorized(capsys, "--chain", word)
        assert report["chain"] == [list(p) for p in chain], word
        assert report["entries"] == chain.entries


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("other", "--chain is one of auto, square-dyadic, mixed-radix, monarch, monarch:p,q, "
         "smallest:r, a,b,c,d;a,b,c,d;...; got 'other'"),
        ("monarch:2", "got 'monarch:2'"),
        ("smallest:", "got 'smallest:'"),
        ("1,2,3", "got '1,2,3'"),
        ("1,8,8,8;", "got '1,8,8,8;'"),
        ("monarch:3,8", "monarch takes p dividing m and q dividing n, got 3, 64, 8, 64"),
        ("1,2,2,2;2,2,2,1", "the chain is 4x4, the matrix is 64x64"),
        ("1,8,8,8;8,8,0,1", "a pattern is four integers from 1 on, got (8, 8, 0, 1)"),
        ("1,2,2,2;1,2,2,1", "(1, 2, 2, 2) (4x4) cannot meet (1, 2, 2, 1) (2x2)"),
    ],
)  # fmt: skip
def test_chains_that_are_none(word, message, dft, capsys):
    assert main(["factorize", "A.npy", "-o", "out", "--chain", word]) == 2
    one_line(capsys, message)
    assert files(dft) == ["A.npy"]


def test_orders_in_words(dft, capsys):
    chain = ("--chain", "square-dyadic")
    orders = {
        "left-to-right": [1, 2, 3, 4, 5],
        "right-to-left": [5, 4, 3, 2, 1],
        "balanced": [3, 1, 2, 4, 5],
        "2,1,3,5,4": [2, 1, 3, 5, 4],
        "[5, 1, 2, 3, 4]": [5, 1, 2, 3, 4],
        "(1,(2,3)),(4,(5,6))": [3, 1, 2, 4, 5],
    }
    for word, order in orders.items():
        report = factorized(capsys, *chain, "--order", word)
        assert [s["position"] for s in report["splits"]] == order, word
        assert report["confidence"] == 1
        assert report["relative_error"] < 1e-14
    assert [
        s["position"] for s in factorized(capsys, "--chain", "monarch", "--order", "1")["splits"]
    ] == [1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--order", "upwards"], "order is one of balanced, left-to-right, right-to-left, a list "
         "or a tree, got 'upwards'"),
        (["--order", "1,2"], "order (1, 2) is of the factors of a chain: pass the chain as well"),
        (["--order", "1,2", "--chain", "square-dyadic"], "order as a tree has the factors 1 .. 6"),
        (["--order", "((1,2)", "--chain", "monarch"], "--order is balanced, left-to-right, "
         "right-to-left, junctions such as 2,1,3, or a tree of factors such as (1,2),(3,4); got "
         "'((1,2)'"),
        (["--order", "(1,'a')", "--chain", "monarch"], "a tree of factors such as"),
        (["--order", "(" * 5000 + "1" + ")" * 5000, "--chain", "monarch"], "a tree of factors"),
        (["--max-entries", "100"], "max_entries"),
        (["--max-entries", "0"], "max_entries is a number of stored entries from 1 on, got 0"),
        (["--max-entries", "900", "--tol", "1e-3"], "tol and max_entries exclude each other"),
        (["--max-entries", "900", "--resume", "kept"], "max_entries needs a matrix in memory"),
        (["--order", "left-to-right", "--resume", "kept"], "is split in the middle first"),
    ],
)  # fmt: skip
def test_wishes_that_cannot_be(words, message, dft, capsys):
    assert main(["factorize", "A.npy", "-o", "out", *words]) == 2
    one_line(capsys, message)
    assert files(dft) == ["A.npy"]


def test_max_entries(here, capsys):
    np.save("A.npy", np.random.default_rng(0).standard_normal((64, 64)))
    few, more = (factorized(capsys, "--max-entries", str(n)) for n in (600, 1500))
    assert few["entries"] <= 600 < more["entries"] <= 1500
    assert more["relative_error"] < few["relative_error"]
    assert few["lower_bound"] <= few["relative_error"] <= few["upper_bound"]


def test_no_structure_is_exit_code_1_and_no_file(here, capsys):
    np.save("A.npy", np.random.default_rng(0).standard_normal((32, 32)))
    assert main(["factorize", "A.npy", "-o", "out"]) == 1
    out = capsys.readouterr().out
    assert "no structure at tol 1e-10" in out
    assert "none written" in out
    assert main(["factorize", "A.npy", "-o", "out", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["found"] is False
    assert report["chain"] is None
    assert report["reason"].startswith("no structure")
    assert files(here) == ["A.npy"]


# -- bad input -----------------------------------------------------------------------------


def with_nan():
    a = np.eye(8)
    a[3, 5] = np.nan
    return a


BAD_MATRICES = {
    "1-D": (np.zeros(3), "holds a 1-D array of shape (3,), not a matrix"),
    "3-D": (np.zeros((2, 2, 2)), "holds a 3-D array of shape (2, 2, 2), not a matrix"),
    "object": (np.array([[1, None]]), "Python objects in dtype"),
    "text": (np.array([["a"]]), "holds <U1, not real or complex numbers"),
    "nan": (with_nan(), "the matrix is not finite: entry (3, 5) is nan"),
}


def one_line(capsys, *expected):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lazyops: error: ")
    assert err.count("\n") == 1
    for text in expected:
        assert text in err


@pytest.mark.parametrize("name", BAD_MATRICES)
def test_matrices_that_are_none(name, here, capsys):
    matrix, message = BAD_MATRICES[name]
    np.save("A.npy", matrix, allow_pickle=True)
    assert main(["factorize", "A.npy", "-o", "out"]) == 2
    one_line(capsys, message)
    assert files(here) == ["A.npy"]


def test_files_that_are_no_matrix(dft, capsys):
    data = (dft / "A.npy").read_bytes()
    header = b"\x93NUMPY\x01\x00\x76\x00"
    cases = {
        "empty": (b"", "empty is not a .npy file"),
        "text": (b"1 2\n3 4\n", "text is not a .npy file"),
        "zip": (b"PK\x03\x04" + bytes(99), "zip is not a .npy file"),
        "truncated": (data[:5000], "cannot read truncated: "),
        "short": (data[:50], "cannot read short: "),
        "no dict": (header + b"((((".ljust(118), "cannot read no dict: "),
        "huge": (
            header + b"{'descr':'<f8','fortran_order':False,'shape':(9**99,3)}".ljust(117) + b"\n",
            "cannot read huge: ",
        ),
        "negative": (
            header + b"{'descr':'<f8','fortran_order':False,'shape':(-3,3)}".ljust(117) + b"\n",
            "cannot read negative: ",
        ),
    }
    for name, (content, message) in cases.items():
        (dft / name).write_bytes(content)
        assert main(["factorize", name, "-o", "out"]) == 2, name
        one_line(capsys, message)
    assert main(["factorize", "missing.npy", "-o", "out"]) == 2
    one_line(capsys, "missing.npy: No such file or directory")
    assert main(["factorize", str(dft), "-o", "out"]) == 2
    one_line(capsys, "Is a directory")
    assert files(dft) == sorted(["A.npy", *cases])


def test_targets_are_checked_before_the_work(dft, capsys, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("factorize was called")

    monkeypatch.setattr(commands, "factorize", never)
    os.symlink("A.npy", "link")
    os.mkdir("folder")
    for target, message in [
        ("nowhere/out", "nowhere: No such file or directory"),
        ("A.npy/out", "A.npy: Not a directory"),
        ("folder", "folder: Is a directory"),
        ("A.npy", "A.npy is the matrix itself: name another file with -o"),
        ("link", "link is the matrix itself"),
    ]:
        assert main(["factorize", "A.npy", "-o", target]) == 2
        one_line(capsys, message)
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        os.chmod("folder", 0o500)
        assert main(["factorize", "A.npy", "-o", "folder/out"]) == 2
        one_line(capsys, "folder/out: Permission denied")
    assert files(dft) == ["A.npy", "folder", "link"]


def test_a_full_disk_leaves_nothing(dft, capsys, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["factorize", "A.npy", "-o", "out"]) == 2
    one_line(capsys, "No space left on device")
    assert files(dft) == ["A.npy"]


def test_usage_errors(capsys):
    for arguments in (
        [],
        ["factorise"],
        ["factorize", "A.npy"],
        ["factorize", "A.npy", "-o", "x", "--tol", "-1"],
        ["factorize", "A.npy", "-o", "x", "--tol", "nan"],
        ["factorize", "A.npy", "-o", "x", "--max-entries", "many"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_interrupt(here):
    """Ctrl-C in the work and in the writing: 130, and nothing left."""
    np.save("A.npy", scipy.fft.fft(np.eye(64), axis=0))
    code = """
        import os, signal, sys
        from lazyops import commands
        from lazyops.__main__ import main
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job behind `&` ignores it
        if sys.argv[1] == "work":
            run = commands.factorize
            def factorize(*args, **kwargs):
                os.kill(os.getpid(), signal.SIGINT)
                return run(*args, **kwargs)
            commands.factorize = factorize
        else:
            os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGINT)
        sys.exit(main(["factorize", "A.npy", "-o", "out"]))
    """
    for when in ("work", "writing"):
        done = python("-c", textwrap.dedent(code), when, cwd=here, path=[SOURCE])
        assert (done.returncode, done.stdout) == (130, "")
        assert done.stderr == "lazyops: interrupted\n"
        assert files(here) == ["A.npy"]


@pytest.mark.skipif(os.name != "posix", reason="SIGINT, and a terminal to be watched")
@pytest.mark.parametrize("words", [["--chain", "square-dyadic"], ["--resume", "kept"]])
def test_interrupt_in_the_middle(here, words):
    """Ctrl-C once a terminal shows that it is at it; benchmarks/interrupt.py times it."""
    rng = np.random.default_rng(0)
    np.save("A.npy", rng.standard_normal((4096, 4096)).astype(np.float32))
    master, slave = os.openpty()
    command = [sys.executable, "-P", "-m", "lazyops", "factorize", "A.npy", "-o", "out", *words]
    run = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        stderr=slave,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(slave)
    begun = b"panel 2 of" if "--resume" in words else b"split 1 of"
    shown = until(master, lambda shown: begun in shown)
    run.send_signal(signal.SIGINT)
    shown += until(master, lambda shown: False)
    os.close(master)
    assert run.communicate(timeout=600) == (b"", None)
    assert run.returncode == 130
    kept = b"; kept keeps the finished panels, the same command goes on from them"
    message = b"lazyops: interrupted" + (kept if "--resume" in words else b"") + b"\r\n"
    assert shown.endswith(b"\r" + message)  # the line of progress is cleared
    assert files(here) == (["A.npy", "kept"] if "--resume" in words else ["A.npy"])
    if "--resume" in words:
        assert files("kept")[:1] == ["panel-000000.npz"]
        assert not [name for name in files("kept") if name.endswith(".tmp")]


def until(terminal, enough):
    """What a terminal shows, up to the end or until it is enough."""
    shown = b""
    while not enough(shown):
        try:
            more = os.read(terminal, 4096)
        except OSError:  # Linux: all that wrote have left
            break
        if not more:
            break
        shown += more
    return shown


# -- info ----------------------------------------------------------------------------------


def test_info_of_a_factorization(dft, capsys):
    main(["factorize", "A.npy", "-o", "A.safetensors"])
    capsys.readouterr()
    assert main(["info", "A.safetensors"]) == 0
    out = capsys.readouterr().out
    assert "certified between" in out
    assert "entries           768 (0.1875 of dense)" in out
    assert "\n  K(1,4,4,16)  64x64  complex128" in out
    assert main(["info", "A.safetensors", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["certificate"]["entries"] == report["entries"] == 768
    assert report["shape"] == [64, 64]


def test_info_of_an_error_that_was_not_measured(here, capsys):
    chain = lo.Chain.square_dyadic(16)
    lo.save("A", lo.factorize(np.eye(16), chain, permutation=None, measure=False))
    assert main(["info", "A"]) == 0
    assert "not measured, certified between 0.00e+00 and " in capsys.readouterr().out
    assert main(["info", "A", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["certificate"]["relative_error"] is None


def test_info_of_an_operator(here, capsys):
    save("A", lo.Diagonal(np.ones(3)) @ lo.Permutation([2, 0, 1]))
    assert main(["info", "A", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["certificate"] is None
    assert (report["entries"], report["nodes"]) == (3, 3)


def test_info_of_what_is_no_file_of_ours(dft, capsys):
    save("A", lo.Diagonal(np.ones(3)))
    data = bytearray((dft / "A").read_bytes())
    data[-1] ^= 1
    (dft / "damaged").write_bytes(data)
    (dft / "truncated").write_bytes(data[:-9])
    for name, message in [
        ("A.npy", "cannot load A.npy: not a safetensors file"),
        ("damaged", "the SHA-256 of tensor '0.values' differs"),
        ("truncated", "truncated"),
        ("missing", "missing: No such file or directory"),
    ]:
        assert main(["info", name]) == 2
        one_line(capsys, message)


# -- doctor --------------------------------------------------------------------------------


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"numpy             {np.__version__}\n" in out
    assert "kernel reference  runs" in out
    assert os.path.dirname(lo.__file__) in out
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["numpy"] == np.__version__
    assert report["kernels"]["kernels"][-1]["name"] == "reference"


def test_doctor_imports_nothing_optional(here):
    code = (
        "import sys; from lazyops.__main__ import main; main(['doctor', '--json']);"
        "sys.exit(bool({'torch', 'cupy', 'dask', 'matplotlib'} & set(sys.modules)))"
    )
    done = python("-c", code, cwd=here, path=[SOURCE])
    assert done.returncode == 0, done.stderr


# -- demo ----------------------------------------------------------------------------------


def test_demo_1024(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["demo", "--n", "1024", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["entries"] <= 0.55 * 1024**2
    assert report["lower_bound"] <= report["relative_error"] <= report["upper_bound"] <= 1e-6
    assert report["relative_error"] > 0.1e-6  # tol is spent on fewer entries
    assert report["residual"] < 1e-3
    assert report["ratio"] > 0
    assert files(tmp_path) == []


def test_demo_is_a_short_readable_report(capsys):
    assert main(["demo", "--n", "256", "--tol", "1e-3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # no progress line where nobody watches
    names = " ".join(line.split()[0] for line in out.splitlines())
    assert names == "matrix factorize chain entries error file lsmr product"
    assert all(len(line) < 130 for line in out.splitlines())


def test_the_matrix_of_the_demo(tmp_path):
    n = 16
    demo.write_matrix(str(tmp_path / "K.npy"), n, demo.Progress(False))
    K = np.load(tmp_path / "K.npy")
    for i in range(n):
        for j in range(n):
            x, k = i / n, j - n // 2
            c = (2 + np.sin(2 * np.pi * x)) / 8
            assert abs(K[i, j] - np.exp(2j * np.pi * (x * k + c * abs(k)))) < 1e-12


def test_demo_in_panels(monkeypatch, tmp_path):
    demo.write_matrix(str(tmp_path / "K.npy"), 40, demo.Progress(False))
    monkeypatch.setattr(demo, "PANEL", 100)
    demo.write_matrix(str(tmp_path / "L.npy"), 40, demo.Progress(False))
    assert_array_equal(np.load(tmp_path / "K.npy"), np.load(tmp_path / "L.npy"))


def test_demo_sizes(capsys):
    for n in ("0", "7", "-2"):
        assert main(["demo", f"--n={n}"]) == 2
        one_line(capsys, f"the demo takes an even size from 2 on, got {n}")
    assert main(["demo", "--n", "100000000"]) == 2
    one_line(capsys, "the matrix takes 160,000,000,000,000,000 bytes")
    assert main(["demo", "--n", "2"]) in (0, 1)


# -- bench ---------------------------------------------------------------------------------


needs_cpu = pytest.mark.skipif(
    cpu.missing() is not None or FORCED == "reference", reason="the compiled kernel does not run"
)


@needs_cpu
def test_bench_as_json(capsys):
    assert main(["bench", "--quick", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert report["level"] == cpu.library().level
    assert report["threads"] == cpu.library().threads()
    rows = report["rows"]
    assert [(r["n"], r["columns"], r["dtype"]) for r in rows] == [
        (64, 1, "float32"), (256, 1, "float32"), (64, 16, "float32"),
        (64, 1, "complex64"), (256, 1, "complex64"),
    ]  # fmt: skip
    for r in rows:
        assert r["seconds"] > 0
        assert r["csr_ratio"] == r["csr_seconds"] / r["seconds"]
        single = r["columns"] == 1
        assert (r["fft_seconds"] is None, r["read_share"] is None) == (not single, not single)
        assert (r["peak_share"] is None) == single


@needs_cpu
def test_bench_is_a_table(capsys):
    assert main(["bench", "--quick"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"kernel level {cpu.library().level}" in out
    table = out[out.index("\nproduct ") + 1 :].splitlines()
    assert len(table) == 6
    assert table[3].startswith("64 x 16 float32")
    assert table[3].endswith("of multiply-add peak")
    assert all(len(line) <= 115 for line in table)


def test_bench_on_the_reference_path_prints_no_rows(here):
    done = python(
        "-m", "lazyops", "bench", "--quick", cwd=here, path=[SOURCE], LAZYOPS_KERNEL="reference"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("lazyops: no speed rows on the reference path: unset LAZYOPS_KERNEL\n")


def test_bench_without_a_compiled_kernel_says_how_to_get_one(capsys, monkeypatch):
    why = cpu.find(["nowhere"])
    monkeypatch.setattr(cpu, "library", lambda: why)
    monkeypatch.setattr("lazyops.kernels.FORCED", None)
    assert main(["bench"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "install g++ or clang++, then reinstall lazyops" in err
    with pytest.raises(ValueError, match="no speed rows on the reference path: its compiled part"):
        bench.Limits()


def test_bench_takes_turns():
    seen = []
    found = bench.timed(
        {"a": lambda: seen.append("a") or time.sleep(1e-3), "b": lambda: time.sleep(2e-3)},
        budget=0, rounds=20,
    )  # fmt: skip
    assert found["a"] >= 1e-3
    assert found["b"] >= 2e-3
    assert len(seen) == 3 + 2 * bench.FEWEST  # warm-up, then one call before each sample


def test_the_rival_computes_the_same():
    rng = np.random.default_rng(0)
    A = bench.random_product(lo.Chain.from_cores([(2, 3), (4, 2)]), "complex128", rng)
    x = bench.normal((A.shape[1], 3), "complex128", rng)
    np.testing.assert_allclose(bench.csr_chain(A, x)(), A @ x, rtol=1e-13)


# -- where the package comes from ----------------------------------------------------------


FAKE = "import os, sys; print('{}', sys.flags.safe_path, *sys.argv[1:])\n"


def fake(folder, name):
    """A lazyops that says who it is, with the real `restart_installed` in front."""
    package = folder / "lazyops"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    with open(os.path.join(os.path.dirname(lo.__file__), "__main__.py")) as file:
        text = file.read()
    before, marker, _ = text.partition('if __name__ == "__main__":')
    assert marker
    (package / "__main__.py").write_text(before + "restart_installed()\n" + FAKE.format(name))
    return folder


def is_editable():
    """Whether a finder of pip's, which comes before PYTHONPATH, leads to the sources."""
    for found in importlib.metadata.distributions(name="lazyops"):
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            return True
    return False


def test_from_a_clone_the_installed_package_runs(tmp_path):
    if is_editable():
        pytest.skip("lazyops is installed with -e: its finder comes before any folder")
    clone, site = fake(tmp_path / "clone", "clone"), fake(tmp_path / "site", "installed")
    run = ["-m", "lazyops", "info", "a b"]
    done = python(*run, cwd=clone, path=[site])
    assert (done.stdout, done.stderr) == ("installed True info a b\n", "")
    done = python(*run, cwd=tmp_path, path=[site])  # elsewhere: nothing hides it
    assert done.stdout == "installed False info a b\n"
    done = python(*run, cwd=clone, path=[site], PYTHONSAFEPATH="1")
    assert done.stdout == "installed True info a b\n"


def test_from_a_clone_without_an_installed_package_the_clone_runs(tmp_path):
    if any(d.name == "lazyops" for d in importlib.metadata.distributions()):
        pytest.skip("lazyops is installed here")
    done = python("-m", "lazyops", "x", cwd=fake(tmp_path / "clone", "clone"))
    assert done.stdout == "clone False x\n"
    done = python("-m", "lazyops", "x", cwd=tmp_path / "clone", path=[tmp_path / "clone"])
    assert done.stdout == "clone False x\n"
    (tmp_path / "other" / "lazyops").mkdir(parents=True)  # a folder of that name is no package
    done = python("-m", "lazyops", "x", cwd=tmp_path / "clone", path=[tmp_path / "other"])
    assert done.stdout == "clone False x\n"


def test_the_tests_run_on_the_package_that_commands_run(tmp_path):
    """`python -m lazyops` in an empty folder and `import lazyops` here: one package."""
    done = python("-m", "lazyops", "doctor", "--json", cwd=tmp_path, path=[SOURCE])
    assert json.loads(done.stdout)["folder"] == os.path.dirname(os.path.abspath(lo.__file__))


def test_console_script(tmp_path):
    """Where the package is installed, its script is the same program."""
    try:
        scripts = importlib.metadata.distribution("lazyops").entry_points
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("lazyops is not installed here")
    assert [(s.name, s.value) for s in scripts] == [("lazyops", "lazyops.__main__:entry")]


def test_a_pipe_that_closes(tmp_path):
    if os.name != "posix":
        pytest.skip("a shell of POSIX")
    command = f"{sys.executable} -m lazyops doctor | true"
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert "Traceback" not in done.stderr


# -- quantize ----------------------------------------------------------------------------------


@pytest.fixture
def saved(here):
    rng = np.random.default_rng(0)
    chain = lo.Chain.square_dyadic(256)
    A = lo.Product([lo.KroneckerSparse(rng.standard_normal(p).astype("f4")) for p in chain])
    save("A.safetensors", A)
    return A


def test_quantize_reports_and_writes(saved, capsys):
    assert main(["quantize", "A.safetensors", "-o", "q.safetensors", "--format", "e4m3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "formats   8 x e4m3" in out
    assert "measured, at most" in out
    wanted = lo.quantize(saved, "e4m3")
    assert f"error     {wanted.relative_error:.2e}" in out
    assert_array_equal(dense(load("q.safetensors")), dense(wanted.operator))
    assert os.path.getsize("q.safetensors") < 0.5 * os.path.getsize("A.safetensors")


def test_quantize_as_json_to_a_tolerance(saved, capsys):
    arguments = ["quantize", "A.safetensors", "-o", "q.safetensors", "--tol", "1e-2", "--json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["relative_error"] <= 1e-2
    assert len(report["formats"]) == 8
    assert report["bytes"] == os.path.getsize("q.safetensors")
    assert report["values_nbytes"] < report["input_values_nbytes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "q.safetensors"], "--format or --tol, one of them"),
        (["-o", "q.safetensors", "--format", "e4m3", "--tol", "1"], "--format or --tol, one of"),
        (["-o", "q.safetensors", "--format", "e4"], "unknown format 'e4': one of fp16, bf16"),
        (["-o", "A.safetensors", "--format", "e4m3"], "is the operator itself: name another file"),
        (["-o", "q.safetensors", "--tol", "1e-9"], "no format meets tol 1e-09"),
        (["-o", "none/q.safetensors", "--format", "e4m3"], "No such file or directory"),
    ],
)
def test_quantize_refuses_in_one_line_and_writes_nothing(saved, capsys, arguments, message):
    before = pathlib.Path("A.safetensors").read_bytes()
    assert main(["quantize", "A.safetensors", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert files(".") == ["A.safetensors"]
    assert pathlib.Path("A.safetensors").read_bytes() == before
