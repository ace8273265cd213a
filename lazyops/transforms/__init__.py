"""Named transforms, as constructors of operators."""

from .gabor import gabor as gabor
from .gabor import igabor as igabor
from .gabor import zak as zak
from .imaging import radon as radon
from .lapped import imdct as imdct
from .lapped import mdct as mdct
from .named import dct as dct
from .named import dst as dst
from .named import fft as fft
from .named import hadamard as hadamard
from .named import ifft as ifft
from .resampling import resample as resample
from .resampling import resample_poly as resample_poly
from .timefrequency import istft as istft
from .timefrequency import stft as stft
