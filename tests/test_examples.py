"""Examples in docstrings and documentation give what they print, and links lead somewhere."""

import ast
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import jaxgen

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(jaxgen.__path__, "jaxgen.")
    if not module.name.endswith("__main__")
)


def examples(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return [test for test in found if test.examples]


DOCSTRINGS = [test for module in ["jaxgen", *MODULES] for test in examples(module)]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```(?:python|pycon)\n(.*?)```", page.read_text(), re.DOTALL)


BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page))
    if ">>>" in block
]


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def run(test: doctest.DocTest) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append)
    assert not runner.summarize(verbose=False).failed, "".join(report)


@pytest.mark.usefixtures("in_an_empty_folder", "quick_compilation")
@pytest.mark.parametrize("test", DOCSTRINGS, ids=lambda test: test.name)
def test_examples_in_docstrings(test: doctest.DocTest):
    run(test)


@pytest.mark.usefixtures("in_an_empty_folder", "quick_compilation")
@pytest.mark.parametrize("block", BLOCKS)
def test_examples_in_documentation(block: str):
    run(doctest.DocTestParser().get_doctest(block, {}, "example", None, None))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_documentation_can_be_parsed(page: Path):
    for block in blocks(page):
        if ">>>" not in block:
            ast.parse(block)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "benchmarks/NOTES.md"])
def test_links_lead_to_files(name: str):
    page = ROOT / name
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    local = [target.split("#")[0] for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_readme_is_short_and_shows_the_main_things_first():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90
    first = text[: text.index("## ")]
    assert first.count("![") == 1
    assert re.search(r"^python.*-m pytest$", first, re.MULTILINE)
    assert "experiments/vae_mnist.py" in first
    (code,) = re.findall(r"```python\n(.*?)```", first, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10


def test_doctests_can_fail():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    with pytest.raises(AssertionError, match="Expected"):
        run(wrong)
