"""Two factors of given supports: closed form where it is a theorem, divergence by its name."""

import itertools
import re

import numpy as np
import pytest
import scipy.linalg
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import lazyops as lo
from lazyops.butterfly.alternating import balanced
from lazyops.butterfly.fixed_support import ALTERNATING, CLOSED
from lazyops.butterfly.supports import classes, lacking_entries, layout

LOWER, SWAP = np.tri(2, dtype=bool), np.array([[0.0, 1.0], [1.0, 0.0]])

sizes = st.integers(1, 5)


@st.composite
def supports(draw, most=5):
    m, n, r = (draw(st.integers(1, most)) for _ in range(3))
    density = draw(st.sampled_from([0.3, 0.5, 0.7, 0.9]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random((m, r)) < density, rng.random((r, n)) < density


def with_noise(left, right, seed=0, dtype=float):
    rng = np.random.default_rng(seed)
    shape = left.shape[0], right.shape[1]
    A = rng.standard_normal(shape)
    return A + 1j * rng.standard_normal(shape) if dtype is complex else A


def objective(A, found):
    return np.linalg.norm(A - found.operator.to_dense())


# -- closed form ---------------------------------------------------------------------------


def disjoint_grid(heights, widths, ranks):
    """Supports of blocks on a grid, each of a rank; block (i, j) takes ``ranks[i][j]`` indices."""
    rows, columns = np.repeat(range(len(heights)), heights), np.repeat(range(len(widths)), widths)
    cells = [(i, j) for i, row in enumerate(ranks) for j, p in enumerate(row) for _ in range(p)]
    left = np.array([rows == i for i, _ in cells], bool).reshape(len(cells), len(rows)).T
    right = np.array([columns == j for _, j in cells], bool).reshape(len(cells), len(columns))
    return left, right


@given(
    st.lists(sizes, min_size=1, max_size=3),
    st.lists(sizes, min_size=1, max_size=3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([float, complex]),
)
def test_disjoint_blocks_cost_their_tails(heights, widths, seed, dtype):
    rng = np.random.default_rng(seed)
    ranks = rng.integers(0, 4, (len(heights), len(widths)))
    left, right = disjoint_grid(heights, widths, ranks)
    order = rng.permutation(left.shape[1])
    left, right = left[:, order], right[order]
    A = with_noise(left, right, seed, dtype)
    expected = 0.0  # by NumPy, block by block
    for (i, rows), (j, columns) in itertools.product(
        enumerate(np.split(A, np.cumsum(heights)[:-1])), enumerate(np.cumsum(widths))
    ):
        block = rows[:, columns - widths[j] : columns]
        expected += np.sum(np.linalg.svd(block, compute_uv=False)[ranks[i, j] :] ** 2)
    found = lo.fixed_support(A, left, right)
    assert (found.method, found.status) == (CLOSED, "optimal")
    assert abs(objective(A, found) - np.sqrt(expected)) <= 1e-12 * np.linalg.norm(A)
    assert found.lower_bound <= found.relative_error
    assert found.relative_error - found.lower_bound <= 1e-12


@given(supports(), st.integers(0, 99), st.sampled_from([float, complex]))
def test_tractable_is_optimal_and_alternation_never_below(pair, seed, dtype):
    left, right = pair
    assume(layout(left, right).tractable)
    A = with_noise(left, right, seed, dtype)
    best = lo.fixed_support(A, left, right)
    assert best.status == "optimal"
    assert best.relative_error - best.lower_bound <= 1e-12
    assert abs(objective(A, best) / np.linalg.norm(A) - best.relative_error) <= 1e-12
    for start in range(2):
        other = lo.fixed_support(A, left, right, method=ALTERNATING, max_sweeps=32, rng=start)
        assert other.relative_error >= best.relative_error - 1e-12


def test_alternation_comes_down_to_the_closed_form():
    """No spurious valleys in the disjoint case (arXiv 2112.00386): any start gets there."""
    left, right = disjoint_grid([3, 4], [4, 2], [[1, 1], [2, 0]])
    A = with_noise(left, right)
    best = lo.fixed_support(A, left, right)
    for start in range(5):
        other = lo.fixed_support(A, left, right, method=ALTERNATING, rng=start)
        assert other.status == "converged"
        assert abs(other.relative_error - best.relative_error) <= 1e-6


def test_what_a_complete_class_takes_costs_nothing():
    """E3: the other class overlaps a complete one, the rest of it is a rectangle."""
    left = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 0], [1, 0, 0]], bool)
    right = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], bool)
    found = layout(left, right)
    assert [len(p.part.inner) for p in found.absorbed] == [2]
    A = with_noise(left, right)
    tail = np.linalg.svd(A[2:], compute_uv=False)[1]
    best = lo.fixed_support(A, left, right)
    assert abs(objective(A, best) - tail) <= 1e-12 * np.linalg.norm(A)
    assert "1 that can take any values" in best.reason


def test_absorption_goes_on():
    """A complete class leaves one row of another, which is complete there; and so on."""
    left = np.array([[1, 0, 1], [1, 1, 1], [0, 0, 1], [0, 0, 1]], bool)
    right = np.ones((3, 2), bool)
    A = with_noise(left, right)
    assert [len(p.part.rows) for p in layout(left, right).absorbed] == [1, 1]
    best = lo.fixed_support(A, left, right)
    tail = np.linalg.svd(A[2:], compute_uv=False)[1]
    assert abs(objective(A, best) - tail) <= 1e-12 * np.linalg.norm(A)
    other = lo.fixed_support(A, left, right, method=ALTERNATING)
    assert other.relative_error >= best.relative_error - 1e-12


def test_a_class_in_two_pieces():
    """Others take its off-diagonal blocks: two truncated SVDs with one hidden index."""
    one, top = np.ones(6, bool), np.arange(6) < 3
    left = np.array([one, *[top] * 3, *[~top] * 3]).T
    right = np.array([one, *[~top] * 3, *[top] * 3])
    A = with_noise(left, right)
    tails = [np.linalg.svd(block, compute_uv=False)[1:] for block in (A[:3, :3], A[3:, 3:])]
    best = lo.fixed_support(A, left, right)
    assert best.method == CLOSED
    assert abs(objective(A, best) - np.linalg.norm(tails)) <= 1e-12 * np.linalg.norm(A)
    other = lo.fixed_support(A, left, right, method=ALTERNATING)
    assert other.relative_error >= best.relative_error - 1e-12


@pytest.mark.parametrize("chain", [lo.Chain.monarch(12, 30), lo.Chain.smallest(16, 16, [2])])
def test_a_split_of_a_butterfly(chain):
    one, two = chain
    A = with_noise(np.ones((one.shape[0], 1)), np.ones((1, two.shape[1])))
    found = lo.fixed_support(A, one, two)
    assert found.method == CLOSED
    factorized = lo.factorize(A, chain, permutation=None)
    assert abs(found.relative_error - factorized.relative_error) <= 1e-13
    assert isinstance(found.left, lo.KroneckerSparse)
    assert (found.left.pattern, found.right.pattern) == (one, two)


def test_classes_are_of_both_supports():
    left = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)
    right = np.array([[1, 0], [1, 0], [1, 0], [1, 1]], bool)
    assert [list(c.inner) for c in classes(left, right)] == [[0, 1], [2]]  # 3 is empty


# -- no optimum ----------------------------------------------------------------------------


def test_the_divergence_of_two_by_two():
    """X lower, Y upper triangular, A the swap: inf = 0, never reached.

    With x_1 = (e, 1/e), y_1 = (e, 1/e) the error is e^2 at entry (1, 1), and the norms are
    ||x_1|| ||y_1|| + ||x_2|| ||y_2|| = 2 / e^2 + O(e^2): error^2 norms^2 -> 4.
    """
    found = lo.fixed_support(SWAP, LOWER, LOWER.T)
    assert (found.method, found.status) == (ALTERNATING, "diverging")
    assert found.reason.startswith("diverging after 1000 sweeps")
    assert "for some matrices these supports have no best factors" in found.reason
    assert "weight_decay= bounds the entries" in found.reason
    constants = [(2 * s.error * s.norms) ** 2 for s in found.trace]  # ||A||^2 = 2
    assert all(abs(c - 4) < 0.05 for c in constants)
    assert abs(constants[-1] - 4) < 1e-5
    first, *_, last = (s for s in found.trace if s.sweep > 100)
    assert abs(np.log(last.norms / first.norms) / np.log(last.sweep / first.sweep) - 0.5) < 0.02
    assert objective(SWAP, found) < 0.02


@pytest.mark.parametrize("sweeps", [1, 2, 3, 9, 65, 129, 257])
def test_the_last_look_is_as_strict_as_the_others(sweeps):
    """A sweep after a look little is won; that is no convergence."""
    found = lo.fixed_support(SWAP, LOWER, LOWER.T, max_sweeps=sweeps)
    assert found.trace[-1].sweep == sweeps
    assert found.status == ("diverging" if sweeps > 4 else "undecided")
    bounded = lo.fixed_support(SWAP, LOWER, LOWER.T, max_sweeps=sweeps, weight_decay=1e-6)
    assert bounded.status == "undecided"


def test_the_guard_stops_it():
    found = lo.fixed_support(SWAP, LOWER, LOWER.T, max_norms=10)
    assert found.status == "diverging"
    assert found.trace[-1].sweep <= 16
    assert found.trace[-1].norms > 10 >= found.trace[-2].norms


@pytest.mark.parametrize("decay", [1e-2, 1e-3])
def test_weight_decay_has_an_optimum(decay):
    found = lo.fixed_support(SWAP, LOWER, LOWER.T, weight_decay=decay)
    assert (found.method, found.status) == (ALTERNATING, "converged")
    X, Y = found.left.to_dense(), found.right.to_dense()

    def penalised(X, Y):
        return np.sum((SWAP - X @ Y) ** 2) + decay * (np.sum(X**2) + np.sum(Y**2))

    rng = np.random.default_rng(0)
    for size in (1e-2, 1e-3):  # a stationary point: no direction gains at first order
        step = (
            size * rng.standard_normal((2, 2)) * LOWER,
            size * rng.standard_normal((2, 2)) * LOWER.T,
        )
        ahead, behind = penalised(X + step[0], Y + step[1]), penalised(X - step[0], Y - step[1])
        assert ahead + behind - 2 * penalised(X, Y) > 0
        assert abs(ahead - behind) < 100 * size**2  # third order, and what the stop left


@st.composite
def lacking(draw):
    """Supports changed so that hidden index 0 covers (0, 0), (0, 1), (1, 0) alone, and 1 (1, 1)."""
    left, right = (np.pad(s, 1) for s in draw(supports(4)))
    left[:2, 0] = right[0, :2] = True
    left[0, 1], left[1, 1], right[1, 0], right[1, 1] = False, True, False, True
    for k in range(1, left.shape[1]):
        right[k, :2] &= not left[0, k]
        right[k, 0] &= not left[1, k]
    order = draw(st.permutations(range(left.shape[1])))
    return left[:, order], right[order]


@settings(max_examples=12)
@given(lacking())
@example((LOWER, LOWER.T))
def test_what_lacks_an_optimum_is_a_limit_and_diverges(pair):
    left, right = pair
    i, last, j, other = lacking_entries(left, right)
    cover = left.astype(int) @ right
    assert cover[i, j] == cover[i, other] == cover[last, j] == 1 < cover[last, other]
    A = np.zeros(cover.shape)  # x_i y_j = 0 and x_i y_other = x_last y_j = 1 cannot be
    A[i, other] = A[last, j] = 1
    k = next(k for k in range(left.shape[1]) if left[i, k] and right[k, j] and left[last, k])
    q = next(q for q in range(left.shape[1]) if q != k and left[last, q] and right[q, other])
    X, Y = np.zeros(left.shape), np.zeros(right.shape)
    e = 2.0**-20
    X[[i, last], k], Y[k, [j, other]] = (e, 1), (1, 1 / e)
    X[last, q], Y[q, other] = 1, -1 / e
    assert np.linalg.norm(A - X @ Y) <= e
    assert not X[~left].any()
    assert not Y[~right].any()
    assert not layout(left, right).tractable
    starts = [lo.fixed_support(A, left, right, max_sweeps=128, rng=start) for start in range(3)]
    assert all(s.status != "optimal" and s.relative_error > 0 for s in starts)
    assert any(s.status == "diverging" for s in starts)


@given(supports())
def test_tractable_supports_have_an_optimum(pair):
    if layout(*pair).tractable:
        assert not lo.may_lack_optimum(*pair)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_full_triangles_are_flagged(n):
    triangle = np.tri(n, dtype=bool)
    assert lo.may_lack_optimum(triangle, triangle.T)
    assert not lo.may_lack_optimum(np.ones((n, n), bool), triangle)


def test_eight_of_all_two_by_two_by_two():
    every = [np.array(bits, bool).reshape(2, 2) for bits in itertools.product((0, 1), repeat=4)]
    flagged = [(a, b) for a in every for b in every if lo.may_lack_optimum(a, b)]
    assert len(flagged) == 8  # algorithms.md, E6
    assert any(np.array_equal(a, LOWER) and np.array_equal(b, LOWER.T) for a, b in flagged)


def closed_by_z3(left, right, milliseconds=2000):
    """Whether the set of products is closed, by quantifier elimination: True, False, or None.

    Exists A, no product and yet within every e of one (arXiv 2306.02666, section 3.3)?
    """
    z3 = pytest.importorskip("z3")
    (m, r), n = left.shape, right.shape[1]

    def product(name):
        X = {at: z3.Real(f"{name}x{at}") for at in zip(*np.nonzero(left), strict=True)}
        Y = {at: z3.Real(f"{name}y{at}") for at in zip(*np.nonzero(right), strict=True)}
        terms = [
            [X[i, k] * Y[k, j] for k in range(r) if left[i, k] and right[k, j]]
            for i, j in np.ndindex(m, n)
        ]
        return [*X.values(), *Y.values()], [z3.Sum([z3.RealVal(0), *t]) for t in terms]

    A = [z3.Real(f"a{i}") for i in range(m * n)]
    variables, entries = product("p")
    others, near = product("q")
    e = z3.Real("e")
    missed = z3.Or([a != x for a, x in zip(A, entries, strict=True)])
    close = z3.And([z3.And(a - x < e, x - a < e) for a, x in zip(A, near, strict=True)])
    never = z3.ForAll(variables, missed) if variables else missed
    within = z3.Exists(others, close) if others else close
    solver = z3.SolverFor("NRA")
    solver.set("timeout", milliseconds)
    solver.add(never, z3.ForAll([e], z3.Implies(e > 0, within)))
    return {"sat": False, "unsat": True}.get(str(solver.check()))


def test_z3_agrees():
    pytest.importorskip("z3")
    assert closed_by_z3(LOWER, LOWER.T) is False
    every = [np.array(bits, bool).reshape(2, 2) for bits in itertools.product((0, 1), repeat=4)]
    pairs = [(a, b) for a in every for b in every]
    flagged = [pair for pair in pairs if lo.may_lack_optimum(*pair)]
    some = np.random.default_rng(0).permutation(len(pairs))[:24]
    verdicts = [(pair, closed_by_z3(*pair, 500)) for pair in [*flagged, *(pairs[i] for i in some)]]
    for pair, closed in verdicts:
        if closed is not None:
            assert closed is not lo.may_lack_optimum(*pair)
    assert sum(closed is False for _, closed in verdicts) >= 4
    assert sum(closed is True for _, closed in verdicts) >= 12


# -- numbers, libraries, refusals ----------------------------------------------------------


def test_every_library(xp):
    A = xp.asarray(np.arange(16.0).reshape(4, 4) ** 2)
    left = xp.asarray(np.kron(np.ones((2, 2)), np.eye(2)) > 0)
    right = xp.asarray(np.kron(np.eye(2), np.ones((2, 2))) > 0)
    patterns = (1, 2, 2, 2), (2, 2, 2, 1)
    expected = lo.fixed_support(np.arange(16.0).reshape(4, 4) ** 2, *patterns)
    for supports in ((left, right), patterns):
        found = lo.fixed_support(A, *supports)
        assert abs(found.relative_error - expected.relative_error) < 1e-14
        assert type(found.operator @ A) is type(A)
    swap = lo.fixed_support(xp.asarray(SWAP), xp.asarray(LOWER), xp.asarray(LOWER.T))
    assert swap.status == "diverging"


@pytest.mark.parametrize("dtype", ["float32", "complex64", "int8", "bool", "float16"])
def test_dtypes(dtype):
    A = (np.arange(16).reshape(4, 4) % 7 % 3).astype(dtype)
    found = lo.fixed_support(A, (1, 2, 2, 2), (2, 2, 2, 1))
    expected = {"complex64": "complex64", "float32": "float32", "float16": "float32"}
    assert found.operator.dtype == expected.get(dtype, "float64")
    difference = A.astype(complex) - found.operator.to_dense()
    error = np.linalg.norm(difference) / np.linalg.norm(A.astype(complex))
    assert abs(found.relative_error - error) <= 1e-6


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e300, 1e-300, 5e-324])
@pytest.mark.parametrize("method", [CLOSED, ALTERNATING])
def test_huge_and_tiny(scale, method):
    A = np.random.default_rng(0).standard_normal((4, 4))
    A = np.round(A) if scale == 5e-324 else A
    one = lo.fixed_support(A, (1, 2, 2, 2), (2, 2, 2, 1), method=method)
    other = lo.fixed_support(A * scale, (1, 2, 2, 2), (2, 2, 2, 1), method=method)
    assert abs(one.relative_error - other.relative_error) <= 1e-5
    assert np.isfinite(other.left.values).all()
    assert np.isfinite(other.right.values).all()


def test_nothing_at_all():
    empty = lo.fixed_support(np.ones((2, 3)), np.zeros((2, 0), bool), np.zeros((0, 3), bool))
    assert (empty.status, empty.relative_error) == ("optimal", 1)
    zero = lo.fixed_support(np.zeros((2, 2)), LOWER, LOWER.T)
    assert (zero.status, zero.relative_error) == ("converged", 0)
    nothing = lo.fixed_support(np.zeros((0, 2)), np.zeros((0, 1), bool), np.ones((1, 2), bool))
    assert (nothing.status, nothing.relative_error) == ("optimal", 0)


@given(supports(), st.integers(0, 9))
def test_balancing_keeps_the_product(pair, seed):
    rng = np.random.default_rng(seed)
    X, Y = (np.where(s, rng.standard_normal(s.shape) * 1e3**seed, 0) for s in pair)
    U, V = balanced(X, Y)
    terms = X[:, :, None] * Y[None]
    assert (np.abs(U[:, :, None] * V[None] - terms) <= 8 * 2.0**-53 * np.abs(terms)).all()
    one, two = np.linalg.norm(U, axis=0), np.linalg.norm(V, axis=1)
    both = (one > 0) & (two > 0)
    assert np.allclose(one[both], two[both], rtol=1e-14, atol=0)


def test_the_same_seed_is_the_same_result():
    one, two = (lo.fixed_support(SWAP, LOWER, LOWER.T, rng=3) for _ in range(2))
    assert one.trace == two.trace
    assert one.trace != lo.fixed_support(SWAP, LOWER, LOWER.T, rng=4).trace


def test_repr_says_which_of_the_two():
    assert repr(lo.fixed_support(np.eye(4), (1, 2, 2, 2), (2, 2, 2, 1))).startswith(
        "<FixedSupport 4x4: closed form, optimal, error "
    )
    text = repr(lo.fixed_support(SWAP, LOWER, LOWER.T))
    assert text.startswith("<FixedSupport 2x2: alternating least squares, diverging, error 0 <= ")


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((SWAP, LOWER, np.ones((3, 2), bool)), {}, ValueError,
         "the supports do not meet: left is 2x2, right is 3x2: 2 columns meet 3 rows"),
        ((np.ones((3, 2)), LOWER, LOWER), {}, ValueError,
         "the supports are of a 2x2 product (left is 2x2, right is 2x2), the matrix has shape "
         "(3, 2)"),
        ((np.ones(2), LOWER, LOWER), {}, ValueError, "the matrix has shape (2,)"),
        ((SWAP, LOWER * 1.0, LOWER), {}, TypeError,
         "left is a boolean array or a pattern (a, b, c, d), got float64 of shape (2, 2): pass "
         "left != 0"),
        ((SWAP, LOWER, LOWER[0]), {}, ValueError, "right is a 2-D array, got 1-D of shape (2,)"),
        ((SWAP, (1, 2, 0, 1), LOWER), {}, ValueError,
         "a pattern is four integers from 1 on, got (1, 2, 0, 1)"),
        ((SWAP * np.nan, LOWER, LOWER), {}, ValueError,
         "the matrix is not finite: entry (0, 0) is nan"),
        ((SWAP.astype(object), LOWER, LOWER), {}, TypeError,
         "real or complex numbers, got dtype object"),
        ((SWAP, LOWER, LOWER.T), {"method": CLOSED}, ValueError,
         "no closed form is known for these supports, the hidden indices reach rectangles that "
         "overlap: pass method='alternating least squares'"),
        ((SWAP, LOWER, LOWER.T), {"method": CLOSED, "weight_decay": 0.1}, ValueError,
         "there is no closed form with weight_decay=0.1: pass method='alternating least squares'"),
        ((SWAP, LOWER, LOWER), {"method": "best"}, ValueError,
         "method is one of 'closed form', 'alternating least squares', got 'best'"),
        ((SWAP, LOWER, LOWER), {"weight_decay": -1}, ValueError,
         "weight_decay is finite and from 0 on, got -1"),
        ((SWAP, LOWER, LOWER), {"weight_decay": np.nan}, ValueError,
         "weight_decay is finite and from 0 on"),
        ((SWAP, LOWER, LOWER), {"max_sweeps": 0}, ValueError, "max_sweeps is from 1 on, got 0"),
        ((SWAP, LOWER, LOWER), {"max_norms": 1.0}, ValueError, "max_norms is above 1, got 1.0"),
    ],
)  # fmt: skip
def test_refusals(arguments, keywords, error, message):
    with pytest.raises(error, match=re.escape(message)):
        lo.fixed_support(*arguments, **keywords)


def test_hadamard_is_exact():
    H = scipy.linalg.hadamard(64).astype(float)
    one, two = lo.Chain.monarch(64, 64)
    assert lo.fixed_support(H, one, two).relative_error <= 2e-15
