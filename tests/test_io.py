"""Files: what is saved comes back bit by bit; a bad file is a ValueError and nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections import Counter

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse
from cases import CASES, NUMPY_ONLY
from hypothesis import given
from numpy.testing import assert_array_equal

import lazyops as lo
from lazyops.butterfly import Factorization, Split, factorize
from lazyops.io import _digest, _text, atomic, kinds, load, save, scalars
from lazyops.io.layout import DTYPES, MAX_HEADER, Stored
from lazyops.operators import Extension, Foreign, Kron, Restriction, fold

DATA = {**CASES, **NUMPY_ONLY}
HELD_BY_CODE = {"function", "foreign", "foreign_adjoint"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "A.safetensors"


def bits(A):
    """Everything an expression says: kinds, scalars with their types, arrays with their bits."""

    def one(value):
        if isinstance(value, lo.LinearOperator):
            return value.kind_name
        if isinstance(value, tuple):
            return tuple(map(one, value))
        if isinstance(value, (np.ndarray, np.generic)):
            return value.dtype.str, value.shape, value.tobytes()
        return type(value), repr(value)

    def visit(node, below):
        fields = [(f.name, one(getattr(node, f.name))) for f in dataclasses.fields(node)]
        return node.kind_name, tuple(fields), below

    return fold(A, visit)


# -- round trips ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(DATA) - HELD_BY_CODE))
def test_every_kind_comes_back(name, path):
    A = DATA[name][0](np.asarray)
    save(path, A)
    assert bits(load(path)) == bits(A)


@pytest.mark.parametrize("name", sorted(set(CASES) - HELD_BY_CODE))
def test_every_library(name, path, xp):
    A = CASES[name][0](xp.asarray)
    save(path, A)
    x = xp.asarray(np.ones(A.shape[1]))
    B = load(path, like=x)
    assert set(B.places) <= set(A.places)  # an array of one number comes back as a scalar
    assert_array_equal(np.asarray(B @ x), np.asarray(A @ x))


def test_every_class_is_either_saved_or_refused_by_name():
    def below(cls):
        return {c for sub in cls.__subclasses__() for c in {sub, *below(sub)}}

    ours = {c for c in below(lo.LinearOperator) if c.__module__.startswith("lazyops.")}
    assert ours == set(kinds.NAMES) | set(kinds.NOT_SAVEABLE)


@pytest.mark.parametrize("name", sorted(kinds.KINDS))
def test_the_table_names_every_field(name):
    kind = kinds.KINDS[name]
    how = {"pack"}  # how a product runs is not what it is
    assert set(kind.fields) == {f.name for f in dataclasses.fields(kind.cls)} - how
    assert kind.cls.__name__ == name


def test_what_runs_code_is_refused_and_named(path):
    A = lo.Identity(4) + 2 * lo.Function((4, 4), abs)
    with pytest.raises(TypeError, match=r"cannot save abs\[4\] \(Function\): it runs Python"):
        save(path, A)
    scipys = Foreign(scipy.sparse.linalg.aslinearoperator(np.eye(3)))
    with pytest.raises(TypeError, match=r"\(Foreign\): it wraps .* put lo\.Dense\(A\.to_dense"):
        save(path, scipys)
    assert not list(path.parent.iterdir())


def test_a_class_of_the_user_is_refused(path):
    class Mine(lo.Identity):
        pass

    with pytest.raises(TypeError, match=r"files know no operators of the class .*Mine"):
        save(path, Mine(3))
    with pytest.raises(TypeError, match="save writes an operator or a factorization, got ndarray"):
        save(path, np.eye(3))


def test_long_double_is_refused_with_the_way_out(path):
    with pytest.raises(TypeError, match=r"cannot save 0\.values: .* use A\.astype\('float64'\)"):
        save(path, lo.Diagonal(np.ones(3, np.longdouble)))
    with pytest.raises(TypeError, match=r"cannot save 0\.alpha: files hold no"):
        save(path, lo.Scalar(3, np.longdouble(2)))


arrays = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5).flatmap(
    lambda shape: hnp.arrays(
        st.sampled_from("?bBhHiIlLefdFD").map(np.dtype), shape, elements=None, fill=st.nothing()
    )
)


@given(arrays, st.sampled_from(["C", "F", "reversed", "every second", "transposed", "swapped"]))
def test_every_layout(tmp_path_factory, values, layout):
    path = tmp_path_factory.mktemp("layout") / "A"
    match layout:
        case "F":
            values = np.asfortranarray(values)
        case "reversed":
            values = values[::-1, ::-1]
        case "every second":
            values = np.repeat(values, 2, axis=1)[:, ::2]
        case "transposed":
            values = values.T
        case "swapped":
            values = values.astype(values.dtype.newbyteorder())
    A = lo.Dense(values, copy=False)
    save(path, A)
    assert bits(load(path)) == bits(A)


@given(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.complex_numbers(),
        st.text(),
        st.sampled_from("bBhHiIlLefdFD").flatmap(lambda c: hnp.from_dtype(np.dtype(c))),
        st.just(-(10**3000)),
    )
)
def test_every_scalar(value):
    back = scalars.decode(json.loads(json.dumps(scalars.encode(value), allow_nan=False)))
    assert type(back) is type(value)
    assert back.tobytes() == value.tobytes() if isinstance(value, np.generic) else True
    assert repr(back) == repr(value)


def test_numpy_integers_in_fields_become_plain(path):
    A = Restriction(np.array([2, 0], np.uint8), np.int64(3))
    save(path, A)
    B = load(path)
    assert type(B.n) is int
    assert_array_equal(B.to_dense(), np.eye(3)[[2, 0]])


def test_an_array_is_stored_once(path):
    v = np.arange(2000.0)
    D = lo.Diagonal(v)
    save(path, (D @ D + 2 * D) @ lo.Diagonal(D.values, copy=False))
    assert v.nbytes < path.stat().st_size < v.nbytes + 2000
    K = lo.KroneckerSparse(np.ones((2, 30, 30, 2)) * 1j)
    save(path, K.H @ K)
    assert path.stat().st_size < K.nbytes + 2000


def test_wide_and_long_expressions(path):
    A = sum((lo.Scalar(5, k) for k in range(5_000)), lo.Identity(5))
    save(path, A)
    assert bits(load(path)) == bits(A)
    for _ in range(1000):
        A = (A + lo.Identity(5)) @ lo.Identity(5) if A.kind_name != "Sum" else lo.Identity(5) @ A
    save(path, A)
    assert load(path).info() == A.info()


def test_sizes_beyond_memory(path):
    A = lo.kron(lo.Identity(2**40), lo.Identity(2**40)) + lo.Zero((2**80, 2**80))
    save(path, A)
    assert load(path).shape == (2**80, 2**80)
    with pytest.raises(ValueError, match="files hold sizes of at most 1024 bits"):
        save(path, lo.Identity(2**2000))


def test_a_loaded_operator_is_locked_and_our_own(path):
    save(path, lo.Diagonal(np.arange(3.0)))
    A = load(path)
    assert not A.values.flags.writeable
    os.truncate(path, 0)
    assert_array_equal(A.values, [0, 1, 2])


def test_same_bytes_every_time(path):
    A = CASES["block"][0](np.asarray)
    save(path, A)
    first = path.read_bytes()
    save(path, CASES["block"][0](np.asarray))
    assert path.read_bytes() == first
    save(path, load(path))
    assert path.read_bytes() == first


def test_factorization_comes_back_with_its_certificate(path):
    found = factorize(np.fft.fft(np.eye(16), axis=0))
    save(path, found)
    back = load(path)
    assert isinstance(back, Factorization)
    assert isinstance(back.splits[0], Split)
    assert bits(back.operator) == bits(found.operator)
    for f in dataclasses.fields(Factorization)[1:]:
        if f.name != "tried":  # how it was found is no part of the file
            assert getattr(back, f.name) == getattr(found, f.name)
    dense = factorize(np.random.default_rng(0).standard_normal((6, 6)))
    save(path, dense)
    assert load(path).chain is None
    assert load(path).reason == dense.reason


# -- torch, and low bits -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_low_bits(name, path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    values = torch.arange(-6.0, 6.0).reshape(3, 4).to(getattr(torch, name)).T
    save(path, lo.Dense(values))
    back = load(path, like=torch.zeros(1)).array
    assert back.dtype == values.dtype
    assert torch.equal(back.view(torch.uint8), values.contiguous().view(torch.uint8))
    official = load_file(path)["0.array"]
    assert official.dtype == values.dtype
    assert torch.equal(official.view(torch.uint8), back.view(torch.uint8))
    try:
        import ml_dtypes  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match=f"'0.array' holds {name}, which NumPy lacks: pass li"):
            load(path)


def test_torch_views_and_gradients(path):
    torch = pytest.importorskip("torch")
    z = torch.randn(4, 4, dtype=torch.complex128, requires_grad=True)
    save(path, lo.Dense(z.conj().T))
    assert_array_equal(load(path).array, z.detach().numpy().conj().T)
    with pytest.raises(ValueError, match=r"0\.values: a meta tensor has no numbers"):
        save(path, lo.Diagonal(torch.ones(3, device="meta")))
    with pytest.raises(TypeError, match="like= takes an array, got str"):
        load(path, like="torch")


# -- the official package ------------------------------------------------------------------


@pytest.mark.parametrize("code", "?bBhHiIlLefdFD")
def test_safetensors_reads_our_tensors(code, path):
    from safetensors.numpy import load_file

    v = (np.arange(12) % 2).reshape(3, 4).astype(code)
    save(path, lo.Dense(v.T) @ lo.Diagonal(np.ones(3, np.int8)))
    found = load_file(path)
    assert_array_equal(found["1.values"], np.ones(3, np.int8))
    if code == "D":
        found["0.array"] = found["0.array"].view(np.complex128)[..., 0]
    assert found["0.array"].dtype == v.dtype
    assert_array_equal(found["0.array"], v.T)


def test_we_read_what_safetensors_writes_again(path):
    """Its writer puts tensors and keys into an order of its own."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    A = (
        lo.Diagonal(np.arange(3, dtype=np.int8))
        @ lo.Dense(np.eye(3) * 1j)
        @ lo.Permutation([2, 0, 1])
    )
    save(path, A)
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata)
    assert bits(load(path)) == bits(A)


def test_numbers_are_aligned(path):
    save(
        path,
        lo.Diagonal(np.ones(3, np.int8))
        @ lo.Diagonal(np.ones(3, np.float32))
        @ lo.Diagonal(np.ones(3)),
    )
    data = path.read_bytes()
    length, header = parts(data)[:2]
    assert (8 + length) % 8 == 0
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % np.dtype(DTYPES[entry["dtype"]]).itemsize == 0


# -- bad files -----------------------------------------------------------------------------


def parts(data):
    length = int.from_bytes(data[:8], "little")
    return length, json.loads(data[8 : 8 + length]), data[8 + length :]


def forged(path, change, sign=True):
    """The file with its header changed, and the checksum of the header made right again."""
    _, header, tail = parts(path.read_bytes())
    metadata = header["__metadata__"]
    nodes = json.loads(metadata["expression"])
    tail = change(header, nodes, tail) or tail
    metadata["expression"] = _text(nodes)
    if sign:
        rest = [
            Stored(n, e["dtype"], tuple(e["shape"]), None)
            for n, e in header.items()
            if n != "__metadata__"
        ]
        metadata["digest"] = _digest(metadata, rest)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + tail)


def refused(path, match):
    with pytest.raises(ValueError, match=match) as caught:
        load(path)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith(f"cannot load {path}: ")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "0 bytes are too few"),
        (b"\x00" * 7, "7 bytes are too few"),
        (struct.pack("<Q", 1 << 63) + b"{}", "a header of 9,223,372,036,854,775,808 bytes"),
        (struct.pack("<Q", 10) + b"{}", "truncated: the header needs 18 bytes of 10"),
        (struct.pack("<Q", 2) + b"{}", "not written by lazyops"),
        (struct.pack("<Q", 2) + b"[]", "not a JSON object"),
        (struct.pack("<Q", 2) + b"{}extra", "bytes after the last tensor"),
        (struct.pack("<Q", 0), "not valid JSON"),
        (struct.pack("<Q", 2) + b"\xff\xfe", "not valid JSON"),
        (struct.pack("<Q", 15) + b'{"a":1,  "a":2}', "a key stands there twice"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "nested too deeply"),
        (struct.pack("<Q", 9) + b'{"a":NaN}', "NaN is no JSON"),
        (struct.pack("<Q", 6005) + b'{"a":' + b"9" * 5999 + b"}", "not valid JSON"),
        (struct.pack("<Q", 21) + b'{"__metadata__":{"a":1}}'[:21], "not valid JSON"),
        (struct.pack("<Q", 24) + b'{"__metadata__":{"a":1}}', "does not map strings to strings"),
        (b"\x93NUMPY\x01\x00v\x00", "not a safetensors file, or a hostile one"),
    ],
)
def test_bad_headers(data, match, path):
    path.write_bytes(data)
    refused(path, match)


def entry(dtype="F64", shape=(3,), offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("found", "match"),
    [
        (entry(dtype="F4"), "unknown dtype: 'F4'"),
        (entry(dtype=["F64"]), "unknown dtype"),
        (entry(shape=(-3,)), r"has no shape, but \[-3\]"),
        (entry(shape=(3.0,)), "has no shape"),
        (entry(shape=(True,) * 3), "has no shape"),
        (entry(shape=(1,) * 40), "has no shape"),
        (entry(shape=(2**70, 0), offsets=(0, 0)), "has no shape"),
        (entry(shape=(2**40, 2**40)), "its offsets span 24"),
        (entry(shape=(4,)), "needs 32 bytes, its offsets span 24"),
        (entry(offsets=(8, 32)), "there is a gap before tensor '0.values'"),
        (entry(offsets=(24, 0)), "has no data_offsets"),
        (entry(offsets=(-8, 16)), "has no data_offsets"),
        (entry(shape=(4,), offsets=(0, 32)), "truncated: the tensors end at"),
        (entry(shape=(2,), offsets=(0, 16)), "bytes after the last tensor"),
        (entry(dtype="F32", shape=(6,)), "the SHA-256 of the header differs"),
        ({"dtype": "F64"}, "is not described by dtype, shape and data_offsets"),
        ([], "is not described by"),
    ],
)
def test_bad_tensor_entries(found, match, path):
    save(path, lo.Diagonal(np.ones(3)))

    def change(header, nodes, tail):
        header["0.values"] = found

    forged(path, change, sign=False)
    refused(path, match)


def test_overlapping_tensors(path):
    save(path, lo.Diagonal(np.ones(3)) @ lo.Diagonal(np.zeros(3)))

    def change(header, nodes, tail):
        header["1.values"]["data_offsets"] = [0, 24]
        return tail[:24]

    forged(path, change)
    refused(path, "an overlap at tensor")


def node(kind, **fields):
    def change(header, nodes, tail):
        nodes[-1] = [kind, fields]

    return change


def field(**fields):
    def change(header, nodes, tail):
        nodes[-1][1].update(fields)

    return change


def metadata(**fields):
    def change(header, nodes, tail):
        header["__metadata__"].update(fields)

    return change


T = {"tensor": "0.values"}
HOSTILE = [
    (node("os.system", command="true"), r"node 0 \('os.system'\): no kind of operator that"),
    (node("Function", size=[3, 3]), r"\('Function'\): no kind of operator"),
    (node("Foreign", operator=1), "no kind of operator"),
    (node("__class__"), "no kind of operator"),
    (node(["Dense"]), "no kind of operator"),
    (node("Diagonal"), r"its fields are \[\], not \['values'\]"),
    (node("Diagonal", values=T, copy=False), r"not \['values'\]"),
    (node("Diagonal", values=3), "values = 3 does not fit"),
    (node("Diagonal", values={"tensor": "other"}), "the file has no tensor 'other'"),
    (node("Diagonal", values={"node": 0}), "node 0 does not stand before it"),
    (node("Diagonal", values={"node": -1}), "node -1 does not stand before it"),
    (node("Diagonal", values={"pickle": "gASV"}), "'pickle' is no kind of scalar"),
    (node("Diagonal", values={"object": "00"}), "'object' is no kind of scalar"),
    (node("Dense", array=T, conjugated=False), "array = .* does not fit"),
    (node("Identity", n=-1), "n = -1 does not fit"),
    (node("Identity", n=True), "n = True does not fit"),
    (node("Identity", n={"float": "nan"}), "does not fit"),
    (node("Identity", n={"float": "x" * 99}), "is no float"),
    (node("Identity", n={"int": "0x" + "f" * 400}), "its size takes more than 1024 bits"),
    (node("Identity", n={"float64": "00"}), "is no float64"),
    (node("Scalar", n=3, alpha="3"), "alpha = '3' does not fit"),
    (node("Scalar", n=3, alpha=T), "does not fit"),
    (node("Zero", size=[3]), r"size = \[3\] does not fit"),
    (node("Product", factors=[]), "does not fit"),
    (node("Product", factors=[[[[[[[[[[]]]]]]]]]]), "nested too deeply"),
    (node("Product", factors=[None]), "does not fit"),
    (node("Identity", n=3), "tensor '0.values' belongs to no node"),
    (node("Restriction", index=T, n=3), "does not fit"),
    (metadata(expression="[", format="pt"), "not written by lazyops"),
    (metadata(schema="2"), "written by a newer lazyops .schema 2, this one reads 1.: update"),
    (metadata(schema="0"), "its schema is '0'"),
    (metadata(schema="²"), "its schema is"),
    (metadata(schema="9" * 5000), "its schema is"),
    (metadata(sha256="{}"), "the checksums are not those of the tensors"),
    (metadata(sha256='{"0.values":null}'), "the SHA-256 of tensor '0.values' differs"),
    (metadata(sha256="[" * 100_000), "its sha256 is nested too deeply"),
    (metadata(dtypes='{"0.values":"complex128"}'), "cannot be read as 'complex128'"),
    (metadata(dtypes='{"1.values":"complex128"}'), "cannot be read as"),
    (metadata(dtypes='{"0.values":"object"}'), "cannot be read as 'object'"),
    (metadata(certificate="{}"), "the certificate has other fields"),
]


@pytest.mark.parametrize(("change", "match"), HOSTILE, ids=[m[:40] for _, m in HOSTILE])
def test_hostile_headers(change, match, path):
    save(path, lo.Diagonal(np.ones(3)))
    forged(path, change)
    refused(path, match)


def test_no_expression(path):
    save(path, lo.Identity(2))
    for text, match in [
        ("[]", "not a list of 1 to"),
        ("3", "not a list"),
        ("[3]", "not a kind and"),
    ]:
        _, header, _ = parts(path.read_bytes())
        header["__metadata__"]["expression"] = text
        header["__metadata__"]["digest"] = _digest(header["__metadata__"], [])
        out = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(out)) + out)
        refused(path, match)


def test_missing_metadata(path):
    save(path, lo.Identity(2))
    _, header, _ = parts(path.read_bytes())
    for key in ("expression", "dtypes", "sha256", "digest"):
        rest = {k: v for k, v in header["__metadata__"].items() if k != key}
        out = json.dumps({"__metadata__": rest}).encode()
        path.write_bytes(struct.pack("<Q", len(out)) + out)
        refused(path, f"its metadata lack '{key}'")


CERTIFICATES = [
    ({"chain": [[1, 2, 2]]}, "not a list of patterns"),
    ({"chain": [[0, 2, 2, 2]]}, "four integers from 1 on"),
    ({"chain": [[1, 2, 2, 2]]}, r"the chain has the shape \(4, 4\), the operator \(16, 16\)"),
    ({"splits": [[1, 2]]}, "no list of triples"),
    ({"splits": [[1, "2", 3]]}, "has no position and rank"),
    ({"lower_bound": {"float": "nan"}}, "an error in the certificate is nan"),
    ({"upper_bound": 1}, "an error in the certificate is 1"),
    ({"reason": None}, "is no text"),
]


@pytest.mark.parametrize(("data", "match"), CERTIFICATES)
def test_bad_certificates(data, match, path):
    save(path, factorize(np.fft.fft(np.eye(16), axis=0)))

    def change(header, nodes, tail):
        found = json.loads(header["__metadata__"]["certificate"])
        header["__metadata__"]["certificate"] = json.dumps(found | data)

    forged(path, change)
    refused(path, match)


BAD_INDEX = [
    (lo.Permutation([0, 1, 2]), "index", [0, 1, 3], r"index\[2\] is 3"),
    (lo.Permutation([0, 1, 2]), "index", [0, 1, 1], "1 stands at 1 and at 2"),
    (Restriction(np.array([0, 1]), 3), "index", [0, -1], r"index\[1\] is -1, outside 0 .. 2"),
    (Extension(np.array([0, 1]), 3), "index", [0, 3], r"index\[1\] is 3, outside 0 .. 2"),
    (lo.Sparse(scipy.sparse.eye_array(3)), "indices", [0, 1, 3], r"indices\[2\] is 3"),
    (lo.Sparse(scipy.sparse.eye_array(3)), "indptr", [0, 2, 1, 3], "indptr does not rise from 0"),
    (lo.Sparse(scipy.sparse.eye_array(3)), "indptr", [0, 1, 2, 9], "indptr does not rise from 0"),
    (lo.Sparse(scipy.sparse.eye_array(3)), "indptr", [-9, 1, 2, 3], "indptr does not rise"),
]


@pytest.mark.parametrize(("A", "name", "index", "match"), BAD_INDEX)
def test_index_arrays_are_checked_before_compiled_code_trusts_them(A, name, index, match, path):
    import hashlib

    save(path, A)

    def change(header, nodes, tail):
        e = header[f"0.{name}"]
        raw = np.array(index, DTYPES[e["dtype"]]).tobytes()
        sums = json.loads(header["__metadata__"]["sha256"])
        sums[f"0.{name}"] = hashlib.sha256(raw).hexdigest()
        header["__metadata__"]["sha256"] = _text(sums)
        start, stop = e["data_offsets"]
        return tail[:start] + raw + tail[stop:]

    forged(path, change)
    refused(path, match)


def test_sparse_lengths(path):
    save(path, lo.Sparse(scipy.sparse.eye_array(3)))
    good = path.read_bytes()
    for fields, match in [
        ({"size": [2, 3]}, "indptr has 4 entries for 2 rows"),
        ({"indptr": {"tensor": "0.indices"}}, "indptr has 3 entries for 3 rows"),
        ({"indices": {"tensor": "0.indptr"}}, "3 entries of data, 4 indices"),
        ({"indices": {"tensor": "0.data"}}, "does not fit"),
        ({"size": [3, 1]}, r"indices\[1\] is 1, outside 0 .. 0"),
    ]:
        path.write_bytes(good)
        forged(path, field(**fields))
        refused(path, match)


def doubling(kind, name, levels):
    """Each node holds the one before it twice: sizes or lengths would double at each level."""

    def change(header, nodes, tail):
        nodes[:] = [["Identity", {"n": 2}]]
        for i in range(levels):
            nodes.append([kind, {name: [{"node": i}, {"node": i}]}])

    return change


@pytest.mark.parametrize(
    ("kind", "name", "match"),
    [
        ("Product", "factors", "a Product stands directly inside another"),
        ("Sum", "terms", "a Sum stands directly inside another"),
        ("Kron", "factors", "a Kron stands directly inside another"),
        ("BlockDiag", "blocks", "its size takes more than 1024 bits"),
        ("HStack", "blocks", "its size takes more than 1024 bits"),
    ],
)
def test_expressions_that_would_explode(kind, name, match, path):
    save(path, lo.Identity(2))
    forged(path, doubling(kind, name, 2000))
    refused(path, match)


def test_errors_do_not_print_a_hostile_expression(path):
    save(path, lo.Identity(2))

    def change(header, nodes, tail):
        doubling("HStack", "blocks", 100)(header, nodes, tail)
        nodes.append(["VStack", {"blocks": [{"node": 100}, {"node": 0}]}])

    forged(path, change)
    refused(path, "blocks of 2 and 2535301200456458802993406410752 columns")


def test_kron_of_kron_through_a_wrapper(path):
    save(path, lo.Identity(2))

    def change(header, nodes, tail):
        nodes[:] = [["Identity", {"n": 2**52}]]
        for i in range(0, 200, 2):
            nodes.append(["Kron", {"factors": [{"node": i}, {"node": i}]}])
            nodes.append(["Assumed", {"operator": {"node": i + 1}, "assumed": []}])

    forged(path, change)
    refused(path, "its size takes .* bits, at most 1024 are allowed")
    assert Kron in kinds.NAMES


def test_bytes_that_are_no_bool(path):
    import hashlib

    save(path, lo.Diagonal(np.ones(3, bool)))

    def change(header, nodes, tail):
        raw = b"\x01\x02\x00"
        header["__metadata__"]["sha256"] = _text({"0.values": hashlib.sha256(raw).hexdigest()})
        return raw

    forged(path, change)
    refused(path, "holds bytes that are no bool")


def test_damaged_numbers(path):
    save(path, lo.Diagonal(np.ones(3)))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    refused(path, "damaged: the SHA-256 of tensor '0.values' differs")


def test_max_bytes(path):
    save(path, lo.Diagonal(np.ones(3)))
    assert load(path, max_bytes=24).shape == (3, 3)
    with pytest.raises(ValueError, match="its tensors take 24 bytes, max_bytes is 23"):
        load(path, max_bytes=23)


def test_a_huge_sparse_file_allocates_nothing(path):
    """A terabyte of holes with the header of another file: refused before any allocation."""
    save(path, lo.Diagonal(np.ones(3)))

    def change(header, nodes, tail):
        header["0.values"] = entry(shape=(2**37,), offsets=(0, 2**40))

    forged(path, change)
    try:
        os.truncate(path, path.stat().st_size - 24 + 2**40)
    except OSError:
        pytest.skip("no sparse files here")
    with pytest.raises(ValueError, match=r"max_bytes is 1,000,000"):
        load(path, max_bytes=10**6)


def test_paths_that_are_no_files(path):
    with pytest.raises(FileNotFoundError):
        load(path)
    with pytest.raises(IsADirectoryError):
        load(path.parent)
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        with pytest.raises(ValueError, match="not a regular file"):
            load(path)
        with pytest.raises(OSError, match="not a regular file"):
            save(path, lo.Identity(3))


def mutated(data, rng):
    """One of: bits flipped, bytes cut, bytes put in, a number of the header replaced."""
    data = bytearray(data)
    match rng.randrange(5):
        case 0:
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 1:
            del data[rng.randrange(len(data)) :]
        case 2:
            at = rng.randrange(len(data))
            data[at:at] = rng.randbytes(rng.randint(1, 9))
        case 3:
            at = rng.randrange(len(data))
            del data[at : at + rng.randint(1, 9)]
        case _:
            digits = [i for i, c in enumerate(data) if 48 <= c < 58]
            data[rng.choice(digits)] = rng.choice(b'0123456789-.eE"[{')
    return bytes(data)


def shuffled(path, rng):
    """Values of the expression exchanged, checksums of the header right."""
    odd = [-1, 0, 1, 2, True, None, "x", [], {}, {"node": 0}, {"node": 7}, {"int": "zz"}]
    odd += [{"tensor": "1.values"}, {"float": "inf"}, {"complex": ["1", "x"]}, 2**60, [0, 1], 1.5]

    def change(header, nodes, tail):
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(nodes))
            match rng.randrange(4):
                case 0:
                    nodes[at] = rng.choice(nodes)
                case 1:
                    nodes[at][0] = rng.choice([*kinds.KINDS, "eval", 3, None])
                case 2 if nodes[at][1]:
                    nodes[at][1][rng.choice(list(nodes[at][1]))] = rng.choice(odd)
                case _:
                    name = rng.choice([n for n in header if n != "__metadata__"])
                    header[name]["dtype"] = rng.choice([*DTYPES, "F4", 3])
            nodes[:] = json.loads(json.dumps(nodes))

    def whole(header, nodes, tail):
        change(header, nodes, tail)
        for found in header.values():
            if "dtype" in found and found["dtype"] not in DTYPES:
                found["dtype"] = str(found["dtype"])

    forged(path, whole)


def test_fuzz(path):
    """Bad bytes are a ValueError; what loads in spite of them is what was saved."""
    A = CASES["block"][0](np.asarray).real @ lo.block_diag(
        [lo.Sparse(scipy.sparse.eye_array(4)), lo.Permutation([1, 0]), lo.restrict([1, 2, 1, 0], 4)]
    )
    save(path, A)
    good, expected, rng = path.read_bytes(), bits(A), random.Random(0)
    loaded, refusals = 0, Counter()
    for i in range(6000):
        if i % 3:
            path.write_bytes(mutated(good, rng))
        else:
            path.write_bytes(good)
            shuffled(path, rng)
        try:
            found = load(path)
        except ValueError as error:
            refusals[type(error), str(error).startswith(f"cannot load {path}: ")] += 1
        else:
            loaded += 1
            assert i % 3 == 0 or bits(found) == expected
    assert set(refusals) == {(ValueError, True)}
    assert loaded < 1200


# -- atomic ----------------------------------------------------------------------------------


def test_a_failed_save_leaves_what_was_there(path, monkeypatch):
    save(path, lo.Identity(3))
    before = path.read_bytes()
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(handle, error=error):
            raise error

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(type(error)):
            save(path, lo.Diagonal(np.ones(3)))
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]


def test_unwritable_targets(path):
    with pytest.raises(IsADirectoryError):
        save(path.parent, lo.Identity(3))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save(path.parent / "nowhere" / "A", lo.Identity(3))
    (path.parent / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        save(path.parent / "file" / "A", lo.Identity(3))
    with pytest.raises(FileNotFoundError):
        atomic.check_writable(path.parent / "nowhere" / "A")
    atomic.check_writable(path)
    assert sorted(os.listdir(path.parent)) == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_locked_folder(path):
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=path.name):
            save(path, lo.Identity(3))
    finally:
        path.parent.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_links_are_followed_and_modes_are_usual(path, tmp_path):
    real = tmp_path / "real"
    path.symlink_to(real)
    save(str(path), lo.Identity(3))
    assert path.is_symlink()
    assert load(os.fsencode(path)).shape == (3, 3)
    other = tmp_path / "other"
    other.write_text("")
    assert real.stat().st_mode == other.stat().st_mode


def test_long_names(tmp_path):
    path = tmp_path / ("ä" * 120)
    save(path, lo.Identity(3))
    assert load(path).shape == (3, 3)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kill_leaves_the_old_file_or_the_new_one(path):
    code = """
        import sys, numpy as np, lazyops as lo
        from lazyops.io import save
        path = sys.argv[1]
        print("ready", flush=True)
        for i in range(10**6):
            save(path, lo.Diagonal(np.full(200_000, float(i))))
    """
    rng = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with process:
            process.stdout.readline()
            time.sleep(0.05 + rng.random() * 0.1)
            process.send_signal(signal.SIGKILL)
        values = load(path).values
        assert_array_equal(values, np.full(200_000, values[0]))


def test_a_header_beyond_the_limit_is_refused_when_written(path, monkeypatch):
    monkeypatch.setattr("lazyops.io.layout.MAX_HEADER", 200)
    with pytest.raises(ValueError, match="the expression is too long for a file: its header takes"):
        save(path, lo.Identity(3) + lo.Identity(3) + lo.Identity(3) + lo.Identity(3))
    assert not os.listdir(path.parent)
    assert MAX_HEADER == 16 << 20
