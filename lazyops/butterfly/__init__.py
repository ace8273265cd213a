"""What the field does with factors: factorize, certificate, recompress, canonical, tradeoff."""

from .canonical import canonical, same_up_to_scaling
from .certificate import Certificate, certificate
from .errors import relative_error
from .factorization import Factorization
from .factorize import factorize
from .recompress import recompress
from .run import Split, Step
from .survey import Tried
from .tradeoff import Front, Point, tradeoff

__all__ = [
    "Certificate",
    "Factorization",
    "Front",
    "Point",
    "Split",
    "Step",
    "Tried",
    "canonical",
    "certificate",
    "factorize",
    "recompress",
    "relative_error",
    "same_up_to_scaling",
    "tradeoff",
]
