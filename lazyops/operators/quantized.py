"""Kronecker-sparse factor on few bits: it holds codes, and is run from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import Array, convert, dtype_name, is_numpy, real_dtype
from ..kernels import Codes, Stage, bits_joined, held_shape, ks_dense, ks_matmat
from ..kernels.formats import ScaledInteger, format_named
from ..pattern import Pattern
from .base import LinearOperator
from .chain import plan_for
from .diagonal import in_one_dtype, require_array
from .kronecker_sparse import KroneckerSparse
from .law import Law


@dataclass(eq=False, repr=False)
class QuantizedKroneckerSparse(LinearOperator):
    """Kronecker-sparse factor whose values are codes of a few bits each.

    It takes what its codes take, in memory, in files and in a pickle, and is never unpacked in
    silence: the compiled kernel reads the codes, other libraries decode one factor at a time.
    Products are computed in float32 (complex64), or in the precision of `x` where that is higher.

    Parameters
    ----------
    codes : array of uint8 or uint16
        With 8 or 16 bits of shape (a, b, c, d), or (a, b, c, d, 2) for complex values: real and
        imaginary part.  With other widths the same codes as a stream of bits in bytes, shape
        (count,), the first code in the low bits of the first byte.
    format : FloatFormat, ScaledInteger, or the name of one (``"bf16"``, ``"e4m3"`` ...)
        What the codes stand for.
    stored : Pattern or (a, b, c, d)
        The pattern of the factor whose codes are held.
    scales : float32 array of shape (a, d), optional
        Every value of block ``[i, :, :, l]`` is multiplied by ``scales[i, l]``.
    pair : bool
        Whether the values are complex: two codes each.
    transposed, conjugated : bool
        The operator is the transpose, the conjugate, or both, of the factor with these codes.

    Raises
    ------
    ValueError
        If the shapes of `codes` or `scales` are not those of the pattern and the format.
    TypeError
        If they have another dtype.

    Examples
    --------
    >>> import numpy as np, lazyops as lo
    >>> K = lo.QuantizedKroneckerSparse.nearest(np.full((1, 2, 2, 8), 0.3), "e4m3")
    >>> K, K.value_dtype, K.dtype, K.nbytes
    (Q(1,2,2,8:e4m3), 'e4m3', dtype('float32'), 32)
    >>> (K @ np.ones(16, np.float32))[0]
    np.float32(0.625)
    """

    codes: Array
    format: Any
    stored: Any
    scales: Any = None
    pair: bool = False
    transposed: bool = False
    conjugated: bool = False
    makes_new = True
    pack = True  # as of a product: the kernel may keep its codes in the order in which it reads

    @classmethod
    def nearest(
        cls, values: np.ndarray, format: Any, scales: np.ndarray | None = None
    ) -> QuantizedKroneckerSparse:
        """Every value of shape (a, b, c, d), over its scale, rounded to the nearest code.

        Integers without `scales` get those of the largest magnitude of each block.
        """
        form, pair = format_named(format), np.iscomplexobj(values)
        parts = np.stack([values.real, values.imag], axis=-1) if pair else np.asarray(values)
        if isinstance(form, ScaledInteger):
            if scales is None:
                scales = form.scale_for(parts, (1, 2, 4) if pair else (1, 2))
            broad = np.asarray(scales)[:, None, None, :]
            codes = form.encode(parts, broad[..., None] if pair else broad)
        elif scales is None:
            codes = form.encode(parts)
        else:
            broad = np.asarray(scales)[:, None, None, :]
            codes = form.encode(parts / (broad[..., None] if pair else broad))
        if form.bits not in (8, 16):
            codes = bits_joined(codes, form.bits)
        return cls(codes, form, values.shape, scales, pair, copy=False)

    def _check(self):
        set_ = lambda name, value: object.__setattr__(self, name, value)
        set_("format", format_named(self.format))
        if getattr(self.format, "exponent_bits", 0) is None:
            raise ValueError(f"{self.format} has exponents without bounds and so no codes")
        set_("stored", Pattern(*map(int, self.stored)))
        sentence = f"QuantizedKroneckerSparse takes codes for {self.stored} in {self.format_name}"
        shape, dtype = held_shape(tuple(self.stored), self.format.bits, self.pair)
        require_array(self.codes, len(shape), f"{sentence} of shape {shape}")
        if tuple(self.codes.shape) != shape:
            raise ValueError(f"{sentence} of shape {shape}, got {tuple(self.codes.shape)}")
        if dtype_name(self.codes.dtype) != dtype:
            raise TypeError(f"{sentence} of dtype {dtype}, got {self.codes.dtype}")
        if self.scales is not None:
            a, _, _, d = self.stored
            sentence = "QuantizedKroneckerSparse takes float32 scales of shape (a, d)"
            require_array(self.scales, 2, sentence)
            if tuple(self.scales.shape) != (a, d) or dtype_name(self.scales.dtype) != "float32":
                found = f"{self.scales.dtype} {tuple(self.scales.shape)}"
                raise ValueError(f"{sentence} = {(a, d)}, got {found}")
        if self.conjugated and not self.pair:
            set_("conjugated", False)

    # -- what it is ------------------------------------------------------------------------------

    @property
    def pattern(self) -> Pattern:
        return self.stored.T if self.transposed else self.stored

    @property
    def format_name(self) -> str:
        """The name of the format: ``format_named`` takes it."""
        return self.format.name

    @property
    def value_dtype(self) -> str:
        """What the values are held in; `dtype` is what products are computed in."""
        return self.format_name

    @property
    def held(self) -> Codes:
        """The codes as kernels take them."""
        found = self._cache.get("codes")
        if found is None:
            made = Codes(self.codes, tuple(self.stored), self.format, self.pair, self.scales)
            found = self._cache.setdefault("codes", made)
        return found

    def dequantized(self, precision: str = "float32") -> KroneckerSparse:
        """The same factor with its values as numbers; exact but for scales, which round."""
        values = self.held.decoded(precision)
        return KroneckerSparse(values, self.transposed, self.conjugated, copy=False)

    def _numbers(self, name, array):
        """A code, or the pair of a complex number, is one; streams of bits tell nothing."""
        return self.stored.entries if name == "codes" else super()._numbers(name, array)

    def _shape(self):
        return self.pattern.shape

    def _law_of(self, operands):
        return Law(frozenset({"complex64" if self.pair else "float32"}), self.kind)

    # -- what it does ----------------------------------------------------------------------------

    def _matmat(self, x):
        found = plan_for(self, 0, (self,), x) if is_numpy(x) else None
        if found is not None:
            return found(x)
        wide = self.scales is not None and real_dtype(dtype_name(x.dtype)) == "float64"
        values, x = in_one_dtype(self.held.decoded("float64" if wide else "float32"), x)
        return ks_matmat(values, x, self.transposed, self.conjugated)

    def _stage(self):
        return Stage(self.held, self.pattern, None, None, self.transposed, self.conjugated)

    def _turned(self, transposed: bool, conjugated: bool) -> QuantizedKroneckerSparse:
        held = self.codes, self.format, self.stored, self.scales, self.pair
        other = QuantizedKroneckerSparse(*held, transposed, conjugated, copy=False)
        other._cache["codes"] = self.held
        return other

    def _adjoint(self):
        return self._turned(not self.transposed, self.pair and not self.conjugated)

    def _conj(self):
        return self._turned(self.transposed, not self.conjugated)

    def _dense(self):
        return ks_dense(self.dequantized().values)

    def _moved(self, xp, device, name):
        """Codes move as they are; another precision is asked for where bits do not count."""
        if name is not None and real_dtype(name) != "float32":
            return self.dequantized()._moved(xp, device, name)
        codes, scales = (
            None if a is None else convert(a, xp, device) for a in (self.codes, self.scales)
        )
        if codes is self.codes and scales is self.scales:
            return self
        held = codes, self.format, self.stored, scales, self.pair
        return QuantizedKroneckerSparse(*held, self.transposed, self.conjugated, copy=False)

    def _flops(self):
        return 2 * self.stored.entries * (4 if self.pair else 1)

    def _label(self):
        return "Q({},{},{},{}:{})".format(*self.pattern, self.format_name)
