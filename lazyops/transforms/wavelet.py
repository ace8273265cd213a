"""The discrete wavelet transform and its inverse, with the filters and the order of PyWavelets."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from ..operators import Wavelet
from ..operators.filterbank import check_bank


def wavelet(
    shape: int | tuple[int, ...], name: Any, level: int | None = None, mode: str = "symmetric"
) -> Wavelet:
    """The discrete wavelet transform of signals of `shape`.

    ``wavelet(n, name, level, mode) @ x`` equals ``numpy.concatenate(pywt.wavedec(x, name, mode,
    level))``; with more axes ``@ x.reshape(-1)`` equals ``pywt.ravel_coeffs(pywt.wavedecn(x, name,
    mode, level))[0]``: the approximation, then the details from the coarsest level to the finest,
    in each the bands ``'ad', 'da', 'dd'`` (two axes).  The adjoint is the transpose of that
    matrix, ends included; reconstruction is `iwavelet`.

    Parameters
    ----------
    shape : int or tuple of int
        Of the signal: the size of one axis, or of all, in C order when it is made a vector.
    name : str, pywt.Wavelet, or four filters
        A discrete wavelet of PyWavelets (``pywt.wavelist(kind="discrete")``); or the filters of
        decomposition (low, high) and reconstruction (low, high), of one even length.
    level : int, optional
        By default ``pywt.dwtn_max_level``: the last at which a filter fits the shortest axis.
        Above it, all coefficients see the ends: a UserWarning, as in PyWavelets.
    mode : {"symmetric", "zero", "constant", "periodic", "smooth", "periodization", "reflect", \
"antisymmetric", "antireflect"}
        How the signal goes on beyond its ends.  With "periodization" there are no more
        coefficients than entries, where no axis gets odd.

    Returns
    -------
    operator of shape (coefficients, entries), real; it follows the library and precision of `x`;
    its method ``coefficients`` cuts a vector of coefficients into the arrays of PyWavelets

    Raises
    ------
    ImportError
        If `name` is to be looked up and PyWavelets is not installed (the extra ``wavelet``).
    ValueError
        For a wavelet or a mode that is not known, or "reflect" and "antireflect" of one entry.

    References
    ----------
    S. Mallat, "A theory for multiresolution signal decomposition", IEEE PAMI 11 (1989), 674-693;
    filters and modes as in G. R. Lee et al., "PyWavelets", JOSS 4(36) (2019), 1237.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> W = lo.wavelet(8, "haar", level=2)
    >>> (W @ np.array([1.0, 1, 3, 3, 5, 5, 7, 7])).round(3)
    array([ 4., 12., -2., -2.,  0.,  0.,  0.,  0.])
    >>> lo.simplify(lo.iwavelet(8, "haar", level=2) @ W)
    I8
    """
    return _build(shape, name, level, mode, False)


def iwavelet(
    shape: int | tuple[int, ...], name: Any, level: int | None = None, mode: str = "symmetric"
) -> Wavelet:
    """Reconstruction: the inverse of ``wavelet(shape, name, level, mode)`` from the left.

    ``iwavelet(n, name, level, mode) @ c`` equals ``pywt.waverec`` of the arrays in `c`, without
    the entry that PyWavelets adds to odd signals.  It undoes the transform where PyWavelets'
    filters do: up to rounding for most, to 1e-11 for "sym", "bior4.4" and some more, to 0.5 % for
    "dmey".

    Parameters
    ----------
    shape, name, level, mode
        Those of `wavelet`; `shape` is that of the signal.

    Returns
    -------
    operator of shape (entries, coefficients); its adjoint is its transpose

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> x = np.arange(15.0)
    >>> c = lo.wavelet(15, "db2") @ x
    >>> bool(np.abs(lo.iwavelet(15, "db2") @ c - x).max() < 1e-13)
    True
    """
    return _build(shape, name, level, mode, True)


def _build(shape: Any, name: Any, level: int | None, mode: str, inverse: bool) -> Wavelet:
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    title, bank = filters(name)
    signal = Wavelet(sizes, bank, 0, mode, inverse, name=title)  # checked
    most = min(_max_level(n, len(bank[0])) for n in signal.sizes)
    W = replace(signal, level=most if level is None else level, copy=False)
    if W.level > most:
        warnings.warn(
            f"level {level} is above {most}, the last at which the {len(bank[0])} taps of {title} "
            f"fit {shape}: all coefficients will see the ends",
            stacklevel=3,
        )
    return W


def filters(name: Any) -> tuple[str, tuple[tuple[float, ...], ...]]:
    """Name and filters: decomposition low and high, reconstruction low and high."""
    if not isinstance(name, str) and not hasattr(name, "filter_bank"):
        return "custom", check_bank(name)
    if isinstance(name, str):
        try:
            import pywt
        except ImportError:
            raise ImportError(
                "the filters of wavelets come from PyWavelets: pip install 'lazyops[wavelet]', or "
                "pass four filters instead of a name"
            ) from None
        name = pywt.Wavelet(name)
    return name.name, tuple(map(tuple, name.filter_bank))


def _max_level(n: int, taps: int) -> int:
    """``floor(log2(n / (taps - 1)))``: the last level at which a filter fits the signal."""
    return max((n // (taps - 1)).bit_length() - 1, 0)
