"""Solvers in array-API code, where SciPy has none: other libraries, many right-hand sides.

For NumPy arrays and single right-hand sides SciPy's own solvers take every operator as it is.
"""

from .cg import cg as cg
from .gmres import gmres as gmres
from .lsmr import lsmr as lsmr
from .result import Solution as Solution
