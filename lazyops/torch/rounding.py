"""Rounding to few bits that lets gradients through: quantization-aware training."""

from __future__ import annotations

import torch

from ..kernels.formats import FloatFormat, format_named

__all__ = ["float_format", "round_through"]


def round_through(x: torch.Tensor, number_format: FloatFormat | str) -> torch.Tensor:
    """The nearest values of a format; the gradient is that of the identity.

    This is the straight-through estimator of Bengio, Leonard and Courville (arXiv 1308.3432), made
    of operations of torch: on any device, under ``torch.compile``, ``torch.func.vmap`` and ``jvp``.

    Parameters
    ----------
    x : tensor of a real or complex floating dtype that holds the values of the format, any shape
        Of complex numbers both parts are rounded.
    number_format : FloatFormat or its name, ``"bf16"``, ``"e4m3"`` ...
        What is beyond its largest number becomes that number, infinities too; NaN stays.

    Returns
    -------
    tensor of the shape, dtype and device of `x`: bit for bit ``FloatFormat.round(saturate=True)``

    Raises
    ------
    TypeError
        If it is not a floating format, or `x` holds integers.
    ValueError
        If the name is of no format.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([1.0, 1.06], requires_grad=True)
    >>> y = round_through(x, "e4m3")
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([1.0, 1.0], [1.0, 1.0])
    """
    found = float_format(number_format, "round_through")
    if not (x.is_floating_point() or x.is_complex()):
        raise TypeError(f"round_through takes floating numbers, got {x.dtype}: x.to(torch.float32)")
    if x.is_complex():
        return torch.view_as_complex(round_through(torch.view_as_real(x), found))
    with torch.no_grad():
        rounded = _rounded(x.detach(), found)
        finite = x.isfinite()
    kept = torch.where(finite, x, 0.0)  # infinity less infinity is none
    return rounded - (kept.detach() - kept)  # zero, and a zero keeps its sign


def float_format(number_format: FloatFormat | str, taker: str) -> FloatFormat:
    """The format of that name, refused where it is not of floats."""
    found = format_named(number_format)
    if not isinstance(found, FloatFormat):
        raise TypeError(
            f"{taker} takes a FloatFormat, got {found!r}: integers have scales, and those are "
            "chosen by lo.quantize"
        )
    return found


def _rounded(x: torch.Tensor, form: FloatFormat) -> torch.Tensor:
    """As `FloatFormat.round`, in float64, which holds every step."""
    wide = x.to(torch.float64)
    y = _to_significand(wide, form.significand)
    if form.exponent_bits is None:
        return y.to(x.dtype)
    shift = 1.5 * 2.0**52 * form.smallest  # one exponent below `tiny`: the sum rounds to its unit
    small = wide.abs() < form.tiny
    y = torch.where(small, torch.copysign((wide + shift) - shift, wide), y)
    y = torch.where(y.abs() > form.max, torch.copysign(torch.full_like(y, form.max), wide), y)
    return y.to(x.dtype)


def _to_significand(x: torch.Tensor, significand: int) -> torch.Tensor:
    """The nearest float of that many significand bits, ties to even, exponents without bounds."""
    lift = 2.0**200  # numbers without a hidden bit get one
    low = x.abs() < 2.0**-1022
    lifted = torch.where(low, x * lift, x)
    drop = 53 - significand
    bits = lifted.view(torch.int64)  # a carry moves on to the exponent
    bits = bits + ((bits >> drop) & 1) + ((1 << (drop - 1)) - 1)
    y = (bits & ~((1 << drop) - 1)).view(torch.float64)
    y = torch.where(low, y / lift, y)
    return torch.where(x.isfinite(), y, x)  # no carry into the payload
