"""Every python block of the pages runs, and what they say it prints is what it prints.

Each file is one namespace, in a folder of its own.  A block that starts with ``>>>`` is read as a
doctest.  Words after ``python``: ``no-run`` is skipped, ``torch`` runs where torch is found.
"""

from __future__ import annotations

import doctest
import importlib.util
import pathlib
import re
import runpy
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if p.exists()]
BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
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


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"page_{page.stem}")  # a module: classes in it can be pickled
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for line, words, source in blocks(page):
        if "no-run" in words or ("torch" in words and not importlib.util.find_spec("torch")):
            continue
        execute(source, page, line, module.__dict__)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
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
