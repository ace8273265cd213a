"""A linear layer whose weight is a butterfly."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..butterfly import factorize
from ..kernels import torch_library, torch_ops
from ..kernels.formats import FloatFormat
from ..operators import KroneckerSparse, LinearOperator, Permutation, Product
from ..pattern import Chain
from .rounding import round_through


class ButterflyLinear(nn.Module):
    """``y = x A^T + bias`` on rows, with A a product of Kronecker-sparse factors.

    Parameters
    ----------
    structure : Chain, or product of Kronecker-sparse factors and permutations
        Of a chain the values are drawn so that a product keeps the variance of its input; those
        of an operator are copied.
    bias : bool
        Whether a trainable bias is added; it begins at zero.
    number_format : FloatFormat or name, optional
        The values are rounded to it in every product, and trained by straight-through rounding.
    dtype, device : optional

    Attributes
    ----------
    factors : nn.ParameterList
        Values of the factors, shape (a, b, c, d), the one applied last in front.
    bias : nn.Parameter of shape (rows,), or None

    Raises
    ------
    TypeError
        If the operator is made of anything else.

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
        self.number_format = number_format
        self.factors = nn.ParameterList()
        self.forms: list[int] = []  # of the members, as torch_ops has them
        if isinstance(structure, LinearOperator):
            self.out_features, self.in_features = structure.shape
            for member in structure.factors if isinstance(structure, Product) else (structure,):
                self._add(member, dtype, device)
        else:
            self.out_features, self.in_features = structure[0].shape[0], structure[-1].shape[1]
            for pattern in structure:
                values = torch.randn(tuple(pattern), dtype=dtype, device=device)
                self.factors.append(nn.Parameter(values / pattern.c**0.5))
                self.forms.append(0)
        kind = self.factors[0] if len(self.factors) else torch.empty(0)
        zeros = torch.zeros(self.out_features, dtype=kind.dtype, device=kind.device)
        self.bias = nn.Parameter(zeros) if bias else None

    def _add(self, member: LinearOperator, dtype: Any, device: Any) -> None:
        if isinstance(member, Permutation):
            index = torch.as_tensor(member.index.tolist(), dtype=torch.int64, device=device)
            self.register_buffer(f"index{len(self.forms)}", index)
            self.forms.append(torch_library.INDEX)
        elif isinstance(member, KroneckerSparse):
            values = torch.tensor(member.to(namespace="numpy").values, dtype=dtype, device=device)
            self.factors.append(nn.Parameter(values))
            self.forms.append(0)
        else:
            raise TypeError(
                "ButterflyLinear takes products of Kronecker-sparse factors and permutations, "
                f"{member!r} is neither: lo.simplify may remove it"
            )

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, *, tol: float | None = None, chain: Chain | None = None
    ) -> ButterflyLinear:
        """The butterfly of an ``nn.Linear``: of relative error `tol`, or on `chain`; its bias.

        Raises
        ------
        ValueError
            If no butterfly within `tol` holds fewer entries than the weight.
        """
        found = factorize(linear.weight.detach().cpu().numpy(), chain=chain, tol=tol)
        if found.chain is None:
            raise ValueError(f"this weight has no smaller butterfly: {found.reason}")
        weight = linear.weight
        operator = found.operator
        layer = cls(operator, linear.bias is not None, dtype=weight.dtype, device=weight.device)
        if linear.bias is not None and layer.bias is not None:
            with torch.no_grad():
                layer.bias.copy_(linear.bias)
        return layer

    def to_operator(self) -> LinearOperator:
        """The operator A, on the memory of the parameters (rounded ones are new); no gradient."""
        values = iter(self._values())
        members: list[LinearOperator] = []
        for at, form in enumerate(self.forms):
            if form == torch_library.INDEX:
                members.append(Permutation(self.get_buffer(f"index{at}")))
            else:
                members.append(KroneckerSparse(next(values).detach()))
        return members[0] if len(members) == 1 else Product(tuple(members))

    def _values(self) -> list[torch.Tensor]:
        if self.number_format is None:
            return list(self.factors)
        return [round_through(v, self.number_format) for v in self.factors]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x of shape (..., columns) -> (..., rows); under autocast in its dtype."""
        values = self._values()
        dtype = torch.promote_types(x.dtype, values[0].dtype) if values else x.dtype
        if torch.is_autocast_enabled(x.device.type) and not dtype.is_complex:
            dtype = torch.get_autocast_dtype(x.device.type)
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

    def extra_repr(self) -> str:
        patterns = ", ".join(str(tuple(v.shape)) for v in self.factors)
        return f"{self.in_features}, {self.out_features}, factors=[{patterns}]"
