"""Wavelets."""

from __future__ import annotations

import numpy as np

import lazyops as lo


def wavelet(figure):
    n, t = 256, np.arange(256) / 256
    x = np.where(t < 0.4, np.sin(20 * t), t - 1) + 0.3 * (t > 0.7)
    W = lo.wavelet(n, "db2", level=4, mode="periodization")
    left, middle, right = figure.subplots(1, 3)
    left.plot(x)
    left.set(title="x", xlabel="i")
    middle.plot(W @ x, linewidth=0.8)
    for end in (16, 32, 64, 128):
        middle.axvline(end, color="0.8", linewidth=0.6)
    middle.set(title="wavelet(256, 'db2', 4) @ x", xlabel="coefficient")
    for i, place in enumerate((8, 24, 48, 96)):
        right.plot((W.T @ np.eye(n)[place]) + 0.6 * i)
    right.set(title="columns of the adjoint", xlabel="i", yticks=[])
