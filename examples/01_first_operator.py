"""Write an operator as algebra; nothing is computed until it meets a vector.

Shown: composing, what repr tells, the adjoint, indexing, and how much is stored.
"""

import numpy as np

import lazyops as lo

n = 1000
rng = np.random.default_rng(0)

shift = lo.Permutation(np.roll(np.arange(n), 1))  # (P @ x)[i] = x[i - 1]
gain = lo.Diagonal(rng.uniform(1, 2, n))
A = gain @ (lo.Identity(n) - 0.5 * shift)  # a recursion, weighted row by row
print("A      =", A)
print("A.H    =", A.H)

x = rng.standard_normal(n)
y = A @ x
print("A @ x equals the loop:", np.allclose(y, gain.values * (x - 0.5 * np.roll(x, 1))))
print("adjoint identity     :", np.isclose(np.vdot(y, y), np.vdot(x, A.H @ y)))

print("rows 10 to 19 of A   :", A[10:20])
print("entry A[5, 4]        :", round(A[5, 4], 4), "= -gain[5] / 2")
print(f"stored: {A.nbytes:,} bytes, as a dense matrix {8 * n * n:,}")
