"""Lazy linear operators, written as algebra, run near the limit of the machine."""

from .butterfly import Certificate as Certificate
from .butterfly import Factorization as Factorization
from .butterfly import FixedSupport as FixedSupport
from .butterfly import Front as Front
from .butterfly import Quantization as Quantization
from .butterfly import canonical as canonical
from .butterfly import certificate as certificate
from .butterfly import factorize as factorize
from .butterfly import fixed_support as fixed_support
from .butterfly import may_lack_optimum as may_lack_optimum
from .butterfly import quantize as quantize
from .butterfly import recompress as recompress
from .butterfly import refine as refine
from .butterfly import relative_error as relative_error
from .butterfly import same_up_to_scaling as same_up_to_scaling
from .butterfly import tradeoff as tradeoff
from .io import load as load
from .io import save as save
from .kernels import set_num_threads as set_num_threads
from .kernels.formats import FloatFormat as FloatFormat
from .operators import Dense as Dense
from .operators import Diagonal as Diagonal
from .operators import Function as Function
from .operators import Identity as Identity
from .operators import Info as Info
from .operators import KroneckerSparse as KroneckerSparse
from .operators import LinearOperator as LinearOperator
from .operators import Permutation as Permutation
from .operators import Product as Product
from .operators import QuantizedKroneckerSparse as QuantizedKroneckerSparse
from .operators import Scalar as Scalar
from .operators import Sparse as Sparse
from .operators import Sum as Sum
from .operators import Zero as Zero
from .operators import aslinearoperator as aslinearoperator
from .operators import block as block
from .operators import block_diag as block_diag
from .operators import explain as explain
from .operators import hstack as hstack
from .operators import inverse as inverse
from .operators import kron as kron
from .operators import kronsum as kronsum
from .operators import norm as norm
from .operators import restrict as restrict
from .operators import trace as trace
from .operators import vstack as vstack
from .pattern import Chain as Chain
from .pattern import Pattern as Pattern
from .rewrite import simplify as simplify
from .transforms import along_axis as along_axis
from .transforms import chunk as chunk
from .transforms import circulant as circulant
from .transforms import convolution as convolution
from .transforms import cumsum as cumsum
from .transforms import dct as dct
from .transforms import dctn as dctn
from .transforms import diff as diff
from .transforms import downsample as downsample
from .transforms import dst as dst
from .transforms import dstn as dstn
from .transforms import fft as fft
from .transforms import fftn as fftn
from .transforms import flip as flip
from .transforms import gabor as gabor
from .transforms import gradient as gradient
from .transforms import hadamard as hadamard
from .transforms import hankel as hankel
from .transforms import hartley as hartley
from .transforms import ifft as ifft
from .transforms import ifftn as ifftn
from .transforms import igabor as igabor
from .transforms import imdct as imdct
from .transforms import irfft as irfft
from .transforms import istft as istft
from .transforms import iwavelet as iwavelet
from .transforms import laplacian as laplacian
from .transforms import mdct as mdct
from .transforms import nudft as nudft
from .transforms import nufft as nufft
from .transforms import overlap_add as overlap_add
from .transforms import pad as pad
from .transforms import radon as radon
from .transforms import resample as resample
from .transforms import resample_poly as resample_poly
from .transforms import rfft as rfft
from .transforms import roll as roll
from .transforms import stft as stft
from .transforms import toeplitz as toeplitz
from .transforms import wavelet as wavelet
from .transforms import zak as zak
from .tuning import Tuning as Tuning
from .tuning import tune as tune
from .versions import show_versions as show_versions

__version__ = "0.1.0"


def __getattr__(name: str):
    if name in ("testing", "solve", "torch"):  # imported when they are asked for
        import importlib

        return importlib.import_module(f"lazyops.{name}")
    raise AttributeError(f"module 'lazyops' has no attribute {name!r}")
