"""What the field does with factors: factorize, certificate."""

from .errors import relative_error
from .factorize import Factorization, factorize
from .run import Split, Step

__all__ = ["Factorization", "Split", "Step", "factorize", "relative_error"]
