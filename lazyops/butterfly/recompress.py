"""recompress(): an expression of butterflies back as one butterfly, never densified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._array import Array
from ..operators import LinearOperator, RealPart, Sum, Zero, fold
from ..pattern import Chain
from .budget import Ledger
from .factorization import Factorization
from .factorize import _checked_tol
from .form import Form, as_operator, first_array, product_form, settled
from .hierarchical import Splitting
from .intake import working_dtype
from .rounding import UNIT, coarsened, fewest_entries, lower_ranks, norm_of, orthonormalised
from .run import Progress, Split
from .sums import added, distance, real_part_of, refined


def recompress(X: Any, tol: float | None = None, *, rng: Any = None) -> Factorization:
    """One butterfly equal to an expression of butterflies within a tolerance.

    Sums over chains that have a common refinement, multiples, real and imaginary parts, transposes,
    inverses of products of square factors (`inverse`), diagonals and permutations at the ends are
    butterflies of larger ranks; the ranks are lowered to `tol` by truncated SVDs of the factors,
    in a time linear in their entries, with proven bounds.  For all else (a product of two
    butterflies, terms with different permutations) the expression is factorized by its products
    with vectors, as `factorize` does with any operator: the bound then has a confidence below 1.

    Parameters
    ----------
    X : operator, Factorization, or list of arrays of shape (a, b, c, d)
        Any expression; see `certificate` for what counts as a butterfly.
    tol : float, optional
        Relative Frobenius error allowed; by default 1e-6 in single precision and 1e-10 otherwise.
    rng : int, Generator or None
        For the Gaussian vectors; None is a fixed seed.

    Returns
    -------
    Factorization
        `confidence` is 1 where the bounds are proven; `reason` says what was done.  Where an
        expression known by its products has no structure, it comes back as it is, `chain` None.

    Raises
    ------
    TypeError
        If `X` is no operator.
    ValueError
        If `tol` is negative or not finite, or values are not finite.

    Notes
    -----
    Ranks of a sum add and those of a real part double (algorithms for trains of tensors: Oseledets,
    SIAM J. Sci. Comput. 33 (2011) 2295, section 4; here on the junctions of arXiv 2411.04506).

    Examples
    --------
    >>> import numpy as np, scipy.fft, lazyops as lo
    >>> F = lo.factorize(scipy.fft.fft(np.eye(64), axis=0)).operator
    >>> C = recompress(F.real)  # cosines
    >>> C.confidence, C.upper_bound < 1e-10, C.operator.dtype.name
    (1.0, True, 'float64')
    >>> recompress(F + 2 * F).entries == recompress(F).entries
    True
    """
    operator = as_operator(X)
    tol = _checked_tol(tol)
    dtype = working_dtype(np.dtype(operator.dtype))
    if tol is None:
        tol = 1e-6 if dtype in (np.float32, np.complex64) else 1e-10
    form = fold(operator, _form_of)
    if not isinstance(form, str):
        form = settled(form)
    if isinstance(form, str):
        return _by_products(operator, tol, form, rng)
    return _lowered(form, tol, dtype, first_array(operator))


def _form_of(op: LinearOperator, below: Sequence[Form | str]) -> Form | str:
    """As `product_form`, of sums and real parts too."""
    if not isinstance(op, (Sum, RealPart)):
        return product_form(op, below)
    if isinstance(op, Sum):
        pairs = list(zip(op.terms, below, strict=True))
        below = [part for term, part in pairs if not isinstance(term, Zero)] or below
    parts = [part for part in below if isinstance(part, Form)]
    if len(parts) < len(below):
        return next(part for part in below if isinstance(part, str))
    if isinstance(op, Sum):
        found = _sum(parts)
        if isinstance(found, str):  # (A.T + B.T).T may be one: the permutations differ
            other = _sum([part.transposed for part in parts])
            found = found if isinstance(other, str) else settled(other.transposed)
        return found
    form = settled(parts[0])
    return form if isinstance(form, str) else real_part_of(form)


def _sum(parts: Sequence[Form]) -> Form | str:
    forms = [settled(part) for part in parts]
    why = next((form for form in forms if isinstance(form, str)), None)
    return why or added([form for form in forms if isinstance(form, Form)])


# -- from the factors ------------------------------------------------------------------------


def _lowered(form: Form, tol: float, dtype: np.dtype, like: Array | None) -> Factorization:
    cores = form.cores
    splitting = orthonormalised(form.values, cores, np.random.default_rng(0))
    norm = norm_of(splitting)
    rounding, computing = _rounding(form, norm, dtype)
    within = tol - rounding if tol > rounding else rounding
    ledger = Ledger(within * norm, [1.0] * (len(cores) - 1), True)
    done = [Split(q, r, _share(e, norm)) for q, r, e in lower_ranks(splitting, ledger)]
    found, kept = _fewest(form, splitting)
    lower = max((ledger.lower[q - 1] for q in kept), default=0.0)
    double = found.values[0].dtype
    values = [v.astype(dtype, copy=False).astype(double, copy=False) for v in found.values]
    rounded = found.with_values(values)
    error = distance(form, refined(values, cores, kept), form.exponent)
    upper = _share(ledger.total, norm) + (rounding if norm else 0.0)
    result = rounded.operator(dtype, like)
    chain = rounded.chain
    return Factorization(
        result,
        chain,
        _share(error, norm),
        max(_share(lower, norm) - computing, 0.0),
        upper,
        tuple(Split(kept.index(q) + 1, r, e) for q, r, e in done if q in kept),
        _what_was_done(form, chain, upper, tol),
    )


def _share(error: float, norm: float) -> float:
    return error / norm if norm else 0.0


def _rounding(form: Form, norm: float, dtype: np.dtype) -> tuple[float, float]:
    """Relative error that rounding may add, and the part of it that is the computation's.

    Where terms cancel it is relative to the terms.
    """
    count = len(form.values)
    larger = max(1.0, form.size / norm) if form.size and norm else 1.0
    computing = 4 * count * UNIT * larger
    single = dtype in (np.float32, np.complex64)
    return computing + (count * 2.0**-24 if single else 0.0), computing


def _fewest(form: Form, splitting: Splitting) -> tuple[Form, tuple[int, ...]]:
    """Neighbours multiplied together where that stores fewer entries, and the splits kept."""
    values, cores = splitting.values, form.cores
    ranks = form.with_values(values).chain.ranks
    entries, at = fewest_entries(cores, ranks)
    if entries * cores.a * cores.d < splitting.entries:
        return form.with_values(coarsened(values, cores, at)[0]), at
    return form.with_values(values), tuple(range(1, len(cores)))


def _what_was_done(form: Form, chain: Chain, upper: float, tol: float) -> str:
    was, now = form.chain, chain
    said = [f"{len(was)} factors of ranks {was.ranks} came down to {len(now)} of ranks {now.ranks}"]
    if upper > tol:
        said.append(f"the bound {upper:.2g} stays above tol {tol:.2g}")
    return "; ".join(said)


# -- from products ---------------------------------------------------------------------------


def _by_products(operator: LinearOperator, tol: float, why: str, rng: Any) -> Factorization:
    import dataclasses

    from .matrix_free import factorize_operator

    found = factorize_operator(
        operator, None, tol,
        permute=True, oversampling=1,
        rng=np.random.default_rng(0 if rng is None else rng), line=Progress(False), callback=None,
    )  # fmt: skip
    return dataclasses.replace(found, reason=f"known by its products, for {why}; {found.reason}")
