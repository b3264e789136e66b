"""The paper's own numbers, as it prints them."""

from functools import cache
from pathlib import Path

from pydantic import RootModel

from manifests.ground.errors import TrainingError
from manifests.ground.toml_file import StrictModel, read_toml
from train.scoring.metrics import Metric
from train.scoring.scores import ALL

SHIPPED = Path(__file__).with_name("paper.toml")

MeanStd = tuple[float, float]


class PaperRow(StrictModel):
    """Mean and standard deviation of each column of a row, and the mean in its column "All".

    The paper does not say the unit of the Hausdorff distance.
    """

    dice: tuple[MeanStd, ...]
    dice_all: float
    hausdorff_mm: tuple[MeanStd, ...]
    hausdorff_mm_all: float


class PaperTable(StrictModel):
    """One of the paper's tables: its columns, as in `liver in F`, and its rows by title."""

    columns: tuple[str, ...]
    rows: dict[str, PaperRow]


class _Paper(RootModel[dict[str, PaperTable]]):
    """The file as a whole."""


@cache
def paper_tables() -> dict[str, PaperTable]:
    """Return the paper's tables, by name."""
    found = read_toml(SHIPPED, _Paper, what="the paper's numbers", error=TrainingError)
    return found.root


def paper_cells(place: str, metric: Metric) -> dict[str, tuple[float, float | None]]:
    """Return mean and standard deviation by column at `TABLE/ROW`; empty if it has no such row.

    The column `all` has no deviation.
    """
    table, _, title = place.partition("/")
    found = paper_tables().get(table)
    if found is None or title not in found.rows or metric not in ("dice", "hausdorff_mm"):
        return {}
    row = found.rows[title]
    cells = dict(zip(found.columns, getattr(row, metric), strict=True))
    return {**cells, ALL: (getattr(row, f"{metric}_all"), None)}
