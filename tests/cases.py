"""One line per kind of operator: how it is built from an `asarray`, and the matrix it must be.

A new kind adds its line here; `test_contract.py` fails for a kind without one.
"""

from __future__ import annotations

import math

import numpy as np
import pywt
import scipy.fft
import scipy.linalg
import scipy.signal
import scipy.sparse
import scipy.sparse.linalg

import lazyops as lo
from lazyops.operators import Extension, Foreign, Frames, Lapped, Modulation, Weak

rng = np.random.default_rng(0)


def c(*shape):
    """Complex Gaussian numbers."""
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def r(*shape):
    """Real Gaussian numbers."""
    return rng.standard_normal(shape)


def ks_dense(v):
    """The matrix of a Kronecker-sparse factor, entry by entry from the definition."""
    a, b, n, d = v.shape
    m = np.zeros((a, b, d, a, n, d), v.dtype)
    for i in range(a):
        for k in range(d):
            m[i, :, k, i, :, k] = v[i, :, :, k]
    return m.reshape(a * b * d, a * n * d)


def by_columns(f, shape):
    """The matrix of a function of grids of this shape."""
    return np.stack([f(e.reshape(shape)).reshape(-1) for e in np.eye(math.prod(shape))], axis=1)


def blocks_dense(*blocks):
    """Blocks along the diagonal."""
    rows, columns = sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks)
    out = np.zeros((rows, columns), np.result_type(*blocks))
    i = j = 0
    for b in blocks:
        out[i : i + b.shape[0], j : j + b.shape[1]] = b
        i, j = i + b.shape[0], j + b.shape[1]
    return out


def laplacian_dense(shape, spacing):
    """The periodic Laplacian, as a sum of Kronecker products."""
    total = 0
    for axis, (n, h) in enumerate(zip(shape, spacing, strict=True)):
        one = np.roll(np.eye(n), 1, axis=0) + np.roll(np.eye(n), -1, axis=0) - 2 * np.eye(n)
        before, after = np.eye(int(np.prod(shape[:axis]))), np.eye(int(np.prod(shape[axis + 1 :])))
        total = total + np.kron(np.kron(before, one / h**2), after)
    return total


def padded(shape, width, mode):
    """The matrix of numpy.pad, column by column."""
    columns = np.eye(int(np.prod(shape)))
    return np.stack([np.pad(e.reshape(shape), width, mode).reshape(-1) for e in columns], axis=1)


def frames_dense(window, n, hop, first, count, size, shift, periodic=False):
    """Windowed pieces of a signal, entry by entry from the definition."""
    y = np.zeros((size, count, n), window.dtype)
    for p in range(count):
        for j, weight in enumerate(window):
            i = first + p * hop + j
            if periodic or 0 <= i < n:
                y[(j - shift) % size, p, i % n] += weight
    return y.reshape(size * count, n)


def lapped_dense(window, count):
    """A column (-reversed(c) - d, a - reversed(b)) for each frame (a, b, c, d)."""
    N = len(window) // 2
    h = N // 2
    y = np.zeros((N, count, N * count))
    for p in range(count):
        frame = np.zeros((2 * N, N * count))
        for j in range(2 * N):
            if 0 <= p * N - h + j < N * count:
                alone = (p == 0 and j < N) or (p == count - 1 and j >= N)
                frame[j, p * N - h + j] = 1.0 if alone else window[j]
        a, b, c, d = frame.reshape(4, h, -1)
        y[:h, p], y[h:, p] = -c[::-1] - d, a - b[::-1]
    return y.reshape(N * count, N * count)


sine = np.sin(np.pi / 8 * (np.arange(8) + 0.5))


def rfft_pairs(n):
    """Real and imaginary parts of the first half of the spectrum, row by row."""
    z = scipy.fft.rfft(np.eye(n), axis=0)
    return np.stack([z.real, z.imag], axis=1).reshape(-1, n)


def cas(n):
    """cos + sin of the angles of a DFT."""
    F = scipy.fft.fft(np.eye(n), axis=0)
    return F.real - F.imag


def wavelet_dense(decompose, shape):
    """The matrix of a function of PyWavelets, column by column."""
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    if len(shape) == 1:
        return np.stack([np.concatenate(decompose(e)) for e in units], axis=1)
    return np.stack([pywt.ravel_coeffs(decompose(e))[0] for e in units], axis=1)


d6, e6, v, w, perm = c(6), r(6), c(2, 3, 2, 3), r(1, 4, 6, 1), rng.permutation(6)
m46, m64, m33, m25 = c(4, 6), r(6, 4), c(3, 3), r(2, 5)
sparse = scipy.sparse.csr_array(r(6, 9) * (rng.random((6, 9)) < 0.4))
sparse_complex = scipy.sparse.csc_array(sparse * (1 + 2j))
index = np.array([3, 0, 0, 5, -1])
eye = np.eye(6)
s3 = 1j * np.sqrt(0.75)  # the sixth roots of one are +-1/2 +- s3, and +-1


def function(f):
    """By products only; `@` of a dense operator stands for a user's own code."""
    a = lo.Dense(f(m46))
    ah = lo.Dense(f(np.ascontiguousarray(m46.conj().T)))
    return lo.Function((4, 6), lambda x: a @ x, lambda y: ah @ y, dtype="complex128")


def quantized(f, values, form, scales=None):
    """Rounded by NumPy, its codes an array of `f`."""
    q = lo.QuantizedKroneckerSparse.nearest(values, form, scales)
    scales = None if q.scales is None else f(q.scales)
    return lo.QuantizedKroneckerSparse(f(q.codes), q.format, q.stored, scales, q.pair)


eighths = np.full((1, 1), 0.125, np.float32)  # so that decoding rounds nothing

CASES = {  # name: (build from asarray, matrix)
    "identity": (lambda f: lo.Identity(6), eye),
    "scalar": (lambda f: lo.Scalar(6, 2 - 1j), (2 - 1j) * eye),
    "scalar_array": (lambda f: lo.Scalar(6, f(np.array(1.5 + 2j))), (1.5 + 2j) * eye),
    "zero": (lambda f: lo.Zero((4, 6)), np.zeros((4, 6))),
    "diagonal": (lambda f: lo.Diagonal(f(d6)), np.diag(d6)),
    "diagonal_real": (lambda f: lo.Diagonal(f(e6)), np.diag(e6)),
    "permutation": (lambda f: lo.Permutation(f(perm)), eye[perm]),
    "bit_reversal": (
        lambda f: lo.Permutation.bit_reversal(8),
        np.eye(8)[[0, 4, 2, 6, 1, 5, 3, 7]],
    ),
    "restriction": (lambda f: lo.restrict(index, 6), eye[index]),
    "extension": (lambda f: lo.restrict(index, 6).H, eye[index].T),
    "dense": (lambda f: lo.Dense(f(m46)), m46),
    "dense_real": (lambda f: lo.Dense(f(m64)), m64),
    "sparse": (lambda f: lo.Sparse(sparse).to(like=f(e6)), sparse.toarray()),
    "sparse_complex": (
        lambda f: lo.Sparse(sparse_complex).to(like=f(e6)),
        sparse_complex.toarray(),
    ),
    "factor": (lambda f: lo.KroneckerSparse(f(v)), ks_dense(v)),
    "factor_real": (lambda f: lo.KroneckerSparse(f(w)), ks_dense(w)),
    "quantized": (
        lambda f: quantized(f, v, "e4m3"),
        ks_dense(quantized(np.asarray, v, "e4m3").held.decoded("float64")),
    ),
    "quantized_integers": (
        lambda f: quantized(f, w, "int6", eighths),
        ks_dense(quantized(np.asarray, w, "int6", eighths).held.decoded("float64")),
    ),
    "function": (function, m46),
    "product": (
        lambda f: lo.Diagonal(f(d6)) @ lo.Permutation(f(perm)) @ lo.Dense(f(m64)),
        np.diag(d6) @ eye[perm] @ m64,
    ),
    "sum": (
        lambda f: lo.Diagonal(f(d6)) + 2 * lo.Permutation(f(perm)) - lo.Identity(6),
        np.diag(d6) + 2 * eye[perm] - eye,
    ),
    "kron": (
        lambda f: lo.kron(lo.Dense(f(m33)), lo.Identity(2), lo.Dense(f(m25))),
        np.kron(np.kron(m33, np.eye(2)), m25),
    ),
    "kronsum": (
        lambda f: lo.kronsum(lo.Dense(f(m33)), lo.Diagonal(f(e6))),
        np.kron(m33, eye) + np.kron(np.eye(3), np.diag(e6)),
    ),
    "hstack": (
        lambda f: lo.hstack([lo.Dense(f(m46)), lo.Dense(f(m46[:, :1])), lo.Identity(4)]),
        np.hstack([m46, m46[:, :1], np.eye(4)]),
    ),
    "vstack": (
        lambda f: lo.vstack([lo.Dense(f(m46)), lo.Diagonal(f(d6)), lo.Identity(6)]),
        np.vstack([m46, np.diag(d6), eye]),
    ),
    "block_diag": (
        lambda f: lo.block_diag([lo.Dense(f(m46)), lo.Dense(f(m33)), lo.Identity(2)]),
        blocks_dense(m46, m33, np.eye(2)),
    ),
    "block": (
        lambda f: lo.block([[lo.Dense(f(m46)), None], [lo.Identity(6), lo.Dense(f(m64))]]),
        np.block([[m46, np.zeros((4, 4))], [eye, m64]]),
    ),
    "fft": (lambda f: lo.fft(6), scipy.fft.fft(eye, axis=0)),
    "ifft_ortho": (lambda f: lo.ifft(5, "ortho"), scipy.fft.ifft(np.eye(5), axis=0, norm="ortho")),
    "dct": (lambda f: lo.dct(6), scipy.fft.dct(eye, axis=0)),
    "dct_1_forward": (
        lambda f: lo.dct(5, 1, "forward").T,
        scipy.fft.dct(np.eye(5), 1, axis=0, norm="forward").T,
    ),
    "dst_3": (lambda f: lo.dst(6, 3), scipy.fft.dst(eye, 3, axis=0)),
    "dst_4_ortho": (lambda f: lo.dst(6, 4, "ortho"), scipy.fft.dst(eye, 4, axis=0, norm="ortho")),
    "hadamard": (lambda f: lo.hadamard(8), scipy.linalg.hadamard(8).astype(float)),
    "stencil": (
        lambda f: lo.diff(9, 4),
        np.diff(np.eye(9), 4, axis=0),
    ),
    "stencil_corners": (
        lambda f: lo.gradient(6, 0.5, 2),
        np.stack(np.gradient(eye, 0.5, axis=0, edge_order=2)),
    ),
    "stencil_sum": (
        lambda f: lo.laplacian((3, 1, 4), "periodic", (1.0, 2.0, 0.5)),
        laplacian_dense((3, 1, 4), (1.0, 2.0, 0.5)),
    ),
    "cumulative": (lambda f: lo.cumsum(6), np.tri(6)),
    "cumulative_adjoint": (lambda f: lo.cumsum(6).H, np.tri(6).T),
    "padded": (lambda f: lo.pad((2, 3), (0, 4), "symmetric"), padded((2, 3), (0, 4), "symmetric")),
    "frames": (lambda f: Frames(f(d6), 9, 4, -3, 4, 8, 2), frames_dense(d6, 9, 4, -3, 4, 8, 2)),
    "frames_periodic": (
        lambda f: Frames(f(e6), 4, 2, -3, 2, 6, 0, True),
        frames_dense(e6, 4, 2, -3, 2, 6, 0, True),
    ),
    "lapped": (lambda f: Lapped(f(sine), 3), lapped_dense(sine, 3)),
    "weak": (lambda f: Weak(lo.Dense(m46)), m46),
    "rfft": (lambda f: lo.rfft(6), scipy.fft.rfft(eye, axis=0)),
    "rfft_ortho_adjoint": (
        lambda f: lo.rfft(5, "ortho").H,
        scipy.fft.rfft(np.eye(5), axis=0, norm="ortho").conj().T,
    ),
    "rfft_pairs": (lambda f: lo.rfft(6, pairs=True), rfft_pairs(6)),
    "rfft_pairs_forward": (lambda f: lo.rfft(5, "forward", pairs=True).T, rfft_pairs(5).T / 5),
    "irfft": (lambda f: lo.irfft(6), np.linalg.pinv(rfft_pairs(6))),
    "irfft_ortho": (
        lambda f: lo.irfft(5, "ortho").T,
        np.linalg.pinv(rfft_pairs(5)).T * np.sqrt(5),
    ),
    "hartley": (lambda f: lo.hartley(6), cas(6)),
    "hartley_ortho": (lambda f: lo.hartley(5, "ortho"), cas(5) / np.sqrt(5)),
    "fftn": (
        lambda f: lo.kron(lo.fft(2), lo.dct(3), lo.fft(3), lo.Identity(2)),
        np.kron(
            np.kron(scipy.fft.fft(np.eye(2), axis=0), scipy.fft.dct(np.eye(3), axis=0)),
            np.kron(scipy.fft.fft(np.eye(3), axis=0), np.eye(2)),
        ),
    ),
    "convolution": (
        lambda f: lo.convolution(f(d6), 4),
        scipy.linalg.convolution_matrix(d6, 4, "full"),
    ),
    "convolution_blocks": (
        lambda f: lo.convolution(f(e6[:3].copy()), 5, "same", "overlap-add"),
        scipy.linalg.convolution_matrix(e6[:3], 5, "same"),
    ),
    "grid_convolution": (
        lambda f: lo.convolution(f(d6.reshape(2, 3)), (3, 2), "full", "direct"),
        by_columns(lambda x: scipy.signal.convolve(x, d6.reshape(2, 3)), (3, 2)),
    ),
    "grid_convolution_fft": (
        lambda f: lo.convolution(f(e6.reshape(2, 3)), (3, 4), "same", "fft"),
        by_columns(lambda x: scipy.signal.convolve(x, e6.reshape(2, 3), "same"), (3, 4)),
    ),
    "modulation": (
        lambda f: Modulation(6, 5),
        np.diag([1, 0.5 + s3, -0.5 + s3, -1, -0.5 - s3, 0.5 - s3]),
    ),
    "nudft": (lambda f: lo.nudft(e6, 4), np.exp(-1j * np.outer(e6, [-2, -1, 0, 1]))),
    "nudft_3": (lambda f: lo.nudft(e6, d6.real, 3), np.exp(1j * np.outer(d6.real, e6))),
    "toeplitz": (lambda f: lo.toeplitz(f(d6), f(e6)), scipy.linalg.toeplitz(d6, e6)),
    "hankel": (lambda f: lo.hankel(f(e6), f(d6)), scipy.linalg.hankel(e6, d6)),
    "circulant": (lambda f: lo.circulant(f(d6)), scipy.linalg.circulant(d6)),
    "wavelet": (
        lambda f: lo.wavelet(12, "db2", 2),
        wavelet_dense(lambda e: pywt.wavedec(e, "db2", "symmetric", 2), (12,)),
    ),
    "wavelet_turned": (
        lambda f: lo.wavelet((4, 3), "haar", 1, "periodization").H,
        wavelet_dense(lambda e: pywt.wavedecn(e, "haar", "periodization", 1), (4, 3)).T,
    ),
    "iwavelet": (  # with "zero", of an orthogonal wavelet, the transpose
        lambda f: lo.iwavelet(9, "db2", 1, "zero"),
        wavelet_dense(lambda e: pywt.wavedec(e, "db2", "zero", 1), (9,)).T,
    ),
    "real": (lambda f: lo.Dense(f(m46)).real, m46.real),
    "imag": (lambda f: (lo.Dense(f(m46)) @ lo.Dense(f(m64))).imag, (m46 @ m64).imag),
    "assumed": (lambda f: lo.Diagonal(f(e6)).assume(unitary=False), np.diag(e6)),
    "sliced": (lambda f: lo.Dense(f(m46))[::-2, [0, -1, 0]], m46[::-2, [0, -1, 0]]),
    "power": (lambda f: lo.Dense(f(m33)) ** 3, m33 @ m33 @ m33),
}

NUMPY_ONLY = {  # wrap NumPy code of other libraries
    "foreign": (
        lambda f: lo.aslinearoperator(scipy.sparse.linalg.aslinearoperator(m46)),
        m46,
    ),
    "foreign_adjoint": (
        lambda f: Foreign(scipy.sparse.linalg.aslinearoperator(m46), reversed=True),
        m46.conj().T,
    ),
    "empty_rows": (lambda f: lo.Dense(np.zeros((0, 3))), np.zeros((0, 3))),
    "empty_columns": (lambda f: Extension(np.zeros(0, np.int64), 4), np.zeros((4, 0))),
}

ALL_LABELS = {  # leaf: how it is written in an expression
    name: ({**CASES, **NUMPY_ONLY}[name][0], label)
    for name, label in {
        "identity": "I6",
        "scalar": "(2-1j)*I6",
        "zero": "0(4x6)",
        "diagonal": "D6",
        "permutation": "P6",
        "restriction": "R5x6",
        "extension": "R5x6.H",
        "dense": "M4x6",
        "sparse": "S6x9",
        "factor": "K(2,3,2,3)",
        "quantized": "Q(2,3,2,3:e4m3)",
        "function": "lambda[4x6]",
        "foreign": "MatrixLinearOperator[4x6]",
        "foreign_adjoint": "MatrixLinearOperator[6x4].H",
        "assumed": "D6",
        "fft": "fft(6)",
        "ifft_ortho": "ifft(5, norm='ortho')",
        "dct": "dct(6)",
        "dct_1_forward": "dct(5, type=1, norm='forward').T",
        "dst_3": "dst(6, type=3)",
        "dst_4_ortho": "dst(6, type=4, norm='ortho')",
        "hadamard": "hadamard(8)",
        "stencil": "stencil(5x9, 0: 1, -4, 6, -4, 1)",
        "stencil_corners": "stencil(6x6, -1: -1, 0, 1 + 6 corners)",
        "cumulative": "cumsum(6)",
        "cumulative_adjoint": "cumsum(6).T",
        "frames": "frames(9, 6, hop=4)",
        "lapped": "lapped(12, 8)",
        "weak": "M4x6",
        "rfft": "rfft(6)",
        "rfft_ortho_adjoint": "rfft(5, norm='ortho').H",
        "rfft_pairs": "rfft(6, pairs=True)",
        "rfft_pairs_forward": "rfft(5, pairs=True, norm='forward').T",
        "irfft": "irfft(6)",
        "irfft_ortho": "irfft(5, norm='ortho').T",
        "hartley": "hartley(6)",
        "convolution": "conv(6)[9x4]",
        "circulant": "circulant(6)",
        "grid_convolution": "conv(2x3)[4x4 from 3x2]",
        "modulation": "W6^5",
        "nudft": "nudft[6x4]",
        "wavelet": "wavelet(12, 'db2', level=2, mode='symmetric')",
        "wavelet_turned": "wavelet((4, 3), 'haar', level=1, mode='periodization').T",
        "iwavelet": "iwavelet(9, 'db2', level=1, mode='zero')",
    }.items()
}
