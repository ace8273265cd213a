"""What the field does with factors: factorize, quantize, certificate."""

from .errors import relative_error
from .factorization import Factorization
from .factorize import factorize
from .quantize import Quantization, Refinement, quantize, rank_one, refine
from .run import Split, Step
from .survey import Tried

__all__ = [
    "Factorization",
    "Quantization",
    "Refinement",
    "Split",
    "Step",
    "Tried",
    "factorize",
    "quantize",
    "rank_one",
    "refine",
    "relative_error",
]
