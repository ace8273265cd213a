"""The certificate of a factorization as JSON data."""

from __future__ import annotations

import math
from typing import Any

from ..butterfly import Factorization, Split
from ..operators import LinearOperator
from ..pattern import Chain
from .scalars import decode as scalar
from .scalars import encode

ERRORS = ("relative_error", "lower_bound", "upper_bound")
NOT_MEASURED = math.nan  # null in the file: `factorize(..., measure=False)`


def to_data(found: Factorization) -> dict[str, Any]:
    """JSON data for everything but the operator."""
    chain = None if found.chain is None else [list(map(int, p)) for p in found.chain]
    return {
        "chain": chain,
        **{name: encode(float(getattr(found, name))) for name in ERRORS},
        **({"relative_error": None} if math.isnan(found.relative_error) else {}),
        "splits": [[int(q), int(rank), encode(float(e))] for q, rank, e in found.splits],
        "reason": found.reason,
        **({} if found.confidence == 1 else {"confidence": encode(float(found.confidence))}),
    }


def from_data(data: Any, operator: LinearOperator) -> Factorization:
    """The factorization again; ValueError for anything that `to_data` never writes."""
    fields = {*ERRORS, "chain", "splits", "reason"}
    if not isinstance(data, dict) or set(data) - {"confidence"} != fields:
        raise ValueError("the certificate has other fields")
    if not isinstance(data["reason"], str):
        raise ValueError("the reason in the certificate is no text")
    return Factorization(
        operator,
        _chain(data["chain"], operator.shape),
        NOT_MEASURED if data["relative_error"] is None else _error(data["relative_error"]),
        _error(data["lower_bound"]),
        _error(data["upper_bound"]),
        _splits(data["splits"]),
        data["reason"],
        _confidence(data["confidence"]) if "confidence" in data else 1.0,
    )


def _chain(data: Any, shape: tuple[int, int]) -> Chain | None:
    if data is None:
        return None
    if not isinstance(data, list) or not all(_are_ints(p, 4) for p in data):
        raise ValueError("the chain in the certificate is not a list of patterns")
    chain = Chain(data)
    if chain.shape != shape:
        raise ValueError(f"the chain has the shape {chain.shape}, the operator {shape}")
    return chain


def _splits(data: Any) -> tuple[Split, ...]:
    if not isinstance(data, list) or not all(isinstance(s, list) and len(s) == 3 for s in data):
        raise ValueError("the splits in the certificate are no list of triples")
    if not all(_are_ints(s[:2], 2) for s in data):
        raise ValueError("a split in the certificate has no position and rank")
    return tuple([Split(q, rank, _error(error)) for q, rank, error in data])


def _are_ints(data: Any, count: int) -> bool:
    return isinstance(data, list) and len(data) == count and all(type(i) is int for i in data)


def _confidence(data: Any) -> float:
    confidence = scalar(data)
    if not isinstance(confidence, float) or not 0 < confidence <= 1:
        raise ValueError(f"the confidence in the certificate is {confidence!r:.40}")
    return confidence


def _error(data: Any) -> float:
    error = scalar(data)
    if not isinstance(error, float) or not error >= 0:
        raise ValueError(f"an error in the certificate is {error!r:.40}")
    return error
