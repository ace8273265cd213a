"""factorize(): a matrix in, a butterfly with its certificate out."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from .._array import is_array, is_numpy
from ..pattern import Chain
from .factorization import Factorization
from .in_memory import factorize_array
from .intake import fitting, known_by_products, reads_by_panels
from .orders import Order, checked_order
from .run import Progress, Step


def factorize(
    A: Any,
    chain: Chain | Iterable[Iterable[int]] | None = None,
    tol: float | None = None,
    *,
    max_entries: int | None = None,
    order: str | Iterable[Any] | None = None,
    permutation: str | None = "search",
    progress: bool = False,
    callback: Callable[[Step], object] | None = None,
    oversampling: int = 1,
    checkpoint: Any = None,
    rng: Any = None,
    measure: bool = True,
) -> Factorization:
    """Approximate a matrix by a product of Kronecker-sparse factors, with an error certificate.

    The splits are those of Le, Zheng, Riccietti, Gribonval, "Butterfly factorization with error
    guarantees" (arXiv 2411.04506, Algorithms 4.1 and 6.2).

    Parameters
    ----------
    A : 2-D array, shape (m, n), or an operator
        An array of any library, or a memory map; real, complex, integer or bool; never modified.
        An operator (ours, SciPy's, any with ``matvec`` and ``rmatvec``) is known by its products.
    chain : Chain or iterable of (a, b, c, d), optional
        Shape of the butterfly.  Without `tol` its ranks are used, whatever the error.  By default
        the chain of fewest stored entries is looked for.
    tol : float, optional
        Relative Frobenius error allowed: the ranks follow from it, the error is spent where it
        saves most entries, and `upper_bound <= tol` (unless `tol` is below what rounding allows
        to certify).  Without a chain it is 1e-6 for single precision and 1e-10 otherwise.
    max_entries : int, optional
        Instead of `tol`: the smallest error with at most so many stored numbers.
    order : {"balanced", "left-to-right", "right-to-left"}, list or tree, optional
        Order of the splits.  With a chain of L factors also the junctions 1 .. L-1 one after the
        other, ``[2, 1, 3]``, or a tree of the factors 1 .. L, ``((1, 2), (3, 4))``, split from the
        root on.
    permutation : {"search", None}
        Whether other orders of rows and columns are tried: digit reversals, the bit-reversal
        class, perfect shuffles, and where these fail clustering (square powers of two up to 512).
    progress : bool
        One line on stderr while it works.
    callback : callable, optional
        Called with a `Step` after each split; returning True stops there.
    oversampling : int
        Gaussian vectors beyond the rank, for each class of an operator known by its products.
    checkpoint : path, optional
        A folder: the array is read once, panel by panel, each finished panel is kept there, and
        a second call with the same arguments goes on where the first one was interrupted.  Arrays
        of zarr and dask, and memory maps larger than half the free memory, are read so anyway.
    rng : int, Generator or None
        For the random samples and sketches; None is a fixed seed.
    measure : bool
        False leaves out `relative_error` (it is NaN) and saves one more read of the matrix; both
        bounds are there all the same.

    Returns
    -------
    Factorization

    Raises
    ------
    ValueError
        If `A` is not finite or not 2-D, `chain` has another size or is not chainable, `order`
        does not fit the chain, both `tol` and `max_entries` are given, or `max_entries` is less
        than the smallest chain stores.
    TypeError
        If `A` does not hold real or complex numbers.

    Examples
    --------
    >>> import numpy as np
    >>> f = factorize(np.fft.fft(np.eye(64), axis=0))
    >>> f.chain.entries, f.upper_bound < 1e-10
    (768, True)
    """
    tol, max_entries = _checked_tol(tol), _checked_entries(max_entries, tol)
    if permutation not in ("search", None):
        raise ValueError(f"permutation is 'search' or None, got {permutation!r}")
    if chain is not None and not isinstance(chain, Chain):
        chain = Chain(chain)
    order = checked_order(order, None if chain is None else len(chain))
    line = Progress(progress)
    common: dict[str, Any] = {
        "permute": permutation is not None,
        "rng": np.random.default_rng(0 if rng is None else rng),
        "line": line,
        "callback": callback,
    }
    try:
        if (known := known_by_products(A)) is not None:
            from .matrix_free import factorize_operator

            _check_middle_first("an operator known by its products", order, max_entries)
            told = None if chain is None else fitting(chain, known.shape)
            return factorize_operator(known, told, tol, oversampling=oversampling, **common)
        if reads_by_panels(A, checkpoint):
            from .panels import factorize_panels, matrix_shape

            _check_middle_first("a matrix read by panels", order, max_entries)
            told = None if chain is None else fitting(chain, matrix_shape(A))
            return factorize_panels(A, told, tol, checkpoint=checkpoint, **common)
        found = factorize_array(A, chain, tol, max_entries, order, measure=measure, **common)
    finally:
        line.clear()
    if not is_array(A) or is_numpy(A):
        return found
    return replace(found, operator=found.operator.to(like=A))


# -- what may be asked ---------------------------------------------------------------------


def _checked_tol(tol: Any) -> float | None:
    if tol is None:
        return None
    value = float(tol)
    if not 0 <= value < math.inf:
        raise ValueError(f"tol is a relative error from 0 on, got {tol}")
    return value


def _checked_entries(most: Any, tol: float | None) -> int | None:
    if most is None:
        return None
    if tol is not None:
        raise ValueError("tol and max_entries exclude each other: pass one of them")
    value = operator.index(most)
    if value < 1:
        raise ValueError(f"max_entries is a number of stored entries from 1 on, got {most}")
    return value


def _check_middle_first(what: str, order: Order, max_entries: int | None) -> None:
    if max_entries is not None:
        raise ValueError(f"max_entries needs a matrix in memory, got {what}: pass tol or a chain")
    if order != "balanced":
        raise ValueError(f"{what} is split in the middle first, got order {order!r}: leave it out")
