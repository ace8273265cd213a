"""What is asked of CuPy and of torch's CUDA part: streams, errors, missing pieces, by stand-ins."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import types

import numpy as np
import pytest

import lazyops as lo
from lazyops.kernels import cuda
from lazyops.kernels.cuda import errors
from lazyops.kernels.cuda import machine as module
from lazyops.kernels.cuda.launches import Held, Layout, one_factor
from lazyops.pattern import Pattern

torch = pytest.importorskip("torch")


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory has it."""


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime has it."""


class CUDADriverError(RuntimeError):
    """As cupy_backends.cuda.api.driver has it."""


class CompileException(Exception):
    """As cupy.cuda.compiler has it."""


class Stream:
    """A stream of CuPy, by its number; 0 is CuPy's own."""

    def __init__(self, cupy, number):
        self.cupy, self.number = cupy, number

    def __enter__(self):
        self.cupy.streams.append(self)
        return self

    def __exit__(self, *_):
        self.cupy.streams.pop()

    def synchronize(self):
        self.cupy.calls.append(("synchronize", self.number))


class Event:
    def __init__(self, cupy):
        self.cupy = cupy

    def record(self, stream):
        self.cupy.calls.append(("record", stream.number))
        self.at = self.cupy.now

    def synchronize(self):
        pass


def stand_in_cupy(fails=None):
    """A module with what lazyops asks of CuPy; what it is asked to do is kept in `calls`.

    fails : {"count" | "compile" | "launch" | "empty": the error it raises there}
    """
    fails = fails or {}
    cupy = types.ModuleType("cupy")
    cupy.calls, cupy.now = [], 0.0
    cupy.streams = [Stream(cupy, 0)]

    def step(name, result):
        if name in fails:
            raise fails[name]
        return result

    def function(grid, block, arguments, shared_mem):
        step("launch", None)
        cupy.now += 2.0
        cupy.calls.append(("launch", cupy.streams[-1].number, grid, block, len(arguments)))

    def load(code, options):
        assert 'extern "C"' in code
        assert options == ("-std=c++17",)
        step("compile", None)
        got = types.SimpleNamespace(get_function=lambda name: FunctionOf(function))
        return got

    class FunctionOf:
        def __init__(self, f):
            self.f = f

        def __call__(self, *a, **k):
            return self.f(*a, **k)

    device = contextlib.nullcontext()
    attributes = {
        "MultiProcessorCount": 132, "ClockRate": 1980000, "MemoryClockRate": 3201000,
        "GlobalMemoryBusWidth": 6144, "L2CacheSize": 60 << 20,
        "MaxSharedMemoryPerBlockOptin": 227 << 10, "MaxSharedMemoryPerMultiprocessor": 228 << 10,
    }  # fmt: skip

    class Device:
        def __init__(self, number):
            self.attributes = attributes

        __enter__, __exit__ = device.__enter__, lambda self, *_: None

    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: step("count", 1),
        runtimeGetVersion=lambda: 12090,
        driverGetVersion=lambda: fails.get("driver", 12080),
        getDeviceProperties=lambda n: {"name": b"NVIDIA stand-in"},
    )
    cupy.cuda = types.SimpleNamespace(
        runtime=runtime,
        Device=Device,
        Event=lambda: Event(cupy),
        ExternalStream=lambda pointer: Stream(cupy, pointer),
        get_current_stream=lambda: cupy.streams[-1],
        get_elapsed_time=lambda start, end: end.at - start.at,
        nvrtc=types.SimpleNamespace(getVersion=lambda: step("nvrtc", (12, 9))),
    )
    cupy.RawModule = load
    cupy.ndarray = type("ndarray", (), {})  # none of the arrays here
    cupy.empty = lambda shape, dtype, order: step("empty", np.empty(shape, dtype, order))
    cupy.asarray = np.asarray
    cupy.matmul = np.matmul
    return cupy


@pytest.fixture
def cupy(monkeypatch, request):
    """CuPy is a stand-in that fails as the parameter says; nothing of it is remembered."""
    found = stand_in_cupy(getattr(request, "param", None))
    monkeypatch.setitem(sys.modules, "cupy", found)
    cached = (module._missing, module.machine, module.compiled)
    for f in cached:
        f.cache_clear()
    yield found
    for f in cached:
        f.cache_clear()


def a_launch(dtype="float32"):
    held = Held(np.ones((4, 2, 2, 8), dtype), dtype, Pattern(4, 2, 2, 8))
    return one_factor(held, Layout(16, True, 16), dtype)


# -- streams -----------------------------------------------------------------------------------


def test_kernels_run_on_the_stream_of_the_library(cupy, monkeypatch):
    """Torch's current stream is handed to CuPy; CuPy's own arrays stay on CuPy's."""
    current = types.SimpleNamespace(cuda_stream=71)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda number: current)
    of_torch, of_cupy = module.machine(0, "torch"), module.machine(0, "cupy")
    x = np.ones((64, 16), np.float32)
    for machine, stream in ((of_torch, 71), (of_cupy, 0)):
        machine.launch(a_launch(), [x], [x])
        assert cupy.calls[-1][:2] == ("launch", stream)
    current.cuda_stream = 72  # the caller changes streams: nothing is kept of the last one
    of_torch.launch(a_launch(), [x], [x])
    assert cupy.calls[-1][:2] == ("launch", 72)
    with Stream(cupy, 5):
        of_cupy.launch(a_launch(), [x], [x])
    assert cupy.calls[-1][:2] == ("launch", 5)
    assert cupy.streams[-1].number == 0  # and given back


def test_a_new_plan_waits_for_its_copies(cupy, monkeypatch):
    """Packed values are there when another stream reads them; later calls do not wait."""
    here = types.SimpleNamespace(cuda_stream=9)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda number: here)
    monkeypatch.setattr(module, "device_of", lambda x: 0)
    monkeypatch.setattr(
        module.CudaMachine, "array", lambda self, values: torch.from_numpy(np.array(values))
    )
    monkeypatch.setattr(
        module.CudaMachine, "_empty", lambda self, shape, dtype, fortran: torch.empty(shape)
    )
    stages = [f._stage() for f in lo.butterfly.hadamard(1024).to(namespace="torch").factors]
    x = torch.ones(1024, 4)
    chain = cuda.DeviceChain(stages)
    chain(x)
    assert cupy.calls[0] == ("synchronize", 9)
    count = len(cupy.calls)
    chain(x)
    assert [c[0] for c in cupy.calls[count:]] == ["launch"] * (len(cupy.calls) - count)
    assert all(c[1] == 9 for c in cupy.calls)


def test_plans_are_timed_by_events_of_the_device(cupy):
    machine = module.machine(0, "cupy")
    x = np.ones((64, 16), np.float32)
    ticks = iter(range(100))
    seconds = machine.seconds(lambda: machine.launch(a_launch(), [x], [x]), 3, lambda: next(ticks))
    assert seconds == pytest.approx(2e-3)  # each launch takes 2 ms here
    assert len([c for c in cupy.calls if c[0] == "launch"]) == 1 + 4 * module.CALLS  # not 7


def test_what_a_device_says_of_itself(cupy):
    device = module.measured(0)
    assert device.name == "NVIDIA stand-in"
    assert device.processors == 132
    assert device.memory == pytest.approx(0.9 * 2 * 3.201e9 * 6144 / 8)
    assert module.machine(0, "torch").device.strided
    assert not module.machine(0, "cupy").device.strided


# -- errors ------------------------------------------------------------------------------------

ERRORS = [
    ({"launch": CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")},
     MemoryError, "cuda:0 has no room for the kernel factor_small in float32: multiply fewer"),
    ({"launch": CUDADriverError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION: the PTX was compiled")},
     RuntimeError, r"cuda:0 does not run the kernel factor_small .*: update the driver"),
    ({"compile": CompileException("nvrtc: error: invalid value for --gpu-architecture")},
     RuntimeError, r"NVRTC does not compile the kernel .*install CuPy .*LAZYOPS_KERNEL"),
    ({"compile": RuntimeError("CuPy failed to load libnvrtc.so.12: OSError")},
     RuntimeError, "NVRTC does not compile the kernel factor_small in float32 for cuda:0: install"),
]  # fmt: skip


@pytest.mark.parametrize(("cupy", "kind", "said"), ERRORS, indirect=["cupy"])
def test_errors_of_a_device_name_the_way_out(cupy, kind, said):
    machine = module.machine(0, "cupy")
    x = np.ones((64, 16), np.float32)
    with pytest.raises(kind, match=said) as caught:
        machine.launch(a_launch(), [x], [x])
    assert str(caught.value.__cause__) in str(caught.value)  # and what the library said


@pytest.mark.parametrize("cupy", [{"empty": OutOfMemoryError("Out of memory")}],
                         indirect=True)  # fmt: skip
def test_no_memory_on_a_device(cupy, monkeypatch):
    said = r"cuda:0 has no room for a result of shape \(1024, 524288\) and 2 GiB: multiply fewer"
    with pytest.raises(MemoryError, match=said):
        module.machine(0, "cupy").empty((1024, 524288), "float32", False)

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(MemoryError, match=said + r".*torch\.cuda\.empty_cache\(\)"):
        module.machine(0, "torch").empty((1024, 524288), "float32", True)


def test_a_plan_in_a_capture_names_the_way_out(cupy, monkeypatch):
    def refuse(self):
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted")

    monkeypatch.setattr(Stream, "synchronize", refuse)
    said = (
        r"cuda:0 captures a graph, and a plan for new sizes waits or copies: .*before the capture"
    )
    with pytest.raises(RuntimeError, match=said):
        module.machine(0, "cupy").settle()


def test_errors_that_are_not_the_devices_pass():
    assert errors.explained(KeyError("x"), 0, "a kernel") is None
    assert errors.explained(ValueError("shapes do not meet"), 0, "a kernel") is None


MISSING = [
    ({"count": CUDARuntimeError("cudaErrorInsufficientDriver: the version is")},
     r"the CUDA driver is missing or too old: update it \(nvidia-smi shows it\), or install"),
    ({"driver": 11080}, "the driver is for CUDA 11, CuPy for CUDA 12: update .* cupy-cuda11x"),
    ({"nvrtc": RuntimeError("libnvrtc.so.12 not found")},
     r"NVRTC does not load \(pip install 'cupy-cuda12x\[ctk\]'\): libnvrtc"),
]  # fmt: skip


@pytest.mark.parametrize(("cupy", "said"), MISSING, indirect=["cupy"])
def test_what_is_missing_is_said_by_doctor(cupy, said):
    import re

    assert re.match(said, cuda.missing())
    from lazyops import kernels

    told = {k["name"]: k["obstacle"] for k in kernels.status()["kernels"]}
    assert told["cuda"] == cuda.missing()


def test_a_device_is_found(cupy):
    assert cuda.missing() is None


def test_work_on_the_cpu_never_asks_for_cupy():
    """Even where importing it would fail in a way of its own."""
    script = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("cupy", "cupyx", "cupy_backends"):
            raise SystemError("cupy was imported")
sys.meta_path.insert(0, Refuse())
import numpy as np, lazyops as lo
A = lo.butterfly.dft(32)
x = np.ones((32, 3))
print(abs(A @ x - np.fft.fft(x, axis=0)).max() < 1e-12, lo.solve.lsmr(A, x).converged)
lo.explain(A, like=x); lo.explain(A, like=x, device="H200"); lo.tune(A, like=x)
import torch
print(tuple((A.to(namespace="torch") @ torch.ones(32, 3)).shape))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["True True", "(32, 3)"], done.stderr
