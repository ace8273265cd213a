"""Short-time Fourier transforms, in the conventions of ``scipy.signal.ShortTimeFFT``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..operators import (
    Fourier,
    Frames,
    HalfFourier,
    Identity,
    LinearOperator,
    Permutation,
    Weak,
    compose,
    kron,
)
from ..operators.scalar import check_size
from .windows import as_window, dual_window

MODES = ("twosided", "centered", "onesided")


class Layout(NamedTuple):
    """Where the frames of a signal of length n stand, and which frequencies are kept."""

    n: int
    hop: int
    first: int  # where the first frame starts in x
    frames: int
    size: int  # of each Fourier transform
    shift: int  # entry of the frame that comes first
    mode: str

    def cut(self, window: np.ndarray) -> LinearOperator:
        """The operator that cuts a signal into windowed frames."""
        return Weak(
            Frames(window, self.n, self.hop, self.first, self.frames, self.size, self.shift)
        )

    def analysis(self) -> LinearOperator:
        """Fourier transform of one frame."""
        F = Fourier(self.size)
        if self.mode == "centered":
            return compose(Permutation(np.fft.fftshift(np.arange(self.size))), F)
        if self.mode == "onesided":
            return HalfFourier(self.size)
        return F

    def synthesis(self) -> LinearOperator:
        """The inverse; of one side, what has it as real part."""
        F = Fourier(self.size, inverse=True)
        if self.mode == "centered":
            return compose(F, Permutation(np.fft.ifftshift(np.arange(self.size))))
        if self.mode == "onesided":
            return HalfFourier(self.size, norm="forward", doubled=True).H
        return F


def stft(
    n: int,
    window: Any,
    hop: int,
    *,
    mfft: int | None = None,
    fft_mode: str = "twosided",
    scaling: str | None = None,
    fs: float = 1.0,
    phase_shift: int | None = 0,
) -> LinearOperator:
    """The short-time Fourier transform of a signal of length `n`.

    ``(stft(n, window, hop, ...) @ x).reshape(frequencies, -1)`` equals
    ``scipy.signal.ShortTimeFFT(window, hop, fs, ...).stft(x)``: one row for each frequency, one
    column for each position of the window.  The window is centred at the multiples of `hop`, at
    all of them where it touches the signal, which is zero outside.

    Parameters
    ----------
    n : int
        Any size, shorter than the window too.
    window : array of shape (m,), or (name, m)
        Real or complex (conjugated, as in SciPy); by name as in ``scipy.signal.get_window``, for
        example ``("hann", 256)`` or ``(("kaiser", 8.6), 256)``.
    hop : int
        Samples from one frame to the next.
    mfft : int, optional
        Size of the Fourier transforms, at least m (the default): frames are filled up with zeros.
    fft_mode : {"twosided", "centered", "onesided"}
        All frequencies, from 0 on; from the most negative on; those from 0 to ``mfft // 2``.
    scaling : {None, "magnitude", "psd"}
        As ``scale_to`` in SciPy; "psd" uses the sampling frequency `fs` in Hz.
    phase_shift : int or None
        Phases are those of a frame whose entry ``m // 2 + phase_shift`` comes first; None: its
        entry 0.

    Returns
    -------
    operator of shape (frequencies * frames, n), complex; it follows the precision of `x`

    Raises
    ------
    ValueError
        For a window that is no vector, `hop` below 1, or `mfft` below m.

    See Also
    --------
    istft : the inverse.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> S = lo.stft(12, ("hann", 8), 4)
    >>> abs(S @ np.ones(12)).reshape(8, 4)[0].round(6)
    array([2.5, 4. , 4. , 1.5])
    """
    w = _scaled(as_window(window), scaling, fs)
    layout = _layout(n, w, hop, mfft, fft_mode, phase_shift)
    F = kron(layout.analysis(), Identity(layout.frames))
    return compose(F, layout.cut(w.conj()))


def istft(
    n: int,
    window: Any,
    hop: int,
    *,
    mfft: int | None = None,
    fft_mode: str = "twosided",
    scaling: str | None = None,
    fs: float = 1.0,
    phase_shift: int | None = 0,
    dual: Any = None,
) -> LinearOperator:
    """The inverse of ``stft`` with the same arguments: ``istft(...) @ stft(...)`` is the identity.

    Each spectrum is transformed back, weighted by the dual window, and added up.  Reconstruction
    holds at both ends too, since every frame that touches the signal is among those of `stft`.

    Parameters
    ----------
    n, window, hop, mfft, fft_mode, scaling, fs, phase_shift
        As in `stft`.
    dual : array of shape (m,), optional
        Another dual window than the canonical one, which gives the least norm of the coefficients.

    Returns
    -------
    operator of shape (n, frequencies * frames)

    Raises
    ------
    ValueError
        Where some sample is covered by no shift of the window.

    Notes
    -----
    The inverse of "onesided" for real signals is linear over the real numbers only.  This operator
    is linear; its *real part* is that inverse: ``(istft(..., fft_mode="onesided") @ S).real``
    equals ``ShortTimeFFT.istft(S)`` for every `S`, and the signal for its spectra.

    The dual window is that of J. Wexler and S. Raz, "Discrete Gabor expansions", Signal
    Processing 21 (1990), in the case where the window is no longer than the transform.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> x = np.arange(10.0)
    >>> y = lo.istft(10, ("hann", 8), 4) @ (lo.stft(10, ("hann", 8), 4) @ x)
    >>> bool(abs(y - x).max() < 1e-14)
    True
    """
    w = _scaled(as_window(window), scaling, fs)
    layout = _layout(n, w, hop, mfft, fft_mode, phase_shift)
    v = dual_window(w, layout.hop) if dual is None else as_window(dual)
    if v.shape != w.shape:
        raise ValueError(f"the dual of a window of {len(w)} entries has as many, got {len(v)}")
    F = kron(layout.synthesis(), Identity(layout.frames))
    return compose(layout.cut(v.conj()).H, F)


def _scaled(window: np.ndarray, scaling: str | None, fs: float) -> np.ndarray:
    if scaling is None:
        return window
    if scaling == "magnitude":
        return window / abs(window.sum())
    if scaling == "psd":
        return window / np.sqrt(fs * (np.abs(window) ** 2).sum())
    raise ValueError(f"scaling is None, 'magnitude' or 'psd', got {scaling!r}")


def _layout(n, window, hop, mfft, mode, phase_shift) -> Layout:
    n, hop, m = check_size(n, "n of stft"), check_size(hop, "hop of stft"), len(window)
    size = m if mfft is None else check_size(mfft, "mfft of stft")
    if n < 1 or hop < 1 or size < m:
        raise ValueError(
            f"stft takes n >= 1, hop >= 1 and mfft from the {m} entries of the window on, got "
            f"n = {n}, hop = {hop}, mfft = {size}"
        )
    if mode not in MODES:
        raise ValueError(f"fft_mode is one of {', '.join(MODES)}, got {mode!r}")
    middle = m // 2
    start, stop = _covering(window, n, hop)
    shift = 0 if phase_shift is None else (int(phase_shift) + middle) % m
    return Layout(n, hop, start * hop - middle, stop - start, size, shift, mode)


def _covering(window: np.ndarray, n: int, hop: int) -> tuple[int, int]:
    """The frames of SciPy: from the first, p <= 0, to the last that meet the signal 0 .. n-1.

    SciPy leaves out frames that meet it with zeros of the window alone: at the end always, at the
    start only where the second half of the window is zero.
    """
    used, m = np.flatnonzero(window), len(window)
    first_used, last_used, middle = int(used[0]), int(used[-1]), m // 2
    start = -max(-(-(m - middle) // hop) - 1, 0)
    if middle + hop + last_used < m:
        start = 0
    return start, max((n - 1 + middle - first_used) // hop, n // hop) + 1
