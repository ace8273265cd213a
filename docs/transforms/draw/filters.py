"""Transforms of real signals and of images, filters, sums off the grid."""

from __future__ import annotations

import numpy as np

import lazyops as lo


def _matrix(axes, title, matrix):
    limit = np.abs(matrix).max()
    axes.imshow(matrix, vmin=-limit, vmax=limit)
    axes.set(title=title, xticks=[], yticks=[])


def rfft(figure):
    n = 64
    t = np.arange(n)
    x = np.cos(2 * np.pi * 5 * t / n) + 0.5 * np.sin(2 * np.pi * 12 * t / n)
    left, middle, right = figure.subplots(1, 3)
    left.stem(np.abs(lo.rfft(n, "forward") @ x), basefmt=" ", markerfmt=".")
    left.set(title="abs(rfft(64) @ x)", xlabel="q")
    _matrix(middle, "rfft(16, pairs=True)", lo.rfft(16, pairs=True).to_dense())
    _matrix(right, "irfft(16)", lo.irfft(16).to_dense())


def hartley(figure):
    left, right = figure.subplots(1, 2)
    _matrix(left, "hartley(16)", lo.hartley(16).to_dense())
    for q, values in enumerate(lo.hartley(32).to_dense()[:4]):
        right.plot(values - 3.5 * q, lw=1)
    right.set(title="its first rows, n = 32", xlabel="k", yticks=[])


def fftn(figure):
    i, j = np.mgrid[:24, :32]
    x = np.cos(2 * np.pi * (3 * i / 24 + 5 * j / 32))
    y = np.abs(lo.fftn(x.shape) @ x.reshape(-1)).reshape(x.shape)
    left, right = figure.subplots(1, 2)
    _matrix(left, "x", x)
    _matrix(right, "abs(fftn((24, 32)) @ x)", y)


def convolution(figure):
    t = np.arange(64)
    x = (t > 20) * 1.0 - (t > 44) + 0.2 * np.sin(t * 2.3)
    h = np.hanning(9) / 4
    first, second, third, fourth = figure.subplots(1, 4)
    first.plot(t, x, lw=1)
    first.plot(t, lo.convolution(h, 64, "same") @ x, lw=1)
    first.set(title='x, and "same"', xlabel="i")
    _matrix(second, "convolution(h, 16)", lo.convolution(h, 16).to_dense())
    _matrix(third, "circulant(c)", lo.circulant(np.r_[h, np.zeros(7)]).to_dense())
    _matrix(fourth, "hankel(c)", lo.hankel(np.arange(1.0, 13)).to_dense())


def nufft(figure):
    t = np.sort(np.random.default_rng(0).uniform(-np.pi, np.pi, 40))
    matrix = lo.nudft(t, 17).to_dense().real
    left, right = figure.subplots(1, 2)
    left.plot(t, matrix[:, 11], ".-", lw=1)
    left.set(title="the mode k = 3 at 40 points", xlabel="t")
    _matrix(right, "nudft(t, 17), real part", matrix)
