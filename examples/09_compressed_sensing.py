"""Compressed sensing: an image from a quarter of its Fourier coefficients, by sparsity in wavelets.

Shown: the sensing matrix and the wavelet basis are two expressions; FISTA is seven lines with them.
    python examples/09_compressed_sensing.py [PICTURE.png]       (LAZYOPS_EXAMPLE_SMALL=1: 64 x 64)
"""

import os
import sys

import numpy as np

import lazyops as lo

try:
    import skimage.data
except ImportError:
    sys.exit(print("scikit-image is not installed: pip install 'lazyops[docs]'"))

small = bool(os.environ.get("LAZYOPS_EXAMPLE_SMALL"))
image = skimage.data.camera()[:: 8 if small else 1, :: 8 if small else 1] / 255.0
n = len(image)
rng = np.random.default_rng(0)
# Low frequencies are likelier to be kept.
k = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n)))
density = np.minimum(1, (1 + 30 * k) ** -2.0 * 12)
rows = np.flatnonzero(rng.random(n * n) < density.reshape(-1) * n * n / 4 / density.sum())

F = lo.fft(n, norm="ortho")
A = lo.restrict(rows, n * n) @ lo.kron(F, F)  # random rows of a 2-D FFT
W = lo.wavelet((n, n), "db4", level=3 if small else 5, mode="periodization")  # orthogonal
b = A @ image.reshape(-1)


def fista(weight, steps):
    """Minimize |A W.T c - b|^2 / 2 + weight |c|_1 (Beck and Teboulle, SIAM J. Imaging 2, 2009)."""
    c = z = W @ (A.H @ b).real
    t = 1.0
    for _ in range(steps):
        g = z - W @ (A.H @ (A @ (W.T @ z) - b)).real  # a step of 1, since |A W.T| <= 1
        new, u = np.sign(g) * np.maximum(abs(g) - weight, 0), (1 + np.sqrt(1 + 4 * t * t)) / 2
        c, z, t = new, new + (t - 1) / u * (new - c), u
    return W.T @ c


def psnr(x):
    return -10 * np.log10(np.mean((x - image.reshape(-1)) ** 2))


zero_filled = (A.H @ b).real
found = fista(weight=2e-3, steps=60 if small else 100)
print("A          :", A)
print(f"kept       : {len(rows) / n**2:.1%} of {n * n:,} coefficients")
print(f"PSNR       : {psnr(zero_filled):.2f} dB zero-filled, {psnr(found):.2f} dB by FISTA")

if len(sys.argv) > 1:
    import matplotlib.image

    kept = np.fft.fftshift(np.isin(np.arange(n * n), rows).reshape(n, n))
    panels = [np.reshape(p, (n, n))[::3, ::3] for p in (image, kept, zero_filled, found)]
    matplotlib.image.imsave(sys.argv[1], np.clip(np.hstack(panels), 0, 1), cmap="gray")
