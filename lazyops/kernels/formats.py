"""Numbers on few bits: which values there are, and how they are coded.  Arrays in, arrays out.

A float of a `FloatFormat` is a sign, `exponent_bits` and `mantissa_bits`, as in IEEE 754: bias
``2^(exponent_bits - 1) - 1``, a hidden bit, subnormals below the smallest normal number, signed
zeros, rounding to nearest with ties to even, once, from the dtype that comes in.  What the largest
exponent means is `specials`: infinities and NaN (``"ieee"``), NaN alone in the code of all ones
(``"fn"``, the OCP 8-bit float e4m3), or numbers like all others (``"finite"``, OCP microscaling).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .._array import Array, array_namespace, convert, is_numpy, to_numpy
from .coded import Coded, as_float64, look_up
from .integers import ScaledInteger

__all__ = ["FloatFormat", "ScaledInteger", "format_named", "round_to"]

SPECIALS = ("ieee", "fn", "finite")


@dataclass(frozen=True)
class FloatFormat(Coded):
    """Floats of up to 16 bits: a sign, an exponent, a mantissa.

    Parameters
    ----------
    exponent_bits : int or None
        From 2 to 8; ``fn`` to 7, ``finite`` 1 to 7, so that float32 holds all values.  None: the
        model of theory, exponents without bounds; it has no codes.
    mantissa_bits : int
        Stored ones; the significand has one more.
    specials : {"ieee", "fn", "finite"}, optional
        What the largest exponent means, see the module.  By default that of the known formats:
        ``ieee`` from five exponent bits on, below that ``fn`` where there are eight bits or more
        and ``finite`` where there are less.

    Raises
    ------
    ValueError
        For widths out of range.

    Examples
    --------
    >>> e4m3 = FloatFormat(4, 3)
    >>> e4m3, e4m3.bits, e4m3.max, e4m3.tiny
    (e4m3, 8, 448.0, 0.015625)
    >>> codes = e4m3.encode(np.array([1.0, -1.06, 1e-9, 500.0]))
    >>> e4m3.decode(codes).tolist()
    [1.0, -1.0, 0.0, nan]
    >>> e4m3.round(np.array([500.0]), saturate=True)
    array([448.])
    """

    exponent_bits: int | None
    mantissa_bits: int
    specials: str | None = None

    def __post_init__(self) -> None:
        e, m = self.exponent_bits, self.mantissa_bits
        if e is None:
            if not 0 <= m <= 51:
                raise ValueError(f"an unbounded format has 0 to 51 mantissa bits, got {m}")
            return
        if self.specials is None:
            narrow = "finite" if 1 + e + m < 8 else "fn"
            object.__setattr__(self, "specials", "ieee" if e >= 5 else narrow)
        if self.specials not in SPECIALS:
            raise ValueError(f"specials is one of {', '.join(SPECIALS)}, got {self.specials!r}")
        least, most = (2, 8) if self.specials == "ieee" else (1 + (self.specials == "fn"), 7)
        if not (least <= e <= most and m >= 1 and 1 + e + m <= 16):
            raise ValueError(
                f"a FloatFormat ({self.specials}) has {least} to {most} exponent bits, a mantissa "
                f"bit or more, and 16 bits at most; got {e} and {m}"
            )

    def __repr__(self) -> str:
        if self.exponent_bits is None:
            return f"m{self.mantissa_bits}"
        usual = FloatFormat(self.exponent_bits, self.mantissa_bits).specials
        tail = "" if self.specials == usual else f"-{self.specials}"
        return f"e{self.exponent_bits}m{self.mantissa_bits}{tail}"

    # -- what there is ---------------------------------------------------------------------

    @property
    def bits(self) -> int:
        """Width of a code; without an exponent, of sign and significand."""
        return 1 + self.mantissa_bits + (1 if self.exponent_bits is None else self.exponent_bits)

    @property
    def significand(self) -> int:
        """Significand bits t, the hidden one counted: the unit roundoff is ``2**-t``."""
        return self.mantissa_bits + 1

    @property
    def max(self) -> float:
        """Largest finite number."""
        if self.exponent_bits is None:
            return float("inf")
        return float(self.value_of(self._largest))

    @property
    def tiny(self) -> float:
        """Smallest normal number."""
        return 0.0 if self.exponent_bits is None else 2.0**self._least

    @property
    def smallest(self) -> float:
        """Smallest number above zero."""
        return 0.0 if self.exponent_bits is None else 2.0 ** (self._least - self.mantissa_bits)

    @property
    def _least(self) -> int:
        """Exponent of the smallest normal number."""
        assert self.exponent_bits is not None
        return 2 - 2 ** (self.exponent_bits - 1)

    @property
    def _largest(self) -> int:
        """Code of the largest finite number."""
        assert self.exponent_bits is not None
        all_ones = 2 ** (self.bits - 1) - 1
        unused = {"ieee": 2**self.mantissa_bits, "fn": 1, "finite": 0}[str(self.specials)]
        return all_ones - unused

    def value_of(self, codes: np.ndarray | int) -> np.ndarray:
        """The values of codes by the definition, in float64; `decode` is the quick way."""
        self._check_codes()
        codes = np.asarray(codes, np.int64)
        m, half = self.mantissa_bits, 2 ** (self.bits - 1)
        magnitude = codes % half
        field, fraction = magnitude >> m, magnitude % 2**m
        significand = fraction + np.where(field > 0, 2**m, 0)
        values = np.ldexp(significand.astype(float), np.maximum(field, 1) - 1 + self._least - m)
        if self.specials != "finite":
            values = np.where(magnitude > self._largest, np.nan, values)
        if self.specials == "ieee":
            values = np.where(magnitude == self._largest + 1, np.inf, values)
        return np.where(codes >= half, -values, values)

    # -- coding ----------------------------------------------------------------------------

    def encode(self, x: Array, saturate: bool = False) -> Array:
        """Codes of the nearest values: uint8 or uint16, the low `bits` used.

        Parameters
        ----------
        x : array, real
        saturate : bool
            What is beyond the largest finite number becomes that number, infinities included;
            else infinity (``ieee``), NaN (``fn``).  ``finite`` formats always saturate.

        Raises
        ------
        ValueError
            For NaN where the format has none, and for complex arrays: code their parts.
        """
        self._check_codes()
        if not is_numpy(x):
            xp = array_namespace(x)
            return convert(self.encode(to_numpy(x), saturate), xp, getattr(x, "device", None))
        x = as_float64(x)
        with np.errstate(invalid="ignore"):
            nan = np.isnan(x)
            magnitude = np.abs(np.where(nan | np.isinf(x), 0.0, x))
            exponent = np.frexp(np.maximum(magnitude, self.tiny))[1] - 1
            units = np.rint(np.ldexp(magnitude, self.mantissa_bits - exponent))
            # the hidden bit adds one to the exponent field; a carry out of the mantissa does too
            code = (exponent - self._least).astype(np.int64) * 2**self.mantissa_bits
            code += units.astype(np.int64)
        saturate = saturate or self.specials == "finite"
        beyond = self._largest + (0 if saturate else 1)
        code = np.where(np.isinf(x) | (code > self._largest), beyond, code)
        if nan.any():
            if self.specials == "finite":
                raise ValueError(f"{self} has no NaN: {int(nan.sum())} of {x.size} values are")
            quiet = 2 ** (self.mantissa_bits - 1) if self.specials == "ieee" else 0
            code = np.where(nan, self._largest + 1 + quiet, code)
        code += np.signbit(x).astype(np.int64) << (self.bits - 1)
        return code.astype(self.code_dtype)

    def decode(self, codes: Array, dtype: str = "float32") -> Array:
        """The values of codes, exactly, in float32 or float64."""
        self._check_codes()
        return look_up(self.table, codes, dtype)

    def round(self, x: Array, saturate: bool = False) -> Array:
        """The nearest values of the format, in the dtype of `x` (which must hold them).

        The same as decoding the codes, several times faster; complex numbers by their parts.
        """
        if not is_numpy(x):
            xp = array_namespace(x)
            rounded = self.round(to_numpy(x), saturate)
            return convert(rounded, xp, getattr(x, "device", None))
        if x.dtype.kind == "c":
            y = np.empty(x.shape, x.dtype)
            y.real, y.imag = self.round(x.real, saturate), self.round(x.imag, saturate)
            return y
        found = self._round(as_float64(x), saturate)
        return found.astype(x.dtype if x.dtype.kind == "f" else np.float64, copy=False)

    def _round(self, x: np.ndarray, saturate: bool) -> np.ndarray:
        y = round_to(x, self.significand)
        if self.exponent_bits is None:
            return y
        small = np.abs(x) < self.tiny
        if small.any():  # one exponent there: the sum with this constant rounds to its unit
            shift = 1.5 * 2.0**52 * self.smallest
            y = np.where(small, np.copysign((x + shift) - shift, x), y)
        beyond = np.abs(y) > self.max
        if beyond.any():
            special = np.inf if self.specials == "ieee" else np.nan
            limit = self.max if saturate or self.specials == "finite" else special
            y = np.where(beyond, np.copysign(limit, x), y)
        if self.specials == "finite" and (nan := np.isnan(x)).any():
            raise ValueError(f"{self} has no NaN: {int(nan.sum())} of {x.size} values are")
        return y

    def _check_codes(self) -> None:
        if self.exponent_bits is None:
            raise ValueError(f"{self} has exponents without bounds and so no codes: only round()")


def round_to(x: np.ndarray, significand: int) -> np.ndarray:
    """The nearest float of that many significand bits, ties to even, exponents without bounds.

    `x` is float64; infinities and NaN stay.

    >>> round_to(np.array([1.0625, 1.1875, -33.0, np.inf]), 4)
    array([  1.  ,   1.25, -32.  ,    inf])
    """
    drop = 53 - significand
    bits = np.ascontiguousarray(x, np.float64).view(np.int64)  # a carry moves on to the exponent
    odd = (bits >> drop) & 1
    odd += bits
    odd += (1 << (drop - 1)) - 1
    odd &= ~((1 << drop) - 1)
    y = odd.view(np.float64)
    low = np.abs(x) < 2.0**-1022
    if low.any() or not np.isfinite(x).all():  # no hidden bit there; no carry into the payload
        m, e = np.frexp(np.where(low, x, 0.0))
        y = np.where(low, np.ldexp(np.rint(np.ldexp(m, significand)), e - significand), y)
        y = np.where(np.isfinite(x), y, x)
    return y


# -- by name -----------------------------------------------------------------------------------

NAMED: dict[str, FloatFormat | ScaledInteger] = {
    "fp16": FloatFormat(5, 10),
    "bf16": FloatFormat(8, 7),
    "float16": FloatFormat(5, 10),
    "bfloat16": FloatFormat(8, 7),
    "float8_e4m3fn": FloatFormat(4, 3),
    "float8_e5m2": FloatFormat(5, 2),
    "fp4": FloatFormat(2, 1),
    "int8": ScaledInteger(8),
    "int4": ScaledInteger(4),
}


def format_named(name: str | FloatFormat | ScaledInteger) -> FloatFormat | ScaledInteger:
    """The format called `name`; a format is returned as it is.

    Names: ``fp16``, ``bf16``, ``e4m3`` and any other ``eXmY`` (``eXmY-ieee``, ``-fn``, ``-finite``
    say what the largest exponent means), ``fp4``, ``int2`` to ``int16``, and the names that array
    libraries use: ``bfloat16``, ``float8_e4m3fn`` ...

    >>> format_named("bf16"), format_named("e2m1").max, format_named("int8")
    (e8m7, 6.0, int8)
    """
    if isinstance(name, (FloatFormat, ScaledInteger)):
        return name
    if name in NAMED:
        return NAMED[name]
    if found := re.fullmatch(r"e(\d)m(\d+)(?:-(ieee|fn|finite))?", str(name)):
        return FloatFormat(int(found[1]), int(found[2]), found[3])
    if found := re.fullmatch(r"int(\d+)", str(name)):
        return ScaledInteger(int(found[1]))
    raise ValueError(
        f"unknown format {name!r}: one of fp16, bf16, e4m3, e5m2, e3m2, e2m3, e2m1, int8, int4, "
        "or eXmY with X exponent and Y mantissa bits"
    )
