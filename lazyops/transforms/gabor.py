"""Gabor frames and the Zak transform, of periodic signals."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..operators import (
    Fourier,
    Frames,
    HStack,
    Identity,
    LinearOperator,
    Permutation,
    Weak,
    compose,
    kron,
)
from ..operators.scalar import check_size
from .windows import as_window, dual_window


def gabor(n: int, window: Any, a: int, M: int) -> LinearOperator:
    """The coefficients of a periodic signal of length `n` in a Gabor system.

    ``c[m, p] = sum_l x[l] conj(g[l - a p]) exp(-2 pi i m (l - a p) / M)``, indices modulo n: `M`
    channels, ``n / a`` positions; ``(gabor(...) @ x).reshape(M, n // a)``.  In the Large
    Time-Frequency Analysis Toolbox this is ``dgt(x, g, a, M, 'timeinv')``.

    Parameters
    ----------
    n : int
        A multiple of `a`.
    window : array of shape (L,), or (name, L)
        g, centred: its entry ``L // 2`` is ``g[0]``.  By name as in ``scipy.signal.get_window``.
    a : int
        Shift in time; 1 is the sliding transform.
    M : int
        Channels; the window may be longer.

    Returns
    -------
    operator of shape (M * n // a, n), complex

    See Also
    --------
    igabor : the inverse, by the canonical dual window.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> G, back = lo.gabor(12, ("hann", 6), 2, 6), lo.igabor(12, ("hann", 6), 2, 6)
    >>> x = np.arange(12.0)
    >>> bool(abs(back @ (G @ x) - x).max() < 1e-13)
    True
    """
    n, a, M = _checked(n, a, M)
    return _analysis(n, as_window(window), a, M)


def igabor(n: int, window: Any, a: int, M: int, dual: Any = None) -> LinearOperator:
    """The inverse of ``gabor(n, window, a, M)`` by the canonical dual window, or by `dual`.

    It is the adjoint of the Gabor transform with the dual window.

    Parameters
    ----------
    n, window, a, M
        As in `gabor`.
    dual : array, optional
        Another dual window, centred like the window.

    Returns
    -------
    operator of shape (n, M * n // a)

    Raises
    ------
    ValueError
        Where the Gabor system is no frame: nothing inverts it then (``a > M`` never is one).  Also
        for a window longer than `M` where `M` does not divide `n`.

    Notes
    -----
    Up to M entries the frame operator is diagonal (I. Daubechies, A. Grossmann, Y. Meyer,
    "Painless nonorthogonal expansions", J. Math. Phys. 27, 1986).  Longer windows meet aliases M
    apart (D. F. Walnut, "Continuity properties of the Gabor frame operator", J. Math. Anal. Appl.
    165, 1992): M systems of n / M equations are solved, in about ``n (n / M)^2`` operations.

    Examples
    --------
    >>> import lazyops as lo
    >>> lo.igabor(12, ("hann", 6), 2, 6).shape
    (12, 36)
    """
    n, a, M = _checked(n, a, M)
    g = as_window(window)
    if dual is not None:
        return _analysis(n, as_window(dual), a, M).H
    if len(g) <= min(M, n):
        return _analysis(n, dual_window(g, a), a, M, "forward").H
    return _analysis(n, _long_dual(n, g, a, M), a, M).H


def zak(n: int, a: int) -> LinearOperator:
    """The discrete Zak transform of a signal of length `n`, unitary.

    ``Z[r, q] = b**-0.5 sum_l x[r + l a] exp(-2 pi i q l / b)`` with ``b = n / a``;
    ``(zak(n, a) @ x).reshape(a, b)``.  In the Large Time-Frequency Analysis Toolbox:
    ``zak(x, a)``.

    Parameters
    ----------
    n : int
    a : int
        Divides `n`.

    Notes
    -----
    H. Bölcskei, F. Hlawatsch, "Discrete Zak transforms, polyphase transforms, and applications",
    IEEE Trans. Signal Processing 45 (1997).

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> (lo.zak(6, 2) @ np.ones(6)).reshape(2, 3).real.round(3)
    array([[1.732, 0.   , 0.   ],
           [1.732, 0.   , 0.   ]])
    """
    n, a = check_size(n, "n of zak"), check_size(a, "a of zak")
    if a < 1 or n < 1 or n % a:
        raise ValueError(f"zak takes n >= 1 and an a that divides it, got n = {n}, a = {a}")
    spectra = kron(Fourier(n // a, norm="ortho"), Identity(a))
    return compose(Permutation.perfect_shuffle(n // a, a), spectra)


def _analysis(n: int, g: np.ndarray, a: int, M: int, norm: str = "backward") -> LinearOperator:
    """Frames, folded where they are longer than M, and their Fourier transforms."""
    folds, middle = -(-len(g) // M), len(g) // 2
    frames = Frames(g.conj(), n, a, -middle, n // a, folds * M, middle, periodic=True)
    transform: LinearOperator = Fourier(M, norm=norm)
    if folds > 1:
        transform = compose(transform, HStack((Identity(M),) * folds))
    return compose(kron(transform, Identity(n // a)), Weak(frames))


def _long_dual(n: int, g: np.ndarray, a: int, M: int) -> np.ndarray:
    """The canonical dual of a window longer than M, of n entries, centred."""
    if n % M:
        raise ValueError(
            f"the dual of a window longer than M needs an M that divides n, got {len(g)} entries, "
            f"M = {M}, n = {n}: give dual=, or another M"
        )
    periodic = np.zeros(n, g.dtype)
    np.add.at(periodic, (np.arange(len(g)) - len(g) // 2) % n, g)
    l = np.arange(n).reshape(-1, M).T  # residues modulo M, one a row
    G = periodic[(l[:, :, None] - a * np.arange(n // a)) % n]
    S = M * (G @ G.conj().transpose(0, 2, 1))  # one block of the frame operator for each residue
    least = np.linalg.eigvalsh(S)
    if least.min() <= n * np.finfo(float).eps * least.max():
        raise ValueError(
            f"this window with a = {a}, M = {M} is no frame for n = {n}: no dual window exists; "
            f"take a smaller a or a larger M"
        )
    dual = np.empty_like(periodic)
    dual[l] = np.linalg.solve(S, periodic[l][:, :, None])[:, :, 0]
    return np.roll(dual, n // 2)


def _checked(n: Any, a: Any, M: Any) -> tuple[int, int, int]:
    n, a, M = (check_size(v, f"{name} of gabor") for v, name in ((n, "n"), (a, "a"), (M, "M")))
    if min(n, a, M) < 1 or n % a:
        raise ValueError(
            f"gabor takes M >= 1, a >= 1 and an n that a divides, got n = {n}, a = {a}, M = {M}"
        )
    return n, a, M
