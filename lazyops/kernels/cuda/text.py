"""The CUDA text of a kernel variant: the same that a device compiles and that tests emulate."""

from __future__ import annotations

import functools
import pathlib
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).parent.parent / "src" / "cuda"

TYPES = {  # dtype -> storage type in types.cuh
    "float32": "f32",
    "float64": "f64",
    "complex64": "c64",
    "complex128": "c128",
    "float16": "f16",
    "bfloat16": "bf16",
}
SUMS = {**{name: name for name in TYPES}, "float16": "float32", "bfloat16": "float32"}
ITEMSIZE = {"float32": 4, "float64": 8, "complex64": 8, "complex128": 16, "float16": 2}
ITEMSIZE["bfloat16"] = 2
FILES = {
    "factor_small": ("KERNEL_SMALL", ("factor",)),
    "factor_tile": ("KERNEL_TILE", ("factor",)),
    "factor_few": ("KERNEL_FEW", ("factor",)),
    "chain": ("KERNEL_CHAIN", ("chain",)),
    "gradient": ("KERNEL_GRADIENT", ("chain", "gradient")),
}


class InnerStage(NamedTuple):
    """A stage of a run inside its tile: the inner pattern, and whose array it reads."""

    a: int
    b: int
    c: int
    d: int
    transposed: bool


class Variant(NamedTuple):
    """One kernel with everything that is known when it is compiled.

    kernel : a key of FILES
    dtype : of x and y
    values : storage type of the values, as types.cuh names it
    constants : names and numbers
    stages : of a run, in the order in which they are applied
    """

    kernel: str
    dtype: str
    values: str
    constants: tuple[tuple[str, int], ...]
    stages: tuple[InnerStage, ...] = ()

    def known(self, name: str) -> int:
        """One of the constants."""
        return dict(self.constants)[name]

    @property
    def shared(self) -> int:
        """Bytes of dynamic shared memory: of the tiles of a run."""
        if not self.stages:
            return 0
        known, item = dict(self.constants), ITEMSIZE[SUMS[self.dtype]]
        rows = -(-known["MOST_ROWS"] >> known["SWIZZLE"]) << known["SWIZZLE"]
        buffers = 1 if known["IN_PLACE"] else 2
        buffers += len(self.stages) if self.kernel == "gradient" else 0
        return buffers * rows * known["TILE_N"] * known["TILE_K"] * item


def text(variant: Variant, emulated: bool = False) -> str:
    """The whole text: types, what is known, kernel."""
    macro, files = FILES[variant.kernel]
    head = ["#define EMULATED 1", '#include "emulator.h"'] if emulated else []
    return "\n".join([*head, source("types"), _known(variant, macro), *map(source, files)])


@functools.cache
def source(name: str) -> str:
    return (FOLDER / f"{name}.cuh").read_text("utf-8")


def _known(variant: Variant, macro: str) -> str:
    sums = TYPES[SUMS[variant.dtype]]
    types = {"X": TYPES[variant.dtype], "Y": TYPES[variant.dtype], "V": variant.values}
    types |= {"A": sums, "S": sums}
    lines = [f"#define {macro} 1"]
    lines += [f"typedef {known} {name};" for name, known in types.items()]
    lines += [f"constexpr int {name} = {number};" for name, number in variant.constants]
    if variant.stages:
        calls = [
            f"STAGE({l}, {s.a}, {s.b}, {s.c}, {s.d}, {str(s.transposed).lower()})"
            for l, s in enumerate(variant.stages)
        ]
        lines.append(f"constexpr int STAGE_COUNT = {len(calls)};")
        lines.append("#define STAGES " + " ".join(calls))
        lines.append("#define REVERSED " + " ".join(reversed(calls)))
    return "\n".join(lines) + "\n"
