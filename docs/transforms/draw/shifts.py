"""What moves entries: margins, shifts, windows, axes."""

from __future__ import annotations

import numpy as np

import lazyops as lo


def pad(figure):
    x = np.array([1.0, 2.0, 4.0, 3.0])
    modes = ("constant", "edge", "reflect", "symmetric", "wrap")
    for axes, mode in zip(figure.subplots(1, 5, sharey=True), modes, strict=True):
        places = np.arange(-5, 9)
        axes.plot(places, lo.pad(4, 5, mode) @ x, ".-", color="0.7")
        axes.plot(np.arange(4), x, ".-", color="C0")
        axes.set(title=mode, xticks=[0, 3])


def roll(figure):
    x = np.exp(-np.arange(16.0) / 4)
    cases = [("x", x), ("roll(16, 5) @ x", lo.roll(16, 5) @ x), ("flip(16) @ x", lo.flip(16) @ x)]
    for axes, (title, y) in zip(figure.subplots(1, 3, sharey=True), cases, strict=True):
        axes.bar(np.arange(16), y)
        axes.set(title=title)


def chunk(figure):
    n, size, hop = 40, 16, 8
    t = np.arange(n)
    x = np.sin(t / 5) + 1.5
    C, window = lo.chunk(n, size, hop), np.hanning(size)
    windows = (C @ x).reshape(-1, size)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    left.plot(t, x)
    left.set(title="x")
    for i, w in enumerate(windows):
        middle.plot(i * hop + np.arange(size), w * window)
    middle.set(title="windows of chunk(40, 16, 8), weighted")
    right.plot(t, C.H @ (windows * window).reshape(-1))
    right.set(title="overlap_add of them")


def along_axis(figure):
    x = np.add.outer(np.sin(np.arange(24) / 2), np.cos(np.arange(36) / 3))
    cases = [("x, shape (24, 36)", x)]
    for axis, n in enumerate(x.shape):
        y = lo.along_axis(lo.cumsum(n), x.shape, axis) @ x.reshape(-1)
        cases.append((f"cumsum along axis {axis}", y.reshape(x.shape)))
    for axes, (title, image) in zip(figure.subplots(1, 3), cases, strict=True):
        axes.imshow(image)
        axes.set(title=title, xticks=[], yticks=[])
