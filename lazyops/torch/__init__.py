"""Butterflies as torch modules.  Importing this package imports torch; nothing else does."""

from .compress import Compression as Compression
from .compress import LayerReport as LayerReport
from .compress import compress_ as compress_
from .linear import ButterflyLinear as ButterflyLinear
from .rounding import round_through as round_through
