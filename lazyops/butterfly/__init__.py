"""What the field does with factors: factorize, quantize, certificate, recompress, tradeoff."""

from .canonical import canonical, same_up_to_scaling
from .certificate import Certificate, certificate
from .errors import relative_error
from .exact import circulant as circulant
from .exact import dct as dct
from .exact import dft as dft
from .exact import dst as dst
from .exact import fot as fot
from .exact import hadamard as hadamard
from .exact import hartley as hartley
from .exact import kron_power as kron_power
from .exact import noiselet as noiselet
from .exact import rdft as rdft
from .exact import toeplitz as toeplitz
from .factorization import Factorization
from .factorize import factorize
from .fixed_support import FixedSupport, fixed_support
from .quantize import Quantization, Refinement, quantize, rank_one, refine
from .recompress import recompress
from .run import Split, Step
from .supports import may_lack_optimum
from .survey import Tried
from .tradeoff import Front, Point, tradeoff

__all__ = [
    "Certificate",
    "Factorization",
    "FixedSupport",
    "Front",
    "Point",
    "Quantization",
    "Refinement",
    "Split",
    "Step",
    "Tried",
    "canonical",
    "certificate",
    "factorize",
    "fixed_support",
    "may_lack_optimum",
    "quantize",
    "rank_one",
    "recompress",
    "refine",
    "relative_error",
    "same_up_to_scaling",
    "tradeoff",
]
