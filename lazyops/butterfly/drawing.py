"""Pictures of what is known of factorizations; matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tradeoff import Front

SMALLEST = 1e-17  # what an error of zero is drawn as


def plot_front(front: Front, axes: Any) -> Any:
    """See `Front.plot`."""
    if axes is None:
        from matplotlib.figure import Figure

        axes = Figure(figsize=(5, 3.4)).subplots()
    m, n = front.shape
    share = [p.entries / (m * n) for p in front]
    upper = [max(p.upper_bound, SMALLEST) for p in front]
    lower = [max(p.lower_bound, SMALLEST) for p in front]
    axes.fill_between(share, lower, upper, step="post", alpha=0.3, linewidth=0)
    axes.plot(share, upper, "o-", drawstyle="steps-post", markersize=3, label="at most")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"stored entries / {m * n}")
    axes.set_ylabel("relative error")
    axes.legend()
    return axes
