"""Named transforms, as constructors of operators."""

from .axes import along_axis as along_axis
from .calculus import cumsum as cumsum
from .calculus import diff as diff
from .calculus import gradient as gradient
from .calculus import laplacian as laplacian
from .named import dct as dct
from .named import dst as dst
from .named import fft as fft
from .named import hadamard as hadamard
from .named import ifft as ifft
from .shifts import chunk as chunk
from .shifts import downsample as downsample
from .shifts import flip as flip
from .shifts import overlap_add as overlap_add
from .shifts import pad as pad
from .shifts import roll as roll
