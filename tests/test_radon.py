"""The Radon transform against scikit-image's, and against its own definition."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from theory import gamma

import lazyops as lo

ANGLES = np.array([0.0, 90.0, 180.0, 270.0, 45.0, 33.3, 120.0, -20.0, 179.0, 400.0])
SHAPES = [(2, 2), (3, 3), (7, 7), (8, 8), (9, 12), (12, 9), (2, 11), (31, 32), (48, 48)]


def image(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def bound(A, x, side):
    """Coordinates, of at most `side`, are products and sums of 4 roundings on either side of the
    comparison, of slope 1 in either distance; a ray meets `side` nodes, of four pixels each; a
    cosine that is exact here errs by u * side there."""
    return 2 * (8 * side) * 4 * side * 2.0**-53 * np.abs(x).max() + gamma(4 * side, float) * (
        np.abs(A @ np.abs(x))
    )


@pytest.mark.parametrize("circle", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_radon_equals_scikit_image(shape, circle):
    transform = pytest.importorskip("skimage.transform")
    x = image(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that something lies outside the circle
        want = transform.radon(x, ANGLES, circle, preserve_range=True)
    A = lo.radon(shape, ANGLES, circle=circle)
    got = A @ x.reshape(-1)
    assert A.shape == (want.size, x.size)
    assert (np.abs(got - want.reshape(-1)) <= bound(A, x.reshape(-1), want.shape[0])).all()


def hat(t):
    return np.maximum(1 - np.abs(t), 0)


def test_radon_is_a_sum_along_the_rotated_columns():
    """Entry by entry, from the definition."""
    m, n, angle, side = 4, 5, 33.3, 8
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    want = np.zeros((side, m, n))
    centre = side // 2
    rows = np.arange(m) + (m + 4) // 2 - m // 2  # the image is surrounded by zeros, 4 and 3
    columns = np.arange(n) + (n + 3) // 2 - n // 2
    for s in range(side):
        for r in range(side):
            x = (s - centre) * cos + (r - centre) * sin + centre
            y = -(s - centre) * sin + (r - centre) * cos + centre
            want[s] += hat(rows[:, None] - y) * hat(columns - x)
    got = lo.radon((m, n), [angle], circle=False).to_dense()
    np.testing.assert_allclose(got, want.reshape(side, -1), atol=1e-14)


def test_mass_is_kept_and_axes_are_sums():
    x = image((9, 9))
    A = lo.radon((9, 9), [0, 90, 180, 270])
    got = (A @ x.reshape(-1)).reshape(9, 4)
    np.testing.assert_allclose(got[:, 0], x.sum(axis=0), atol=1e-14)
    np.testing.assert_allclose(got[:, 1], x.sum(axis=1)[::-1], atol=1e-14)
    np.testing.assert_allclose(got[:, 2], x.sum(axis=0)[::-1], atol=1e-14)
    np.testing.assert_allclose(got[:, 3], x.sum(axis=1), atol=1e-14)
    assert lo.radon((9, 9), [0, 90]).info().entries == 2 * 81  # on the axes nothing is spread


def test_default_angles_and_precision(xp):
    A = lo.radon((5, 5))
    assert A.shape == (5 * 180, 25)
    x = image((5, 5)).reshape(-1)
    for dtype in ("float32", "float64", "complex64", "complex128"):
        y = np.asarray(A @ xp.asarray(x.astype(dtype)))
        assert y.dtype == dtype
        single = dtype in ("float32", "complex64")
        unit = gamma(40, "float32" if single else "float64")
        assert (np.abs(y - A @ x) <= unit * (A @ np.abs(x))).all()
    single = lo.radon((5, 5), dtype="float32")
    assert single.dtype == np.float32
    assert single.values_nbytes * 2 == A.values_nbytes


def test_the_adjoint_is_exact():
    A = lo.radon((6, 7), ANGLES, circle=False)
    np.testing.assert_array_equal(A.H.to_dense(), A.to_dense().T)


def test_what_radon_refuses():
    with pytest.raises(ValueError, match="an image of 1 x 1 or more and a vector of finite angles"):
        lo.radon((0, 4))
    with pytest.raises(ValueError, match=r"angles of shape \(2, 2\)"):
        lo.radon((3, 4), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="finite angles"):
        lo.radon((3, 4), [np.nan])
    with pytest.raises(TypeError, match="the dtype of radon is float32 or float64, got int32"):
        lo.radon((3, 4), [0], dtype="int32")
