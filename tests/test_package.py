"""What was installed is what is tested, and the public names are the ones promised."""

from __future__ import annotations

import importlib.metadata
import inspect
import itertools
import pathlib
import tomllib

import pytest

import lazyops as lo

CLONE = pathlib.Path(__file__).parent.parent

PUBLIC = {
    "Certificate", "Chain", "Dense", "Diagonal", "Factorization", "FixedSupport", "FloatFormat",
    "Front", "Function", "Identity", "Info", "KroneckerSparse", "LinearOperator", "Pattern",
    "Permutation", "Product", "Quantization", "QuantizedKroneckerSparse", "Scalar", "Sparse", "Sum",
    "Tuning", "Zero", "along_axis", "aslinearoperator", "block", "block_diag", "canonical",
    "certificate", "chunk", "circulant", "convolution", "cumsum", "dct", "dctn", "diff",
    "downsample", "dst", "dstn", "explain", "factorize", "fft", "fftn", "fixed_support", "flip",
    "gabor", "gradient", "hadamard", "hankel", "hartley", "hstack", "ifft", "ifftn", "igabor",
    "imdct", "inverse", "irfft", "istft", "iwavelet", "kron", "kronsum", "laplacian", "load",
    "may_lack_optimum", "mdct", "norm", "nudft", "nufft", "overlap_add", "pad", "quantize", "radon",
    "recompress", "refine", "relative_error", "resample", "resample_poly", "restrict", "rfft",
    "roll", "same_up_to_scaling", "save", "set_num_threads", "show_versions", "simplify", "stft",
    "toeplitz", "trace", "tradeoff", "tune", "vstack", "wavelet", "zak",
}  # fmt: skip


def installed():
    try:
        return importlib.metadata.distribution("lazyops")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("lazyops is not installed: run from the source folder")


def test_the_package_under_test_is_the_installed_one():
    distribution = installed()
    if "editable" in (distribution.read_text("direct_url.json") or ""):
        pytest.skip("an editable installation is the source folder")
    folder = pathlib.Path(lo.__file__).parent
    assert folder == pathlib.Path(str(distribution.locate_file("lazyops")))
    assert folder != CLONE / "lazyops"


def test_metadata():
    project = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]
    assert project["version"] == lo.__version__
    extras = project["optional-dependencies"]
    for requirement in itertools.chain(project["dependencies"], *extras.values()):
        assert "<" not in requirement, f"an upper pin: {requirement}"
        assert "==" not in requirement, f"an exact pin: {requirement}"
    assert {"cupy", "torch", "dask", "plot", "test", "dev"} <= set(extras)
    assert installed().version == lo.__version__


def test_public_names():
    names = {name for name, value in vars(lo).items() if not inspect.ismodule(value)}
    assert {name for name in names if not name.startswith("_")} == PUBLIC
    assert (pathlib.Path(lo.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_explained(name):
    assert len((getattr(lo, name).__doc__ or "").strip()) > 30


def test_the_kit_is_there_when_asked_for():
    assert lo.testing.check_operator(lo.Identity(3)).worst <= 1
    with pytest.raises(AttributeError, match="module 'lazyops' has no attribute 'nothing'"):
        _ = lo.nothing
