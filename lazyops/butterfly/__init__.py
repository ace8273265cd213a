"""What the field does with factors: factorize, quantize, certificate."""

from .errors import relative_error
from .factorization import Factorization
from .factorize import factorize
from .quantize import Quantization, quantize, rank_one
from .run import Split, Step
from .survey import Tried

__all__ = [
    "Factorization",
    "Quantization",
    "Split",
    "Step",
    "Tried",
    "factorize",
    "quantize",
    "rank_one",
    "relative_error",
]
