"""What the field does with factors: factorize, certificate."""

from .errors import relative_error
from .exact import dft as dft
from .exact import hadamard as hadamard
from .factorization import Factorization
from .factorize import factorize
from .fixed_support import FixedSupport, fixed_support
from .run import Split, Step
from .supports import may_lack_optimum
from .survey import Tried

__all__ = [
    "Factorization",
    "FixedSupport",
    "Split",
    "Step",
    "Tried",
    "factorize",
    "fixed_support",
    "may_lack_optimum",
    "relative_error",
]
