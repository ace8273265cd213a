"""NVRTC without a driver: from the wheel that CuPy uses, by ctypes."""

from __future__ import annotations

import ctypes
import importlib.util
import pathlib
import struct


def library() -> ctypes.CDLL | None:
    """libnvrtc of an installed ``nvidia-cuda-nvrtc`` wheel, or None."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations if spec is not None else ():
        for path in sorted(pathlib.Path(folder).glob("*/lib/libnvrtc.so.*")):
            if ".alt" not in path.name:
                return ctypes.CDLL(str(path))
    return None


def cubin(text: str, arch: str = "sm_90") -> bytes:
    """Device code of a text; AssertionError with the log where it does not compile."""
    found = library()
    assert found is not None
    program = ctypes.c_void_p()
    made = found.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None
    )
    assert made == 0
    # the options that CuPy adds
    options = [f"-arch={arch}", "-std=c++17", "-ftz=true", "-w"]
    given = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    failed = found.nvrtcCompileProgram(program, len(options), given)
    size = ctypes.c_size_t()
    found.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    found.nvrtcGetProgramLog(program, log)
    assert not failed, log.value.decode()[:4000]
    found.nvrtcGetCUBINSize(program, ctypes.byref(size))
    code = ctypes.create_string_buffer(size.value)
    found.nvrtcGetCUBIN(program, code)
    found.nvrtcDestroyProgram(ctypes.byref(program))
    return code.raw


FRAME_SIZE, REGISTERS = 0x11, 0x2F  # attributes of .nv.info: EIATTR_FRAME_SIZE, EIATTR_REGCOUNT


def version() -> str:
    """Of the compiler."""
    found = library()
    assert found is not None
    major, minor = ctypes.c_int(), ctypes.c_int()
    found.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"NVRTC {major.value}.{minor.value}"


def resources(code: bytes) -> tuple[int, int, int]:
    """(registers, bytes of stack frame, bytes of declared shared memory) of a cubin's one kernel.

    Spilled registers lie in the stack frame, and the kernels have nothing else there.
    """
    (sections_at,) = struct.unpack_from("<Q", code, 0x28)
    size, count, names_in = struct.unpack_from("<HHH", code, 0x3A)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", code, sections_at + k * size) for k in range(count)
    ]
    names_at = sections[names_in][4]
    found, shared = {}, 0
    for name, _, _, _, at, length, *_ in sections:
        end = code.index(b"\0", names_at + name)
        if code[names_at + name : end].startswith(b".nv.shared."):
            shared = max(shared, length)
        if code[names_at + name : end] != b".nv.info":
            continue
        here = at
        while here < at + length:
            form, attribute, value = struct.unpack_from("<BBH", code, here)
            here += 4
            if form == 4:  # a value of `value` bytes: number of the symbol, number
                if attribute in (FRAME_SIZE, REGISTERS):
                    found[attribute] = max(
                        found.get(attribute, 0), struct.unpack_from("<II", code, here)[1]
                    )
                here += value
    return found[REGISTERS], found[FRAME_SIZE], shared
