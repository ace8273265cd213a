"""Chains and factors on a CUDA device beside their peers, in one call of less than eight minutes.

    python benchmarks/gpu.py [--budget 440] [--write docs/benchmarks/gpu.md]
    python benchmarks/gpu.py --static [--write docs/benchmarks/gpu.md]
    python benchmarks/gpu.py --dry

The first needs CuPy and torch.  Every case is checked against float64 on some columns first.  Times
are of the device: medians of replays of a CUDA graph over a ring of arrays larger than L2.
Fractions are of a copy that is measured in the same run.  A case that would begin after the budget
is skipped and named.

The second needs no device: it compiles the kernels of default plans with NVRTC and runs them in the
emulator of the tests.  The third runs every line of the first on the CPU, without a figure.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pathlib
import platform
import sys
import time
from collections.abc import Iterable, Sequence

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from gpu_cases import cases  # noqa: E402
from gpu_clock import Device, Dry, Place, Row  # noqa: E402

from lazyops.kernels import cuda  # noqa: E402

BEGUN = time.perf_counter()
ON, WITHOUT = "# On a device", "## Without a device"
HEAD = ("what", "compared", "figure", "mark: must, good", "met")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--budget", type=float, default=440, help="seconds, 440 by default")
    parser.add_argument("--write", type=pathlib.Path, help="a Markdown file for the table")
    parser.add_argument("--static", action="store_true", help="what holds without a device")
    parser.add_argument("--dry", action="store_true", help="all cases on the CPU, no figures")
    options = parser.parse_args(arguments)
    if options.dry:
        if options.write is not None:
            raise SystemExit("a dry run has no figures to write: leave out --dry, or --write")
        run_all(Dry(), options.budget, stop=True)
    elif options.static:
        static(options.write)
    elif (why := cuda.missing()) is not None:
        raise SystemExit(f"no device: {why}; --static and --dry need none")
    else:
        measured(options.budget, options.write)


def run_all(place: Place, budget: float, stop: bool = False) -> None:
    """All cases; where one fails the others still count, unless `stop` says that it may not."""
    for run, given in cases():
        if not place.dry and time.perf_counter() - BEGUN > budget:
            print(f"skipped, the time is over: {run.__name__}{given[:3]}")
            continue
        try:
            run(place, *given)
        except Exception as error:
            if stop:
                raise
            place.rows.append(
                Row(f"{run.__name__}{given[:3]}", str(error)[:80], "failed", "", "NO")
            )
            print(f"failed: {run.__name__}{given[:3]}: {error}")
        place.free()


def measured(budget: float, write: pathlib.Path | None) -> None:
    place = Device()
    print(place, flush=True)
    run_all(place, budget)
    if write is not None:
        rows = [*place.rows, *left_out(place.rows)]
        write_section(write, ON, f"`python benchmarks/gpu.py`, {place}.\n\n{table(rows)}")


def left_out(rows: Iterable[Row]) -> list[Row]:
    """What has a mark and no row: the time was over, or a case failed."""
    place = Dry()
    with contextlib.redirect_stdout(io.StringIO()):
        run_all(place, 0, stop=True)
    there = {(row.what, row.compared) for row in rows}
    return [row for row in unmeasured(place.rows) if (row.what, row.compared) not in there]


def static(write: pathlib.Path | None) -> None:
    """Figures that need no device; and, where nothing is measured yet, what there is to measure."""
    import cuda_static
    import nvrtc

    if nvrtc.library() is None:
        raise SystemExit("no NVRTC: pip install nvidia-cuda-nvrtc")
    rows = [show(row) for make in cuda_static.ALL for row in make()]
    if write is None:
        return
    text = (
        f"`python benchmarks/gpu.py --static`, {nvrtc.version()}, {compiler()}, "
        f"{platform.machine()}, {time.perf_counter() - BEGUN:.0f} s.\n"
        "Kernels are those of plans for an H200; the emulator runs the same text "
        f"(tests/native/emulator.cpp).\n\n{table(rows)}"
    )
    write_section(write, WITHOUT, text)
    if is_unmeasured(section(write, ON)):
        text = (
            "Unmeasured: no device was at hand yet. `python benchmarks/gpu.py --write "
            "docs/benchmarks/gpu.md` measures\nthese rows and writes the device's name.\n\n"
        )
        write_section(write, ON, text + table(left_out([])))


def is_unmeasured(text: str) -> bool:
    """Whether a page has no figures of a device yet: no section, an empty one, or one without."""
    return not text.strip() or "Unmeasured: no device" in text


def unmeasured(rows: Iterable[Row]) -> list[Row]:
    """The rows of a dry run that have marks."""
    return [row._replace(figure="unmeasured", met="") for row in rows if row.mark]


def show(row: Row) -> Row:
    print(f"{row.what:56} {row.compared:42} {row.figure:>9}   {row.mark:10} {row.met}", flush=True)
    return row


def compiler() -> str:
    import subprocess

    from emulated import COMPILER

    said = subprocess.run([COMPILER, "-dumpfullversion"], capture_output=True, text=True)
    return f"g++ {said.stdout.strip()}"


def table(rows: Iterable[Row]) -> str:
    lines = [HEAD, ("---",) * len(HEAD), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def section(path: pathlib.Path, title: str) -> str:
    """The text under a title of a page, up to the next one; "" where there is none."""
    return pieces(path).get(title, "")


def pieces(path: pathlib.Path) -> dict[str, str]:
    found: dict[str, str] = {}
    title = ""
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        if line.startswith("#"):
            title = line
        found[title] = found[title] + line + "\n" if title in found and line != title else ""
    return found


def write_section(path: pathlib.Path, title: str, text: str) -> None:
    """Replaces the section with this title, and leaves the others."""
    found = {ON: "", **pieces(path), title: text}
    whole = [f"{title}\n\n{text.strip()}\n" for title, text in found.items() if title]
    path.write_text("\n".join(whole), "utf-8")


if __name__ == "__main__":
    main()
