"""Documents of an export: JSON for people too, whole, and never written over another."""

import json
from pathlib import Path
from typing import Any

from manifests.exports.volume_file import refuse_other
from manifests.ground.atomic import write_text


def as_text(document: Any) -> str:  # noqa: ANN401
    """Return a document as JSON for people, too."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def write_document(path: Path, text: str) -> None:
    """Write a document; one that stands there with the same content is left.

    Raises:
        ExportError: One stands there with another content.
    """
    refuse_changed(path, text)
    if not path.exists():
        write_text(path, text)


def refuse_changed(path: Path, text: str) -> None:
    """Refuse a document that stands there with another content than is to be written.

    Raises:
        ExportError: It does.
    """
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        refuse_other(path)
