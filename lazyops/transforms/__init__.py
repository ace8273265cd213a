"""Named transforms, as constructors of operators."""

from .convolution import circulant as circulant
from .convolution import convolution as convolution
from .convolution import hankel as hankel
from .convolution import toeplitz as toeplitz
from .fourier import dctn as dctn
from .fourier import dstn as dstn
from .fourier import fftn as fftn
from .fourier import hartley as hartley
from .fourier import ifftn as ifftn
from .fourier import irfft as irfft
from .fourier import rfft as rfft
from .named import dct as dct
from .named import dst as dst
from .named import fft as fft
from .named import hadamard as hadamard
from .named import ifft as ifft
