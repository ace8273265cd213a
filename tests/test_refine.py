"""Iterative refinement with a low-bit operator in the inner loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse.linalg

import lazyops as lo


def inner(A, r):
    return scipy.sparse.linalg.gmres(A, r, rtol=1e-3, maxiter=20)


@pytest.fixture
def system():
    """I + a small butterfly as one butterfly: diagonally dominant factors."""
    rng = np.random.default_rng(0)
    factors = []
    for p in lo.Chain.square_dyadic(64):
        values = 0.1 * rng.standard_normal(p)
        values[:, [0, 1], [0, 1], :] += 1
        factors.append(lo.KroneckerSparse(values))
    return lo.Product(factors), rng.standard_normal(64)


def test_full_accuracy_from_eight_bits(system):
    A, b = system
    low = lo.quantize(A, "e4m3").operator
    found = lo.refine(inner, A, low, b)
    assert found.converged
    assert "<= rtol 1e-12" in found.reason
    assert np.linalg.norm(A @ found.x - b) <= 1e-12 * np.linalg.norm(b)
    assert np.allclose(found.x, np.linalg.solve(A @ np.eye(64), b), rtol=1e-9)
    assert len(found.residuals) == found.iterations + 1 == found.full_products + 1
    wanted = found.full_products * A.values_nbytes + found.low_products * low.values_nbytes
    assert found.bytes_read == wanted
    assert found.low_products > found.iterations


def test_better_operators_take_fewer_rounds(system):
    A, b = system
    rounds = [
        lo.refine(inner, A, lo.quantize(A, f).operator, b).iterations for f in ("e5m2", "fp16")
    ]
    assert rounds[1] <= rounds[0]


def test_a_start_near_the_solution_saves_rounds(system):
    A, b = system
    low = lo.quantize(A, "bf16").operator
    cold = lo.refine(inner, A, low, b)
    warm = lo.refine(inner, A, low, b, cold.x)
    assert (warm.iterations, warm.converged, warm.full_products) == (0, True, 1)


def test_divergence_is_reported_and_the_best_iterate_kept(system):
    A, b = system
    found = lo.refine(inner, A, -0.1 * A, b)
    assert not found.converged
    assert found.reason.startswith("diverged: the residual went to")
    assert np.array_equal(found.x, np.zeros(64))
    nan = lo.refine(lambda A, r: r * math.nan, A, A, b)
    assert "diverged: the residual went to nan" in nan.reason
    assert np.isfinite(nan.x).all()


def test_no_progress_is_reported(system):
    A, b = system
    found = lo.refine(lambda A, r: 0 * r, A, A, b)
    assert found.reason.startswith("stalled: the residual stays at 1")
    few = lo.refine(inner, A, lo.quantize(A, "e5m2").operator, b, maxiter=1)
    assert not few.converged
    assert few.reason.startswith("maxiter = 1 solves did not bring the residual to 1e-12")


def test_torch_stays_torch(system):
    torch = pytest.importorskip("torch")
    A, b = system
    T, low = A.to(namespace="torch"), lo.quantize(A, "fp16").operator.to(namespace="torch")

    def richardson(A, r):
        d = 0 * r
        for _ in range(60):
            d = d + 0.7 * (r - A @ d)
        return d

    found = lo.refine(richardson, T, low, torch.from_numpy(b))
    assert type(found.x) is torch.Tensor
    assert found.converged, found.reason


def test_what_is_refused(system):
    A, b = system
    with pytest.raises(ValueError, match=r"two square operators of one shape, got \(64, 64\) and"):
        lo.refine(inner, A, lo.Identity(3), b)
    with pytest.raises(ValueError, match=r"b of shape \(3,\) does not meet 64 rows"):
        lo.refine(inner, A, A, b[:3])
    with pytest.raises(ValueError, match=r"solve returned shape \(2,\), wanted \(64,\)"):
        lo.refine(lambda A, r: r[:2], A, A, b)
