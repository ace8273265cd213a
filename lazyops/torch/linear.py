"""A linear layer whose weight is a butterfly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ..butterfly import factorize
from ..kernels import torch_library, torch_ops
from ..kernels.formats import FloatFormat
from ..operators import (
    KroneckerSparse,
    LinearOperator,
    Permutation,
    Product,
    QuantizedKroneckerSparse,
)
from ..pattern import Chain
from .rounding import float_format, round_through


class ButterflyLinear(nn.Module):
    """``y = x A^T + bias`` on rows, with A a product of Kronecker-sparse factors.

    Parameters
    ----------
    structure : Chain, or product of Kronecker-sparse factors and permutations
        Of a chain the values are drawn so that a product keeps the variance of its input; those
        of an operator are copied, decoded where they are codes.
    bias : bool
        Whether a trainable bias is added; it begins at zero.
    number_format : FloatFormat or name, optional
        The values are rounded to it in every product, and trained by straight-through rounding.
    dtype : torch.dtype, optional
        Of the parameters; by default that of the operator, or of torch.
    device : optional

    Attributes
    ----------
    factors : nn.ParameterList
        Values of the factors, shape (a, b, c, d), the one applied last in front.
    bias : nn.Parameter of shape (rows,), or None
    in_features, out_features : int
        Columns and rows of A.

    Raises
    ------
    TypeError
        If the structure is or contains anything else, if a real `dtype` is to hold complex values,
        or if the format is of integers.

    Examples
    --------
    >>> import torch, lazyops as lo
    >>> layer = ButterflyLinear(lo.Chain.square_dyadic(8))
    >>> layer(torch.ones(5, 2, 8)).shape, len(layer.factors)
    (torch.Size([5, 2, 8]), 3)
    """

    def __init__(
        self,
        structure: Chain | LinearOperator,
        bias: bool = True,
        *,
        number_format: FloatFormat | str | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ):
        super().__init__()
        if number_format is not None:
            number_format = float_format(number_format, "ButterflyLinear")
        self.number_format = number_format
        self.factors = nn.ParameterList()
        self.forms: list[int] = []  # of the members, as torch_library has them
        if isinstance(structure, LinearOperator):
            self.out_features, self.in_features = structure.shape
            for member in structure.factors if isinstance(structure, Product) else (structure,):
                self._add(member, dtype, device)
        elif isinstance(structure, Chain):
            self.out_features, self.in_features = structure[0].shape[0], structure[-1].shape[1]
            for pattern in structure:
                values = torch.randn(tuple(pattern), dtype=dtype, device=device)
                self.factors.append(nn.Parameter(values / pattern.c**0.5))
                self.forms.append(0)
        else:
            raise TypeError(
                "ButterflyLinear takes a Chain or an operator, got "
                f"{type(structure).__name__}: lo.Chain(patterns), lo.factorize(matrix).operator"
            )
        kind = self.factors[0] if len(self.factors) else torch.empty(0, dtype=dtype, device=device)
        zeros = torch.zeros(self.out_features, dtype=kind.dtype, device=kind.device)
        self.bias = nn.Parameter(zeros) if bias else None

    def _add(self, member: LinearOperator, dtype: Any, device: Any) -> None:
        if isinstance(member, QuantizedKroneckerSparse):
            member = member.dequantized()
        if isinstance(member, Permutation):
            index = torch.as_tensor(member.index.tolist(), dtype=torch.int64, device=device)
            self.register_buffer(f"index{len(self.forms)}", index)
            self.forms.append(torch_library.INDEX)
        elif isinstance(member, KroneckerSparse):
            self.factors.append(nn.Parameter(_copied(member, dtype, device)))
            self.forms.append(0)
        else:
            raise TypeError(
                "ButterflyLinear takes products of Kronecker-sparse factors and permutations, "
                f"{member!r} is neither: lo.simplify may remove it"
            )

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        *,
        tol: float | None = None,
        chain: Chain | None = None,
        number_format: FloatFormat | str | None = None,
    ) -> ButterflyLinear:
        """The butterfly of an ``nn.Linear``: of relative error `tol`, or on `chain`; its bias.

        Dtype, device, mode and what is to be trained are those of the layer, which stays as it is.

        Raises
        ------
        ValueError
            If no butterfly within `tol` holds fewer entries than the weight, if the weight has
            entries that are not finite, or none (on the device ``meta``).

        Examples
        --------
        >>> import torch, lazyops as lo
        >>> linear = torch.nn.Linear(64, 64)
        >>> layer = ButterflyLinear.from_linear(linear, chain=lo.Chain.monarch(64, 64))
        >>> sum(v.numel() for v in layer.factors), linear.weight.numel()
        (1024, 4096)
        """
        weight = linear.weight
        if weight.is_meta:
            raise ValueError(
                f"the weight of {linear} lies on meta and has no values: "
                "load the model before its layers are factorized"
            )
        found = factorize(_on_host(weight), chain=chain, tol=tol)
        if found.chain is None:
            raise ValueError(f"this weight has no smaller butterfly: {found.reason}")
        kind: Any = {"dtype": weight.dtype, "device": weight.device}
        layer = cls(found.operator, linear.bias is not None, number_format=number_format, **kind)
        layer.factors.requires_grad_(weight.requires_grad)
        if linear.bias is not None and layer.bias is not None:
            with torch.no_grad():
                layer.bias.copy_(linear.bias)
            layer.bias.requires_grad_(linear.bias.requires_grad)
        return layer.train(linear.training)

    def to_operator(self) -> LinearOperator:
        """The operator A, on the memory of the parameters (rounded ones are new); no gradient."""
        return self._operator_of(lambda values: KroneckerSparse(values))

    def to_quantized(self) -> LinearOperator:
        """The operator A of codes: `QuantizedKroneckerSparse` factors on the host, with the very
        values that a product takes.

        Raises
        ------
        ValueError
            If the layer has no `number_format`, or one without codes.
        """
        form = self.number_format
        if form is None:
            raise ValueError(
                "this layer rounds its values to no format: give it a number_format, "
                'or lo.quantize(layer.to_operator(), "bf16")'
            )
        return self._operator_of(lambda v: QuantizedKroneckerSparse.nearest(_on_host(v), form))

    def _operator_of(self, factor: Any) -> LinearOperator:
        values = iter(self._values())
        members: list[LinearOperator] = []
        for at, form in enumerate(self.forms):
            if form == torch_library.INDEX:
                members.append(Permutation(self.get_buffer(f"index{at}")))
            else:
                members.append(factor(next(values).detach()))
        return members[0] if len(members) == 1 else Product(tuple(members))

    def _values(self) -> list[torch.Tensor]:
        if self.number_format is None:
            return list(self.factors)
        return [round_through(v, self.number_format) for v in self.factors]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x A^T + bias``.

        Parameters
        ----------
        x : tensor of shape (..., in_features)

        Returns
        -------
        tensor of shape (..., out_features), in the dtype that `x` and the values have in common;
        under autocast in its dtype.  Half precision is computed in float32.

        Raises
        ------
        ValueError
            If the rows of `x` have another length.
        TypeError
            If `x` is on another device.
        """
        self._check(x)
        values = self._values()
        dtype = _result_dtype(x, values)
        wide = dtype if dtype in torch_library.DTYPES else torch.float32
        following = iter([v.to(wide) for v in values])
        arrays = [
            getattr(self, f"index{at}") if form == torch_library.INDEX else next(following)
            for at, form in enumerate(self.forms)
        ]
        rows = x.reshape(-1, self.in_features).to(wide)
        y = torch_ops.recorded(self.forms, [], rows.T, arrays).T
        if self.bias is not None:
            y = y + self.bias.to(wide)
        return y.to(dtype).reshape(*x.shape[:-1], self.out_features)

    def _check(self, x: torch.Tensor) -> None:
        m, n = self.out_features, self.in_features
        if x.ndim == 0 or x.shape[-1] != n:
            raise ValueError(
                f"ButterflyLinear({n}, {m}) takes rows, x of shape (..., {n}), "
                f"got {tuple(x.shape)}: {x.shape[-1] if x.ndim else 'no'} columns meet {n}"
            )
        held = self.factors[0].device if len(self.factors) else x.device
        if held != x.device:
            raise TypeError(
                f"this layer is on {held}, x on {x.device}: move one, layer.to(x.device)"
            )

    def extra_repr(self) -> str:
        patterns = ", ".join(str(tuple(v.shape)) for v in self.factors)
        form = "" if self.number_format is None else f", number_format={self.number_format}"
        sizes = f"{self.in_features}, {self.out_features}, factors=[{patterns}]"
        return f"{sizes}, bias={self.bias is not None}{form}"


def _copied(factor: KroneckerSparse, dtype: torch.dtype | None, device: Any) -> torch.Tensor:
    """The values of a factor as it acts, of any library, in memory of their own."""
    values = factor.values
    if not isinstance(values, torch.Tensor):
        values = torch.from_numpy(np.array(factor.to(namespace="numpy").values))
    if values.is_complex() and dtype is not None and not dtype.is_complex:
        raise TypeError(
            f"ButterflyLinear: {factor!r} has values of {values.dtype}, which {dtype} does not "
            "hold: ask for a complex dtype, or take op.real"
        )
    return values.detach().to(device, dtype).clone(memory_format=torch.contiguous_format)


def _on_host(values: torch.Tensor) -> np.ndarray:
    """As an array of NumPy, which has no bfloat16, in single precision at least."""
    values = values.detach().cpu()
    return values.to(torch.promote_types(values.dtype, torch.float32)).resolve_conj().numpy()


def _result_dtype(x: torch.Tensor, values: list[torch.Tensor]) -> torch.dtype:
    """As `nn.Linear` has it under autocast: neither double precision nor complex numbers."""
    dtype = torch.promote_types(x.dtype, values[0].dtype) if values else x.dtype
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if casts and not dtype.is_complex and dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return dtype
