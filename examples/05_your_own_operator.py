"""An operator of your own: its data, its shape, its action, its adjoint.

Shown: a dataclass of a few lines, and check_operator(), which finds the mistake in a wrong one.
"""

from dataclasses import dataclass

import numpy as np

import lazyops as lo
from lazyops.testing import check_operator


@dataclass(eq=False, repr=False)
class Differences(lo.LinearOperator):
    """``y[i] = x[i + 1] - x[i]``: n - 1 differences of n numbers."""

    n: int

    def _shape(self):
        return self.n - 1, self.n

    def _matmat(self, x):  # x has shape (n, k), already checked
        return x[1:, :] - x[:-1, :]

    def _adjoint(self):
        return lo.Function(  # callables will do; the adjoint may be any operator
            (self.n, self.n - 1),
            lambda y: -np.diff(np.pad(y, ((1, 1), (0, 0))), axis=0),
            self._matmat,
        )


@dataclass(eq=False, repr=False)
class Wrong(Differences):
    """The same with an adjoint of the wrong sign."""

    def _adjoint(self):
        return -super()._adjoint()


D = Differences(50)
report = check_operator(D, dense=np.diff(np.eye(50), axis=0))
print(str(report).splitlines()[0])
print("composes:", D.H @ D, "| x @ D:", (np.ones(49) @ D)[[0, -1]])

try:
    check_operator(Wrong(50))
except AssertionError as error:
    print("caught:", str(error).splitlines()[0])
