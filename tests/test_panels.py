"""factorize() of matrices larger than memory: read once, by panels, and resumed."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import lazyops as lo
from lazyops.butterfly import checkpoint, panels


@pytest.fixture(autouse=True)
def small_panels(monkeypatch):
    monkeypatch.setattr(panels, "PANEL_BYTES", 1 << 14)


class Chunked:
    """What zarr and dask arrays have in common; counts how often each column is read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.chunks = (array.shape[0], 8)
        self.reads = np.zeros(array.shape[1], int)

    def __getitem__(self, key):
        self.reads[key[1]] += 1
        return self.array[key]


def on_disk(tmp_path, M):
    np.save(tmp_path / "M.npy", M)
    return np.load(tmp_path / "M.npy", mmap_mode="r")


def error(M, found):
    return np.linalg.norm(found.operator.to_dense() - M) / np.linalg.norm(M)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    "M", [scipy.linalg.hadamard(256).astype(float), scipy.fft.fft(np.eye(256), axis=0)]
)
@pytest.mark.parametrize("in_rows", [True, False])
def test_transforms_on_disk(tmp_path, M, told, in_rows):
    chain = lo.Chain.square_dyadic(256) if told else None
    A = on_disk(tmp_path, M if in_rows else np.asfortranarray(M))
    found = lo.factorize(A, chain, checkpoint=tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("panel-*.npz"))) > 4
    assert error(M, found) <= 2e-15
    assert found.lower_bound <= error(M, found) <= found.upper_bound
    assert found.entries == 16 * 256
    assert "read once, by panels" in found.reason


def test_every_column_is_read_once():
    M = Chunked(scipy.linalg.hadamard(256).astype(float))
    found = lo.factorize(M)
    assert (M.reads == 1).all()
    assert error(M.array, found) <= 2e-15


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(2, 4), st.integers(2, 4)), min_size=2, max_size=4),
    st.integers(1, 2),
    st.sampled_from([0.0, 0.1, 3.0]),
    st.integers(0, 99),
)
def test_the_bounds_hold(cores, rank, noise, seed):
    rng = np.random.default_rng(seed)
    chain = lo.Chain.from_cores(cores, [rank] * (len(cores) - 1))
    M = np.eye(chain.shape[0])
    for p in chain:
        M = M @ lo.KroneckerSparse(rng.standard_normal(p)).to_dense()
    M = M + noise * rng.standard_normal(M.shape)
    found = lo.factorize(Chunked(M), chain, permutation=None)
    assert found.chain == chain
    assert found.lower_bound <= error(M, found) <= found.upper_bound
    dense = lo.factorize(M, chain, permutation=None)
    assert found.lower_bound <= dense.relative_error * (1 + 1e-9) + 1e-13


@pytest.mark.parametrize("tol", [1e-2, 1e-5])
def test_a_tolerance_is_kept_in_one_read(tol):
    x, k = np.arange(256) / 256, np.arange(-128, 128)
    K = np.exp(2j * np.pi * (np.outer(x, k) + np.outer((2 + np.sin(2 * np.pi * x)) / 8, abs(k))))
    M = Chunked(K[lo.Permutation.bit_reversal(256).index])
    found = lo.factorize(M, tol=tol)
    assert (M.reads == 1).all()
    assert found.upper_bound <= tol
    assert error(M.array, found) <= found.upper_bound


def test_single_precision(tmp_path):
    M = scipy.linalg.hadamard(256).astype(np.float32)
    found = lo.factorize(on_disk(tmp_path, M), checkpoint=tmp_path / "kept")
    assert found.operator.dtype == np.float32
    assert error(M, found) <= found.upper_bound <= 1e-6


def test_finished_panels_are_not_read_again(tmp_path):
    M = Chunked(scipy.linalg.hadamard(256).astype(float))
    one = lo.factorize(M, checkpoint=tmp_path / "kept")
    kept = sorted((tmp_path / "kept").glob("panel-*.npz"))
    kept[1].unlink()
    kept[3].write_bytes(kept[3].read_bytes()[:500])  # cut short
    two = lo.factorize(M, checkpoint=tmp_path / "kept")
    width = 256 // len(kept)
    again = np.zeros(256, bool)
    again[width : 2 * width] = again[3 * width : 4 * width] = True
    assert np.array_equal(M.reads == 2, again)
    assert np.array_equal(one.operator.to_dense(), two.operator.to_dense())


def test_other_wishes_are_refused_and_nothing_is_lost(tmp_path, monkeypatch):
    M = Chunked(scipy.linalg.hadamard(64).astype(float))
    lo.factorize(M, checkpoint=tmp_path / "kept")
    before = sorted(p.read_bytes() for p in (tmp_path / "kept").iterdir())
    with pytest.raises(ValueError, match="holds panels of another matrix or of other wishes"):
        lo.factorize(M, tol=1e-3, checkpoint=tmp_path / "kept")
    monkeypatch.setattr(panels, "PANEL_BYTES", 1 << 12)  # as another version may cut it
    with pytest.raises(ValueError, match="holds panels of another matrix or of other wishes"):
        lo.factorize(M, checkpoint=tmp_path / "kept")
    assert before == sorted(p.read_bytes() for p in (tmp_path / "kept").iterdir())


def test_resume_after_a_kill(tmp_path):
    M = scipy.linalg.hadamard(2048).astype(np.float32)
    np.save(tmp_path / "M.npy", M)
    code = (
        "import sys; from lazyops.butterfly import panels\n"
        "panels.PANEL_BYTES = 1 << 19\n"
        "from lazyops.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["factorize", "M.npy", "-o", "A.safetensors", "--resume", "kept"]
    command = [sys.executable, "-P", "-c", code, *words]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
    while run.poll() is None and len(list(tmp_path.glob("kept/panel-*.npz"))) < 3:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.glob("kept/panel-*.npz")}
    assert kept
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.PIPE)
    assert all(p.stat().st_mtime_ns == then for p, then in kept.items())
    assert error(M, lo.load(tmp_path / "A.safetensors")) <= 1e-6


def test_a_callback_stops():
    M = Chunked(scipy.linalg.hadamard(256).astype(float))
    found = lo.factorize(M, callback=lambda step: step.step == 2)
    assert found.reason.startswith("stopped by the callback; ")
    assert len(found.chain) == 3
    assert error(M.array, found) <= found.upper_bound


def test_what_was_stopped_goes_on_from_its_panels(tmp_path):
    M = Chunked(scipy.linalg.hadamard(256).astype(float))
    stopped = lo.factorize(M, checkpoint=tmp_path / "kept", callback=lambda step: True)
    assert len(stopped.chain) == 2
    assert error(M.array, stopped) <= stopped.upper_bound <= 1e-13
    whole = lo.factorize(M, checkpoint=tmp_path / "kept")
    assert (M.reads == 1).all()
    assert "stopped" not in whole.reason
    assert whole.entries < stopped.entries


def test_an_interrupt_leaves_no_part_of_a_panel(tmp_path, monkeypatch):
    M = Chunked(scipy.linalg.hadamard(256).astype(float))
    flush = checkpoint.os.fsync
    written = []

    def interrupted(handle):
        written.append(handle)
        if len(written) == 4:  # the manifest, two panels, and in the third
            raise KeyboardInterrupt
        flush(handle)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lo.factorize(M, checkpoint=tmp_path / "kept")
    names = sorted(p.name for p in (tmp_path / "kept").iterdir())
    assert names == ["panel-000000.npz", "panel-000001.npz", "task.json"]
    assert error(M.array, lo.factorize(M, checkpoint=tmp_path / "kept")) <= 2e-15


@pytest.mark.parametrize("kind", ["zarr", "dask.array"])
@pytest.mark.parametrize("chunks", [(256, 16), (64, 64), (100, 30)])
def test_real_chunked_arrays(tmp_path, kind, chunks):
    library = pytest.importorskip(kind)
    M = scipy.fft.fft(np.eye(256), axis=0)[:, lo.Permutation.bit_reversal(256).index]
    if kind == "zarr":
        A = library.create_array(str(tmp_path / "A"), shape=M.shape, chunks=chunks, dtype=M.dtype)
        A[:] = M
    else:
        A = library.from_array(M, chunks=chunks)
    for wishes in ({}, {"chain": lo.Chain.square_dyadic(256)}, {"checkpoint": tmp_path / "kept"}):
        found = lo.factorize(A, **wishes)
        assert error(M, found) <= 2e-15
        assert found.lower_bound <= error(M, found) <= found.upper_bound
        assert found.entries == 16 * 256
        assert isinstance(found.operator @ M[0], np.ndarray)
    assert len(list((tmp_path / "kept").glob("panel-*.npz"))) > 4


def test_refusals_of_dask():
    array = pytest.importorskip("dask.array")
    A = array.from_array(np.ones((8, 8)), chunks=4)
    with pytest.raises(ValueError, match=r"sizes \(nan, 8\) of this dask array are not known"):
        lo.factorize(A[A[:, 0] > 0])
    with pytest.raises(ValueError, match=r"factorize takes a 2-D array, got 1-D of shape \(8,\)"):
        lo.factorize(A[0])
    with pytest.raises(TypeError, match="real or complex numbers, got dtype <U1"):
        lo.factorize(A.astype("U1"), lo.Chain.square_dyadic(8))


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e300, 1e-300, 5e-324])
@pytest.mark.parametrize("in_rows", [True, False])
@pytest.mark.parametrize("told", [True, False])
def test_huge_and_tiny(tmp_path, scale, in_rows, told):
    M = scipy.linalg.hadamard(64)[lo.Permutation.bit_reversal(64).index] * scale
    chain = lo.Chain.square_dyadic(64) if told else None
    A = on_disk(tmp_path, M if in_rows else np.asfortranarray(M))
    found = lo.factorize(A, chain, checkpoint=tmp_path / "kept")
    assert found.upper_bound <= 1e-13
    assert 0 <= found.relative_error <= found.upper_bound
    values = [f.values for f in found.operator.factors if isinstance(f, lo.KroneckerSparse)]
    assert all(np.isfinite(v).all() for v in values)
    if scale != 5e-324:  # whose factors are not exact
        assert np.abs(found.operator @ np.eye(64) / scale - M / scale).max() <= 1e-13


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_huge_and_tiny_in_single_precision(tmp_path, scale):
    M = (scipy.linalg.hadamard(64) * scale).astype(np.float32)
    found = lo.factorize(on_disk(tmp_path, M), checkpoint=tmp_path / "kept")
    assert found.operator.dtype == np.float32
    assert np.abs(found.operator.to_dense() / scale - M / scale).max() <= 1e-5


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from([-300, -160, -10, 0, 120, 250]), min_size=8, max_size=8))
def test_panels_of_every_scale(powers):
    """Norms, bounds and products are of the whole, however far apart the panels are."""
    M = np.random.default_rng(0).standard_normal((64, 64))
    M *= 10.0 ** np.repeat(powers, 8)  # by columns: the panels that are read
    chain = lo.Chain.monarch(64, 64)
    found = lo.factorize(Chunked(M), chain, permutation=None)
    top = 10.0 ** max(powers)
    expected = lo.factorize(M / top, chain, permutation=None)
    assert abs(found.lower_bound - expected.lower_bound) <= 1e-12
    assert abs(found.upper_bound - expected.upper_bound) <= 1e-12
    assert found.lower_bound <= found.relative_error <= found.upper_bound
    difference = found.operator @ np.eye(64) / top - expected.operator @ np.eye(64)
    assert np.linalg.norm(difference) <= 1e-12 * np.linalg.norm(M / top)


def test_refusals():
    with pytest.raises(TypeError, match="reads NumPy arrays, memory maps, zarr and dask arrays"):
        lo.factorize([[1.0, 2.0], [3.0, 4.0]], checkpoint="kept")
    M = np.ones((64, 64))
    M[3, 5] = np.inf
    with pytest.raises(ValueError, match=r"the matrix is not finite: a panel holds inf"):
        lo.factorize(Chunked(M))
    with pytest.raises(ValueError, match="a 7x5 matrix is read by panels over two factors or more"):
        lo.factorize(Chunked(np.ones((7, 5))))
