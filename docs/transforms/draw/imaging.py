"""Line integrals of an image."""

from __future__ import annotations

import numpy as np

import lazyops as lo


def radon(figure):
    n, angles = 64, np.arange(0, 180, 3)
    y, x = np.mgrid[:n, :n] - n // 2
    image = 1.0 * (x**2 / 24**2 + y**2 / 16**2 < 1)
    image[(x - 8) ** 2 + y**2 < 36] = 2
    image[(x + 10) ** 2 + (y + 4) ** 2 < 16] = 0
    A = lo.radon((n, n), angles)
    sinogram = A @ image.reshape(-1)
    shown = [
        ("image", image),
        ("radon: detector, angle", sinogram.reshape(n, -1)),
        ("adjoint of that", (A.H @ sinogram).reshape(n, n)),
    ]
    for axes, (title, values) in zip(figure.subplots(1, 3), shown, strict=True):
        axes.imshow(values, cmap="gray", aspect="auto" if len(values[0]) < n else "equal")
        axes.set(title=title, xticks=[], yticks=[])
