"""The pages: links lead to files and headings; paths, modules and imported names exist."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)")
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
IN_PATH = re.compile(r"\b(?:curate|manifests|train|tests)/[\w./-]+")
IN_MODULE = re.compile(r"-m (tests\.[\w.]+)")
IMPORT = re.compile(r"^from ((?:curate|manifests|train)[\w.]*) import (\w+)$", re.MULTILINE)

MENTION = re.compile(r"\bdocs/[\w/]+\.md\b")

on_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page):
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@on_each_page
def test_links_lead_to_files_and_headings(page):
    for target, anchor in LINK.findall(CODE.sub("", page.read_text())):
        file = (page.parent / target).resolve() if target else page
        # a page that is made when the site is built is not there on GitHub
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}#{anchor}"


@on_each_page
def test_paths_and_modules_exist(page):
    text = page.read_text()
    paths = {path.rstrip(".") for path in IN_PATH.findall(text)}
    paths |= {module.replace(".", "/") + ".py" for module in IN_MODULE.findall(text)}
    assert not [path for path in sorted(paths) if not (ROOT / path).exists()]


@on_each_page
def test_imported_names_exist(page):
    imports = IMPORT.findall(page.read_text())
    assert all(hasattr(import_module(module), name) for module, name in imports)


def test_the_citation_and_the_changes_know_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_pages_that_the_sources_name_exist():
    sources = [
        file
        for room in ("curate", "manifests", "train", "tests")
        for kind in ("*.py", "*.toml")
        for file in sorted((ROOT / room).rglob(kind))
    ]
    named = {page for file in sources for page in MENTION.findall(file.read_text("utf-8"))}
    assert named
    assert not [page for page in sorted(named) if not (ROOT / page).exists()]
