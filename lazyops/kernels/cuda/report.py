"""A plan of a device in words: what each step is, what it moves, what binds it, and the floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .products import Multiplication

if TYPE_CHECKING:
    from .plan import DevicePlan, Step

KINDS = {"factor": "factor by itself", "run": "run", "matmul": "matmul", "dense": "one matrix"}


def lines(plan: DevicePlan) -> list[str]:
    """One line for each step, and one that compares their sum with the floor.

    The floor is the time of a copy of x, y and the values, each once.
    """
    device = plan.machine.device
    found = [_of_step(step) for step in plan.steps]
    ends = plan.steps[:1] + plan.steps[-1:]
    item = plan.steps[0].moved // (plan.steps[0].rows + _rows_in(plan.steps[0]))
    moved = item * (_rows_in(ends[0]) + ends[-1].rows)
    total = moved + sum(step.values for step in plan.steps)
    passed = sum(step.moved + step.values for step in plan.steps)
    floor = total / device.memory
    found.append(
        f"floor: {total:,} bytes at {device.memory / 1e9:,.0f} GB/s take {1e6 * floor:.2f} us; "
        f"{len(plan.steps)} steps move {passed:,}, by the model in {1e6 * plan.seconds:.2f} us"
    )
    return found


def _rows_in(step: Step) -> int:
    return step.rows if step.choice is None else step.choice.patterns[0].shape[1]


def _of_step(step: Step) -> str:
    moved = f"{step.moved + step.values:,} bytes, {step.flops:,} flops"
    if step.choice is None:
        return f"gather: {moved}"
    merged, work = step.choice.merged, step.launch
    patterns = " ".join(f"({p.a},{p.b},{p.c},{p.d})" for p in step.choice.patterns)
    bound = f"bound by {step.choice.bound}, {1e6 * step.choice.seconds:.2f} us by the model"
    what = KINDS[step.choice.how]
    if sum(merged) > len(merged):
        what += f", {sum(merged)} factors as {len(merged)}"
    if isinstance(work, Multiplication):
        return f"{what} {patterns} by matmul of the array library: {moved}, {bound}"
    shared = f", {work.variant.shared:,} bytes shared" if work.variant.shared else ""
    return (
        f"{what} {patterns} in kernel {work.variant.kernel}: {work.grid:,} blocks of "
        f"{work.threads} threads{shared}, {moved}, {bound}"
    )
