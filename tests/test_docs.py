"""Every python block of the pages runs, and what they say it prints is what it prints.

Each file is one namespace, in a folder of its own.  A block that starts with ``>>>`` is read as a
doctest.  In others, the comment behind an expression is what it prints, or its value.  Words
after ``python``: ``no-run`` is skipped, ``torch`` runs where torch is found.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib.util
import inspect
import io
import pathlib
import re
import runpy
import sys
import tokenize
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
        return run_with_comments(source, page, line, namespace)
    test = doctest.DocTestParser().get_doctest(source, namespace, page.name, str(page), line)
    test.globs = namespace  # names go on to the next block
    said = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
        test, out=said.append, clear_globs=False
    )
    if said:
        pytest.fail("".join(said), pytrace=False)


def run_with_comments(source, page, line, namespace):
    """Statement by statement: what stands behind an expression as a comment has to be true."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    said = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    run = lambda node, kind: compile(ast.increment_lineno(node, line), str(page), kind)
    for node in ast.parse(source).body:
        comment = said.get(node.end_lineno) if isinstance(node, ast.Expr) else None
        if comment is None:
            exec(run(ast.Module([node], []), "exec"), namespace)
            continue
        at, printed = f"{page.name}:{line + node.lineno}", io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = eval(run(ast.Expression(node.value), "eval"), namespace)
        found = printed.getvalue() if value is None else repr(value)
        if found.split() != comment.split():
            pytest.fail(f"{at} says\n    {comment}\nand gives\n    {found}", pytrace=False)


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


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = 2  # prose\nprint(x, 'a')  # 2 b", "2 a"),
        ("1 + 1  # 3", "2"),
        ("print(\n    4,\n)  # 5", "4"),
        ("print('once')\nprint()  # twice", ""),
    ],
)
def test_a_wrong_comment_on_a_page_is_caught(source, found, tmp_path):
    with pytest.raises(
        pytest.fail.Exception, match=rf"page.md:\d+ says\n.*\nand gives\n    {found}"
    ):
        execute(source, tmp_path / "page.md", 4, {})
    execute("x = [1,  2]\nx  # [1, 2]\nprint(x)  # [1, 2]\nx.append(3)\n", tmp_path, 0, {})


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
