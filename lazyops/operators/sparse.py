"""A sparse matrix, held as the three arrays of its compressed rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse

from .._array import Array, conj, has_complex_values, is_numpy, namespace_of, to_numpy
from ..kernels import csr_buckets, csr_matmat
from .base import LinearOperator
from .diagonal import in_one_dtype
from .node import INDEX


@dataclass(eq=False, repr=False)
class Sparse(LinearOperator):
    """A sparse matrix.

    Parameters
    ----------
    data : scipy.sparse array or matrix, any format; or the entries, an array of shape (nnz,)
    indices, indptr : integer arrays, where `data` is an array
        Column of each entry, and where each row starts: compressed rows (CSR).
    size : (int, int)
        Rows and columns of the compressed matrix.
    transposed, conjugated : bool
        The operator is the transpose, the conjugate, or both: an adjoint shares the arrays.

    Examples
    --------
    >>> import scipy.sparse, lazyops as lo
    >>> lo.Sparse(scipy.sparse.eye_array(4, 5)) @ [1, 2, 3, 4, 5]
    array([1., 2., 3., 4.])
    """

    data: Any
    indices: Array = field(default=None, metadata=INDEX)
    indptr: Array = field(default=None, metadata=INDEX)
    size: tuple[int, int] = (0, 0)
    transposed: bool = False
    conjugated: bool = False
    makes_new = True

    def __post_init__(self, copy: bool):
        if scipy.sparse.issparse(self.data):
            matrix, taken = _as_csr(self.data, copy)
            object.__setattr__(self, "data", matrix.data)
            object.__setattr__(self, "indices", matrix.indices)
            object.__setattr__(self, "indptr", matrix.indptr)
            object.__setattr__(self, "size", tuple(map(int, matrix.shape)))
            copy = copy and not taken
        elif self.indices is None or self.indptr is None:
            raise TypeError(
                f"Sparse takes a scipy.sparse array or matrix, got {type(self.data).__name__}"
            )
        super().__post_init__(copy)

    def _check(self):
        if self.conjugated and not has_complex_values(self.data):
            object.__setattr__(self, "conjugated", False)

    def _shape(self):
        m, n = self.size
        return (n, m) if self.transposed else (m, n)

    @property
    def matrix(self) -> scipy.sparse.sparray:
        """The operator as a SciPy sparse array (NumPy values only); shares its memory."""
        data = to_numpy(self.data)
        data = conj(data) if self.conjugated else data
        csr = _assemble(data, to_numpy(self.indices), to_numpy(self.indptr), self.size)
        return csr.T if self.transposed else csr

    def _matmat(self, x):
        data, x = in_one_dtype(self.data, x)
        if is_numpy(x):
            return self._scipy_matmat(data, x)
        x = conj(x) if self.conjugated else x
        structure = self._structure(x)
        y = csr_matmat(data, x, structure)
        return conj(y) if self.conjugated else y

    def _scipy_matmat(self, data: np.ndarray, x: np.ndarray) -> np.ndarray:
        matrix = self._cache.get("scipy")
        if matrix is None:
            csr = _assemble(data, self.indices, self.indptr, self.size)
            matrix = self._cache.setdefault("scipy", csr.T if self.transposed else csr)
        return conj(matrix @ conj(x)) if self.conjugated else matrix @ x

    def _structure(self, x: Array):
        """Where the reference kernel finds the entries of each row, on the device of `x`."""
        key = ("buckets", str(x.device))
        if key not in self._cache:
            indices, indptr = to_numpy(self.indices), to_numpy(self.indptr)
            host = csr_buckets(indices, indptr, self.size[1], self.transposed)
            xp = namespace_of(x)
            self._cache[key] = host.map(lambda a: xp.asarray(a, device=x.device))
        return self._cache[key]

    def _adjoint(self):
        conjugated = self._is_complex and not self.conjugated
        return self._flagged(not self.transposed, conjugated)

    def _conj(self):
        return self._flagged(self.transposed, not self.conjugated)

    def _flagged(self, transposed: bool, conjugated: bool) -> Sparse:
        arrays = self.data, self.indices, self.indptr
        return Sparse(*arrays, self.size, transposed, conjugated, copy=False)

    def _dense(self):
        return self.matrix.toarray() if is_numpy(self.data) else None

    def _label(self):
        m, n = self.shape
        return f"S{m}" if m == n else f"S{m}x{n}"


def _as_csr(matrix: Any, copy: bool) -> tuple[Any, bool]:
    """The matrix in CSR form, duplicates summed, and whether its arrays are our own already."""
    if matrix.ndim != 2:
        raise ValueError(f"Sparse takes a matrix of shape (m, n), got shape {matrix.shape}")
    if matrix.dtype.kind not in "biufc":
        raise TypeError(f"Sparse takes a matrix of numbers, got dtype {matrix.dtype}")
    csr = matrix.tocsr()
    own = csr is not matrix and not np.may_share_memory(csr.data, getattr(matrix, "data", csr.data))
    if not csr.has_canonical_format:
        csr = csr if own else csr.copy()
        csr.sum_duplicates()
        own = True
    if own and copy:
        for array in (csr.data, csr.indices, csr.indptr):
            array.flags.writeable = False
    return csr, own


def _assemble(data, indices, indptr, size):
    """A SciPy array over these three, without a check of every index."""
    csr = scipy.sparse.csr_array(size, dtype=data.dtype)
    csr.data, csr.indices, csr.indptr = data, indices, indptr
    return csr
