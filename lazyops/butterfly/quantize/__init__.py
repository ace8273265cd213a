"""Butterflies on few bits."""

from .quantize import Quantization, quantize
from .rank_one import rank_one

__all__ = ["Quantization", "quantize", "rank_one"]
