"""What a device would run, on stand-ins: choices, tables of measurements, errors, streams."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import pytest
from emulated import COMPILER, EmulatedTorch, Emulator, named, stand_in
from theory import gamma

import lazyops as lo
from lazyops import kernels
from lazyops.kernels import cuda
from lazyops.kernels.cuda import table
from lazyops.kernels.cuda.cost import FREE, H200, Bias, Case, calls_of, plan_runs
from lazyops.kernels.cuda.plan import make_plan
from lazyops.kernels.cuda.products import Multiplication
from lazyops.kernels.cuda.text import SUMS
from lazyops.kernels.reference import ks_matmat
from lazyops.pattern import Chain, Pattern

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="the emulator is built by g++"),
    pytest.mark.skipif(kernels.FORCED == "reference", reason="devices are not used"),
]


@pytest.fixture
def device(monkeypatch, tmp_path):
    """Torch tensors of the CPU are on an emulated device; tables lie in a folder of the test."""
    monkeypatch.setenv("LAZYOPS_CACHE", str(tmp_path / "cache"))
    table.forget()
    yield stand_in(monkeypatch, EmulatedTorch())
    table.forget()


def draw(shape, dtype="float32", seed=0):
    z = np.random.default_rng([seed, *shape]).standard_normal((2, *shape))
    return (z[0] + 1j * z[1] if "complex" in dtype else z[0]).astype(named(dtype))


def values(n, seed=0):
    return [torch.from_numpy(draw(p, seed=seed + k)) for k, p in enumerate(Chain.square_dyadic(n))]


def product(tensors):
    return lo.Product([lo.KroneckerSparse(v, copy=False) for v in tensors])


def assert_near(got, A, x, count=100):
    """Within gamma_count of |K_1| ... |K_L| |x|, entry by entry."""
    dense = [to_double(f.to_dense()) for f in A.factors]
    want, most = to_double(x), np.abs(to_double(x))
    for matrix in reversed(dense):
        want, most = matrix @ want, np.abs(matrix) @ most
    excess = np.abs(to_double(got) - want) - 4 * gamma(count, "float32") * most
    assert (excess <= 0).all(), excess.max()


def to_double(x):
    x = x.numpy() if hasattr(x, "data_ptr") else np.asarray(x)
    return x.astype("complex128" if x.dtype.kind == "c" else "float64")


# -- products of tensors, from the door on ---------------------------------------------------


@pytest.mark.parametrize("fortran", [False, True])
def test_tensors_of_a_device_run_the_kernels(device, fortran):
    A, x = product(values(256)), torch.from_numpy(draw((256, 12)))
    x = x.mT.contiguous().mT if fortran else x
    y = A @ x
    assert [launch.variant.kernel for launch in device.launches] == ["chain"]
    assert_near(y, A, x)
    assert (y.stride()[0] == 1) == fortran  # the order of x
    found = A.H @ y
    assert_near(found, A.H, y)
    assert A.H @ y is not found
    torch.testing.assert_close(A.H @ y, found, rtol=0, atol=0)


def test_values_that_change_in_place_are_read_again(device):
    tensors = values(256)
    A, x = product(tensors), torch.from_numpy(draw((256, 8)))
    before = A @ x
    tensors[3].mul_(2.0)
    torch.testing.assert_close(A @ x, 2 * before)


def test_plans_for_other_widths_share_the_copies_of_values(device):
    """A new number of columns takes no memory for values, as long as runs are cut alike."""
    A = cuda.DeviceChain([f._stage() for f in product(values(256)).factors])
    plans = [A.plan_for(torch.from_numpy(draw((256, k)))) for k in (4096, 4104, 4112)]
    arrays = {id(held.array) for made in plans for step in made.steps for held in step.keep[0]}
    assert len({made.columns for made in plans}) == 3
    assert len(arrays) == sum(len(step.keep[0]) for step in plans[0].steps)


def test_what_kernels_do_not_take_goes_by_the_array_api(device):
    A = product([v.requires_grad_() for v in values(16)])
    x = torch.from_numpy(draw((16, 4)))
    y = A @ x
    assert y.requires_grad
    assert not device.launches
    assert (A @ x[:, :0]).shape == (16, 0)


# -- the choice --------------------------------------------------------------------------------


def test_the_model_knows_the_crossovers():
    """Radix-2 chains are fused; large blocks in half precision go to matmul; codes never do."""
    dyadic = list(Chain.square_dyadic(4096))[::-1]
    assert {c.how for c in plan_runs(dyadic, 4096, "float32", matmul=True)} == {"run"}
    monarch = [Pattern(64, 64, 64, 1), Pattern(1, 64, 64, 64)]
    half = plan_runs(monarch, 4096, "bfloat16", matmul=True)
    assert [c.how for c in half] == ["matmul", "matmul"]
    assert [c.how for c in plan_runs(monarch, 4096, "bfloat16")] == ["factor", "factor"]
    few = plan_runs(monarch, 4, "bfloat16", matmul=True)
    assert [c.how for c in few] == ["factor", "factor"]  # values are what costs
    index = plan_runs(monarch, 4096, "bfloat16", matmul=True, gathered=True)
    assert [c.how for c in index] == ["factor", "matmul"]


def test_matmul_is_for_views_without_a_copy():
    case = Case(512, "float32", True, matmul=True)
    cupy = case._replace(device=H200._replace(strided=False))
    rows = case._replace(along_columns=False)
    for pattern, calls in (((4, 64, 64, 1), 1), ((1, 64, 64, 8), 1), ((3, 64, 64, 8), 3)):
        p = Pattern(*pattern)
        assert calls_of(p, case) == calls
        assert calls_of(p, cupy) == calls_of(p, rows) == (1 if p.d == 1 else 0)
    assert calls_of(Pattern(1, 16, 64, 8), case) == 0
    assert calls_of(Pattern(1, 64, 64, 8), case._replace(matmul=False)) == 0


@pytest.mark.parametrize(
    "pattern", [(3, 40, 32, 1), (1, 32, 48, 5), (2, 33, 40, 3), (4, 32, 32, 2)]
)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bfloat16"])
@pytest.mark.parametrize("fortran", [False, True])
def test_large_blocks_by_matmul(pattern, dtype, fortran):
    """Torch's own bmm into views: nothing is copied, numbers are right."""
    p = Pattern(*pattern)
    v, x = draw(p, dtype), draw((p.shape[1], 12), dtype)
    host = [torch.from_numpy(a.astype("float32") if dtype == "bfloat16" else a) for a in (v, x)]
    tv, tx = (t.to(getattr(torch, dtype)) for t in host)
    tx = tx.mT.contiguous().mT if fortran else tx
    machine = EmulatedTorch()
    y = machine.empty((p.shape[0], 12), dtype, fortran)
    work = Multiplication(tv.permute(0, 3, 1, 2).contiguous())
    for _, right, out in work.calls(tx, y):
        assert right.untyped_storage().data_ptr() == tx.untyped_storage().data_ptr()
        assert out.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()
    work.run(machine, tx, y)
    got = to_double(y.float().numpy() if dtype == "bfloat16" else y)
    want, most = ks_matmat(to_double(v), to_double(x)), ks_matmat(np.abs(v), np.abs(x))
    bound = 4 * gamma(2 * p.c + 2, SUMS[dtype]) * to_double(most)
    bound = bound + (2.0**-7 if dtype == "bfloat16" else 0) * to_double(most)
    assert (np.abs(got - want) <= bound).all()
    assert work.pattern == p
    assert len(machine.launches) == (1 if 1 in (p.a, p.d) else min(p.a, p.d))


def test_a_plan_with_large_blocks(device):
    """In half precision by matmul, and the permutation behind by itself."""
    rng = np.random.default_rng(1)
    v = [draw((1, 64, 64, 4), seed=1) / 8, draw((4, 64, 64, 1), seed=2) / 8]
    v = [torch.from_numpy(a).to(torch.bfloat16) for a in v]
    P = lo.Permutation(rng.permutation(256))
    A = P @ lo.KroneckerSparse(v[0], copy=False) @ lo.KroneckerSparse(v[1], copy=False)
    x = torch.from_numpy(draw((256, 4096))).to(torch.bfloat16)
    plan = cuda.plan([f._stage() for f in A.factors], x, Bias(dense=0))
    assert [s.choice and s.choice.how for s in plan.steps] == ["matmul", "matmul", None]
    some = slice(None, None, 64)
    most = np.abs(np.eye(256))
    want = to_double(x[:, some].float())
    for factor in reversed(A.factors):
        matrix = factor.to_dense()
        matrix = to_double(matrix.float() if hasattr(matrix, "float") else matrix)
        want, most = matrix @ want, np.abs(matrix) @ most
    most = most @ np.abs(to_double(x[:, some].float()))
    got = to_double(plan(x)[:, some].float())
    assert (np.abs(got - want) <= 3 * 2.0**-8 * most).all()  # one rounding for each factor


def test_small_products_become_one_matrix(device):
    tensors = values(32)
    A, x = product(tensors), torch.from_numpy(draw((32, 64)))
    D = lo.Diagonal(torch.from_numpy(draw((32,), seed=9)))
    P = lo.Permutation(np.random.default_rng(0).permutation(32))
    B = P @ D @ A @ P
    assert_near(B @ x, B, x)
    assert device.launches == ["matmul"]  # in one
    codes = lo.quantize(lo.butterfly.hadamard(32), "e4m3").operator
    host = codes @ x.numpy()
    stages = [f._stage() for f in codes._operands]
    made = make_plan(stages, 32, 64, "float32", True, 16, Emulator(orders=(0,)))
    assert all(step.choice.how != "dense" for step in made.steps)  # few bits are the point
    np.testing.assert_allclose(made(x.numpy()), host, rtol=1e-5, atol=1e-4)
    frozen = make_plan(
        [f._stage() for f in A.factors], 32, 64, "float32", True, 16, device, frozen=True
    )
    assert all(step.choice.how != "dense" for step in frozen.steps)


def test_one_matrix_is_rounded_once():
    """The product is formed in double: what is left is the rounding of the result."""
    A = product([v / 2 for v in values(64)])
    stages = [f._stage() for f in A.factors]
    made = make_plan(stages, 64, 16, "float32", True, 16, EmulatedTorch())
    (step,) = made.steps
    dense = np.linalg.multi_dot([to_double(f.to_dense()) for f in A.factors])
    np.testing.assert_array_equal(step.launch.blocks[0, 0].numpy(), dense.astype(np.float32))


def test_whole_transforms_go_to_the_library(device):
    """A DFT by its name is the FFT of the library, which is cuFFT on a device."""
    x = torch.from_numpy(draw((64, 8), "complex64"))
    told = lo.explain(lo.fft(64), like=x)
    assert "by the FFT of the library, cuFFT on a device" in told
    torch.testing.assert_close(lo.fft(64) @ x, torch.fft.fft(x, dim=0))
    assert not device.launches


# -- explain -----------------------------------------------------------------------------------


def test_explain_tells_the_choice_and_the_floor(device):
    n, columns = 4096, 512
    A = product(values(n))
    x = torch.from_numpy(draw((n, columns)))
    told = lo.explain(A, like=x)
    values_bytes = 4 * sum(p.entries for p in Chain.square_dyadic(n))
    floor = 4 * 2 * n * columns
    assert told.count("in kernel ") == 2
    # merged factors have more values than what was written
    made = cuda.plan([f._stage() for f in A.factors], x)
    total = floor + sum(step.values for step in made.steps)
    assert floor + values_bytes <= total
    assert f"floor: {total:,} bytes at 4,300 GB/s take {1e6 * total / 4.3e12:.2f} us" in told
    assert "bound by memory" in told
    paper = lo.explain(A, like=x.numpy(), device="H200")
    assert paper.splitlines()[1:] == told.splitlines()[1:]
    rows = lo.explain(A, like=np.asfortranarray(x.numpy()), device="H200")
    assert rows.splitlines()[1:] != told.splitlines()[1:]
    with pytest.raises(ValueError, match="no constants of a 'RTX 9999' are known: H200"):
        lo.explain(A, like=x.numpy(), device="RTX 9999")


def test_explain_of_other_pieces(device):
    x = torch.from_numpy(draw((64, 8)))
    A = product(values(64))
    D = lo.Function((64, 64), matmat=lambda z: z)
    told = lo.explain(D @ A, like=x).splitlines()
    assert "one matrix, 6 factors as 1 (1,64,64,1) by matmul of the array library" in told[1]
    assert told[-1].endswith("by itself, it has no stage")
    told = lo.explain(lo.KroneckerSparse(values(16)[1]), like=x[:16])
    assert "factor by itself (2,2,2,4) in kernel factor_small" in told
    leaf = [v.clone().requires_grad_() for v in values(64)]
    assert "each by itself" in lo.explain(product(leaf), like=x)


def test_a_plan_on_paper_is_not_run():
    made = cuda.paper_plan(lo.butterfly.hadamard(512).factors[0:1] and [
        f._stage() for f in lo.butterfly.hadamard(512).factors
    ], np.ones((512, 8)), "H200")  # fmt: skip
    with pytest.raises(RuntimeError, match="a plan made for a H200 on paper is read, not run"):
        made(np.ones((512, 8)))


# -- tune --------------------------------------------------------------------------------------


class Times:
    """Seconds of plans: less where a step is made in this way."""

    def __init__(self, fast, seconds=1e-5):
        self.fast, self.seconds, self.asked = fast, seconds, []

    def __call__(self, call):
        call()
        kinds = {s.choice.how for s in call.func.steps if s.choice}
        self.asked.append(kinds)
        return self.seconds if self.fast in kinds else 3 * self.seconds


@pytest.fixture
def timed(device):
    """A device on which products by matmul of one matrix are slow, single factors fast."""
    device.clock = Times("factor")
    return device


def test_tune_keeps_what_is_fastest(timed, tmp_path):
    A, x = product(values(64)), torch.from_numpy(draw((64, 8)))
    assert "one matrix" in lo.explain(A, like=x)
    found = lo.tune(A, like=x, time_limit=600)
    (piece,) = found.measured
    assert piece[0].bias == FREE  # the model's own comes first
    best = min(piece)
    assert best.seconds == 1e-5 < piece[0].seconds
    assert "kept" in str(found)
    assert "kernel factor_small" in lo.explain(A, like=x)
    assert_near(A @ x, A, x)
    # other widths of the same power of two take it too, others do not
    assert "kernel factor_small" in lo.explain(A, like=x[:, :7])
    assert "kernel factor_small" not in lo.explain(A, like=x[:, :2])
    # a new process reads it
    table.forget()
    B = product(values(64, seed=50))
    assert "kernel factor_small" in lo.explain(B, like=x)
    written = json.loads((tmp_path / "cache" / "tuned.json").read_text())
    (key,) = written["entries"]
    assert key.startswith("H200|torch|float32|C|2^3|1,2,2,32 float32|")
    assert written["entries"][key] == {"bias": best.bias._asdict(), "seconds": 1e-5}


def test_tune_adds_to_what_is_there(timed, tmp_path):
    x = torch.from_numpy(draw((64, 8)))
    for n in (32, 64):
        lo.tune(product(values(n)), like=x[:n])
    lo.tune(lo.block_diag([product(values(32)), lo.KroneckerSparse(values(64)[0])]),
            like=torch.ones(96, 8))  # fmt: skip
    written = json.loads((tmp_path / "cache" / "tuned.json").read_text())
    assert len(written["entries"]) == 3


def test_tune_keeps_to_its_time(timed, monkeypatch):
    """The model's plan is measured whatever the limit; a clock that runs fast ends it there."""
    import lazyops.tuning as tuning

    now = iter(np.arange(0.0, 1e6, 10.0))
    monkeypatch.setattr(tuning.time, "monotonic", lambda: next(now))
    found = lo.tune(product(values(64)), like=torch.ones(64, 8), time_limit=2)
    assert [len(piece) for piece in found.measured] == [1]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{broken", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[1, 2]", "not one that lazyops wrote"),
        ('{"format": "another"}', "not one that lazyops wrote"),
        ("\\udc80", "can't decode"),
        (None, "an entry is not what lazyops writes"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_broken_tables_never_stop_a_product(timed, tmp_path, text, why):
    path = tmp_path / "cache" / "tuned.json"
    path.parent.mkdir()
    if text is None:
        entries = {"x": {"bias": {"radix": "many"}, "seconds": 1}}
        path.write_text(table.text_of(entries))
    else:
        path.write_bytes(text.encode("utf-8", "surrogateescape") if "udc" not in text else b"\x80")
    A, x = product(values(64)), torch.from_numpy(draw((64, 8)))
    with pytest.warns(
        RuntimeWarning, match=f"ignored, and written anew by the next lo.tune.*{why}"
    ):
        y = A @ x
    assert_near(y, A, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        lo.tune(A, like=x, time_limit=600)
    table.forget()
    assert len(table.read(path)) == 1


def test_tables_of_other_kernels_are_written_anew(timed, tmp_path):
    A, x = product(values(64)), torch.from_numpy(draw((64, 8)))
    lo.tune(A, like=x, time_limit=600)
    path = tmp_path / "cache" / "tuned.json"
    path.write_text(path.read_text().replace(table.kernels(), "0" * 16))
    table.forget()
    assert "one matrix" in lo.explain(A.H.H @ lo.Identity(64), like=x)  # without a warning
    B = product(values(64, seed=7))
    assert "one matrix" in lo.explain(B, like=x)


def test_a_folder_that_cannot_be_written(timed, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAZYOPS_CACHE", str(tmp_path / "file" / "below"))
    A, x = product(values(64)), torch.from_numpy(draw((64, 8)))
    with pytest.warns(RuntimeWarning):
        found = lo.tune(A, like=x, time_limit=600)
    assert found.path is None
    assert found.reason == "1 plans kept for this process"
    assert "kernel factor_small" in lo.explain(A, like=x)


def test_nothing_is_to_be_tuned():
    found = lo.tune(lo.butterfly.hadamard(8), like=np.ones((8, 2)))
    assert found.measured == ()
    assert found.path is None
    assert found.reason.startswith("nothing is to be tuned for numpy on cpu: the CPU kernel has")
    with pytest.raises(ValueError, match=r"like is an array of shape \(8,\) .* got shape \(4,\)"):
        lo.tune(lo.butterfly.hadamard(8), like=np.ones(4))
    with pytest.raises(ValueError, match="got int"):
        lo.tune(lo.butterfly.hadamard(8), like=4)


def test_where_the_table_lies(monkeypatch):
    monkeypatch.delenv("LAZYOPS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/a")
    for platform, ends in (
        ("linux", "/a/lazyops/tuned.json"),
        ("darwin", "Library/Caches/lazyops"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert ends in table.path().as_posix()
