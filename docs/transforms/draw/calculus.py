"""Differences, sums, gradients, Laplacians."""

from __future__ import annotations

import numpy as np

import lazyops as lo


def diff(figure):
    t = np.arange(33)
    x = np.where(t < 16, t / 16, 1.0) * np.cos(t / 5)
    cases = [("x", t, x), ("diff(33) @ x", t[1:], lo.diff(33) @ x), ("cumsum(33) @ x", t,
             lo.cumsum(33) @ x)]  # fmt: skip
    for axes, (title, places, y) in zip(figure.subplots(1, 3), cases, strict=True):
        axes.plot(places, y)
        axes.set(title=title, xlabel="i")


def _images(figure, cases):
    for axes, (title, image) in zip(figure.subplots(1, len(cases)), cases, strict=True):
        limit = np.abs(image).max()
        axes.imshow(image, vmin=-limit, vmax=limit)
        axes.set(title=title, xticks=[], yticks=[])


def gradient(figure):
    i, j = np.mgrid[:32, :48]
    x = np.exp(-((i - 16) ** 2 + (j - 24) ** 2) / 80)
    both = (lo.gradient(x.shape) @ x.reshape(-1)).reshape(2, *x.shape)
    _images(figure, [("x", x), ("along axis 0", both[0]), ("along axis 1", both[1])])


def laplacian(figure):
    shape = (33, 49)
    x = np.zeros(shape)
    x[16, 24] = 1
    A = lo.laplacian(shape, "neumann")
    y = x.reshape(-1)
    for _ in range(200):
        y = y + 0.2 * (A @ y)
    _images(figure, [("x", x), ("laplacian @ x", (A @ x.reshape(-1)).reshape(shape)),
                     ("200 steps of diffusion", y.reshape(shape))])  # fmt: skip
