"""Log: what happened in each epoch, as a CSV file and for TensorBoard."""

import csv
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

from manifests.atomic import whole_file

LOG = "log.csv"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class EpochRecord:
    """One line of the log.

    Attributes:
        epoch: Counted from 1.
        stage: 1 or 2.
        step: Batches since the beginning.
        learning_rate: During the epoch.
        loss: Mean over the epoch's batches.
        validation_dice: Mean over dataset x class cells; none without a validation.
        seconds: That the epoch took.
    """

    epoch: int
    stage: int
    step: int
    learning_rate: float
    loss: float
    validation_dice: float | None
    seconds: float


class Write(Protocol):
    """Writes an epoch's record and its validation Dice by dataset and class."""

    def __call__(self, record: EpochRecord, cells: Mapping[tuple[str, str], float]) -> None:
        """Write them, and see that they are on disk."""
        ...


@contextmanager
def open_log(run: Path, epochs: int) -> Generator[Write]:
    """Open a run's log after its first `epochs` epochs; what later ones wrote is taken out.

    A run that was stopped between its log and its checkpoint trains that epoch again.
    """
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    path = run / LOG
    _keep(path, epochs)
    with SummaryWriter(str(run / TENSORBOARD), purge_step=epochs + 1) as board:

        def write(record: EpochRecord, cells: Mapping[tuple[str, str], float]) -> None:
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, _columns()).writerow(asdict(record))
            numbers = {f"training/{k}": v for k, v in asdict(record).items() if k != "epoch"}
            dice = {f"validation/{dataset}/{name}": v for (dataset, name), v in cells.items()}
            for tag, value in (numbers | dice).items():
                if value is not None:
                    board.add_scalar(tag, value, record.epoch)
            board.flush()

        yield write


def _keep(path: Path, epochs: int) -> None:
    lines: list[dict[str, str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            lines = [r for r in csv.DictReader(file) if int(r["epoch"]) <= epochs]
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _columns())
        writer.writeheader()
        writer.writerows(lines)


def _columns() -> list[str]:
    return [f.name for f in fields(EpochRecord)]
