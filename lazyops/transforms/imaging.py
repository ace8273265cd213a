"""The Radon transform of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..operators import LinearOperator, Sparse, Weak
from ..operators.scalar import check_shape

REACH = 3  # positions, or rows, of the rotated grid that lie less than sqrt(2) from a pixel


def radon(
    shape: tuple[int, int], theta: Any = None, *, circle: bool = True, dtype: Any = None
) -> LinearOperator:
    """Line integrals of an image along parallel rays, at angles `theta`.

    ``(radon(shape, theta) @ image.reshape(-1)).reshape(-1, len(theta))`` equals
    ``skimage.transform.radon(image, theta, circle, preserve_range=True)``: the image is rotated by
    linear interpolation about its pixel ``(m // 2, n // 2)`` and summed along its columns.  The
    adjoint, the back-projection, is exact: both are products with one sparse matrix.

    Parameters
    ----------
    shape : (int, int)
        Of the image, stored by rows.
    theta : array of shape (A,), optional
        Angles in degrees, counterclockwise; 0 .. 179 by default.
    circle : bool
        Detectors are as many as the shorter side has pixels, and the image is cut to a square;
        what is outside its inscribed circle should be zero.  False: the image is surrounded by
        zeros, up to its diagonal (of the square over the longer side), and every pixel is seen.
    dtype : dtype, optional
        Of the matrix, float64 or float32 (two thirds of the memory), which then joins with that of
        `x` as values do.  By default it is held in double and follows the precision of `x`.

    Returns
    -------
    operator of shape (detectors * A, m * n), real; the sinogram is stored by rows of detectors

    Notes
    -----
    A pixel meets 2 to 3 detectors at each angle, 2.5 on average: the matrix takes about
    ``31 m n A`` bytes (20 in float32), 0.36 GB for 256 x 256 pixels and 180 angles.

    A. C. Kak, M. Slaney, "Principles of computerized tomographic imaging", IEEE Press, 1988.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> image = np.zeros((5, 5))
    >>> image[2, 2:4] = 1
    >>> (lo.radon((5, 5), [0, 90]) @ image.reshape(-1)).reshape(5, 2)
    array([[0., 0.],
           [0., 0.],
           [1., 2.],
           [1., 0.],
           [0., 0.]])
    """
    m, n = check_shape(shape, "radon")
    angles = np.arange(180.0) if theta is None else np.asarray(theta, np.float64)
    if m < 1 or n < 1 or angles.ndim != 1 or not np.isfinite(angles).all():
        raise ValueError(
            f"radon takes an image of 1 x 1 or more and a vector of finite angles, got "
            f"{m} x {n} and angles of shape {angles.shape}"
        )
    name = np.dtype(np.float64 if dtype is None else dtype)
    if name.kind != "f":
        raise TypeError(f"the dtype of radon is float32 or float64, got {name}")
    rows, columns, detectors = _placed(m, n, circle)
    matrix = _matrix(rows, columns, detectors, angles, name)
    return Weak(matrix) if dtype is None else matrix


def _placed(m: int, n: int, circle: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Row and column of every pixel in the square that is rotated, and the side of that."""
    if circle:
        side = min(m, n)
        row, column = (np.arange(s) - math.ceil((s - side) / 2) for s in (m, n))
    else:
        pads = [math.ceil(math.sqrt(2) * max(m, n) - s) for s in (m, n)]
        row, column = (
            np.arange(s) + (s + pad) // 2 - s // 2 for s, pad in zip((m, n), pads, strict=True)
        )
        side = m + pads[0]
    grid = np.broadcast_arrays(row[:, None], column)
    return grid[0].reshape(-1), grid[1].reshape(-1), side


def _matrix(rows, columns, detectors: int, angles: np.ndarray, name: np.dtype) -> Sparse:
    """The transpose by compressed rows, one for each pixel: nothing needs to be sorted.

    Twice over the angles: how many entries each pixel has, then where they go.
    """
    inside = (rows >= 0) & (rows < detectors) & (columns >= 0) & (columns < detectors)
    counts = np.zeros(len(rows), np.int64)
    for angle in angles:
        counts += (_weights(rows, columns, detectors, angle)[1] * inside != 0).sum(axis=0)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    size = (len(rows), detectors * len(angles))
    small = max(int(indptr[-1]), size[1]) < 2**31
    indices = np.empty(indptr[-1], np.int32 if small else np.int64)
    data, at = np.empty(indptr[-1], name), indptr[:-1].copy()
    for i, angle in enumerate(angles):
        detector, weights = _weights(rows, columns, detectors, angle)
        for s, w in zip(detector, weights * inside, strict=True):
            kept = np.flatnonzero(w)
            data[at[kept]] = w[kept]
            indices[at[kept]] = s[kept] * len(angles) + i
            at[kept] += 1
    for array in (data, indices, indptr):
        array.flags.writeable = False
    return Sparse(data, indices, indptr.astype(indices.dtype), size, transposed=True)


def _weights(rows, columns, side: int, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Detectors that a pixel may meet, and with what weight; both of shape (3, pixels).

    Detector s sums the rotated image over its rows r; node (s, r) stands at column
    ``c cos + r sin``, row ``-c sin + r cos`` of the image (from the centre) and takes from the
    pixels around it by hat functions of both distances.
    """
    radians = np.deg2rad(degrees)
    upright, flat = degrees % 180 == 90, degrees % 180 == 0  # exact on the axes
    cos, sin = 0.0 if upright else np.cos(radians), 0.0 if flat else np.sin(radians)
    y, x = rows - side // 2, columns - side // 2
    first_s = np.ceil(x * cos - y * sin - math.sqrt(2))
    first_r = np.ceil(x * sin + y * cos - math.sqrt(2))
    detectors = first_s + np.arange(REACH)[:, None]
    weights = np.zeros(detectors.shape)
    for j in range(REACH):
        r = first_r + j
        across = np.maximum(1 - np.abs(detectors * cos + r * sin - x), 0)
        along = np.maximum(1 - np.abs(r * cos - detectors * sin - y), 0)
        weights += across * along * ((r >= -(side // 2)) & (r < side - side // 2))
    detectors += side // 2
    weights *= (detectors >= 0) & (detectors < side)
    return detectors.astype(np.int64), weights
