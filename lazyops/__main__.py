"""The command line: ``lazyops``, or ``python -m lazyops``."""

from __future__ import annotations

import argparse
import importlib.machinery
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

OK, NOT_FOUND, BAD, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0: done.  1: no structure found, or nothing to measure.  2: bad input, one line on stderr.
    130: interrupted.
    """
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        kept = getattr(arguments, "resume", None)
        more = f"; {kept} keeps the finished panels, the same command goes on from them"
        sys.stderr.write(f"lazyops: interrupted{more if kept else ''}\n")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BAD
    except OSError as error:
        named = error.filename is not None and error.strerror
        return refused(f"{error.filename}: {error.strerror}" if named else str(error))
    except MemoryError as error:
        return refused(f"not enough memory: {error}")
    except ValueError as error:
        return refused(str(error))


def entry() -> NoReturn:
    """`main` for the shell; after an interrupt nothing that still computes is waited for."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == INTERRUPTED:
        os._exit(code)
    sys.exit(code)


def refused(why: str) -> int:
    sys.stderr.write(f"lazyops: error: {' '.join(why.split())}\n")
    return BAD


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="lazyops", description="Lazy linear operators.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _words_of_factorize(
        commands.add_parser("factorize", help="a matrix in an .npy file into a butterfly")
    )
    _words_of_quantize(commands.add_parser("quantize", help="a saved operator onto few bits"))

    one = commands.add_parser("info", help="what a file of lazyops holds")
    one.add_argument("file", metavar="A.safetensors")
    one.set_defaults(run=info)

    one = commands.add_parser("demo", help="the main job on a Fourier integral operator")
    one.add_argument("--n", type=int, default=4096, help="size, even (default: %(default)s)")
    one.add_argument("--tol", type=tolerance, default=1e-6, help="default: %(default)s")
    one.set_defaults(run=demo)

    one = commands.add_parser("bench", help="products beside SciPy's and the machine's limits")
    one.add_argument("--quick", action="store_true", help="tiny sizes: a check, no measurement")
    one.set_defaults(run=bench)

    one = commands.add_parser("doctor", help="versions, and which kernels run here")
    one.set_defaults(run=doctor)

    for name in ("factorize", "quantize", "info", "demo", "bench", "doctor"):
        commands.choices[name].add_argument("--json", action="store_true", help="one JSON object")
    return whole


def _words_of_factorize(one: argparse.ArgumentParser) -> None:
    one.add_argument("matrix", metavar="A.npy")
    one.add_argument("-o", "--output", required=True, metavar="A.safetensors")
    one.add_argument("--tol", type=tolerance, help="relative error; 1e-6 (float32), 1e-10")
    one.add_argument(
        "--max-entries",
        type=int,
        metavar="N",
        help="instead of --tol: the least error with at most N stored numbers",
    )
    one.add_argument(
        "--chain",
        default="auto",
        metavar="CHAIN",
        help="auto (default), or a shape: square-dyadic, mixed-radix, monarch, monarch:p,q, "
        "smallest:r, or its patterns a,b,c,d;a,b,c,d;...; without --tol its ranks, whatever the "
        "error",
    )
    one.add_argument(
        "--order",
        metavar="ORDER",
        help="of the splits: balanced (default), left-to-right, right-to-left; with a --chain also "
        "its junctions, 2,1,3, or a tree of its factors, (1,2),(3,4)",
    )
    one.add_argument(
        "--resume",
        metavar="FOLDER",
        help="read the matrix once, by panels, keep each there, go on from those it holds",
    )
    one.set_defaults(run=factorize)


def _words_of_quantize(one: argparse.ArgumentParser) -> None:
    one.add_argument("file", metavar="A.safetensors")
    one.add_argument("-o", "--output", required=True, metavar="small.safetensors")
    one.add_argument("--format", help="fp16, bf16, e4m3, e5m2, e3m2, e2m1, int8 ...")
    one.add_argument("--tol", type=tolerance, help="relative error to meet with few bits")
    one.add_argument(
        "--method",
        default="optimal",
        choices=("optimal", "left-to-right", "right-to-left", "pairwise", "nearest"),
        help="default: %(default)s",
    )
    one.set_defaults(run=quantize)


def tolerance(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


# -- commands: imports wait until one is asked for -------------------------------------------


def factorize(arguments: argparse.Namespace) -> int:
    from .commands import factorize_file

    report = factorize_file(
        arguments.matrix,
        arguments.output,
        chain=arguments.chain,
        order=arguments.order,
        tol=arguments.tol,
        max_entries=arguments.max_entries,
        progress=sys.stderr.isatty(),
        resume=arguments.resume,
    )
    m, n = report["shape"]
    lines = [("matrix", f"{report['input']}, {m} x {n} {report['dtype']}")]
    if report["found"]:
        size = f"{report['bytes']:,} bytes"
        lines += [*certified(report), ("file", f"{report['output']}, {size}")]
    else:
        lines += [("found", report["reason"]), ("file", "none written")]
    show(arguments, report, [*lines, ("time", f"{report['seconds']:.2f} s")])
    return OK if report["found"] else NOT_FOUND


def certified(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines that say how good a factorization is."""
    lines = [("found", report["reason"])]
    if report["chain"] is not None:
        lines.append(("chain", " ".join("({},{},{},{})".format(*p) for p in report["chain"])))
    error, lower, upper = (
        "infinite" if report[name] is None else f"{report[name]:.2e}"
        for name in ("relative_error", "lower_bound", "upper_bound")
    )
    measured = "not measured" if report["relative_error"] is None else f"{error} measured"
    return [
        *lines,
        ("entries", f"{report['entries']:,} = {report['share']:.3f} of the matrix"),
        ("error", f"{measured}, certified between {lower} and {upper}"),
    ]


def quantize(arguments: argparse.Namespace) -> int:
    from .commands import quantize_file

    if (arguments.format is None) == (arguments.tol is None):
        return refused("quantize takes --format or --tol, one of them")
    wanted = arguments.file, arguments.output, arguments.format, arguments.tol, arguments.method
    report = quantize_file(*wanted)
    m, n = report["shape"]
    formats = [f"{len(list(g))} x {name}" for name, g in itertools.groupby(report["formats"])]
    bound = "no bound" if report["bound"] is None else f"at most {report['bound']:.2e} by theory"
    sure = "" if report["confidence"] == 1 else ", from ten Gaussian columns"
    share = report["bytes"] / report["input_bytes"]
    lines = [
        ("operator", f"{report['input']}, {m} x {n} {report['dtype']}"),
        ("formats", ", ".join(formats)),
        ("method", report["method"]),
        ("error", f"{report['relative_error']:.2e} measured{sure}, {bound}"),
        ("file", f"{report['output']}, {report['bytes']:,} bytes = {share:.3f} of the input"),
        ("time", f"{report['seconds']:.2f} s"),
    ]
    show(arguments, report, lines)
    return OK


def info(arguments: argparse.Namespace) -> int:
    from .commands import describe

    report, operator = describe(arguments.file)
    lines = [("file", f"{report['file']}, {report['bytes']:,} bytes")]
    if report["certificate"] is not None:
        lines += certified(report["certificate"])
    show(arguments, report, lines)
    if not arguments.json:
        sys.stdout.write(f"\n{operator.info()}\n\n{operator.tree()}\n")
    return OK


def demo(arguments: argparse.Namespace) -> int:
    from . import demo as module

    report = module.run(arguments.n, arguments.tol)
    show(arguments, report, module.text(report))
    return OK if report["found"] else NOT_FOUND


def bench(arguments: argparse.Namespace) -> int:
    from . import bench as module
    from .kernels import FORCED, cpu

    if FORCED == "reference" or cpu.missing() is not None:
        step = "unset LAZYOPS_KERNEL" if FORCED == "reference" else cpu.missing()
        sys.stderr.write(f"lazyops: no speed rows on the reference path: {step}\n")
        return NOT_FOUND
    report = module.report(arguments.quick)
    if arguments.json:
        show(arguments, report, [])
    else:
        sys.stdout.writelines(f"{line}\n" for line in module.text(report))
    return OK


def doctor(arguments: argparse.Namespace) -> int:
    from .commands import versions

    report = versions()
    lines = [
        ("lazyops", f"{report['lazyops'] or 'not installed'}, from {report['folder']}"),
        ("python", f"{report['python']}, {report['executable']}"),
        ("platform", report["platform"]),
        *((name, found or "not installed") for name, found in report["packages"].items()),
    ]
    for kernel in report["kernels"]["kernels"]:
        facts = [
            f"{k} {v}" for k, v in kernel.items() if k not in ("name", "available", "obstacle")
        ]
        state = ", ".join(["runs", *facts]) if kernel["available"] else f"no: {kernel['obstacle']}"
        lines.append((f"kernel {kernel['name']}", state))
    if report["kernels"]["forced"]:
        lines.append(("forced", f"LAZYOPS_KERNEL={report['kernels']['forced']}"))
    show(arguments, report, lines)
    return OK


def show(arguments: argparse.Namespace, report: dict[str, Any], lines: list) -> None:
    """The report as one JSON object, or as aligned lines."""
    if arguments.json:
        sys.stdout.write(json.dumps(report, allow_nan=False) + "\n")
        return
    width = max(len(name) for name, _ in lines)
    sys.stdout.writelines(f"{name:<{width}}  {value}\n" for name, value in lines)


# -- python -m lazyops, from a clone ---------------------------------------------------------


def restart_installed() -> None:
    """Start again with ``-P`` where the current folder hides an installed lazyops.

    ``python -m`` puts the current folder first, and a clone has no compiled parts.  With ``-P``
    the folder is not there, so this happens once.
    """
    folder = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if sys.flags.safe_path or folder != os.path.realpath(os.getcwd()):
        return
    elsewhere = [p for p in sys.path if os.path.realpath(p or ".") != folder]
    installed = importlib.machinery.PathFinder.find_spec("lazyops", elsewhere)
    if installed is None or installed.origin is None:  # nothing, or a folder of that name
        return
    command = [sys.executable, "-P", "-m", "lazyops", *sys.argv[1:]]
    if os.name == "posix":
        os.execv(sys.executable, command)
    sys.exit(subprocess.call(command))


if __name__ == "__main__":
    restart_installed()
    entry()
