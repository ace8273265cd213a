"""An operator as CuPy's solvers take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import LinearOperator


def to_cupyx(A: LinearOperator) -> Any:
    """See `LinearOperator.to_cupyx`."""
    try:
        from cupyx.scipy.sparse.linalg import LinearOperator as Theirs
    except ImportError as error:
        raise ImportError("to_cupyx needs CuPy: pip install 'lazyops[cupy]'") from error
    return Theirs(
        A.shape,
        matvec=A.matvec,
        rmatvec=A.rmatvec,
        matmat=A.matmat,
        rmatmat=A.rmatmat,
        dtype=A.dtype,
    )
