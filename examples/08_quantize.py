"""Store a fast transform on eight bits, and still solve with it to full accuracy.

Shown: scales move between factors, so rounding can be much better than to the nearest number.
"""

import numpy as np
import scipy.sparse.linalg

import lazyops as lo

n = 1024
rng = np.random.default_rng(5)
factors = []
for pattern in lo.Chain.square_dyadic(n):
    values = 0.1 * rng.standard_normal(pattern)
    values[:, [0, 1], [0, 1], :] += 1
    factors.append(lo.KroneckerSparse(values))
A = lo.Product(factors)

plain = lo.quantize(A, "e4m3", "nearest")
best = lo.quantize(A, "e4m3")
low = best.operator
print(f"bytes      : {low.values_nbytes:,} instead of {A.values_nbytes:,}")
print(f"error      : {best.relative_error:.2g}, to nearest {plain.relative_error:.2g}")
print("cheapest   :", lo.quantize(A, tol=1e-3))

b = rng.standard_normal(n)
inner = lambda A, r: scipy.sparse.linalg.gmres(A, r, rtol=1e-3)
found = lo.refine(inner, A, low, b)
print("refined    :", found.reason)
print(f"products   : {found.full_products} with A, {found.low_products} with the low-bit operator")
