"""The folds of a manifest for a terminal: their sizes, what they annotate, and what they lack."""

from rich.console import Group, RenderableType
from rich.text import Text

from manifests.changes.case_folds import fold_shortfalls
from manifests.table.manifest import Manifest
from manifests.table.subjects import subjects_of
from manifests.views.table_style import new_table, right


def folds_view(manifest: Manifest) -> Group:
    """Show for each fold how many cases, patients and cases that annotate a class it has.

    Args:
        manifest: At least `COLUMNS` of `case_folds`.
    """
    used = ["case_id", "subject_id", "related", "fold", "annotated"]
    rows = manifest.table.select(used).to_pylist()
    subject_of = subjects_of(rows)
    names = manifest.label_space.names[1:]
    folds = sorted({row["fold"] for row in rows} - {None})
    inside = [[row for row in rows if row["fold"] == fold] for fold in folds]
    lines = [
        ("cases", *map(len, inside)),
        ("patients", *(len({subject_of[row["case_id"]] for row in part}) for part in inside)),
        *(
            (name.replace("_", " "), *(sum(name in row["annotated"] for row in p) for p in inside))
            for name in names
        ),
    ]
    columns = ["", *right(*(f"fold {fold}" for fold in folds))]
    table = new_table("Folds: cases that annotate each class", columns, lines)
    parts: list[RenderableType] = [table]
    parts += [Text(line, "yellow") for line in fold_shortfalls(manifest)]
    return Group(*parts)
