"""One trial of one operator: the checks behind `lazyops.testing.check_operator`."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from operator import matmul
from typing import Any

import numpy as np

from .._array import Array, array_namespace, dtype_name, is_array, is_inexact_name, is_numpy
from ..operators import LinearOperator, to_records
from ..operators.densify import first_values
from .magnitude import U64, gamma, magnitude, unit_roundoff
from .probes import as_probe, gaussian, on_host, overwrite, same_bits

SMALL = 4096  # entries: up to here every one is compared
DRAWS = 4  # Gaussian probes of each kind; every one of them must pass


@dataclass(frozen=True)
class Check:
    """One thing that was tried: its largest error over its bound, 0 where it is yes or no."""

    name: str
    ratio: float


@dataclass(frozen=True)
class Report:
    """What `check_operator` tried, and how close to the bounds it came."""

    operator: str
    checks: tuple[Check, ...]
    skipped: tuple[str, ...]

    @property
    def worst(self) -> float:
        """The largest ratio of error to bound; at most 1."""
        return max((check.ratio for check in self.checks), default=0.0)

    def __str__(self) -> str:
        lines = [f"{self.operator}: {len(self.checks)} checks passed"]
        for check in self.checks:
            found = f"{check.ratio:8.2g} of the bound" if check.ratio else "      ok"
            lines.append(f"  {found}  {check.name}")
        return "\n".join(lines + [f"   skipped  {why}" for why in self.skipped])


class Trial:
    def __init__(self, A: LinearOperator, rng: np.random.Generator, like: Array | None):
        self.A, self.rng, self.name = A, rng, f"{A!r} ({A.shape[0]}x{A.shape[1]})"
        self.checks: list[Check] = []
        self.skipped: list[str] = []
        example = like if like is not None else first_values(A)
        self.example = np.zeros(0) if example is None else example
        with np.errstate(all="ignore"):
            self.magnitude = self.attempt(
                "products with Gaussian probes", lambda: magnitude(A, rng, self.example)
            )
        if not np.all(np.isfinite(self.magnitude.scale(np.ones((A.shape[1], 1))))):
            raise ValueError(f"{self.name} holds NaN or Inf: no bound can be given for it")
        self.has_adjoint = self._look_for_adjoint()

    def _look_for_adjoint(self) -> bool:
        try:
            self.A.H @ self.probe(np.zeros((self.A.shape[0], 1)), "float64")
        except NotImplementedError:
            self.skipped.append("adjoint, transpose, rows x @ A: the operator has no adjoint")
            return False
        except Exception as error:
            self.fail("adjoint", f"A.H @ x raised {type(error).__name__}: {error}", error)
        return True

    # -- saying so

    def fail(self, check: str, why: str, cause: BaseException | None = None) -> None:
        raise AssertionError(f"{self.name} fails the check {check!r}: {why}") from cause

    def require(self, check: str, condition: bool, why: str) -> None:
        if not condition:
            self.fail(check, why)
        self.passed(check, 0.0)

    def passed(self, check: str, ratio: float) -> None:
        for i, known in enumerate(self.checks):
            if known.name == check:
                self.checks[i] = Check(check, max(known.ratio, ratio))
                return
        self.checks.append(Check(check, ratio))

    def close(self, check: str, got: Array, want: Any, bound: np.ndarray) -> None:
        """``|got - want| <= bound``, entry by entry; NaN is never close."""
        got, want = np.asarray(on_host(got)), np.asarray(want)
        if got.shape != want.shape:
            self.fail(check, f"shape {got.shape}, expected {want.shape}")
        bound = (
            np.broadcast_to(bound, got.shape) + np.finfo(np.result_type(got, np.float16)).tiny
        )  # underflow
        error = np.abs(got.astype(np.complex128) - want)
        bad = ~(error <= bound)
        if bad.any():
            at = np.unravel_index(int(np.argmax(bad)), bad.shape)
            where = f" at {tuple(map(int, at))}" if at else ""
            self.fail(
                check,
                f"got {got[at]:.17g}, expected {want[at]:.17g}{where}; "
                f"they differ by {error[at]:.3g}, the bound is {bound[at]:.3g}",
            )
        self.passed(check, float(np.max(error / bound, initial=0.0)))

    def attempt(self, check: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            self.fail(check, f"it raised {type(error).__name__}: {error}", error)

    # -- probes and bounds

    def probe(self, host: np.ndarray, name: str) -> Array:
        return as_probe(host, self.example, name)

    def draw(self, size: int, name: str, k: int = DRAWS) -> Array:
        return self.probe(gaussian(self.rng, size, k), name)

    # -- the checks

    def structure(self) -> None:
        A, (m, n) = self.A, self.A.shape
        shapes = (A.H.shape, A.T.shape, A.conj().shape)
        self.require("shapes of H, T, conj", shapes == ((n, m), (n, m), (m, n)), f"{shapes}")
        self.require("A.H.H is A", A.H.H is A, f"it is {A.H.H!r}")
        self.require("A.T.T is A", A.T.T is A, f"it is {A.T.T!r}")
        back = A.conj().conj()
        self.require("A.conj().conj() is A", back is A, f"it is {back!r}")

    def forms(self) -> None:
        """Every shape of x gives what the columns give."""
        A, (m, n) = self.A, self.A.shape
        x = self.draw(n, "complex128", 6)
        xp, X = array_namespace(x), on_host(x)
        Y = on_host(self.attempt("A @ x (n, k)", lambda: A @ x))
        B = 2 * self.magnitude.gamma("complex128") * self.magnitude.scale(X)

        def stacked(a: Any) -> Any:  # (r, 6) -> (2, r, 3)
            a = np.asarray(a)
            return np.moveaxis(a.reshape(a.shape[0], 2, 3), 1, 0)

        column = xp.asarray(x[:, 0], copy=True)
        stack = self.probe(stacked(X), "complex128")
        rows = self.probe(X.T.copy(), "complex128")
        none = self.probe(X[:, :0], "complex128")
        self.form("A @ x (n, k)", lambda: A.matmat(x), Y, B)
        self.form("A @ x (n,)", lambda: A @ column, Y[:, 0], B[:, 0])
        self.form("A @ x (..., n, k)", lambda: A @ stack, stacked(Y), stacked(B))
        self.form("A @ x (n, 0)", lambda: A @ none, Y[:, :0], B[:, :0])
        self.form("A.matvec (n,)", lambda: A.matvec(column), Y[:, 0], B[:, 0])
        self.form("A.matvec (n, 1)", lambda: A.matvec(column[:, None]), Y[:, :1], B[:, :1])
        if n != 1:  # (k, 1) is a column
            self.form("A.matvec (..., n)", lambda: A.matvec(rows), Y.T, B.T)
        if is_numpy(x):
            out = np.empty((m, 6), Y.dtype)
            self.form("A.matmat(x, out=)", lambda: A.matmat(x, out=out), Y, B)
        if self.has_adjoint:
            self.adjoint_forms()
        self.wrong_length()

    def adjoint_forms(self) -> None:
        A, m = self.A, self.A.shape[0]
        y = self.draw(m, "complex128", 3)
        Y = on_host(y)
        Z = on_host(self.attempt("A.H @ y", lambda: A.H @ y))
        B = 2 * self.magnitude.gamma("complex128") * self.magnitude.scale(Y, adjoint=True)
        rows = self.probe(Y.conj().T.copy(), "complex128")
        self.form("A.rmatmat", lambda: A.rmatmat(y), Z, B)
        self.form("A.rmatvec", lambda: A.rmatvec(y[:, 0]), Z[:, 0], B[:, 0])
        # array-api-strict raises for x @ A before A is asked
        times = matmul if is_numpy(y) else lambda x, A: A.__rmatmul__(x)
        self.form("x @ A (k, m)", lambda: times(rows, A), Z.conj().T, B.T)
        self.form("x @ A (m,)", lambda: times(rows[0, :], A), Z[:, 0].conj(), B[:, 0])

    def form(self, check: str, call: Callable[[], Array], want: Any, bound: Any) -> None:
        self.close(check, self.attempt(check, call), want, bound)

    def wrong_length(self) -> None:
        x = self.draw(self.A.shape[1] + 1, "float64", 1)
        try:
            self.A @ x
        except ValueError as error:
            self.require("a wrong length raises", True, str(error))
            return
        self.fail("a wrong length raises", f"x of shape {tuple(x.shape)} was taken")

    def dtype(self, name: str) -> None:
        """The promise kept, x untouched, y fresh; the adjoint by scaled dot tests."""
        X = self.draw(self.A.shape[1], name)
        AX = self.product(self.A, X, f"A @ x, {name}", name)
        if not self.has_adjoint:
            return
        Y = self.draw(self.A.shape[0], name)
        AHY = self.product(self.A.H, Y, f"A.H @ y, {name}", name)
        X, Y = on_host(X), on_host(Y)
        scale = np.sum(np.abs(Y) * self.magnitude.scale(X), 0) + np.sum(
            np.abs(X) * self.magnitude.scale(Y, adjoint=True), 0
        )
        summing = gamma(3 * max(self.A.shape) + 3, U64)
        left, right = np.sum(Y.conj() * AX, 0), np.sum(AHY.conj() * X, 0)
        bound = (self.magnitude.gamma(name) + summing) * scale
        self.close(f"<A x, y> = <x, A.H y>, {name}", left, right, bound)

    def product(self, op: LinearOperator, x: Array, check: str, name: str) -> np.ndarray:
        """``op @ x`` on the host, after looking at everything but its numbers."""
        before = on_host(x).copy()
        y = self.attempt(check, lambda: op @ x)
        promised, delivered = self.A.result_dtype(name), dtype_name(y.dtype)
        self.require(check, delivered == promised, f"dtype {delivered}, promised {promised}")
        same_library = array_namespace(y) is array_namespace(x)
        self.require(check, same_library, f"{type(x).__name__} gave {type(y).__name__}")
        self.require(check, same_bits(on_host(x), before), "x was written to")
        if is_numpy(y):
            self.require(check, y.flags.writeable, "the result is read-only")
            self.require(check, y.flags.c_contiguous, "x is in C order, the result is not")
        numbers = on_host(y).astype(np.complex128)
        self.attempt(check, lambda: overwrite(y))
        self.require(check, same_bits(on_host(x), before), "the result shares memory with x")
        wide = "complex128" if name.startswith("complex") else "float64"
        slack = self.magnitude.gamma(name) + self.magnitude.gamma(wide)
        bound = slack * self.magnitude.scale(before, adjoint=op is not self.A)
        again = f"{check}, against a product in {wide} after it was overwritten"
        finer = self.attempt(again, lambda: op @ self.probe(before, wide))
        self.close(again, numbers, on_host(finer), bound)
        return numbers

    def integers(self) -> None:
        host = self.rng.integers(-3, 4, (self.A.shape[1], 2))
        for name in ("int64", "int8"):
            check, x = f"A @ x, {name}", self.probe(host, name)
            y = self.attempt(check, functools.partial(matmul, self.A, x))
            promised, delivered = self.A.result_dtype(name), dtype_name(y.dtype)
            self.require(check, delivered == promised, f"dtype {delivered}, promised {promised}")
            want = on_host(self.A @ self.probe(host, "float64"))
            self.close(
                check, y, want, 2 * self.magnitude.gamma("float64") * self.magnitude.scale(host)
            )

    def buffers(self) -> None:
        """A second product leaves the first result alone; the layout of x does not matter."""
        A, x = self.A, self.draw(self.A.shape[1], "float64")
        first = A @ x
        kept = on_host(first).copy()
        A @ self.draw(A.shape[1], "float64")
        check = "a result outlives the next product"
        self.require(check, same_bits(on_host(first), kept), "the next one overwrote it")
        if not is_numpy(x):
            return
        frozen, wide = x.copy(), np.repeat(x, 2, axis=1)
        frozen.flags.writeable = False
        layouts = {"Fortran": np.asfortranarray(x), "strided": wide[:, ::2], "read-only": frozen}
        layouts["reversed"] = x[::-1].copy()[::-1]
        for layout, same in layouts.items():
            bound = 2 * self.magnitude.gamma("float64") * self.magnitude.scale(x)
            self.form(f"A @ x, {layout} x", functools.partial(matmul, A, same), kept, bound)

    def linearity(self) -> None:
        """``A (a x + b z) = a A x + b A z`` with complex a and b; conj() and T by definition."""
        A, n = self.A, self.A.shape[1]
        X, Z = on_host(self.draw(n, "complex128")), on_host(self.draw(n, "complex128"))
        a, b = gaussian(self.rng, 2, 1)[:, 0]
        apply = lambda op, x: on_host(op @ self.probe(x, "complex128"))
        scale = self.magnitude.scale(a * X) + self.magnitude.scale(b * Z)
        slack = 2 * self.magnitude.gamma("complex128", extra=9)  # eight for the combinations
        want = a * apply(A, X) + b * apply(A, Z)
        self.close("A (a x + b z) = a A x + b A z", apply(A, a * X + b * Z), want, slack * scale)
        bound = 2 * self.magnitude.gamma("complex128") * self.magnitude.scale(X)
        self.close("conj(A) x", apply(A.conj(), X), apply(A, X.conj()).conj(), bound)
        if self.has_adjoint:
            Y = on_host(self.draw(A.shape[0], "complex128"))
            bound = 2 * self.magnitude.gamma("complex128") * self.magnitude.scale(Y, adjoint=True)
            self.close("A.T y", apply(A.T, Y), apply(A.H, Y.conj()).conj(), bound)

    def entries(self) -> None:
        """Every entry of A, H, T and conj, by products with unit vectors."""
        A, (m, n) = self.A, self.A.shape
        columns = lambda op: on_host(op @ self.probe(np.eye(op.shape[1]), "float64"))
        D, scale = columns(A), self.magnitude.scale(np.eye(n))
        bound = self.magnitude.gamma("float64") * scale
        self.close("entries of conj(A)", columns(A.conj()), D.conj(), 2 * bound)
        follows = self.probe(np.zeros(0), "float64") if first_values(A) is None else None
        own = self.magnitude.gamma(A.dtype.name) * scale  # to_dense works in the dtype of A
        self.close("A.to_dense()", A.to_dense(like=follows), D, bound + own)
        if self.has_adjoint:
            both = (
                bound
                + self.magnitude.gamma("float64") * self.magnitude.scale(np.eye(m), adjoint=True).T
            )
            self.close("entries of A.H", columns(A.H), D.conj().T, both.T)
            self.close("entries of A.T", columns(A.T), D.T, both.T)

    def against(self, dense: np.ndarray) -> None:
        """Is it the matrix it should be?"""
        A, (m, n) = self.A, self.A.shape
        self.require("shape of dense=", dense.shape == (m, n), f"{dense.shape} for {m}x{n}")
        x = np.eye(n) if m * n <= SMALL else self.draw(n, "float64")
        x = on_host(x)
        names = [name for name in (A.dtype.name, dense.dtype.name) if is_inexact_name(name)]
        unit = max([self.magnitude.unit("float64"), *map(unit_roundoff, names)])
        bound = gamma(3 * self.magnitude.roundings + 1, unit) * self.magnitude.scale(x)
        bound = bound + gamma(3 * n + 1, unit) * (np.abs(dense) @ np.abs(x))
        y = A @ self.probe(x, "float64")
        self.close("the matrix given as dense=", y, dense @ x, bound)

    def pickle(self) -> None:
        for record in to_records(self.A):
            for name, value in record.fields.items():
                if not is_array(value) and (callable(value) or hasattr(value, "matvec")):
                    try:
                        pickle.dumps(value)
                    except Exception as error:
                        self.skipped.append(
                            f"pickle: {name} of {record.kind.__name__} holds {value!r} ({error})"
                        )
                        return
        check = "pickle and back"
        again = self.attempt(check, lambda: pickle.loads(pickle.dumps(self.A)))
        same = type(again) is type(self.A) and again.shape == self.A.shape
        self.require(check, same and again.dtype == self.A.dtype, f"it came back as {again!r}")
        x = self.draw(self.A.shape[1], "float64")
        bound = 2 * self.magnitude.gamma("float64") * self.magnitude.scale(on_host(x))
        self.form(check, lambda: again @ x, on_host(self.A @ x), bound)
