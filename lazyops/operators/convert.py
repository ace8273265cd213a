"""What counts as an operator: arrays, sparse matrices, and operators of other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from .._array import is_array
from .base import LinearOperator


def aslinearoperator(obj: Any) -> LinearOperator:
    """`obj` as an operator.

    Parameters
    ----------
    obj : operator; 2-D array of any array-API library, or nested lists; ``scipy.sparse`` array
        or matrix; operator of SciPy, PyLops, or any object with ``shape`` and ``matvec``

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if isinstance(obj, LinearOperator):
        return obj
    if (operand := as_operand(obj)) is not None:
        return operand
    from .dense import Dense

    if is_array(obj):
        return Dense(obj)
    if isinstance(obj, (list, tuple)):
        return Dense(np.asarray(obj))
    raise TypeError(
        f"{type(obj).__name__} is no operator: pass an operator, a 2-D array, a sparse matrix, "
        f"or an object with shape and matvec"
    )


def as_operand(obj: Any) -> LinearOperator | None:
    """What ``A @ obj`` composes lazily with; None for arrays, which are multiplied at once."""
    if isinstance(obj, LinearOperator):
        return obj
    if is_array(obj):
        return None
    from .function import Foreign
    from .sparse import Sparse

    if scipy.sparse.issparse(obj):
        return Sparse(obj)
    if isinstance(obj, scipy.sparse.linalg.LinearOperator):
        return Foreign(obj)
    if not hasattr(obj, "shape"):
        return None
    if hasattr(obj, "matmat") or hasattr(obj, "matvec"):
        return Foreign(obj)
    return None
