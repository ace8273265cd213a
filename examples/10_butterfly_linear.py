"""Learn a fast transform: a ButterflyLinear finds the Hadamard matrix of 16 points from its
inputs and outputs, with 128 trained values instead of 256.

Shown: a layer with a butterfly for a weight trains as any other; what is learned is an operator.
Needs torch.
"""

import sys

import lazyops as lo

try:
    import torch

    from lazyops.torch import ButterflyLinear
except ImportError:
    print("torch is not installed: nothing to show")
    sys.exit(0)

torch.manual_seed(0)
n = 16
truth = lo.hadamard(n, norm="ortho")
layer = ButterflyLinear(lo.Chain.square_dyadic(n), bias=False)
print("trained values:", sum(v.numel() for v in layer.factors), "instead of", n * n)

inputs = torch.eye(n)  # rows, as of every layer
outputs = truth.matvec(inputs)
optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
for step in range(401):
    loss = (layer(inputs) - outputs).square().mean()
    if step % 100 == 0:
        print(f"step {step:3}: loss {loss.item():.1e}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

learned = layer.to_operator()
error = lo.relative_error(truth.to_dense(), learned)
print("learned:", learned)
print(f"relative error: {error:.1e}")
assert error < 1e-3
