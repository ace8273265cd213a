"""Exact chains: where their factors have entries."""

from __future__ import annotations

import numpy as np

import lazyops as lo


def exact_chains(figure):
    x = np.cos(np.arange(12.0))
    chains = {"dft(12)": lo.butterfly.dft(12), "dct(12, 4)": lo.butterfly.dct(12, 4),
              "circulant(x)": lo.butterfly.circulant(x)}  # fmt: skip
    most = max(len(A.factors) for A in chains.values())
    grid = figure.subplots(len(chains), most)
    for row, (name, A) in zip(grid, chains.items(), strict=True):
        for axes in row[len(A.factors) :]:
            axes.axis("off")
        for axes, factor in zip(row, A.factors, strict=False):
            matrix = factor.to_dense().real
            axes.imshow(matrix, vmin=-np.abs(matrix).max(), vmax=np.abs(matrix).max())
            axes.set(xticks=[], yticks=[], title=repr(factor))
        row[0].set_ylabel(name)
