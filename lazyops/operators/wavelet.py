"""The discrete wavelet transform over any number of axes, its inverse, and their transposes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._array import (
    Array,
    array_namespace,
    cast,
    dtype_name,
    has_complex_values,
    is_inexact_name,
    is_numpy,
    namespace_of,
    real_dtype,
    with_complex,
)
from ..kernels import memory
from .base import LinearOperator
from .boundary import MODES, TRIMMED
from .filterbank import (
    Bank,
    Filters,
    Step,
    Take,
    apply_step,
    apply_step_numpy,
    check_bank,
    is_orthogonal,
    make_step,
    reach,
)
from .host import readable, through_host
from .scalar import check_size

Run = Callable[[Step, list[Array], Any], list[Array]]  # a level along an axis, into outs if given
LONG = 4096  # entries of columns in Fortran order from which each is transformed alone


@dataclass(eq=False, repr=False)
class Wavelet(LinearOperator):
    """A wavelet transform over the axes of `sizes`; see `lazyops.wavelet` and `lazyops.iwavelet`.

    Reconstruction is the transpose of a decomposition, by the reversed filters: all four of
    transform, inverse and transposes are one algorithm and its transpose.

    Parameters
    ----------
    sizes : tuple of int
        Of the signal.
    bank : four tuples of float
        The filters as PyWavelets has them.
    level : int
    mode : str
        How the signal goes on beyond its ends.
    inverse, transposed : bool
    name : str
        Of the wavelet, as it is written in expressions.
    """

    sizes: tuple[int, ...]
    bank: Bank
    level: int
    mode: str = "symmetric"
    inverse: bool = False
    transposed: bool = False
    name: str = "custom"
    kind = "float"

    def _check(self):
        sizes = tuple(check_size(n, "an axis of a wavelet transform") for n in self.sizes)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(
            self, "level", check_size(self.level, "the level of a wavelet transform")
        )
        object.__setattr__(self, "bank", check_bank(self.bank))
        if self.mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, got {self.mode!r}")
        if not sizes or 0 in sizes:
            raise ValueError(f"a wavelet transform takes axes of 1 or more entries, got {sizes}")
        if "reflect" in self.mode:
            self._check_reflected()

    def _check_reflected(self):
        for level, sizes in enumerate(self._all_sizes[:-1]):
            if 1 in sizes:
                at = f" at level {level + 1}: take at most {level}" if level else ""
                raise ValueError(
                    f"mode {self.mode!r} takes axes of 2 or more entries, got {sizes}{at}"
                )

    # -- sizes and order ------------------------------------------------------------------------

    @property
    def _all_sizes(self) -> list[tuple[int, ...]]:
        """The axes of the approximation at each level, from the signal on."""
        taps, found = len(self.bank[0]), [self.sizes]
        for _ in range(self.level):
            found.append(tuple([reach(n, taps, self.mode)[0] for n in found[-1]]))
        return found

    @property
    def _bands(self) -> list[tuple[int, ...]]:
        """Shapes of all arrays of coefficients, in their order."""
        sizes, many = self._all_sizes, 2 ** len(self.sizes) - 1
        return [sizes[-1], *(s for s in sizes[:0:-1] for _ in range(many))]

    def _bands_in(self, y: Array, k: int) -> list[Array]:
        """The bands in coefficients with k columns, made a vector."""
        counts = [math.prod(shape) * k for shape in self._bands]
        ends = itertools.accumulate(counts)
        return [y[end - n : end] for end, n in zip(ends, counts, strict=True)]

    def coefficients(self, y: Array) -> list[Any]:
        """The arrays in a vector of coefficients, as PyWavelets lists them.

        Parameters
        ----------
        y : array of shape (coefficients,) or (coefficients, k)

        Returns
        -------
        views of `y`, in the list that ``pywt.wavedec`` gives for one axis and ``pywt.wavedecn`` for
        more; each has one axis more if `y` has columns

        Examples
        --------
        >>> import numpy as np, lazyops as lo
        >>> W = lo.wavelet((4, 6), "haar", level=1)
        >>> coarse, details = W.coefficients(W @ np.ones(24))
        >>> coarse.shape, list(details)
        ((2, 3), ['ad', 'da', 'dd'])
        """
        count = sum(map(math.prod, self._bands))
        if y.ndim not in (1, 2) or y.shape[0] != count:
            raise ValueError(
                f"{self!r} has {count} coefficients: y is of shape ({count},) or ({count}, k), "
                f"got {tuple(y.shape)}"
            )
        xp, more = array_namespace(y), tuple(y.shape[1:])
        bands = self._bands_in(xp.reshape(y, (-1,)), math.prod(more))
        shaped = zip(bands, self._bands, strict=True)
        coarse, *details = [xp.reshape(band, (*shape, *more)) for band, shape in shaped]
        if len(self.sizes) == 1:
            return [coarse, *details]
        keys = ["".join(letters) for letters in itertools.product("ad", repeat=len(self.sizes))][1:]
        levels = [details[i : i + len(keys)] for i in range(0, len(details), len(keys))]
        return [coarse, *(dict(zip(keys, level, strict=True)) for level in levels)]

    def _shape(self):
        n, m = math.prod(self.sizes), sum(map(math.prod, self._bands))
        return (m, n) if self.decomposes else (n, m)

    # Reconstruction is the transpose of a decomposition by other filters:

    @property
    def decomposes(self) -> bool:
        """From a signal to coefficients; else the transpose of such an operator."""
        return self.inverse == self.transposed

    @property
    def acting_filters(self) -> Filters:
        """Low and high pass of that decomposition."""
        low, high = (f[::-1] for f in self.bank[2:]) if self.inverse else self.bank[:2]
        return low, high

    @property
    def acting_mode(self) -> str:
        """Its mode at the ends."""
        if not self.inverse:
            return self.mode
        return TRIMMED if self.mode == "periodization" else "zero"

    # -- action ---------------------------------------------------------------------------------

    def _matmat(self, x):
        if not is_inexact_name(dtype_name(x.dtype)):
            x = cast(x, "float64")
        k = x.shape[1]
        if k == 0:
            return array_namespace(x).zeros((self.shape[0], 0), dtype=x.dtype, device=x.device)
        if self.level == 0:
            return x
        if is_numpy(x):
            return self._on_numpy(x)
        if readable(x):
            return through_host(self, self._on_numpy, x)
        if not has_complex_values(x):
            return self._anywhere(x)
        xp = array_namespace(x)
        both = self._anywhere(xp.concat([xp.real(x), xp.imag(x)], axis=1))
        name = with_complex(dtype_name(both.dtype))
        return cast(both[:, :k], name) + 1j * cast(both[:, k:], name)

    def _anywhere(self, x: Array) -> Array:
        xp, k = array_namespace(x), x.shape[1]
        details: list[Array] = []  # of one axis: they are read at the end alone, so left in pieces

        def run(step, arrays, _):
            outs = apply_step(step, arrays, self._taker(step, x))
            if self.decomposes and len(self.sizes) == 1:
                details[:0] = outs.pop()
            return [xp.concat(pieces, axis=1) for pieces in outs]

        if self.decomposes:
            bands = self._split(xp.reshape(x, (-1,)), k, run) + details
            return xp.reshape(xp.concat([xp.reshape(b, (-1,)) for b in bands], axis=0), (-1, k))
        return xp.reshape(self._joined(self._bands_in(xp.reshape(x, (-1,)), k), k, run), (-1, k))

    def _on_numpy(self, x: np.ndarray) -> np.ndarray:
        """Complex columns as two real ones; long columns in Fortran order one by one."""
        if x.dtype.kind == "c":
            return self._on_numpy(np.ascontiguousarray(x).view(x.real.dtype)).view(x.dtype)
        turned = x.shape[1] > 1 and x.flags.f_contiguous and len(x) >= LONG
        y = memory.result((self.shape[0], x.shape[1]), x.dtype, turned)
        if not turned:
            self._into(np.ascontiguousarray(x), y)
        else:
            for j in range(x.shape[1]):
                self._into(x[:, j : j + 1], y[:, j : j + 1])
        return y

    def _into(self, x: np.ndarray, y: np.ndarray) -> None:
        """Write the product with contiguous columns where it belongs."""
        k = x.shape[1]
        x, y = x.reshape(-1), y.reshape(-1)
        run = lambda step, arrays, outs: apply_step_numpy(
            step, arrays, outs, self._taker(step, x)
        )  # fmt: skip
        if self.decomposes:
            self._split(x, k, run, self._bands_in(y, k))
        else:
            self._joined(self._bands_in(x, k), k, run, y)

    def _split(self, x: Array, k: int, run: Run, into: Sequence[Array] = ()) -> list[Array]:
        """The bands of a signal, coarsest first; `into` is where they belong."""
        xp, found = array_namespace(x), list[Array]()
        details, many = list(into[1:]), 2 ** len(self.sizes) - 1
        for i, (fine, coarse) in enumerate(itertools.pairwise(self._all_sizes), 1):
            outs = [into[0] if i == self.level else None, *details[-many:]] if into else []
            bands, details = [x], details[:-many]
            for axis, n in enumerate(fine):
                step, shape = self._step(n), _around(axis, fine, coarse, n, k)
                last = axis == len(fine) - 1  # only its bands belong somewhere
                bands = [
                    half
                    for j, band in enumerate(bands)
                    for half in run(
                        step, [xp.reshape(band, shape)], outs[2 * j : 2 * j + 2] if last else ()
                    )
                ]
            x, found = bands[0], bands[1:] + found
        return [x, *found]

    def _joined(self, bands: list[Array], k: int, run: Run, into: Array | None = None) -> Array:
        """The signal of bands, coarsest first; `into` is where it belongs."""
        xp, many = array_namespace(bands[0]), 2 ** len(self.sizes) - 1
        x, details = bands[0], bands[1:]
        for coarse, fine in itertools.pairwise(self._all_sizes[::-1]):
            level, details = [x, *details[:many]], details[many:]
            for axis in reversed(range(len(fine))):
                step, shape = self._step(fine[axis]), _around(axis, fine, coarse, coarse[axis], k)
                halves = [xp.reshape(b, shape) for b in level]
                outs = () if details or axis else (into,)
                level = [
                    run(step, [low, high], outs)[0]
                    for low, high in zip(halves[::2], halves[1::2], strict=True)
                ]
            x = level[0]
        return x

    def _step(self, n: int) -> Step:
        """The step of an axis of n entries, kept."""
        if n not in self._cache:
            filters, mode = self.acting_filters, self.acting_mode
            self._cache[n] = make_step(n, filters, mode, not self.decomposes)
        return self._cache[n]

    def _taker(self, step: Step, x: Array) -> Take:
        return lambda name: self._on(x, step, name)

    def _on(self, x: Array, step: Step, name: str) -> Array:
        """A matrix of a step where `x` lives, in its precision, kept."""
        precision = real_dtype(dtype_name(x.dtype))
        key = (id(step), name, array_namespace(x), str(x.device), precision)
        if key not in self._cache:
            host = step.matrices[name]
            host = host.astype(precision if precision in np.sctypeDict else "float32")
            moved = host if is_numpy(x) else namespace_of(x).asarray(host, device=x.device)
            self._cache[key] = cast(moved, precision)
        return self._cache[key]

    # -- what is known --------------------------------------------------------------------------

    def _adjoint(self):
        return replace(self, transposed=not self.transposed, copy=False)

    def _conj(self):
        return self

    def _facts(self):
        square = self.shape[0] == self.shape[1]  # periodization, and no axis odd on the way
        return {"unitary": True} if square and is_orthogonal(self.bank) else {}

    def _flops(self):
        taps, m = len(self.bank[0]), len(self.sizes)
        return sum(2 * taps * m * math.prod(s) for s in self._all_sizes[:-1])

    def _label(self):
        size = self.sizes[0] if len(self.sizes) == 1 else self.sizes
        name = "iwavelet" if self.inverse else "wavelet"
        text = f"{name}({size}, {self.name!r}, level={self.level}, mode={self.mode!r})"
        return f"{text}.T" if self.transposed else text


def _around(axis: int, fine: tuple, coarse: tuple, n: int, k: int) -> tuple[int, int, int]:
    """The shape of a band whose axes before this one are coarse, those after it fine."""
    return math.prod(coarse[:axis]), n, math.prod(fine[axis + 1 :]) * k
