"""Rules of wavelet transforms: reconstruction undoes decomposition."""

from __future__ import annotations

from ..operators import Identity, Wavelet
from ..operators.filterbank import reconstructs
from .engine import Rules

RULES = Rules()


@RULES.product(Wavelet, Wavelet)
def wavelet_wavelet(left, right):
    """S W = I: reconstruction after decomposition, or the transpose of that"""
    if left.sizes != right.sizes or left.level != right.level:
        return None
    if left.decomposes:
        square = left.shape[0] == left.shape[1]
        left, right = (right, left) if square and not right.decomposes else (left, right)
    if left.decomposes or not right.decomposes:
        return None
    (low, high), back = left.acting_filters, right.acting_filters
    bank = (*back, low[::-1], high[::-1])
    return Identity(left.shape[0]) if _ends_meet(left, right) and reconstructs(bank) else None


def _ends_meet(left: Wavelet, right: Wavelet) -> bool:
    """Whether the coefficients hold the signal whatever was added at its ends: one of both must
    add nothing that the other one does not drop."""
    one, other = left.acting_mode, right.acting_mode
    if one.endswith("periodization") != other.endswith("periodization"):
        return False
    square = left.shape[0] == left.shape[1]  # no axis gets odd: nothing is added
    return square or any(mode in ("zero", "trimmed periodization") for mode in (one, other))
