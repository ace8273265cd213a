"""Transforms as exact butterfly chains, with their permutations: the same as the leaves."""

from .convolution import circulant as circulant
from .convolution import toeplitz as toeplitz
from .cosine import dct as dct
from .cosine import dst as dst
from .fourier import dft as dft
from .kronecker import fot as fot
from .kronecker import hadamard as hadamard
from .kronecker import kron_power as kron_power
from .kronecker import noiselet as noiselet
from .real import hartley as hartley
from .real import rdft as rdft
