"""The paper's own numbers, as it prints them."""

from collections.abc import Mapping
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
    """What the paper prints in one row.

    Attributes:
        dice: Mean and standard deviation of each column.
        dice_all: Its column "All".
        hausdorff_mm: Likewise; the paper does not say the unit.
        hausdorff_mm_all: Likewise.
    """

    dice: tuple[MeanStd, ...]
    dice_all: float
    hausdorff_mm: tuple[MeanStd, ...]
    hausdorff_mm_all: float


class PaperTable(StrictModel):
    """One of the paper's tables.

    Attributes:
        columns: As in `liver in F`.
        rows: By title.
    """

    columns: tuple[str, ...]
    rows: dict[str, PaperRow]

    def cells(self, title: str, metric: Metric) -> dict[str, tuple[float, float | None]]:
        """Mean and standard deviation by column; `all` has no deviation. None printed: empty."""
        row = self.rows.get(title)
        if row is None or metric not in ("dice", "hausdorff_mm"):
            return {}
        values: tuple[MeanStd, ...] = getattr(row, metric)
        cells: Mapping[str, tuple[float, float | None]] = dict(
            zip(self.columns, values, strict=True)
        )
        return {**cells, ALL: (getattr(row, f"{metric}_all"), None)}


class _Paper(RootModel[dict[str, PaperTable]]):
    """The file as a whole."""


@cache
def paper_tables() -> dict[str, PaperTable]:
    """The paper's tables, by name."""
    found = read_toml(SHIPPED, _Paper, what="the paper's numbers", error=TrainingError)
    return found.root


def paper_cells(place: str, metric: Metric) -> dict[str, tuple[float, float | None]]:
    """What the paper prints at `TABLE/ROW`, by column; empty if it has no such row."""
    table, _, title = place.partition("/")
    found = paper_tables().get(table)
    return found.cells(title, metric) if found else {}
