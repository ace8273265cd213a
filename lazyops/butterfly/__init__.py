"""What the field does with factors: factorize, certificate, recompress, canonical, tradeoff."""

from .canonical import canonical, same_up_to_scaling
from .certificate import Certificate, certificate
from .errors import relative_error
from .factorize import Factorization, factorize
from .recompress import recompress
from .run import Split, Step
from .tradeoff import Front, Point, tradeoff

__all__ = [
    "Certificate",
    "Factorization",
    "Front",
    "Point",
    "Split",
    "Step",
    "canonical",
    "certificate",
    "factorize",
    "recompress",
    "relative_error",
    "same_up_to_scaling",
    "tradeoff",
]
