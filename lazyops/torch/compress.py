"""Replace the linear layers of a model by butterflies where that pays."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .linear import ButterflyLinear

__all__ = ["Compression", "LayerReport", "compress_"]

READERS = (  # modules of torch that read the weight of a layer of theirs, past its forward
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
)


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer.

    Attributes
    ----------
    name : str
        Where the layer is, or was, in the model; of a shared layer the first place.
    entries, entries_after : int, int or None
        Entries of the weight, and of the factors; None where no butterfly was found.
    error : float or None
        Relative Frobenius error: of the weight, or of the outputs for the inputs that were met.
    seconds, seconds_after : float or None
        Of a product before and after, medians measured by turns.
    replaced : bool
    reason : str
        Why, in words.
    """

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

    A layer is kept, and its row says why, where its weight is also another's (they would no longer
    be tied), where hooks or a parent of torch's own rely on the weight, and where its class is not
    ``nn.Linear`` itself.  A layer that stands in several places is replaced in all of them.  All is
    tried before anything is replaced: an error leaves the model as it was.

    Parameters
    ----------
    model : nn.Module
        Its layers are replaced; a model that is itself an ``nn.Linear`` is refused.
    filter_fn : callable, optional
        ``filter_fn(module, name)`` says which layers to look at; all of them by default.
    tol : float
        Largest relative Frobenius error: of the weight or, with `calibration`, of what the layer
        gives for the inputs that it met.
    calibration : tensor, tuple of arguments, or dict of keywords; optional
        An input of the model, run once in the mode of evaluation.
    batch : int
        Rows of the products that are timed where there is no calibration.

    Returns
    -------
    Compression

    Raises
    ------
    TypeError
        If the model is an ``nn.Linear``.
    ValueError
        If `tol` is not positive, or `batch` not from 1 on.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
    >>> print(compress_(model, lambda layer, name: layer.in_features > 8))
    <BLANKLINE>
    >>> [row.replaced for row in compress_(model).rows]  # numbers drawn at random have none
    [False]
    """
    if isinstance(model, nn.Linear):
        raise TypeError("compress_ replaces layers inside a model: see ButterflyLinear.from_linear")
    if not tol > 0 or batch < 1:
        raise ValueError(f"compress_ takes a tol above 0 and a batch from 1 on, got {tol}, {batch}")
    sites = [s for s in _sites(model) if filter_fn is None or filter_fn(s.layer, s.names[0])]
    free = [site for site in sites if site.obstacle is None]
    met = _inputs(model, [site.layer for site in free], calibration)
    rows, chosen = [], []
    for site in sites:
        if site.obstacle is not None:
            rows.append(_kept(site, f"kept, {site.obstacle}"))
            continue
        report, butterfly = _try(site, tol, met.get(site.layer), batch)
        rows.append(report)
        if report.replaced:
            chosen.append((site, butterfly))
    for site, butterfly in chosen:
        for name in site.names:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, butterfly)
    return Compression(tuple(rows))


# -- where layers are -----------------------------------------------------------------------------


@dataclass
class _Site:
    """A layer, all the places where it stands, and what forbids to replace it."""

    layer: nn.Linear
    names: list[str] = field(default_factory=list)
    obstacle: str | None = None


def _sites(model: nn.Module) -> list[_Site]:
    found: dict[nn.Module, _Site] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.Linear):
            found.setdefault(module, _Site(module)).names.append(name)
    owners: dict[int, list[str]] = {}  # of each parameter, by all its names
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for site in found.values():
        site.obstacle = _obstacle(model, site, owners)
    return list(found.values())


def _obstacle(model: nn.Module, site: _Site, owners: dict[int, list[str]]) -> str | None:
    layer = site.layer
    if type(layer) is not nn.Linear:
        return f"a {type(layer).__name__} is more than an nn.Linear"
    own = {f"{name}.{of}" for name in site.names for of in ("weight", "bias")}
    for parameter in layer.parameters():
        if others := [name for name in owners[id(parameter)] if name not in own]:
            return f"it shares memory with {others[0]}"
    hooks = (v for name, v in vars(layer).items() if name.endswith("_hooks") and name[0] == "_")
    if any(hooks):
        return "it has hooks, which a butterfly would not have"
    for name in site.names:
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, READERS):
            return f"{type(parent).__name__} reads its weight"
    return None


def _inputs(model: nn.Module, layers: list[nn.Linear], calibration: Any) -> dict:
    """The rows that each layer meets in one run of the model, whose modes come back."""
    found: dict[nn.Module, list[torch.Tensor]] = {layer: [] for layer in layers}
    if calibration is None:
        return {}

    def keep(layer, inputs, named):
        x = inputs[0] if inputs else named["input"]
        if x.numel():
            found[layer].append(x.detach().reshape(-1, layer.in_features).to(layer.weight))

    modes = [(module, module.training) for module in model.modules()]
    hooks = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad():
            _call(model.eval(), calibration)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    return {layer: torch.cat(rows) for layer, rows in found.items() if rows}


def _call(model: nn.Module, inputs: Any) -> None:
    if isinstance(inputs, Mapping):
        model(**inputs)
    elif isinstance(inputs, tuple):
        model(*inputs)
    else:
        model(inputs)


# -- what a butterfly is worth --------------------------------------------------------------------


@torch.no_grad()
def _try(site: _Site, tol: float, x: torch.Tensor | None, batch: int):
    layer = site.layer
    try:
        butterfly = ButterflyLinear.from_linear(layer, tol=tol)
    except ValueError as refusal:
        return _kept(site, f"kept, {refusal}"), None
    weight = layer.weight
    error = _relative_error(butterfly, layer, x)
    drawn = torch.Generator(weight.device).manual_seed(0)
    size = batch, layer.in_features
    if x is None:
        x = torch.randn(size, dtype=weight.dtype, device=weight.device, generator=drawn)
        of = "weight"
    else:
        of = "outputs"
    before, after = _seconds(lambda: layer(x), lambda: butterfly(x), weight.device)
    # the norm is computed in this precision: its rounding is no reason to refuse
    close = error <= tol + layer.in_features * torch.finfo(_wide(weight)).eps
    replaced = close and after < before
    verdict = "replaced" if replaced else "kept, not faster" if close else f"kept, above {tol:.1e}"
    reason = f"error {error:.1e} of its {of}, {before / after:.2f} times as fast: {verdict}"
    count = sum(v.numel() for v in butterfly.factors)
    entries = layer.weight.numel()
    report = LayerReport(site.names[0], entries, count, error, before, after, replaced, reason)
    return report, butterfly


def _kept(site: _Site, reason: str) -> LayerReport:
    entries = site.layer.weight.numel()
    return LayerReport(site.names[0], entries, None, None, None, None, False, reason)


def _relative_error(butterfly: ButterflyLinear, layer: nn.Linear, x: torch.Tensor | None) -> float:
    """The error of what the layer gives for `x` but for its bias (without x: of its weight), for
    the values as the butterfly holds them, in single precision at least."""
    wide = _wide(layer.weight)
    same = copy.deepcopy(butterfly).to(wide)
    same.bias = None
    exact = layer.weight.to(wide).T
    if x is None:
        x = torch.eye(layer.in_features, dtype=wide, device=exact.device)
    else:
        x = x.to(wide)
        exact = x @ exact
    norm, error = (float(torch.linalg.norm(y)) for y in (exact, same(x) - exact))
    return error / norm if norm else (0.0 if error == 0 else float("inf"))


def _wide(weight: torch.Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _seconds(one: Callable, two: Callable, device: torch.device, rounds: int = 7):
    """Medians of both, by turns; a device has finished before the clock is read."""
    times: tuple[list[float], list[float]] = [], []
    for turn in range(rounds + 1):
        for f, found in zip((one, two), times, strict=True):
            start = time.perf_counter()
            f()
            if device.type not in ("cpu", "meta"):
                torch.accelerator.synchronize(device)
            if turn:
                found.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])
