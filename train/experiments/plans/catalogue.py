"""The catalogue of experiments: trainings and tables of them, read from TOML."""

from collections.abc import Collection
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from manifests.ground.errors import TrainingError, explain
from manifests.ground.near_names import did_you_mean
from manifests.ground.toml_file import StrictModel, read_toml

SHIPPED = Path(__file__).with_name("experiments.toml")
ALIASES = MappingProxyType({"table4": "table3"})  # other metrics of the same runs

Names = tuple[str, ...]
Count = Annotated[int, Field(ge=1)]


class Edit(StrictModel):
    """One call of `marginalia edit`.

    Attributes:
        merge: Sets of structures that are labelled as one.
        where: The cases, as an SQL condition; empty for all.
    """

    drop: Names = ()
    merge: tuple[Names, ...] = ()
    where: str = ""


class DatasetPart(StrictModel):
    """A part of a dataset, which is a dataset of its own: its share of each split's cases."""

    name: str
    share: Count
    drop: Names = ()
    merge: tuple[Names, ...] = ()


class DividedDataset(StrictModel):
    """A dataset, by role or name, in parts: each case is in one of them."""

    dataset: str
    parts: Annotated[tuple[DatasetPart, ...], Field(min_length=1)]


class AnotherSplit(StrictModel):
    """Another split of one dataset, by role or name, with as many cases in each."""

    dataset: str
    seed: int


class Training(StrictModel):
    """One training, apart from its seed.

    Attributes:
        datasets: Roles or names of the datasets that it learns from; none means all.
        keep: Classes whose labels it sees; none means all.
        single_organ: k of each n training cases label one class only; none: all as they are.
        edits: Further edits of what the cases label.
        parts: Name of a divided dataset, whose parts are then the only datasets.
        another_split: Another split of one dataset.
        set: Settings in which it differs from the preset.
    """

    datasets: Names = ()
    keep: Names = ()
    single_organ: tuple[Count, Count] | None = None
    edits: tuple[Edit, ...] = ()
    parts: str = ""
    another_split: AnotherSplit | None = None
    set: dict[str, Any] = Field(default_factory=dict)


class RowSpec(StrictModel):
    """One row of a table.

    Attributes:
        trainings: One, or several of which each is scored on the classes that it keeps.
        paper: `TABLE/ROW` of the paper's numbers; its own table and title if left out.
    """

    title: str
    trainings: Annotated[Names, Field(min_length=1)]
    paper: str = ""


class TableSpec(StrictModel):
    """One table.

    Attributes:
        against: Title of the row that the others are tested against; the first if left out.
        tested_on: Roles or names of the datasets whose test cases count; none means all.
    """

    title: str
    rows: Annotated[tuple[RowSpec, ...], Field(min_length=1)]
    against: str = ""
    tested_on: Names = ()

    @property
    def trainings(self) -> Names:
        """The names of its trainings, each once."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.trainings))


class _Entries(StrictModel):
    datasets: dict[str, str] = Field(default_factory=dict)
    trainings: dict[str, Training] = Field(default_factory=dict)
    parts: dict[str, DividedDataset] = Field(default_factory=dict)


class Catalogue(_Entries):
    """All experiments by name, and the manifest's name of a dataset by its role in the paper."""

    tables: dict[str, TableSpec] = Field(default_factory=dict)

    def table(self, name: str) -> TableSpec:
        """Return the table of a name.

        Raises:
            TrainingError: There is none.
        """
        name = ALIASES.get(name, name)
        if name not in self.tables:
            known = (*self.tables, *ALIASES)
            msg = (
                f"no table {name!r}{did_you_mean(name, known)}: expected one of {', '.join(known)}"
            )
            raise TrainingError(msg)
        return self.tables[name]

    def dataset_names(self, roles: Collection[str]) -> Names:
        """Return the manifest's names of datasets that are given by role or by name."""
        return tuple(self.datasets.get(role, role) for role in roles)

    def column(self, class_name: str, dataset: str) -> str:
        """Return a class and its dataset's role in the paper, or its name where it has none."""
        roles = {name: role for role, name in self.datasets.items()}
        return f"{class_name} in {roles.get(dataset, dataset)}"

    @model_validator(mode="after")
    def _check(self) -> "Catalogue":
        problems = [p for name, table in self.tables.items() for p in self._problems(name, table)]
        for name, training in self.trainings.items():
            if training.parts and training.parts not in self.parts:
                problems.append(f"training {name} names parts that there are not: {training.parts}")
            if "seed" in training.set:
                problems.append(f"training {name} sets a seed: seeds come from --seeds")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self, name: str, table: TableSpec) -> list[str]:
        titles = [row.title for row in table.rows]
        unknown = sorted(set(table.trainings) - self.trainings.keys())
        found = {
            f"table {name} names trainings that there are not: {unknown}": unknown,
            f"table {name} has two rows of one title": len(set(titles)) < len(titles),
            f"table {name} has no row {table.against!r} to test against": table.against
            and table.against not in titles,
        }
        return [words for words, holds in found.items() if holds]


class AddedTable(TableSpec):
    """A table of a user's file: a new one, or changes of one that there is.

    Its rows come after those that there are; one of the same title takes the other's place.
    """

    title: str = ""
    rows: tuple[RowSpec, ...] = ()


class CatalogueAddition(_Entries):
    """A user's file; checked as a whole once the two are put together."""

    tables: dict[str, AddedTable] = Field(default_factory=dict)


def load_catalogue(addition: Path | None = None) -> Catalogue:
    """Read the experiments that come with marginalia, and a user's own.

    Args:
        addition: A TOML file whose entries are added, or take the place of those of their name.

    Raises:
        TrainingError: The file cannot be read, or is not well formed.
    """
    shipped = read_toml(SHIPPED, Catalogue, what="experiments", error=TrainingError)
    if addition is None:
        return shipped
    added = read_toml(addition, CatalogueAddition, what="experiments", error=TrainingError)
    tables = {name: _joined(shipped.tables.get(name), t) for name, t in added.tables.items()}
    try:
        return Catalogue.model_validate(
            {
                "datasets": {**shipped.datasets, **added.datasets},
                "trainings": {**shipped.trainings, **added.trainings},
                "parts": {**shipped.parts, **added.parts},
                "tables": {**shipped.tables, **tables},
            }
        )
    except ValidationError as error:
        raise TrainingError(explain(error, f"experiments {addition}")) from error


def _joined(table: TableSpec | None, added: AddedTable) -> dict[str, Any]:
    rows = {row.title: row for row in (*(table.rows if table else ()), *added.rows)}
    changed = {key: value for key, value in vars(added).items() if value}
    return {**(vars(table) if table else {"title": ""}), **changed, "rows": tuple(rows.values())}
