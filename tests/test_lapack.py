"""LAPACK in pieces: the same numbers as in one call, and interrupted between them."""

import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lazyops.butterfly import lapack

CALLS = {
    "svd": (lapack.svd, lambda T: np.linalg.svd(T, full_matrices=False)),
    "singular_values": (lapack.singular_values, lambda T: np.linalg.svd(T, compute_uv=False)),
    "qr": (lapack.qr, np.linalg.qr),
    "triangle": (lapack.triangle, lambda T: np.linalg.qr(T, mode="r")),
}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(lapack, "PIECE", 200)
    monkeypatch.setattr(lapack, "BLOCK", 1)
    monkeypatch.setattr(lapack, "LONG", 400)
    monkeypatch.setattr(lapack, "PRODUCT", 300)


def blocks(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    T = rng.standard_normal(shape)
    return T + 1j * rng.standard_normal(shape) if dtype is complex else T


def same(got, expected):
    if not isinstance(expected, tuple):
        got, expected = (got,), (expected,)
    for x, y in zip(got, expected, strict=True):
        assert_array_equal(x, y)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize(
    "shape",
    [(7, 3, 4), (2, 3, 5, 4, 4), (1, 9, 9), (3, 9, 8), (9, 9), (0, 3, 4), (2, 0, 3), (1, 1)],
)
def test_the_same_bits_as_in_one_call(name, dtype, shape, tiny):
    T = blocks(shape, dtype)
    ours, numpys = CALLS[name]
    same(ours(T), numpys(T))
    same(ours(T.swapaxes(-1, -2)), numpys(T.swapaxes(-1, -2)))


@given(st.tuples(*[st.integers(0, 12)] * 4))
def test_products_by_columns(sizes):
    outer, b, k, c = sizes
    X, Y = blocks((outer, b, k), float), blocks((outer, k, c), complex)
    before, lapack.PRODUCT = lapack.PRODUCT, 50
    try:
        got = lapack.product(X, Y)
    finally:
        lapack.PRODUCT = before
    assert got.shape == (outer, b, c)
    bound = 2 * (k + 2) * 2.0**-53 * (np.abs(X) @ np.abs(Y))  # gamma_k, real times complex
    assert (np.abs(got - X @ Y) <= 2 * bound).all()


def test_errors_come_back_from_the_thread(tiny):
    with pytest.raises(np.linalg.LinAlgError, match="SVD did not converge"):
        lapack.svd(np.full((20, 20), np.nan))


def test_no_thread_outside_the_main_one(tiny):
    used = []

    def call(part):
        used.append(threading.current_thread())
        return (part,)

    worker = threading.Thread(target=lambda: lapack._in_pieces(call, np.ones((20, 20))))
    worker.start()
    worker.join()
    lapack._in_pieces(call, np.ones((20, 20)))
    assert used[0] is worker
    assert used[1] is not threading.current_thread()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX timers")
def test_one_long_call_is_interrupted(tiny):
    """The call would wait for an event; the signal ends the wait for it."""
    never = threading.Event()

    def ring(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    start = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            lapack._in_pieces(lambda part: (never.wait(120),), np.ones((20, 20)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        never.set()
    assert time.perf_counter() - start < 60
