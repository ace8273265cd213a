"""Values as codes of few bits: held packed, decoded where they are used."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import Array, array_namespace, cast, is_numpy, to_numpy, with_complex

__all__ = ["Codes", "Coding", "bits_joined", "bits_split", "held_shape"]

SMALL, INTEGER, TABLE, HALF, UPPER, NARROW = range(
    6
)  # enum Code; the first three are those of `Coding`
REACH = 2.0**100  # of scales that are packed with codes: far from overflow and from subnormals
ALL, SIGN = 0xFFFFFFFF, 0x80000000
CHUNK = 1 << 20  # codes looked at together


@dataclass(frozen=True, eq=False)
class Coding:
    """How a code becomes a number; `record` makes struct Coding of coding.h of it.

    room : bits that a code takes in a packed copy, 4, 8 or 16
    bits : of them used, at the high end
    """

    code: int
    room: int
    bits: int
    shift: int
    mask: int
    scale: float  # of a small float: what its fields, as those of a float, are multiplied by
    tiny: float  # its smallest normal number
    table: np.ndarray
    upper: np.ndarray | None  # see Upper in codes.h
    half: bool  # whether the format is IEEE half precision, all codes: hardware converts it

    @property
    def fits_half(self) -> bool:
        """Whether fields of a small float, as those of half precision, mean what they are to."""
        if self.mask & 0x1FFF or self.shift < 3:
            return False
        return self.shift > 3 or bool(np.isinf(self.table[31 << (self.bits - 6)]))

    def record(self, pair: bool, conj: bool, parts: int) -> np.ndarray:
        """The struct; imaginary parts are zero where there are none."""
        bits = lambda number: np.float32(number).view(np.int32)
        code, mask = self.code, self.mask
        if self.half:
            code = HALF
        elif code == SMALL and self.scale == 1:
            code = UPPER
        elif code == SMALL and self.room == 4:
            code = TABLE  # of 16 numbers
        elif code == SMALL and self.fits_half:
            code, mask = NARROW, 1 << 15 | (mask & 0x7FFFFFFF) >> 13
        shift = (
            32 - self.bits if code == TABLE else self.shift - 3 if code == NARROW else self.shift
        )
        unit = self.scale * 2.0**-112 if code == NARROW else 1
        head = [code, self.room, shift, mask, bits(self.tiny), bits(unit)]
        keep, flip = [ALL, ALL if pair else 0], [0, SIGN if pair and conj else 0]
        upper = self.upper if parts == 1 or (pair and not conj) else None
        tables = self.table.ctypes.data, 0 if upper is None else upper.ctypes.data
        return np.array([*head, *keep, *flip, *tables], np.int64)


@dataclass(frozen=True, eq=False)
class Codes:
    """The values of a Kronecker-sparse factor as codes; stands for them in a `Stage`.

    array : as `held_shape` says, of any library
    shape : (a, b, c, d)
    format : has `bits`, from 1 to 16, and `table`, float32, of what each code stands for
    pair : whether a value is two codes, real and imaginary part
    scales : float32 (a, d), of each block ``[i, :, :, l]``, or None
    """

    array: Array
    shape: tuple[int, int, int, int]
    format: Any
    pair: bool = False
    scales: Any = None

    @property
    def dtype(self) -> np.dtype:
        """Of the values: float32 or complex64, which every format of 16 bits fits."""
        return np.dtype(np.complex64 if self.pair else np.float32)

    @property
    def size(self) -> int:
        a, b, c, d = self.shape
        return a * b * c * d

    @functools.cached_property
    def coding(self) -> Coding:
        """By shifts where every code there is allows it, else by the table."""
        small, odd = codings(self.format)
        if small is None or odd is None:
            return small or by_table(self.format)
        found = self.array if is_numpy(self.array) else to_numpy(self.array)
        flat = found.reshape(-1)
        if self.format.bits in (8, 16):
            pieces = (flat[i : i + CHUNK] for i in range(0, flat.size, CHUNK))
        else:
            count = self.size * (1 + self.pair)
            pieces = (bits_split(flat, self.format.bits, count) for _ in range(1))
        return by_table(self.format) if any(odd[p].any() for p in pieces) else small

    @functools.cached_property
    def packed_scales(self) -> np.ndarray | None:
        """Scales as upper halves of floats, (a, d) of uint16, if they can be packed with the codes.

        That is so if no product of a scale and a number is rounded, or leaves the normal numbers
        of float32: then it makes no difference where scales are multiplied in.
        """
        if self.scales is None or not is_numpy(self.scales):
            return None
        bits, sizes = np.ascontiguousarray(self.scales).view(np.uint32), np.abs(self.scales)
        numbers = np.abs(as_floats(self.format))
        narrow = not (bits & 0xFFFF).any() and not (numbers.view(np.uint32) & 0xFF).any()
        near = lambda v: bool(np.all((v == 0) | ((v >= 1 / REACH) & (v <= REACH))))
        least = numbers.min(where=numbers > 0, initial=np.inf)
        if not (narrow and near(sizes) and sizes.max() * np.nanmax(numbers) <= REACH):
            return None
        if sizes.min(where=sizes > 0, initial=np.inf) * least < 1 / REACH:
            return None
        return (bits >> 16).astype(np.uint16)

    def decoded(self, precision: str = "float32") -> Array:
        """The values, shape (a, b, c, d), in the library of the codes: by the array API.

        Exact but for scales, which round to `precision`, a real dtype.
        """
        xp, bits = array_namespace(self.array), self.format.bits
        flat = xp.reshape(self.array, (-1,))
        if bits not in (8, 16):
            flat = bits_split(flat, bits, self.size * (1 + self.pair))
        table = as_floats(self.format)
        if is_numpy(flat):
            found = table[flat]
        else:
            table = xp.asarray(table.copy(), device=self.array.device)
            found = xp.take(table, xp.astype(flat, xp.int64))
        found = cast(found, precision)
        found = xp.reshape(found, (*self.shape, 2) if self.pair else self.shape)
        if self.pair:
            found = cast(found[..., 0], with_complex(precision)) + 1j * found[..., 1]
        if self.scales is None:
            return found
        return found * cast(self.scales, precision)[:, None, None, :]


# -- how codes are held ---------------------------------------------------------------------------


def held_shape(shape: tuple[int, ...], bits: int, pair: bool) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of the array that holds the codes of values of `shape`.

    With 8 and 16 bits an array of codes, a last axis of length 2 for pairs; otherwise a stream of
    bits in bytes, the first code in the low bits of the first byte.

    >>> held_shape((1, 2, 2, 4), 8, False), held_shape((1, 2, 2, 4), 6, True)
    (((1, 2, 2, 4), 'uint8'), ((24,), 'uint8'))
    """
    whole = (*shape, 2) if pair else tuple(shape)
    if bits in (8, 16):
        return whole, f"uint{bits}"
    return (-(-int(np.prod(whole)) * bits // 8),), "uint8"


def bits_joined(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes, one a number, as a stream of `bits` each.

    >>> bits_joined(np.array([1, 2, 15], np.uint8), 4)
    array([33, 15], dtype=uint8)
    """
    flat = np.asarray(codes).reshape(-1)
    which = np.arange(bits, dtype=flat.dtype)
    return np.packbits((flat[:, None] >> which) & 1 != 0, bitorder="little")


def bits_split(stream: Array, bits: int, count: int) -> Array:
    """The `count` codes of a stream, int64, in its library: by the array API.

    >>> bits_split(np.array([33, 15], np.uint8), 4, 3)
    array([ 1,  2, 15])
    """
    xp, here = array_namespace(stream), None if is_numpy(stream) else stream.device
    wide = xp.concat([xp.astype(stream, xp.int64), xp.zeros(2, dtype=xp.int64, device=here)])
    at = xp.arange(count, dtype=xp.int64, device=here) * bits
    first = at // 8
    word = sum(xp.take(wide, first + k) * (1 << (8 * k)) for k in range(3))
    return xp.bitwise_and(xp.bitwise_right_shift(word, at % 8), (1 << bits) - 1)


# -- how they are decoded -------------------------------------------------------------------------


def room_of(bits: int) -> int:
    """Bits of a code in a packed copy."""
    return next(room for room in (4, 8, 16) if bits <= room)


@functools.lru_cache(256)
def codings(form: Any) -> tuple[Coding | None, np.ndarray | None]:
    """The coding by shifts, and for which codes it is not what the table says (None: for none)."""
    table = as_floats(form)
    for made in (integer(form, table), small_float(form, table)):
        if made is None:
            continue
        coding, numbers = made
        wrong = (numbers != table) & ~(np.isnan(numbers) & np.isnan(table))
        if not wrong.any():
            return coding, None
        if wrong.mean() <= 0.25:  # infinities, NaN
            return coding, wrong
    return None, None


def as_floats(form: Any) -> np.ndarray:
    return np.ascontiguousarray(form.table, np.float32)


def made(
    form: Any, code: int, shift: int, mask: int = 0, scale: float = 1.0, tiny: float = 0.0
) -> Coding:
    table, room = as_floats(form), room_of(form.bits)
    upper, half = upper_halves(table, room), is_half(table)
    table = np.resize(table, max(len(table), 16))  # a vector of them is loaded
    return Coding(code, room, form.bits, shift, mask, scale, tiny, table, upper, half)


def is_half(table: np.ndarray) -> bool:
    if len(table) != 1 << 16:
        return False
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    return np.array_equal(table, numbers, equal_nan=True)


@functools.lru_cache(256)
def by_table(form: Any) -> Coding:
    return made(form, TABLE, 32 - form.bits)


def integer(form: Any, table: np.ndarray) -> tuple[Coding, np.ndarray]:
    """Two's complement."""
    shift = 32 - form.bits
    high = np.arange(len(table), dtype=np.uint32) << np.uint32(shift)
    return made(form, INTEGER, shift), (high.view(np.int32) >> shift).astype(np.float32)


def small_float(form: Any, table: np.ndarray) -> tuple[Coding, np.ndarray] | None:
    """Sign, exponent, mantissa as in a float, but for the exponent's width and bias."""
    exponent = getattr(form, "exponent_bits", None)
    mantissa = form.bits - 1 - exponent if exponent is not None else -1
    if not exponent or exponent > 8 or mantissa < 0:
        return None
    shift = 8 - exponent
    mask = 1 << 31 | ((1 << (exponent + mantissa)) - 1) << (23 - mantissa)
    high = np.arange(len(table), dtype=np.uint32) << np.uint32(32 - form.bits)
    drawn = ((high.view(np.int32) >> shift).view(np.uint32) & np.uint32(mask)).view(np.float32)
    first = 1 << mantissa  # the smallest normal number
    with np.errstate(all="ignore"):
        scale = np.float32(table[first] / drawn[first])
        numbers = drawn * scale
    tiny = float(table[first])
    if (
        np.frexp(scale)[0] != 0.5
        or not np.finfo(np.float32).tiny <= tiny < 1 / np.finfo(np.float32).tiny
    ):
        return None
    return made(form, SMALL, shift, mask, float(scale), tiny), numbers


def upper_halves(table: np.ndarray, room: int) -> np.ndarray | None:
    """The upper halves of the numbers of all codes, by the code at the high end of `room` bits,
    where the lower halves are zero; in the order and for the codes that `Upper` asks for."""
    halves = np.repeat(table, (1 << room) // len(table)).view(np.uint32)
    if (halves & 0xFFFF).any():
        return None
    halves = (halves >> 16).astype(np.uint16)
    if room == 16:  # a NaN may have any code of one
        itself = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
        same = np.array_equal(itself.view(np.float32), table, equal_nan=True)
        return halves[:1].copy() if same else None
    if room == 4:
        return np.tile(halves, 2)
    mirrored = np.array_equal(halves[:128] | 0x8000, halves[128:])
    return halves[:128].copy() if mirrored else None
