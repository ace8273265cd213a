"""Fourier, cosine, sine and Hadamard transforms: their matrices, and a signal seen by them."""

from __future__ import annotations

import numpy as np

import lazyops as lo


def fft(figure):
    n = 64
    t = np.arange(n)
    x = np.cos(2 * np.pi * 5 * t / n) + 0.5 * np.sin(2 * np.pi * 12 * t / n)
    y = lo.fft(n, norm="forward") @ x
    left, middle, right = figure.subplots(1, 3)
    matrix = lo.fft(16).to_dense().real
    left.imshow(matrix, vmin=-1, vmax=1)
    left.set(title="fft(16), real part", xlabel="k", ylabel="q")
    middle.plot(t, x)
    middle.set(title="x", xlabel="k")
    right.stem(t, np.abs(y), basefmt=" ", markerfmt=".")
    right.set(title="its spectrum", xlabel="q")


def _rows(figure, operators, n):
    """The first rows of four operators, each shifted down by two more."""
    for axes, (title, A) in zip(figure.subplots(1, len(operators)), operators, strict=True):
        for row, values in enumerate(A.to_dense()[:5]):
            axes.plot(np.arange(n), values / np.abs(values).max() - 2.5 * row, lw=1)
        axes.set(title=title, xlabel="k", yticks=[-2.5 * q for q in range(5)])
        axes.set_yticklabels([f"q = {q}" for q in range(5)])


def dct(figure):
    _rows(figure, [(f"dct(16, {kind})", lo.dct(16, kind)) for kind in (1, 2, 3, 4)], 16)


def dst(figure):
    _rows(figure, [(f"dst(16, {kind})", lo.dst(16, kind)) for kind in (1, 2, 3, 4)], 16)


def hadamard(figure):
    orders = ("natural", "sequency", "dyadic")
    for axes, order in zip(figure.subplots(1, 3), orders, strict=True):
        axes.imshow(lo.hadamard(16, order=order).to_dense(), cmap="gray")
        axes.set(title=f"hadamard(16), {order}", xticks=[], yticks=[])
