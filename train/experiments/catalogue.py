"""The catalogue of experiments: trainings and tables of them, read from TOML."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from manifests.errors import TrainingError, explain
from manifests.toml_file import read_toml

SHIPPED = Path(__file__).with_name("experiments.toml")

Words = tuple[str, ...]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Training(_Facts):
    """One training, apart from its seed.

    Attributes:
        datasets: Roles or names of the datasets that it learns from; none means all.
        keep: Classes whose labels it sees; none means all.
        set: Settings in which it differs from the preset.
    """

    datasets: Words = ()
    keep: Words = ()
    set: dict[str, Any] = Field(default_factory=dict)


class Row(_Facts):
    """One row of a table.

    Attributes:
        title: What it is called.
        trainings: One, or several of which each speaks for the classes that it keeps.
    """

    title: str
    trainings: Annotated[Words, Field(min_length=1)]


class Table(_Facts):
    """One table.

    Attributes:
        title: What it is called.
        rows: Its rows.
    """

    title: str
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]

    @property
    def trainings(self) -> Words:
        """Names of its trainings, each once."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.trainings))


class Catalogue(_Facts):
    """All experiments.

    Attributes:
        datasets: The manifest's name of a dataset, by its role in the paper.
        trainings: By name.
        tables: By name.
    """

    datasets: dict[str, str] = Field(default_factory=dict)
    trainings: dict[str, Training] = Field(default_factory=dict)
    tables: dict[str, Table] = Field(default_factory=dict)

    def table(self, name: str) -> Table:
        """The table of a name.

        Raises:
            TrainingError: There is none.
        """
        if name not in self.tables:
            msg = f"no table {name!r}: expected one of {', '.join(self.tables)}"
            raise TrainingError(msg)
        return self.tables[name]

    def dataset_names(self, roles: Collection[str]) -> Words:
        """The manifest's names of datasets that are given by role or by name."""
        return tuple(self.datasets.get(role, role) for role in roles)

    @model_validator(mode="after")
    def _check(self) -> "Catalogue":
        for name, table in self.tables.items():
            if unknown := set(table.trainings) - self.trainings.keys():
                msg = f"table {name} names trainings that there are not: {sorted(unknown)}"
                raise ValueError(msg)
            titles = [row.title for row in table.rows]
            if len(set(titles)) < len(titles):
                msg = f"table {name} has two rows of one title"
                raise ValueError(msg)
        return self


class TableAddition(_Facts):
    """A table of a user's file: a new one, or rows for one that there is.

    Attributes:
        title: Of a new table.
        rows: They come after those that there are; a row of the same title takes the other's place.
    """

    title: str = ""
    rows: tuple[Row, ...] = ()


class Addition(_Facts):
    """A user's file; checked as a whole once the two are put together."""

    datasets: dict[str, str] = Field(default_factory=dict)
    trainings: dict[str, Training] = Field(default_factory=dict)
    tables: dict[str, TableAddition] = Field(default_factory=dict)


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
    added = read_toml(addition, Addition, what="experiments", error=TrainingError)
    tables = {
        name: _joined(shipped.tables.get(name), table) for name, table in added.tables.items()
    }
    try:
        return Catalogue.model_validate(
            {
                "datasets": {**shipped.datasets, **added.datasets},
                "trainings": {**shipped.trainings, **added.trainings},
                "tables": {**shipped.tables, **tables},
            }
        )
    except ValidationError as error:
        raise TrainingError(explain(error, f"experiments {addition}")) from error


def _joined(table: Table | None, added: TableAddition) -> dict[str, Any]:
    rows = {row.title: row for row in (table.rows if table else ())}
    rows |= {row.title: row for row in added.rows}
    title = added.title or (table.title if table else "")
    return {"title": title, "rows": tuple(rows.values())}
