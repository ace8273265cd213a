"""repr, tree, notebook form, info."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from cases import ALL_LABELS, c, r

import lazyops as lo

D, M = lo.Diagonal(c(6)), lo.Dense(r(6, 6))
P, K = lo.Permutation(np.arange(6)[::-1]), lo.KroneckerSparse(c(1, 3, 3, 2))


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (D @ P @ K, "D6 @ P6 @ K(1,3,3,2)"),
        (D @ (P + M), "D6 @ (P6 + M6)"),
        (D + P @ M, "D6 + P6 @ M6"),
        (D - P, "D6 - P6"),
        (D - (P + M), "D6 - (P6 + M6)"),
        (-D, "-D6"),
        (-(D + P), "-(D6 + P6)"),
        (2 * D, "2 * D6"),
        (2.5 * D @ M, "2.5 * D6 @ M6"),
        (1j * (D + M), "1j * (D6 + M6)"),
        (D / 4, "0.25 * D6"),
        (np.float64(3) * D, "3 * D6"),
        (lo.kron(D, P + M), "kron(D6, P6 + M6)"),
        (lo.kron(D, P) @ lo.Identity(36), "kron(D6, P6) @ I36"),
        (lo.hstack([D, M]), "hstack([D6, M6])"),
        (lo.vstack([D, P @ M]), "vstack([D6, P6 @ M6])"),
        (lo.block([[D, None], [None, P]]), "vstack([hstack([D6, 0(6x6)]), hstack([0(6x6), P6])])"),
        (D.real, "real(D6)"),
        (M[1:3], "R2x6 @ M6"),
        (D**2, "D6 @ D6"),
        (lo.Zero((2, 3)), "0(2x3)"),
    ],
)
def test_repr_shows_what_was_written(op, text):
    assert repr(op) == text
    assert str(op) == text


@pytest.mark.parametrize("name", sorted(ALL_LABELS))
def test_label_of_every_leaf(name):
    build, label = ALL_LABELS[name]
    assert repr(build(np.asarray)) == label


def test_tree():
    op = 2 * D @ (P + M) - lo.kron(lo.Identity(2), lo.Dense(r(3, 3)))
    lines = op.tree().splitlines()
    assert lines[0] == "Sum  6x6  complex128  numpy on cpu  51 entries"
    assert "      P6  6x6  float64  follows x  0 entries" in lines
    assert "      M3  3x3  float64  numpy on cpu  9 entries" in lines
    assert lo.Sum([D] * 100).tree().splitlines()[-1] == "  ... and 88 more"


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_notebook_form_is_a_tree_without_javascript():
    op = D @ (P + M) @ lo.Function((6, 6), lambda x: x)
    html = op._repr_html_()
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert parser.seen == {"div", "details", "summary"}
    assert "&lt;" not in html.replace("&lt;lambda&gt;", "")
    assert "script" not in html
    assert [line.strip() for line in op.tree().splitlines()] == [
        t for t in re.split(r"<[^>]*>", html) if t
    ]


def test_info():
    op = 2 * D @ K
    info = op.info()
    assert info.shape == (6, 6)
    assert info.entries == 6 + 18
    assert info.values_nbytes == 16 * 24
    assert info.flops == 4 * 6 + 8 * 18
    assert info.depth == 2
    assert info.nodes == 4
    assert info.dense_entries == 36
    assert info.dense_nbytes == 36 * 16
    assert "24 (0.6667 of dense)" in str(info)
    assert (op + op).info().entries == 24  # one array, held twice


def test_bytes_count_index_arrays_apart():
    assert P.nbytes == 6 * 8
    assert P.values_nbytes == 0
    assert (D @ P).nbytes == 6 * 16 + 6 * 8
