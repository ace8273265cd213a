"""Every python block of the pages runs, and what they say it prints is what it prints.

Each file is one namespace, in a folder of its own.  A block that starts with ``>>>`` is read as a
doctest.  Words after ``python``: ``no-run`` is skipped, ``torch`` runs where torch is found.
"""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import pathlib
import re
import runpy
import sys
import types

import pytest

import lazyops as lo

ROOT = pathlib.Path(__file__).parent.parent
TRANSFORMS = ROOT / "docs" / "transforms"
NAMED = sorted(TRANSFORMS.glob("*.md"))  # a page for each transform, or close family
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *NAMED]
PAGES = [page for page in PAGES if page.exists()]
BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
drawing = runpy.run_path(str(TRANSFORMS / "draw" / "__main__.py"))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(page):
    """(line of the first statement, words after ``python``, source) of every block."""
    found = page.read_text()
    for match in BLOCK.finditer(found):
        line = found.count("\n", 0, match.start(2))
        yield line, match.group(1).split(), match.group(2)


def execute(source, page, line, namespace):
    if not source.lstrip().startswith(">>>"):
        exec(compile("\n" * line + source, str(page), "exec"), namespace)
        return
    test = doctest.DocTestParser().get_doctest(source, namespace, page.name, str(page), line)
    test.globs = namespace  # names go on to the next block
    said = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
        test, out=said.append, clear_globs=False
    )
    if said:
        pytest.fail("".join(said), pytrace=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"page_{page.stem}")  # a module: classes in it can be pickled
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for line, words, source in blocks(page):
        if "no-run" in words or ("torch" in words and not importlib.util.find_spec("torch")):
            continue
        execute(source, page, line, module.__dict__)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_wrong_line_on_a_page_is_caught(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\n>>> 1 + 1\n3\n```\n\n```python no-run\nboom\n```\n")
    (line, _, source), (_, words, _) = blocks(page)
    assert words == ["no-run"]
    with pytest.raises(pytest.fail.Exception, match=r"Expected:\n    3\nGot:\n    2"):
        execute(source, page, line, {})


def test_pages_that_should_run_do_have_blocks():
    with_blocks = {page.stem for page in PAGES if list(blocks(page))}
    assert {"conventions", "adding", "factorize", "files"} <= with_blocks


def test_the_picture_is_what_its_script_draws():
    draw = runpy.run_path(str(ROOT / "docs" / "layout.py"))["svg"]
    assert (ROOT / "docs" / "layout.svg").read_text() == draw()


def test_every_transform_has_a_page():
    said = "".join(page.read_text() for page in NAMED)
    public = {name for name, f in vars(lo.transforms).items() if inspect.isfunction(f)}
    missing = {name for name in public if not re.search(rf"\b{name}\(", said)}
    assert {"fft", "dct"} <= public
    assert not missing, f"no page in docs/transforms speaks of {sorted(missing)}"


@pytest.mark.parametrize("page", NAMED, ids=lambda p: p.stem)
def test_a_page_on_a_transform_is_whole(page):
    """It shows its picture, it runs, and the table of all transforms leads to it."""
    picture = page.with_suffix(".svg")
    assert f"]({picture.name})" in page.read_text()
    assert picture.exists(), f"python docs/transforms/draw {page.stem}"
    assert picture.stat().st_size < 60_000
    assert page.stem in drawing["drawings"]()
    assert list(blocks(page))
    assert f"](transforms/{page.name})" in (ROOT / "docs" / "transforms.md").read_text()


def test_pictures_are_drawn_alike_twice(tmp_path):
    pytest.importorskip("matplotlib")
    once = [path.read_bytes() for path in drawing["draw"](["fft"], tmp_path)]
    assert once == [path.read_bytes() for path in drawing["draw"](["fft"], tmp_path)]
    assert b"<svg" in once[0]
    with pytest.raises(ValueError, match="no module here draws 'pony'"):
        drawing["draw"](["pony"], tmp_path)
