"""The site of the documents: no warning when it is built, and nothing loaded from afar."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from train.settings import TrainSettings

ROOT = Path(__file__).parents[1]
LOADED = re.compile(r'<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)="(https?:)?//[^"]*"')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it: warnings are errors."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def read(site, page):
    return (site / page).read_text(encoding="utf-8")


def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert not [page for page in pages if LOADED.search(page.read_text(encoding="utf-8"))]


def test_pages_are_made_from_the_code(site):
    assert "marginalia recipe check" in read(site, "reference/commands.html")
    settings = read(site, "reference/settings.html")
    assert not [
        name for name in TrainSettings.model_fields if f"<code>{name}</code>" not in settings
    ]
    assert "missing_mask" in read(site, "reference/recipe_keys.html")
    assert "foreground_hu_low" in read(site, "reference/manifest_columns.html")
    assert "abdomen13" in read(site, "reference/label_space_keys.html")
    assert "foreground_probability" in read(site, "reference/python.html")


def test_equations_are_drawn_and_code_is_no_link(site):
    losses = read(site, "explanation/losses.html")
    assert losses.count("<math") > 5
    assert "$$" not in losses
    python = read(site, "how_to/python.html")
    assert "RandGaussianNoised" in python  # of the example, which the page includes
    assert 'href="../../' not in python
