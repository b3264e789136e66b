"""What `download` shows of its plan."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.filesize import decimal
from rich.table import Table

from curate.download.licence import read_acceptance
from curate.download.plan import PlannedSource
from curate.recipes.sources import HttpSource, SynapseSource
from manifests.views.table_style import new_table, plain

NAMED = 5  # so many outdated files are named


def download_view(sources: Sequence[PlannedSource], raw: Path) -> Group:
    """What there is to download, what of it is there, and on which terms."""
    return Group(files_table(sources), "", licences_table(sources, raw))


def outdated_names(sources: Sequence[PlannedSource]) -> str | None:
    """Which local copies were published anew since; None if none was."""
    names = [f.file.name for s in sources for f in s.files if f.state == "outdated"]
    if not names:
        return None
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"outdated, to be fetched again: {', '.join(names[:NAMED])}{more}"


def files_table(sources: Sequence[PlannedSource]) -> Table:
    """What there is to download, and what of it is there."""
    table = new_table("Downloads")
    for heading in ("dataset", "files"):
        table.add_column(heading, no_wrap=True)
    for heading in ("size", "there", "to fetch"):
        table.add_column(heading, justify="right", no_wrap=True)
    for s in sources:
        there = sum(f.state == "there" for f in s.files)
        cells = (s.recipe.name, _files(s), _size(s), f"{there} of {len(s.files)}", _to_fetch(s))
        table.add_row(*map(plain, cells))
    return table


def licences_table(sources: Sequence[PlannedSource], raw: Path) -> Table:
    """On which terms it comes, and whether they were accepted."""
    table = new_table("Licences")
    table.add_column("dataset", no_wrap=True)
    for heading in ("licence", "use", "accepted"):
        table.add_column(heading)
    recipes = {s.recipe.name: s.recipe for s in sources}
    needed = {s.recipe.name for s in sources if s.to_fetch}
    for name, recipe in recipes.items():
        use = "any" if recipe.commercial_use else "no commercial use"
        acceptance = read_acceptance(recipe, raw)
        accepted = acceptance.accepted_at.date() if acceptance else "no" if name in needed else ""
        table.add_row(*map(plain, (name, recipe.licence, use, accepted)))
    return table


def _files(source: PlannedSource) -> str:
    if isinstance(source.source, HttpSource | SynapseSource):
        return source.source.file
    return source.source.files.partition("{case}")[0] + "*"


def _size(source: PlannedSource) -> str:
    if source.size_bytes is None:
        return "?"
    exact = all(f.file.size_bytes is not None for f in source.files)
    return decimal(source.size_bytes) if exact else f"about {decimal(source.size_bytes)}"


def _to_fetch(source: PlannedSource) -> str:
    if not source.to_fetch:
        return ""
    size = source.to_fetch_bytes
    kept = sum(f.part_bytes for f in source.to_fetch)
    words = "?" if size is None else decimal(size)
    return f"{words} more" if kept else words
