"""benchmarks/gpu.py without a device: its cases, its marks and its page."""

from __future__ import annotations

import pathlib
import sys
import types

import pytest
from emulated import COMPILER

from lazyops import kernels
from lazyops.kernels import cuda

torch = pytest.importorskip("torch")
ROOT = pathlib.Path(__file__).parent.parent
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="the emulator is built by g++"),
    pytest.mark.skipif(kernels.FORCED == "reference", reason="devices are not used"),
]


@pytest.fixture(scope="module")
def gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import gpu as module

        yield module


@pytest.fixture(scope="module")
def rows(gpu):
    place = gpu.Dry()
    gpu.run_all(place, 0, stop=True)
    return place.rows


def test_every_case_runs_and_gives_no_figure(rows):
    assert len({(r.what, r.compared) for r in rows}) == len(rows) > 150
    assert {(r.figure, r.met) for r in rows} == {("no figure: this was a dry run", "")}
    named = {r.compared for r in rows if r.mark}
    assert {"of the floor", "cuSPARSE / ours", "lazylinop / ours", "ours / cuFFT", "of a copy",
            "of a copy, in L2", "bmm and copies / ours", "float32 values / ours",
            "forward, backward / forward", "us of a call, CuPy", "us of a replayed graph",
            "the model's plan / the best plan", "ms to compile, mean"} <= named  # fmt: skip


def test_the_page_has_every_mark(gpu, rows):
    """Rows that nobody measured yet stand on the page as unmeasured, with both marks."""
    page = gpu.section(ROOT / "docs" / "benchmarks" / "gpu.md", gpu.ON)
    for row in rows:
        if row.mark:
            assert f"| {row.what} | {row.compared} | " in page, row
            assert f" | {row.mark} | " in page


def test_what_the_time_was_over_for_stays_on_the_page(gpu, rows):
    marked = [r for r in rows if r.mark]
    left = gpu.left_out(marked[:-2])
    assert [(r.what, r.figure, r.met) for r in left] == [
        (r.what, "unmeasured", "") for r in marked[-2:]
    ]


def test_a_dry_run_is_never_written(gpu, tmp_path):
    with pytest.raises(SystemExit, match="a dry run has no figures to write: leave out --dry"):
        gpu.main(["--dry", "--write", str(tmp_path / "page.md")])
    assert not list(tmp_path.iterdir())


def test_without_a_device_it_says_what_needs_none(gpu):
    if cuda.missing() is None:
        pytest.skip("there is a device")
    with pytest.raises(SystemExit, match=r"no device: .*; --static and --dry need none"):
        gpu.main([])


def test_a_case_that_fails_is_a_row_and_the_others_still_count(gpu, monkeypatch):
    def wrong(place, what):
        raise RuntimeError(what)

    def right(place, what):
        place.row(what, "of a copy", 1.0, sys.modules["gpu_clock"].Mark(0.5))

    monkeypatch.setattr(gpu, "cases", lambda: [(wrong, ("first",)), (right, ("second",))])
    place = gpu.Device()
    monkeypatch.setattr(place, "free", lambda: None)
    gpu.run_all(place, float("inf"))
    assert [(r.what, r.figure, r.met) for r in place.rows] == [
        ("wrong('first',)", "failed", "NO"), ("second", "1", "yes")]  # fmt: skip
    with pytest.raises(RuntimeError, match="first"):
        gpu.run_all(place, float("inf"), stop=True)
    gpu.run_all(place, 0)  # the time is over
    assert len(place.rows) == 2


@pytest.mark.parametrize(
    ("figure", "least", "met"),
    [(0.5, True, "yes"), (0.4, True, "NO"), (0.7, True, "good"), (float("nan"), True, "NO"),
     (0.7, False, "NO"), (0.5, False, "good"), (0.6, False, "yes")],
)  # fmt: skip
def test_marks(gpu, figure, least, met):
    Mark = sys.modules["gpu_clock"].Mark
    mark = Mark(0.5, 0.7) if least else Mark(0.6, 0.5, False)
    assert mark.met(figure) == met
    assert str(mark) == (">= 0.5, 0.7" if least else "<= 0.6, 0.5")


def test_sections_of_the_page_are_written_one_by_one(gpu, tmp_path):
    page = tmp_path / "page.md"
    gpu.write_section(page, gpu.WITHOUT, "first")
    assert gpu.is_unmeasured(gpu.section(page, gpu.ON))  # there is no figure to keep
    gpu.write_section(page, gpu.ON, "| unmeasured |")
    assert not gpu.is_unmeasured(gpu.section(page, gpu.ON))  # rows that the time was over for
    gpu.write_section(page, gpu.WITHOUT, "second")
    assert page.read_text() == "# On a device\n\n| unmeasured |\n\n## Without a device\n\nsecond\n"


class Clock:
    """torch.cuda of a test: two events are 3 ms apart, and all that is asked for is noted."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        return lambda *given, **more: self._noted(name)

    def _noted(self, name):
        self.asked.append(name)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def elapsed_time(self, end):
        return 3.0


def test_the_clock_of_a_device(gpu, monkeypatch):
    """Seconds of one call of those in a graph; waits are around calls, not inside."""
    clock, calls = Clock(), []
    monkeypatch.setattr(torch, "cuda", clock)
    place = gpu.Device()
    assert place.seconds([lambda: calls.append(1)] * 3) == pytest.approx(1e-3)
    assert len(calls) == 2 + 3  # before the graph, and into it
    assert clock.asked.count("replay") == 21
    assert place.waited(lambda: calls.append(2), 4) >= 0
    assert calls.count(2) == 5
    assert place.replayed(lambda: calls.append(3)) >= 0
    assert calls.count(3) == 2
    asked = []
    module = types.SimpleNamespace(get_function=lambda name: types.SimpleNamespace(
        name=name, local_size_bytes=8))  # fmt: skip
    made = types.SimpleNamespace(RawModule=lambda code, options: asked.append(code) or module)
    monkeypatch.setattr(type(place), "cupy", made)
    variant = next(v for v in variants(gpu) if v.kernel == "chain")
    assert place.compiled(variant)[1] == 8
    place.compiled(variant)
    assert asked[0] != asked[1]  # nothing is found in a cache


def variants(gpu):
    import cuda_static

    return [one.launch.variant for one in cuda_static.chains()]
