"""How a signal goes on beyond its ends: the modes of PyWavelets, as matrices."""

from __future__ import annotations

import numpy as np

MODES = (
    "zero", "constant", "symmetric", "periodic", "smooth", "periodization", "reflect",
    "antisymmetric", "antireflect",
)  # fmt: skip
TRIMMED = "trimmed periodization"  # an odd length gets a zero, which reconstruction drops again


def extension(n: int, before: int, after: int, mode: str) -> np.ndarray:
    """The matrix E of shape (before + n + after, n): ``E @ x`` is `x` continued on both sides.

    With ``periodization`` (periodic) an odd length first gets its last entry once more.

    >>> extension(3, 2, 2, "symmetric") @ [1, 2, 3]
    array([2., 1., 1., 2., 3., 3., 2.])
    """
    i, E = np.arange(-before, n + after), np.zeros((before + n + after, n))
    row = np.arange(len(i))
    if mode == "smooth" and n > 1:  # straight lines through the two entries at each end
        E[row, np.clip(i, 0, n - 1)] = 1.0
        low, high = np.minimum(i, 0), np.maximum(i - (n - 1), 0)
        E[:, 0] += low * -1.0
        E[:, 1] += low
        E[:, n - 1] += high
        E[:, n - 2] -= high
        E[before : before + n] = np.eye(n)
    elif mode in ("constant", "smooth"):
        E[row, np.clip(i, 0, n - 1)] = 1.0
    elif mode in ("zero", "periodic"):
        inside = (i >= 0) & (i < n) if mode == "zero" else np.full(len(i), True)
        E[row[inside], i[inside] % n] = 1.0
    elif mode in ("periodization", TRIMMED):
        j = i % (n + n % 2)
        inside = (j < n) | (mode == "periodization")
        E[row[inside], np.minimum(j, n - 1)[inside]] = 1.0
    elif mode in ("symmetric", "antisymmetric"):
        mirrored = i % (2 * n) >= n
        j = np.where(mirrored, 2 * n - 1 - i % (2 * n), i % (2 * n))
        E[row, j] = np.where(mirrored & (mode == "antisymmetric"), -1.0, 1.0)
    else:
        _reflect(E, i, n, odd=mode == "antireflect")
    return E


def _reflect(E: np.ndarray, i: np.ndarray, n: int, odd: bool) -> None:
    """Mirrored about the entries at the ends; if `odd`, about their values too."""
    turns, j = np.divmod(i, 2 * (n - 1))
    mirrored, row = j >= n, np.arange(len(i))
    sign = np.where(mirrored & odd, -1.0, 1.0)
    np.add.at(E, (row, np.where(mirrored, 2 * (n - 1) - j, j)), sign)
    if odd:  # 2 x[n-1] - x[j], and each period rises by 2 (x[n-1] - x[0])
        E[:, n - 1] += 2.0 * turns + 2.0 * mirrored
        E[:, 0] -= 2.0 * turns
