"""Findings have documented codes, and no others."""

from pathlib import Path

import pytest

from manifests.ground.findings import MEANINGS, Finding

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "findings.md"


def test_the_documentation_lists_every_code_with_its_meaning():
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    assert rows == [f"| `{code}` | {meaning} |" for code, meaning in MEANINGS.items()]


def test_an_unknown_code_is_refused():
    with pytest.raises(KeyError, match="unknown finding code"):
        Finding("no_such_code", "")
