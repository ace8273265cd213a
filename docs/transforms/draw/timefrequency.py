"""Short-time transforms of a sweep, frames that overlap, a signal at another rate."""

from __future__ import annotations

import numpy as np

import lazyops as lo


def _sweep(n):
    """A tone that rises, and a click."""
    t = np.arange(n) / n
    x = np.cos(2 * np.pi * n * (0.03 * t + 0.15 * t**2))
    x[2 * n // 3] += 6
    return x


def stft(figure):
    n, m, hop = 512, 64, 16
    x = _sweep(n)
    S = (lo.stft(n, ("hann", m), hop, fft_mode="onesided") @ x).reshape(m // 2 + 1, -1)
    left, middle, right = figure.subplots(1, 3)
    left.plot(x, lw=0.8)
    left.set(title="x", xlabel="sample")
    w = np.hanning(m + 1)[:-1]
    for p in range(5):
        middle.plot(np.arange(m) + p * hop - m // 2, w, lw=1)
    middle.set(title="hann, 64; hop 16", xlabel="sample")
    right.imshow(np.abs(S), aspect="auto", origin="lower", cmap="viridis", vmax=16)
    right.set(title="|stft(512) @ x|", xlabel="frame", ylabel="frequency")


def mdct(figure):
    n, N = 512, 32
    x = _sweep(n)
    X = (lo.mdct(n, ("sine", 2 * N)) @ x).reshape(N, -1)
    left, middle, right = figure.subplots(1, 3)
    matrix = lo.mdct(24, ("sine", 16)).to_dense()
    left.imshow(matrix, vmin=-0.6, vmax=0.6)
    left.set(title="mdct(24, ('sine', 16))", xlabel="sample", ylabel="k, frame")
    t = np.arange(2 * N)
    middle.plot(t, np.sin(np.pi / (2 * N) * (t + 0.5)), label="sine")
    middle.plot(t, np.sin(np.pi / 2 * np.sin(np.pi / (2 * N) * (t + 0.5)) ** 2), label="vorbis")
    middle.legend(frameon=False)
    middle.set(title="windows", xlabel="j")
    right.imshow(np.abs(X), aspect="auto", origin="lower", cmap="viridis", vmax=4)
    right.set(title="|mdct(512) @ x|", xlabel="frame", ylabel="k")


def gabor(figure):
    n, a, M, m = 256, 8, 32, 48
    t = np.arange(m) - m // 2
    g = np.exp(-np.pi * (t / 20) ** 2)
    c = (lo.gabor(n, g, a, M) @ _sweep(n)).reshape(M, -1)
    dual = lo.igabor(n, g, a, M)[:, 16].real  # channel 0, position 16
    left, middle, right = figure.subplots(1, 3)
    left.plot(t, g)
    left.set(title="window", xlabel="l")
    middle.plot(np.arange(n) - 128, dual)
    middle.set(title="its canonical dual, a = 8, M = 32", xlabel="l", xlim=(-40, 40))
    right.imshow(np.abs(c[: M // 2]), aspect="auto", origin="lower", cmap="viridis")
    right.set(title="|gabor(256) @ x|", xlabel="position", ylabel="channel")


def zak(figure):
    n, a = 256, 16
    t = np.arange(n) - n // 2
    signals = {"a gaussian": np.exp(-np.pi * t**2 / n), "a sweep": _sweep(n)}
    for axes, (name, x) in zip(figure.subplots(1, 2), signals.items(), strict=True):
        Z = (lo.zak(n, a) @ x).reshape(a, n // a)
        axes.imshow(np.abs(Z), origin="lower", cmap="viridis")
        axes.set(title=f"|zak(256, 16) @ x|, {name}", xlabel="q", ylabel="r")


def resample(figure):
    n, m = 16, 64
    x = np.random.default_rng(3).standard_normal(n)
    left, right = figure.subplots(1, 2)
    for axes, A in ((left, lo.resample(n, m)), (right, lo.resample_poly(n, 4, 1))):
        axes.plot(np.arange(m) / 4, A @ x)
        axes.plot(np.arange(n), x, "o")
        axes.set(xlabel="sample")
    left.set(title="resample(16, 64): periodic")
    right.set(title="resample_poly(16, 4, 1): zero outside")
