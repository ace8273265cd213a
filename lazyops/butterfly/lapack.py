"""LAPACK on stacks of blocks, in calls short enough that Ctrl-C is seen between them.

Python looks for signals between two calls only.  A stack is taken in pieces; a single block that
keeps LAPACK busy for seconds is left to a thread, and the main thread waits where it can be
interrupted.  NumPy gives the interpreter free meanwhile.  No number changes: LAPACK is called block
by block in any case.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

PIECE = 1 << 24  # b * c * min(b, c), summed over the blocks of a call: about 50 ms of an SVD
BLOCK = 1 << 11  # that much for each block besides: what a call of LAPACK costs, some 5 us
LONG = 1 << 27  # and of a single block from which it is left to a thread: about 0.3 s
PRODUCT = 1 << 30  # multiplications of a call: about 50 ms
WAIT = 0.05  # seconds between two looks at signals


def svd(T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin SVD of every block.  (..., b, c) -> U (..., b, k), s (..., k), V^H (..., k, c)"""
    return _in_pieces(lambda part: np.linalg.svd(part, full_matrices=False), T)


def singular_values(T: np.ndarray) -> np.ndarray:
    """Singular values of every block.  (..., b, c) -> (..., min(b, c))"""
    return _in_pieces(lambda part: (np.linalg.svd(part, compute_uv=False),), T)[0]


def qr(T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thin QR of every block.  (..., b, c) -> Q (..., b, k), R (..., k, c)"""
    return _in_pieces(np.linalg.qr, T)


def triangle(T: np.ndarray) -> np.ndarray:
    """R of the QR of every block.  (..., b, c) -> (..., min(b, c), c)"""
    return _in_pieces(lambda part: (np.linalg.qr(part, mode="r"),), T)[0]


def product(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """``X @ Y`` of every block, some columns of Y at a time where the blocks are huge."""
    *_, b, k = X.shape
    c = Y.shape[-1]
    if b * k * c <= PRODUCT:
        return X @ Y
    step = max(1, PRODUCT // (b * k))
    return np.concatenate([X @ Y[..., i : i + step] for i in range(0, c, step)], axis=-1)


def _in_pieces(call: Callable[[np.ndarray], tuple], T: np.ndarray) -> Any:
    *outer, b, c = T.shape
    work = b * c * min(b, c) + BLOCK
    count = T.size // max(b * c, 1)
    if work * count <= PIECE:
        return call(T)
    step = max(1, PIECE // work)
    blocks = T.reshape(-1, b, c)
    run = call if work <= LONG else _aside(call)
    parts = [run(blocks[i : i + step]) for i in range(0, count, step)]
    joined = (one[0] if len(one) == 1 else np.concatenate(one) for one in zip(*parts, strict=True))
    return tuple(x.reshape(*outer, *x.shape[1:]) for x in joined)


def _aside(call: Callable[[np.ndarray], tuple]) -> Callable[[np.ndarray], tuple]:
    """`call` in a thread of its own: an interrupted wait leaves it to end unheard.

    It is no daemon: an interpreter that ends before it would take away what BLAS computes with.
    """
    if threading.current_thread() is not threading.main_thread():
        return call  # signals go to the main thread

    def run(part: np.ndarray) -> tuple:
        said: list[tuple] = []
        failed: list[BaseException] = []
        done = threading.Event()

        def work() -> None:
            try:
                said.append(call(part))
            except BaseException as error:
                failed.append(error)
            done.set()

        thread = threading.Thread(target=work, daemon=False, name="lazyops LAPACK")
        thread.start()
        # An interrupted Thread.join of Python 3.11 takes a thread that runs for one that has ended,
        # and the interpreter would not wait for it: the event knows better.
        while not done.wait(WAIT):
            pass
        if failed:
            raise failed[0]
        return said[0]

    return run
