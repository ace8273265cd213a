"""Replace the linear layers of a model by butterflies where that pays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .linear import ButterflyLinear


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer: entries, relative error, seconds of a product before and after."""

    name: str
    entries: int
    entries_after: int | None
    error: float | None
    seconds: float | None
    seconds_after: float | None
    replaced: bool
    reason: str


@dataclass(frozen=True)
class Compression:
    """The table of `compress_`: one row for each layer that was looked at."""

    rows: tuple[LayerReport, ...]

    def __str__(self) -> str:
        return "\n".join(f"{r.name or 'model'}: {r.reason}" for r in self.rows)


def compress_(
    model: nn.Module,
    filter_fn: Callable[[nn.Module, str], bool] | None = None,
    *,
    tol: float = 1e-2,
    calibration: Any = None,
    batch: int = 256,
) -> Compression:
    """Replace ``nn.Linear`` layers, in place, where the butterfly is close enough and faster.

    Parameters
    ----------
    model : nn.Module
        Its layers are replaced; a model that is itself an ``nn.Linear`` is refused.
    filter_fn : callable, optional
        ``filter_fn(module, name)`` says which layers to look at; all of them by default.
    tol : float
        Largest relative Frobenius error: of the weight or, with `calibration`, of what the layer
        gives for the inputs that it met.
    calibration : tensor, optional
        An input of the model, run once.
    batch : int
        Rows of the products that are timed where there is no calibration.

    Returns
    -------
    Compression

    Raises
    ------
    TypeError
        If the model is an ``nn.Linear``.
    """
    if isinstance(model, nn.Linear):
        raise TypeError("compress_ replaces layers inside a model: see ButterflyLinear.from_linear")
    layers = [
        (name, m)
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear) and (filter_fn is None or filter_fn(m, name))
    ]
    met = _inputs(model, [m for _, m in layers], calibration)
    rows = []
    for name, layer in layers:
        report, butterfly = _try(name, layer, tol, met.get(layer), batch)
        rows.append(report)
        if report.replaced and butterfly is not None:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, butterfly)
    return Compression(tuple(rows))


def _inputs(model: nn.Module, layers: list[nn.Linear], calibration: Any) -> dict:
    """The rows that each layer meets in one run of the model."""
    found: dict[nn.Module, torch.Tensor] = {}
    if calibration is None:
        return found

    def keep(layer, inputs):
        found[layer] = inputs[0].detach().reshape(-1, layer.in_features)

    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        with torch.no_grad():
            model(calibration)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@torch.no_grad()
def _try(name: str, layer: nn.Linear, tol: float, x: torch.Tensor | None, batch: int):
    entries = layer.weight.numel()
    try:
        butterfly = ButterflyLinear.from_linear(layer, tol=tol)
    except ValueError as refusal:
        return LayerReport(name, entries, None, None, None, None, False, str(refusal)), None
    butterfly.train(layer.training)
    inputs = torch.eye(layer.in_features, dtype=layer.weight.dtype) if x is None else x
    bias = 0 if layer.bias is None else layer.bias
    exact = layer(inputs) - bias
    norm = torch.linalg.norm(exact)
    error = float(torch.linalg.norm(butterfly(inputs) - bias - exact) / norm) if norm else 0.0
    rows = torch.randn(batch, layer.in_features, dtype=layer.weight.dtype) if x is None else x
    before, after = _seconds(lambda: layer(rows), lambda: butterfly(rows))
    # the norm is computed in the dtype of the layer: its rounding is no reason to refuse
    close = error <= tol + layer.in_features * torch.finfo(layer.weight.dtype).eps
    replaced = close and after < before
    reason = f"error {error:.1e}, {before / after:.2f} times as fast" + (
        ": replaced" if replaced else ": kept, " + ("not faster" if close else f"above {tol:.1e}")
    )
    count = sum(v.numel() for v in butterfly.factors)
    return LayerReport(name, entries, count, error, before, after, replaced, reason), butterfly


def _seconds(one: Callable, two: Callable, rounds: int = 7) -> tuple[float, float]:
    """Medians of both, by turns."""
    times: tuple[list[float], list[float]] = [], []
    for turn in range(rounds + 1):
        for f, found in zip((one, two), times, strict=True):
            start = time.perf_counter()
            f()
            if turn:
                found.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])
