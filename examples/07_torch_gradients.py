"""Train the values of two Kronecker-sparse factors with torch: gradients flow through operators.

Shown: torch values stay torch values; A @ x takes part in autograd.  Needs torch.
"""

import sys

import lazyops as lo

try:
    import torch
except ImportError:
    print("torch is not installed: nothing to show")
    sys.exit(0)

torch.manual_seed(0)
n, batch = 16, 64
chain = lo.Chain.monarch(n, n)
target = [torch.randn(tuple(p), dtype=torch.float64) / 2 for p in chain]
truth = lo.Product([lo.KroneckerSparse(v) for v in target])

values = [(v + 0.1 * torch.randn_like(v)).requires_grad_() for v in target]
A = lo.Product([lo.KroneckerSparse(v) for v in values])  # holds the tensors, not copies
print("A =", A, "with values of", *A.places)

optimizer = torch.optim.Adam(values, lr=0.01)
losses = []
for _ in range(300):
    x = torch.randn(n, batch, dtype=torch.float64)
    loss = ((A @ x - truth @ x) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss: {losses[0]:.1e} at first, {losses[-1]:.1e} at the end")
assert losses[-1] < losses[0] / 100
