"""simplify() rewrites an expression by rules, and says which: log=print.

Shown: construction changes nothing, simplify merges neighbours, the numbers stay the same.
"""

import numpy as np

import lazyops as lo

rng = np.random.default_rng(2)
n = 8
P = lo.Permutation.bit_reversal(n)
D = lo.Diagonal(rng.standard_normal(n))
K = lo.KroneckerSparse(rng.standard_normal((1, 2, 2, 4)))

A = 2 * (P.H @ P @ D @ K) + 0 * lo.Identity(n) @ K
print("as written:", A)
print()
B = lo.simplify(A, log=print)
print()
print("simplified:", B)

x = rng.standard_normal(n)
print("largest difference:", np.abs(A @ x - B @ x).max())
print(f"flops per column: {A.info().flops} before, {B.info().flops} after")
