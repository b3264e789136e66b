"""Facts of a dataset's cases beside their voxels: the patient, the publisher's split and others."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from curate.datasets.discover import SourceCase
from curate.datasets.table_rows import Row, Value, read_rows
from curate.recipes.case_table import CaseTable
from curate.recipes.expression_match import match_in_time
from curate.recipes.schema import Recipe
from manifests.classes.structure_names import structures_named
from manifests.classes.structures import vocabulary
from manifests.ground.errors import SourceError
from manifests.ground.findings import Finding
from manifests.ground.near_names import did_you_mean
from manifests.table.case import Split

NOTHING = "none"  # was annotated
IMAGE_SUFFIX = re.compile(r"(\.nii|\.nrrd|\.mha|\.mhd)?(\.gz)?$", re.IGNORECASE)
CHANNEL = re.compile(r"_0000$")  # nnU-Net numbers channels behind the name


@dataclass(frozen=True)
class CaseFacts:
    """What is known of one case.

    Attributes:
        subject: The patient's name in the dataset; empty if nothing names the patient.
        split: The publisher's.
        columns: Further columns of the dataset's table, by their names in small letters and `_`.
        findings: What could not be known.
        annotated: Structures that the table says were annotated; None if it says nothing.
    """

    subject: str = ""
    split: Split | None = None
    columns: Mapping[str, Value] = field(default_factory=dict[str, Value])
    findings: tuple[Finding, ...] = ()
    annotated: frozenset[str] | None = None


def case_facts(recipe: Recipe, root: Path, cases: Sequence[SourceCase]) -> dict[str, CaseFacts]:
    """Return what the recipe's layout and its table tell of cases, by the case's name.

    Raises:
        SourceError: The table is not there and not optional, is damaged, or contradicts itself.
    """
    try:
        return _facts(recipe, root, cases)
    except SourceError as error:
        msg = f"{recipe.name}: {error}"
        raise SourceError(msg) from error


def _facts(recipe: Recipe, root: Path, cases: Sequence[SourceCase]) -> dict[str, CaseFacts]:
    subjects = {case.name: _subject(recipe, root, case) for case in cases}
    table = recipe.table
    path = None if table is None else _find(table, root)
    if table is None or path is None:
        return {name: _with_subject(recipe, CaseFacts(s)) for name, s in subjects.items()}
    texts = {n for n in (table.case, table.subject, table.split, table.annotated) if n}
    reader = _Reader(table, path, read_rows(path, texts=texts), recipe.structures)
    if table.case is None:
        rows = reader.by_key(table.subject or "", set(subjects.values()) - {""})
        found = {name: rows.get(subject) for name, subject in subjects.items()}
    else:
        found = reader.by_key(table.case, subjects.keys())
    facts = {name: reader.facts(found.get(name), subjects[name]) for name in subjects}
    return {name: _with_subject(recipe, f) for name, f in facts.items()}


def with_annotated(case: SourceCase, recipe: Recipe, facts: CaseFacts) -> SourceCase:
    """Say which values nobody annotated in a case, if the recipe's table knows.

    A tumour in the value of its organ goes with the organ.
    """
    if recipe.table is None or recipe.table.annotated is None:
        return case
    if facts.annotated is None:
        finding = Finding("annotation_unknown", f"nothing in the column {recipe.table.annotated}")
        return replace(case, finding=case.finding or finding)
    known = {**vocabulary(), **recipe.structures}
    needed = {
        value: {s for s in covers if known[s].part_of not in covers}
        for value, covers in recipe.values.items()
    }
    unannotated = {value for value, named in needed.items() if not named <= facts.annotated}
    return replace(case, unannotated=case.unannotated | unannotated)


def count_unannotated(recipe: Recipe, cases: Iterable[SourceCase]) -> Counter[str]:
    """Count the cases in which nobody annotated what a value covers, by its structures."""
    return Counter(
        " + ".join(recipe.values[value])
        for case in cases
        if not case.finding
        for value in sorted(case.unannotated)
    )


def _subject(recipe: Recipe, root: Path, case: SourceCase) -> str:
    """Return what the layout's `subject` finds in the case's name, or else in its paths."""
    expression = recipe.layout.subject
    if expression is None:
        return ""
    compiled = re.compile(expression)
    paths = (path.relative_to(root).as_posix() for path in (case.label, case.image))
    for text in (case.name, *paths):
        match = match_in_time(compiled.search, text, key="subject", expression=expression)
        if match:
            return match[1] if compiled.groups else match[0]
    return ""


def _with_subject(recipe: Recipe, facts: CaseFacts) -> CaseFacts:
    """Say so if the recipe tells where the patient is named, and nothing stands there."""
    told = recipe.layout.subject or (recipe.table and recipe.table.subject)
    if facts.subject or not told:
        return facts
    reason = "the case counts as a patient of its own; correct `subject` of the recipe"
    return replace(facts, findings=(*facts.findings, Finding("subject_unknown", reason)))


def _find(table: CaseTable, root: Path) -> Path | None:
    for folder in (root, root.parent):
        for file in table.files:
            if found := sorted(path for path in folder.glob(file) if path.is_file()):
                return found[0]
    if table.optional:
        return None
    msg = (
        f"[table] of the recipe: expected {' or '.join(table.files)} in {root}, got no such file; "
        f"put it there, or set optional = true if the dataset can do without"
    )
    raise SourceError(msg)


@dataclass(frozen=True)
class _Reader:
    """A table that was read, and what its columns are for."""

    table: CaseTable
    path: Path
    rows: list[Row]
    declared: Collection[str] = ()

    def by_key(self, column: str, names: Iterable[str]) -> dict[str, Row]:
        """Return the rows of the cases, or of the patients, of these names."""
        own = (self.table.subject, self.table.split, self.table.annotated)
        self._require([column, *own, *self.table.columns])
        wanted, found = set(names), dict[str, Row]()
        for row in self.rows:
            cell = row[column]
            name = None if cell is None else next((n for n in _names(cell) if n in wanted), None)
            if name is not None and found.setdefault(name, row) != row:
                msg = (
                    f"{self.path}: expected one row of each {column}, got several that differ of "
                    f"{row[column]!r}; leave out all but one"
                )
                raise SourceError(msg)
        if wanted and not found:
            cells = [row[column] for row in self.rows[:3]]
            msg = (
                f"{self.path}: expected names such as {min(wanted)!r} in the column {column}, got "
                f"none of {len(wanted)}, but {cells}; correct [table] of the recipe"
            )
            raise SourceError(msg)
        return found

    def facts(self, row: Row | None, subject: str) -> CaseFacts:
        """Return the facts of a case with this row; None if it has none."""
        table = self.table
        if row is None:
            finding = Finding("table_row_missing", f"{self.path.name} has no row of the case")
            return CaseFacts(subject, findings=(finding,))
        own = row[table.subject] if table.subject else None
        columns = {new: row[name] for name, new in self._taken.items()}
        named = subject if own is None else str(own)
        return CaseFacts(named, self._split(row), columns, annotated=self._annotated(row))

    @cached_property
    def _taken(self) -> dict[str, str]:
        """Return the further columns that are taken, and their names in small letters and `_`."""
        own = self.table
        known = {own.case, own.subject, own.split, own.annotated}
        names = self.table.columns or [n for n in self.rows[0] if n not in known]
        taken = {n: re.sub(r"[^a-z0-9]+", "_", n.lower()).strip("_") for n in names}
        twice = sorted(
            {n for n, new in taken.items() if [*taken.values()].count(new) > 1 or not new}
        )
        if twice:
            msg = (
                f"{self.path}: expected columns whose names differ in more than capitals and "
                f"signs, got {', '.join(map(repr, twice))}; name those to take in `columns` of "
                f"[table]"
            )
            raise SourceError(msg)
        return taken

    def _split(self, row: Row) -> Split | None:
        word = row[self.table.split] if self.table.split else None
        if word is None:
            return None
        if split := self.table.meant_split(str(word)):
            return split
        msg = (
            f"{self.path}: expected a split in the column {self.table.split}, one of "
            f"{self.table.split_words()}; got {word!r}; say what it means in `splits` of [table]"
        )
        raise SourceError(msg)

    def _annotated(self, row: Row) -> frozenset[str] | None:
        cell = row[self.table.annotated] if self.table.annotated else None
        if cell is None:
            return None
        found: set[str] = set()
        for name in (part.strip() for part in re.split(r"[+,;]", str(cell))):
            known = (name,) if name in self.declared else structures_named(name)
            if not known and name.lower() != NOTHING:
                msg = (
                    f"{self.path}: expected structures in the column {self.table.annotated}, as in "
                    f"liver + spleen, or {NOTHING}; got {name!r}{did_you_mean(name, vocabulary())}"
                )
                raise SourceError(msg)
            found |= {*known}
        return frozenset(found)

    def _require(self, names: Iterable[str | None]) -> None:
        there = self.rows[0].keys() if self.rows else set[str]()
        if missing := [name for name in names if name and name not in there]:
            msg = (
                f"{self.path}: expected the columns {', '.join(missing)}, got "
                f"{', '.join(there) or 'no row'}; correct [table] of the recipe"
            )
            raise SourceError(msg)


def _names(cell: Value) -> list[str]:
    """Return what a cell may call a case: the text, or the name of the file that it is."""
    name = IMAGE_SUFFIX.sub("", PurePosixPath(str(cell)).name)
    return [str(cell), name, CHANNEL.sub("", name)]
