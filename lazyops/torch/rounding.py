"""Rounding to few bits that lets gradients through: quantization-aware training."""

from __future__ import annotations

import torch

from ..kernels.formats import FloatFormat, format_named


class _RoundThrough(torch.autograd.Function):
    """Rounds forward, is the identity backward (Bengio, Leonard, Courville, arXiv 1308.3432)."""

    @staticmethod
    def forward(ctx, x, number_format):
        return number_format.round(x.detach(), saturate=True)

    @staticmethod
    def backward(ctx, g):
        return g, None


def round_through(x: torch.Tensor, number_format: FloatFormat | str) -> torch.Tensor:
    """The nearest values of a format; the gradient is that of the identity.

    Parameters
    ----------
    x : tensor
    number_format : FloatFormat or its name, ``"bf16"``, ``"e4m3"`` ...
        What is beyond its largest number becomes that number.

    Raises
    ------
    TypeError
        If it is not a floating format.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([1.0, 1.06], requires_grad=True)
    >>> y = round_through(x, "e4m3")
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([1.0, 1.0], [1.0, 1.0])
    """
    found = format_named(number_format)
    if not isinstance(found, FloatFormat):
        raise TypeError(f"round_through takes a FloatFormat, got {found!r}")
    return _RoundThrough.apply(x, found)
