"""What the field does with factors: factorize, certificate."""

from .errors import relative_error
from .factorization import Factorization
from .factorize import factorize
from .run import Split, Step
from .survey import Tried

__all__ = ["Factorization", "Split", "Step", "Tried", "factorize", "relative_error"]
