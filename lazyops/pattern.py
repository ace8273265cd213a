"""The integers of Kronecker-sparse factors and of chains of them.  No arrays here."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Pattern(NamedTuple):
    """Support ``I_a (x) 1_{b x c} (x) I_d`` of a Kronecker-sparse factor.

    The factor is an ``(a*b*d) x (a*c*d)`` matrix with ``a*b*c*d`` entries; entry
    ``((i, j, l), (i, k, l))`` is ``values[i, j, k, l]``.

    >>> Pattern(2, 3, 4, 5).shape
    (30, 40)
    """

    a: int
    b: int
    c: int
    d: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.a * self.b * self.d, self.a * self.c * self.d

    @property
    def entries(self) -> int:
        """Stored numbers: ``a*b*c*d``."""
        return self.a * self.b * self.c * self.d

    @property
    def T(self) -> Pattern:
        """Pattern of the transpose."""
        return Pattern(self.a, self.c, self.b, self.d)

    def rank_with(self, right: Pattern) -> int:
        """Rank ``r = a c / a' = b' d' / d`` of the junction of ``self @ right``.

        Raises
        ------
        ValueError
            If the two do not chain.
        """
        if (why := self.obstacle_with(right)) is not None:
            raise ValueError(f"{tuple(self)} and {tuple(right)} do not chain: {why}")
        return self.a * self.c // right.a

    def obstacle_with(self, right: Pattern) -> str | None:
        """Why ``self @ right`` is not Kronecker-sparse without structural zeros; None if it is."""
        (a, _, c, d), (a2, b2, _, d2) = self, right
        if a * c * d != a2 * b2 * d2:
            return f"{a * c * d} columns meet {a2 * b2 * d2} rows"
        if a2 % a:
            return f"a = {a} does not divide the next a = {a2}"
        if d % d2:
            return f"the next d = {d2} does not divide d = {d}"
        if (a * c) % a2:
            return f"the rank a*c/a' = {a * c}/{a2} is not an integer"
        return None

    def chains_with(self, right: Pattern) -> bool:
        """Whether ``self @ right`` is again Kronecker-sparse, with no structural zero."""
        return self.obstacle_with(right) is None

    def fused_with(self, right: Pattern) -> Pattern:
        """Pattern of ``self @ right``, for two that chain (associative).

        >>> Pattern(1, 2, 2, 4).fused_with(Pattern(2, 2, 2, 2))
        Pattern(a=1, b=4, c=4, d=2)
        """
        self.rank_with(right)
        (a, b, _, d), (a2, _, c2, d2) = self, right
        return Pattern(a, b * d // d2, a2 * c2 // a, d2)


def prime_factors(n: int) -> list[int]:
    """Prime factors of `n`, ascending, with multiplicity.

    >>> prime_factors(360)
    [2, 2, 2, 3, 3, 5]
    """
    n = operator.index(n)
    if n < 1:
        raise ValueError(f"prime factors are for sizes from 1 on, got {n}")
    found = []
    p = 2
    while p * p <= n:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return [*found, n] if n > 1 else found


@dataclass(frozen=True)
class Chain(Sequence[Pattern]):
    """Patterns whose sizes meet: the shape of a butterfly.

    Parameters
    ----------
    patterns : iterable of Pattern or of 4 integers
        Left-most factor first.

    Raises
    ------
    ValueError
        If it is empty, an entry is not four integers from 1 on, or neighbouring sizes differ.

    Examples
    --------
    >>> Chain.square_dyadic(8)
    Chain((1,2,2,4), (2,2,2,2), (4,2,2,1))
    >>> Chain.square_dyadic(8).ranks
    (1, 1)
    """

    patterns: tuple[Pattern, ...]

    def __init__(self, patterns: Iterable[Iterable[int]]):
        found = tuple(Pattern(*(operator.index(i) for i in p)) for p in patterns)
        if not found:
            raise ValueError("a chain holds at least one pattern")
        for p in found:
            if min(p) < 1:
                raise ValueError(f"a pattern is four integers from 1 on, got {tuple(p)}")
        for p, q in itertools.pairwise(found):
            if p.shape[1] != q.shape[0]:
                raise ValueError(
                    f"{tuple(p)} ({p.shape[0]}x{p.shape[1]}) cannot meet {tuple(q)} "
                    f"({q.shape[0]}x{q.shape[1]}): {p.shape[1]} columns meet {q.shape[0]} rows"
                )
        object.__setattr__(self, "patterns", found)

    # -- by name ---------------------------------------------------------------------------

    @classmethod
    def square_dyadic(cls, n: int) -> Chain:
        """``(2^(l-1), 2, 2, n/2^l)`` for l = 1 .. log2 n; `n` is a power of two from 2 on."""
        n = operator.index(n)
        if n < 2 or n & (n - 1):
            raise ValueError(f"square_dyadic takes a power of two from 2 on, got {n}")
        return cls.mixed_radix(n)

    @classmethod
    def mixed_radix(cls, n: int) -> Chain:
        """One square factor of junction rank 1 for each prime factor of `n`, ascending."""
        radices = prime_factors(n) or [1]
        return cls.from_cores([(p, p) for p in radices])

    @classmethod
    def monarch(cls, m: int, n: int, p: int | None = None, q: int | None = None) -> Chain:
        """``(1, p, q, m/p), (q, m/p, n/q, 1)``; `p` divides m, `q` divides n.

        By default the divisors nearest to the square roots (the smaller of two).

        >>> Chain.monarch(4096, 4096)
        Chain((1,64,64,64), (64,64,64,1))
        """
        p = _middle_divisor(m) if p is None else operator.index(p)
        q = _middle_divisor(n) if q is None else operator.index(q)
        if min(m, n, p, q) < 1 or m % p or n % q:
            raise ValueError(f"monarch takes p dividing m and q dividing n, got {p}, {m}, {q}, {n}")
        return cls.from_cores([(p, q), (m // p, n // q)])

    @classmethod
    def from_cores(
        cls, cores: Sequence[tuple[int, int]], ranks: Sequence[int] | None = None
    ) -> Chain:
        """The full chain with cores ``(b_l, c_l)`` and junction ranks ``r_1 .. r_(L-1)``.

        Pattern l is ``(c_1 ... c_(l-1), r_(l-1) b_l, r_l c_l, b_(l+1) ... b_L)``.

        >>> Chain.from_cores([(2, 2), (2, 2)], [2])
        Chain((1,2,4,2), (2,4,2,1))
        """
        inner = [1] * (len(cores) - 1) if ranks is None else list(ranks)
        if len(inner) != max(len(cores) - 1, 0):
            raise ValueError(
                f"{len(cores)} cores have {len(cores) - 1} junctions, got {len(inner)} ranks"
            )
        r = [1, *inner, 1]
        below = [math.prod(b for b, _ in cores[i + 1 :]) for i in range(len(cores))]
        above = [math.prod(c for _, c in cores[:i]) for i in range(len(cores))]
        return cls((above[i], r[i] * b, r[i + 1] * c, below[i]) for i, (b, c) in enumerate(cores))

    @classmethod
    def smallest(cls, m: int, n: int, ranks: int | Sequence[int]) -> Chain:
        """The monotone chain of fewest entries with these junction ranks (arXiv 2411.04506).

        Monotone: the sizes go from n to m without turning back, ``b_l >= c_l`` for every core
        where m > n, ``b_l <= c_l`` where m < n, equal where m = n.

        Parameters
        ----------
        m, n : int
            Size of the matrix.
        ranks : int or sequence of int
            ``r_1 .. r_(L-1)``; a single number for every junction of as many factors as store
            fewest entries (the fewest factors of these).

        Raises
        ------
        ValueError
            If a size or a rank is less than 1.

        Examples
        --------
        >>> Chain.smallest(128, 128, [4, 4, 4])
        Chain((1,4,16,32), (4,8,8,16), (8,8,8,8), (16,32,8,1))
        >>> Chain.smallest(64, 64, 1) == Chain.square_dyadic(64)
        False
        >>> Chain.smallest(64, 64, 1)
        Chain((1,4,4,16), (4,4,4,4), (16,4,4,1))
        """
        m, n = operator.index(m), operator.index(n)
        wanted = [ranks] if isinstance(ranks, int) else list(map(operator.index, ranks))
        if min(m, n, *wanted) < 1:
            raise ValueError(f"smallest takes sizes and ranks from 1 on, got {m}, {n}, {ranks}")
        from .smallest import smallest_cores

        if not isinstance(ranks, int):
            return cls.from_cores(smallest_cores(m, n, wanted), wanted)
        most = max(len(prime_factors(m)), len(prime_factors(n)), 1)
        every = [wanted * junctions for junctions in range(most)]
        return min((cls.smallest(m, n, r) for r in every), key=lambda c: (c.entries, len(c)))

    # -- facts -----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        return self.patterns[0].shape[0], self.patterns[-1].shape[1]

    @property
    def entries(self) -> int:
        """Stored numbers of all the factors."""
        return sum(p.entries for p in self.patterns)

    @property
    def T(self) -> Chain:
        """Chain of the transpose."""
        return Chain(p.T for p in reversed(self.patterns))

    @property
    def obstacle(self) -> str | None:
        """Why the chain is not chainable: the first pair that does not chain; None if it is."""
        for q, (left, right) in enumerate(itertools.pairwise(self.patterns), 1):
            if (why := left.obstacle_with(right)) is not None:
                return f"factors {q} and {q + 1}, {tuple(left)} and {tuple(right)}: {why}"
        return None

    @property
    def ranks(self) -> tuple[int, ...]:
        """Rank of each junction; raises ValueError where the chain is not chainable."""
        return tuple(p.rank_with(q) for p, q in itertools.pairwise(self.patterns))

    @property
    def fused(self) -> Pattern:
        """Pattern of the whole product; raises ValueError where the chain is not chainable."""
        whole = self.patterns[0]
        for p in self.patterns[1:]:
            whole = whole.fused_with(p)
        return whole

    @property
    def redundant(self) -> tuple[int, ...]:
        """The junctions q (from 1) with ``r >= min(b, c')``: fusing the pair loses nothing."""
        pairs = itertools.pairwise(self.patterns)
        return tuple(q for q, (p, s) in enumerate(pairs, 1) if p.rank_with(s) >= min(p.b, s.c))

    # -- other chains from this one --------------------------------------------------------

    def __matmul__(self, right: Chain) -> Chain:
        """The chain of the product: the factors of both, one after the other.

        >>> Chain.monarch(4, 4) @ Chain([(1, 4, 3, 1)])
        Chain((1,2,2,2), (2,2,2,1), (1,4,3,1))
        """
        if not isinstance(right, Chain):
            return NotImplemented
        return Chain((*self.patterns, *right.patterns))

    def fuse(self, *junctions: int) -> Chain:
        """Coarser by these junctions (from 1): the neighbours become their fused pattern.

        Raises
        ------
        ValueError
            If there is no such junction, or the two do not chain.

        Examples
        --------
        >>> Chain.square_dyadic(16).fuse(1, 2)
        Chain((1,8,8,2), (8,2,2,1))
        """
        for q in junctions:
            if not 1 <= q < len(self):
                raise ValueError(
                    f"there is no junction {q}: {len(self)} factors have {len(self) - 1}"
                )
        found = [self.patterns[0]]
        for q, p in enumerate(self.patterns[1:], 1):
            if q in junctions:
                found[-1] = found[-1].fused_with(p)
            else:
                found.append(p)
        return Chain(found)

    @property
    def kept(self) -> tuple[int, ...]:
        """The junctions (from 1) that stay in `reduced`."""
        left, chain = list(range(1, len(self))), self
        while redundant := chain.redundant:
            del left[redundant[0] - 1]
            chain = chain.fuse(redundant[0])
        return tuple(left)

    @property
    def reduced(self) -> Chain:
        """The chain with the same products and no redundant junction (arXiv 2411.04506, Alg. 4.1).

        >>> Chain.from_cores([(2, 2), (2, 2), (2, 2)], [2, 1]).reduced
        Chain((1,4,4,2), (4,2,2,1))
        """
        return self.fuse(*set(range(1, len(self))).difference(self.kept))

    # -- to look at ------------------------------------------------------------------------

    def draw(self, width: int = 16) -> str:
        """The chain as text: a table of its factors, and their supports side by side.

        Parameters
        ----------
        width : int
            Largest number of characters for a factor; a character stands for a rectangle of
            entries and is filled where one of them is stored.

        Examples
        --------
        >>> print(Chain.monarch(4, 4).draw())
        (1,2,2,2)  4x4  8 entries
                   rank 1
        (2,2,2,1)  4x4  8 entries
        <BLANKLINE>
        # . # .   # # . .
        . # . #   # # . .
        # . # .   . . # #
        . # . #   . . # #
        """
        from .drawing import text

        return text(self, width)

    def plot(self, axes: Any = None) -> Any:
        """Draw the supports of the factors side by side; needs matplotlib.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            One for each factor; a new figure by default.

        Returns
        -------
        list of matplotlib Axes
        """
        from .drawing import plot

        return plot(self, axes)

    # -- a sequence ------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.patterns)

    def __getitem__(self, i):
        return Chain(self.patterns[i]) if isinstance(i, slice) else self.patterns[i]

    def __iter__(self) -> Iterator[Pattern]:
        return iter(self.patterns)

    def __repr__(self) -> str:
        return "Chain({})".format(", ".join("({},{},{},{})".format(*p) for p in self.patterns))


def _middle_divisor(n: int) -> int:
    """The largest divisor of `n` that is at most its square root."""
    return max(p for p in range(1, math.isqrt(n) + 1) if n % p == 0)
