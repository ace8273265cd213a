"""Named transforms, as constructors of operators."""

from .named import dct as dct
from .named import dst as dst
from .named import fft as fft
from .named import hadamard as hadamard
from .named import ifft as ifft
from .wavelet import iwavelet as iwavelet
from .wavelet import wavelet as wavelet
