"""The walk over a manifest that every export shares: cases, their files and their flat names."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from manifests.classes.label_space import IGNORED
from manifests.classes.merged import is_merged
from manifests.ground.errors import ExportError
from manifests.table.case import Case
from manifests.table.flat_names import flat_name, flat_names
from manifests.table.manifest import Manifest
from manifests.table.sql import CASES, select_cases
from manifests.table.validate import unsound_rows
from manifests.table.volume_files import ROW, file_mismatches


@dataclass(frozen=True)
class ExportedCase:
    """One case, and where its volumes lie.

    Attributes:
        name: What its files are called elsewhere, without a suffix; unique in the selection.
    """

    case: Case
    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Selection:
    """The cases to export.

    Attributes:
        manifest: What holds for all of them; its rows are the selected ones.
        problems: Why a case cannot be exported, by case id.
    """

    manifest: Manifest
    cases: tuple[ExportedCase, ...]
    problems: dict[str, str]


def label_names(selection: Selection) -> dict[int, str]:
    """Return what the values of the label volumes mean, with `ignored` if some voxels are."""
    names = dict(enumerate(selection.manifest.label_space.names))
    ignored = any(exported.case.ignored for exported in selection.cases)
    return names | {IGNORED: "ignored"} if ignored else names


def select_for_export(path: Path, where: str | None = None) -> Selection:
    """Select cases by an SQL condition, and set those aside whose rows or files are damaged.

    Args:
        path: The manifest, or its folder.
        where: As for `select_cases`; None is every case.

    Raises:
        ManifestError: The manifest cannot be read, or the condition cannot be used.
        ExportError: No case is selected, or two cases would have the same file name.
    """
    with select_cases(path, where) as selected:
        rows = selected.connection.table(CASES).order("case_id").to_arrow_table()
        manifest = selected.head.with_table(rows)
    if not len(manifest):
        msg = f"no case to export: {path} has none for which {where or 'it is there'}"
        raise ExportError(msg)
    unsound = unsound_rows(manifest)
    cases: list[ExportedCase] = []
    problems: dict[str, str] = {}
    for case in manifest.cases():
        if found := unsound.get(case.case_id) or next(_problems(manifest, case), ""):
            problems[case.case_id] = found
            continue
        image, label = manifest.path(case.image), manifest.path(case.label)
        cases.append(ExportedCase(case, flat_name(case.case_id), image, label))
    _refuse_collisions(c.case.case_id for c in cases)
    return Selection(manifest, tuple(cases), problems)


def _problems(manifest: Manifest, case: Case) -> Iterator[str]:
    if not is_merged(case.merged):
        yield f"its merged classes are damaged: {list(case.merged)}; see `marginalia validate`"
    if not case.case_id.isprintable() or "\\" in case.case_id or case.case_id.startswith("."):
        yield f"its id makes no file name: {case.case_id!r}"
    for column, expected, got in file_mismatches(
        manifest, {name: getattr(case, name) for name in ROW}
    ):
        yield f"{column}: expected {expected}, got {got}; see `marginalia validate`"


def _refuse_collisions(case_ids: Iterable[str]) -> None:
    """Refuse cases whose files would have one name, on some file systems at least."""
    names = flat_names(case_ids)
    clashing = [case_id for case_id, name in names.items() if name != flat_name(case_id)]
    if clashing:
        one, *others = sorted(clashing, key=lambda c: (flat_name(c).casefold(), c))
        msg = (
            f"the cases {one!r} and {others[0]!r} would both be called {flat_name(one)!r}, apart "
            f"from capitals, which some file systems do not tell apart; export one of them, with "
            f"--where \"case_id <> '{others[0]}'\""
        )
        raise ExportError(msg)
