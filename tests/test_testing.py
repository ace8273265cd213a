"""check_operator passes what is right, always, and catches what is wrong, every time."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse.linalg
from cases import CASES, NUMPY_ONLY, c, r
from hypothesis import given
from hypothesis import strategies as st

import lazyops as lo
from lazyops.operators.law import Law
from lazyops.testing import check_operator

SINGLE = {"float64": "float32", "complex128": "complex64"}


def in_single(a):
    a = np.asarray(a)
    return a.astype(SINGLE.get(a.dtype.name, a.dtype))


# -- right operators pass ----------------------------------------------------------------------


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_every_kind_passes_in_every_library(xp, name, single):
    build, matrix = CASES[name]
    A = build(lambda a: xp.asarray(in_single(a) if single else np.array(a)))
    # a callable that declares complex128 and holds single precision is not the matrix
    dense = None if single and name == "function" else matrix
    assert check_operator(A, dense=dense, like=xp.zeros(1)).worst <= 1


@pytest.mark.parametrize("name", NUMPY_ONLY)
def test_numpy_only_kinds_pass(name):
    build, matrix = NUMPY_ONLY[name]
    check_operator(build(np.asarray), dense=matrix)


@given(st.sampled_from([*CASES]), st.booleans(), st.integers(0, 2**32))
def test_no_seed_makes_a_right_operator_fail(name, single, seed):
    A = CASES[name][0](in_single if single else np.asarray)
    check_operator(A, rng=seed)


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(["float32", "float64", "complex64", "complex128"]),
    st.integers(0, 2**32),
)
def test_right_operators_of_an_unknown_kind_pass(m, n, dtype, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-6, 7, (m, 1))
    a = a + (1j * rng.standard_normal((m, n)) if dtype[0] == "c" else 0)
    check_operator(Given(a.astype(dtype)), rng=seed, dense=a)


def test_cancelling_products_pass():
    """The result is far smaller than |A1| |A2| |x|: a relative test would fail."""
    a = r(20, 20)
    a /= np.linalg.norm(a, 2)
    A = lo.Dense(np.float32(a)) + lo.Dense(np.float32(-a) * np.float32(1 - 1e-6))
    assert check_operator(A).worst <= 1


def test_large_operators_are_checked_by_products_only():
    report = check_operator(lo.Dense(c(100, 80)))
    assert not any("entries" in check.name for check in report.checks)
    report = check_operator(lo.Diagonal(c(60)))
    assert any("entries of A.H" in check.name for check in report.checks)


def test_values_in_a_library_are_probed_there():
    xp = pytest.importorskip("array_api_strict")
    check_operator(lo.Diagonal(xp.asarray(r(4), device=xp.Device("device1"))))


def test_operators_that_record_gradients_pass():
    torch = pytest.importorskip("torch")
    check_operator(lo.Diagonal(torch.ones(4, dtype=torch.float64, requires_grad=True)))


def test_foreign_code_in_single_precision_passes():
    a = np.float32(r(9, 7))

    def low(m):  # works in float32 whatever it is given
        kind = lambda x: np.complex64 if x.dtype.kind == "c" else np.float32
        return lambda x: m @ x.astype(kind(x))

    check_operator(lo.Function((9, 7), low(a), low(a.T), dtype="float32"), dense=a)


# -- the report ----------------------------------------------------------------------------------


def test_what_cannot_be_checked_is_said():
    report = check_operator(lo.Function((3, 3), lambda x: 2 * x))
    assert len(report.skipped) == 2
    assert report.skipped[0].startswith("adjoint, transpose, rows x @ A: the operator has no")
    assert "forward of Function holds <function" in report.skipped[1]
    assert not any("A.H" in check.name for check in report.checks)


def test_adjoints_missing_in_scipy_are_noticed():
    A = scipy.sparse.linalg.LinearOperator((3, 3), matvec=lambda x: 2 * x, dtype=float)
    assert "no adjoint" in check_operator(lo.aslinearoperator(A)).skipped[0]


def test_the_report_reads_well():
    report = check_operator(lo.Diagonal(r(4)), dense=None)
    assert str(report).startswith("D4 (4x4): ")
    assert "of the bound  <A x, y> = <x, A.H y>, complex128" in str(report)
    assert "ok  A.H.H is A" in str(report)
    assert 0 < report.worst <= 1
    with pytest.raises(AttributeError):
        report.operator = ""


def test_the_message_names_operator_check_numbers_and_bound():
    with pytest.raises(AssertionError) as caught:
        check_operator(lo.Diagonal(np.array([1.0, 2.0])), dense=np.diag([1.0, 3.0]))
    assert str(caught.value).startswith(
        "D2 (2x2) fails the check 'the matrix given as dense=': got 2, expected 3 at (1, 1); "
        "they differ by 1, the bound is "
    )


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"got ndarray: wrap it, lo\.aslinearoperator\(A\)"):
        check_operator(np.eye(3))
    with pytest.raises(ValueError, match=r"D2 .* holds NaN or Inf"):
        check_operator(lo.Diagonal(np.array([1.0, np.inf])))
    with pytest.raises(AssertionError, match="shape of dense="):
        check_operator(lo.Identity(3), dense=np.eye(4))


# -- wrong operators are caught ------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class Given(lo.LinearOperator):
    """A third party's kind: right, if `wrong` is empty."""

    matrix: np.ndarray
    wrong: str = ""
    flipped: bool = False

    def _shape(self):
        m, n = self.matrix.shape
        return (n, m) if self.flipped else (m, n)

    def _law_of(self, operands):
        if self.wrong == "promise":
            return Law(frozenset({"float32"}), "bool")
        return super()._law_of(operands)

    def _matmat(self, x):
        y = (self.matrix.conj().T if self.flipped else self.matrix) @ x
        return WRONG[self.wrong](self, y, x) if self.wrong else y

    def _adjoint(self):
        return Given(self.matrix, self.wrong, not self.flipped, copy=False)

    def _conj(self):
        return Given(self.matrix.conj(), self.wrong, self.flipped)


def in_adjoint(change):
    return lambda op, y, x: change(op, y, x) if op.flipped else y


def write(op, y, x):
    if x.size:
        x[0, 0] += 1
    return y


def reuse(op, y, x):
    buffer = op._cache.setdefault(("buffer", y.shape, y.dtype.name), np.empty_like(y))
    buffer[...] = y
    return buffer


def shift(op, y, x):
    return np.roll(y, 1, axis=0)


WRONG = {
    "conj": in_adjoint(lambda op, y, x: op.matrix.T @ x),
    "sign": in_adjoint(lambda op, y, x: -y),
    "shift": in_adjoint(shift),
    "1.001": in_adjoint(lambda op, y, x: y * y.dtype.type(1.001)),
    "square": lambda op, y, x: y * abs(y),
    "affine": lambda op, y, x: y + y.dtype.type(0.01),
    "antilinear": lambda op, y, x: y.conj(),
    "clipped": lambda op, y, x: np.where(y.real > 0, y, 0 * y),
    "buffer": reuse,
    "writes": write,
    "promise": lambda op, y, x: y,
    "rounded": lambda op, y, x: y.astype(SINGLE.get(y.dtype.name, y.dtype)).astype(y.dtype),
    "narrow": lambda op, y, x: y.astype(SINGLE.get(y.dtype.name, y.dtype)),
    "real": lambda op, y, x: y.real.astype(y.dtype),
    "imag": lambda op, y, x: y - y.real,
    "nan": lambda op, y, x: y + np.where(np.arange(len(y)) == len(y) - 1, np.nan, 0)[:, None],
    "transposed": lambda op, y, x: np.asfortranarray(y) if y.size else y,
}
HARMLESS = {"transposed"}  # the door of lazyops mends it

MATRICES = {
    "square": c(8, 8),
    "tall": c(12, 5),
    "wide": c(3, 9),
    "single": c(16, 16).astype(np.complex64),
    "banded": np.diag(c(9)) + np.diag(c(8), 1),
    "large": c(100, 70),
    "large_single": c(80, 90).astype(np.complex64),
    "scaled": c(10, 6) * 1e-9,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("wrong", WRONG)
def test_mutations_are_caught(wrong, matrix, seed):
    A = Given(MATRICES[matrix], wrong)
    if wrong in HARMLESS:
        check_operator(A, rng=seed)
        return
    with pytest.raises((AssertionError, ValueError)) as caught:
        check_operator(A, rng=seed)
    assert "fails the check" in str(caught.value) or wrong == "nan"


REAL = ["sign", "shift", "1.001", "square", "affine", "clipped", "buffer", "writes", "narrow"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("wrong", REAL)
def test_mutations_of_real_operators_are_caught(wrong, dtype, seed):
    for shape in [(7, 7), (30, 12), (90, 60)]:
        with pytest.raises(AssertionError, match="fails the check"):
            check_operator(Given(r(*shape).astype(dtype), wrong), rng=seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("wrong", ["conj", "sign", "shift", "1.001", "real", "square"])
def test_mutations_inside_expressions_are_caught(wrong, seed):
    bad = Given(c(8, 8), wrong)
    D, P = lo.Diagonal(c(8)), lo.Permutation.bit_reversal(8)
    for A in [D @ bad @ P, bad + D, 2j * bad, bad.H, lo.kron(bad, lo.Identity(3))]:
        with pytest.raises(AssertionError, match="fails the check"):
            check_operator(A, rng=seed)


class Alias(lo.Identity):
    """Goes round the door, and hands x back."""

    def __matmul__(self, other):
        return other if isinstance(other, np.ndarray) else super().__matmul__(other)


class Locked(lo.Identity):
    def __matmul__(self, other):
        y = super().__matmul__(other)
        if isinstance(y, np.ndarray):
            y.flags.writeable = False
        return y


class NewAdjoint(Given):
    @property
    def H(self):
        return Given(self.matrix, "", True)


class NoPickle(Given):
    def __reduce__(self):
        raise pickle.PicklingError("no")


class Lists(lo.Identity):
    def __matmul__(self, other):
        return (super().__matmul__(other)).tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("A", "why"),
    [
        (Alias(5), "wrong length|shares memory"),
        (Locked(5), "read-only"),
        (NewAdjoint(c(4, 4)), r"'A\.H\.H is A'"),
        (NoPickle(c(4, 4)), "pickle and back"),
        (Lists(4), "fails the check"),
    ],
)
def test_broken_contracts_are_caught(A, why, seed):
    with pytest.raises(AssertionError, match=why):
        check_operator(A, rng=seed)


def test_a_wrong_matrix_is_caught():
    a = c(6, 4)
    b = a.copy()
    b[3, 2] *= 1 + 1e-12
    check_operator(lo.Dense(a), dense=a)
    with pytest.raises(AssertionError, match=r"given as dense=.* at \(3, 2\)"):
        check_operator(lo.Dense(a), dense=b)
