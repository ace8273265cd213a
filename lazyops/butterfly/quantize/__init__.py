"""Butterflies on few bits."""

from .quantize import Quantization, quantize
from .rank_one import rank_one
from .refine import Refinement, refine

__all__ = ["Quantization", "Refinement", "quantize", "rank_one", "refine"]
