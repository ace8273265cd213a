"""What lazyops is measured against on a device: torch, dense, cuSPARSE, lazylinop."""

from __future__ import annotations

import functools

import numpy as np


def einsum(v, x):
    """One factor, as one would write it."""
    import torch

    a, b, c, d = v.shape
    y = torch.einsum("arsd,asdn->ardn", v, x.reshape(a, c, d, -1))
    return y.reshape(a * b * d, -1)


def einsum_chain(values, x):
    return functools.reduce(lambda z, v: einsum(v, z), values[::-1], x)


def bmm_and_copies(v):
    """One factor by bmm, with the copies that permute x and y: what Monarch layers do."""
    import torch

    a, b, c, d = v.shape
    blocks = v.permute(0, 3, 1, 2).reshape(a * d, b, c).contiguous()

    def call(x):
        z = x.reshape(a, c, d, -1).transpose(1, 2).reshape(a * d, c, -1)
        y = torch.bmm(blocks, z).reshape(a, d, b, -1)
        return y.transpose(1, 2).reshape(a * b * d, -1)

    return call


def bmm_on_views(v):
    """One factor by bmm on views of x and y, without a copy; only where a or d is 1."""
    import torch

    a, b, c, d = v.shape
    blocks = v.permute(0, 3, 1, 2).reshape(a * d, b, c).contiguous()

    def call(x):
        y = torch.empty(a * b * d, x.shape[1], dtype=x.dtype, device=x.device)
        left = x.reshape(a, c, d, -1).transpose(1, 2).reshape(a * d, c, -1)
        right = y.view(a, b, d, -1).transpose(1, 2).view(a * d, b, -1)
        torch.bmm(blocks, left, out=right)
        return y

    return call


def cusparse(place, values, x):
    """The factors as CSR matrices, one product after the other."""
    cupy = place.cupy
    matrices = []
    for v in values:
        a, b, c, d = v.shape
        rows = np.arange(a * b * d)
        base = rows // (b * d) * c * d + rows % d
        columns = (base[:, None] + np.arange(c) * d).ravel()
        data = cupy.from_dlpack(v.permute(0, 1, 3, 2).reshape(-1).contiguous())
        indices = cupy.asarray(columns.astype(np.int32))
        starts = cupy.arange(0, a * b * d * c + 1, c, dtype=cupy.int32)
        shape = (a * b * d, a * c * d)
        matrices.append(place.csr((data, indices, starts), shape=shape))
    z = cupy.from_dlpack(x)
    return lambda: functools.reduce(lambda y, m: m @ y, matrices[::-1], z)


def lazylinop(place, values, x):
    """The peer's own kernels; None where it is not installed."""
    try:
        from lazylinop.butterfly import ksm
    except ImportError:
        return None
    cupy = place.cupy
    backend = "xp" if place.dry else "ksmm"
    A = ksm([cupy.from_dlpack(v.contiguous()) for v in values], backend=backend)
    z = cupy.from_dlpack(x)
    return lambda: A @ z
