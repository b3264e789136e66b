"""What `download` shows of its plan."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.filesize import decimal
from rich.table import Table

from curate.download.licence import read_acceptance
from curate.download.plan import PlannedSource
from curate.recipes.sources import HttpSource, SynapseSource
from manifests.views.table_style import new_table, unbroken

NAMED = 5  # so many outdated files are named


def download_view(sources: Sequence[PlannedSource], raw: Path) -> Group:
    """Show what there is to download, what of it is there, and on which terms."""
    columns = [
        *unbroken("dataset", "files"),
        *unbroken("size", "there", "to fetch", justify="right"),
    ]
    files = new_table("Downloads", columns, map(_files_row, sources))
    return Group(files, "", _licences_table(sources, raw))


def outdated_names(sources: Sequence[PlannedSource]) -> str | None:
    """Say which local copies were published anew since; None if none was."""
    names = [f.file.name for s in sources for f in s.files if f.state == "outdated"]
    if not names:
        return None
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"outdated, to be fetched again: {', '.join(names[:NAMED])}{more}"


def _files_row(source: PlannedSource) -> tuple[str, ...]:
    if isinstance(source.source, HttpSource | SynapseSource):
        files = source.source.file
    else:
        files = source.source.files.partition("{case}")[0] + "*"
    there = sum(f.state == "there" for f in source.files)
    counts = f"{there} of {len(source.files)}"
    return (source.recipe.name, files, _size(source), counts, _to_fetch(source))


def _size(source: PlannedSource) -> str:
    if source.size_bytes is None:
        return "?"
    exact = all(f.file.size_bytes is not None for f in source.files)
    return decimal(source.size_bytes) if exact else f"about {decimal(source.size_bytes)}"


def _to_fetch(source: PlannedSource) -> str:
    if not source.to_fetch:
        return ""
    size = source.to_fetch_bytes
    kept = any(f.part_bytes for f in source.to_fetch)
    return ("?" if size is None else decimal(size)) + (" more" if kept else "")


def _licences_table(sources: Sequence[PlannedSource], raw: Path) -> Table:
    needed = {s.recipe.name for s in sources if s.to_fetch}
    rows = []
    for name, recipe in {s.recipe.name: s.recipe for s in sources}.items():
        use = "any" if recipe.commercial_use else "no commercial use"
        acceptance = read_acceptance(recipe, raw)
        accepted = acceptance.accepted_at.date() if acceptance else "no" if name in needed else ""
        rows.append((name, recipe.licence, use, accepted))
    return new_table("Licences", [*unbroken("dataset"), "licence", "use", "accepted"], rows)
