"""Sharpen a blurred signal of which a third of the samples is lost: least squares with lsmr.

Shown: an operator made of a mask, a convolution and weights goes into SciPy's solvers as it is.
"""

import numpy as np
from scipy.sparse.linalg import lsmr

import lazyops as lo

n = 400
rng = np.random.default_rng(1)

# the signal: a few steps
truth = np.repeat(rng.uniform(-1, 1, 10), n // 10)

# the measurement: blur around a circle, keep two samples in three, each with its own accuracy
shift = lo.Permutation(np.roll(np.arange(n), 1))
blur = 0.25 * shift + 0.5 * lo.Identity(n) + 0.25 * shift.H
kept = np.sort(rng.choice(n, 2 * n // 3, replace=False))
accuracy = rng.uniform(50, 100, kept.size)
measure = lo.restrict(kept, n) @ blur
b = measure @ truth + rng.standard_normal(kept.size) / accuracy

# least squares: weighted misfit, and small steps between neighbours
steps = 0.3 * (lo.Identity(n) - shift)
A = lo.vstack([lo.Diagonal(accuracy) @ measure, steps])
print("A is", A.shape, "and made of", A.info().nodes, "nodes")

rhs = np.concatenate([accuracy * b, np.zeros(n)])
x, reason, iterations = lsmr(A, rhs, atol=1e-8, btol=1e-8, maxiter=2000)[:3]
error = np.linalg.norm(x - truth) / np.linalg.norm(truth)
print(f"lsmr stopped for reason {reason} after {iterations} iterations")
print(f"relative error of the solution {error:.3f}")
assert error < 0.2
