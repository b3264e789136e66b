"""Log: each epoch, as a row of a Parquet file and for TensorBoard."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from manifests.ground.atomic import whole_file
from train.training.validation import Validation

LOG = "log.parquet"
TENSORBOARD = "tensorboard"
DICE = "dice/"  # precedes dataset and class in the name of a column


@dataclass(frozen=True)
class EpochRecord:
    """One row of the log.

    Attributes:
        epoch: Counted from 1.
        step: Batches since the start of the training.
        loss: Mean over the epoch's batches.
        terms: Terms of the loss by name, not weighted; each is a column of that name.
        validation_dice: Mean over cells of dataset and class; None without a validation.
        seconds: Duration of the epoch, since the run was last resumed.
        patches_per_second: Without validation.
    """

    epoch: int
    stage: int
    step: int
    learning_rate: float
    loss: float
    terms: Mapping[str, float]
    validation_dice: float | None
    seconds: float
    patches_per_second: float


Write = Callable[[EpochRecord, Validation], None]  # of an epoch


def read_log(run: Path) -> pd.DataFrame:
    """Return a run's epochs as rows: the fields of `EpochRecord`, and `dice/DATASET/CLASS`."""
    path = run / LOG
    return (
        pd.read_parquet(path) if path.is_file() else pd.DataFrame({"epoch": pd.Series(dtype=int)})
    )


@contextmanager
def open_log(run: Path, epochs: int) -> Generator[Write]:
    """Open a run's log after its first `epochs` epochs; rows of later epochs are removed.

    A run that was stopped between its log and its checkpoint trains that epoch again.
    """
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    log = read_log(run)
    kept = log.loc[log["epoch"] <= epochs]
    rows: list[dict[str, Any]] = kept.to_dict(orient="records")
    with SummaryWriter(str(run / TENSORBOARD), purge_step=epochs + 1) as board:

        def write(record: EpochRecord, validation: Validation) -> None:
            cells = validation.cells
            row = asdict(record)
            row |= row.pop("terms")
            rows.append(row | {f"{DICE}{d}/{name}": v for (d, name), v in cells.items()})
            with whole_file(run / LOG) as temporary:
                pd.DataFrame(rows).to_parquet(temporary, index=False)
            numbers = {f"training/{k}": v for k, v in row.items() if k != "epoch"}
            dice = {f"validation/{d}/{name}": v for (d, name), v in cells.items()}
            for tag, value in (numbers | dice).items():
                if value is not None:
                    board.add_scalar(tag, value, record.epoch)
            for case_id, figure in validation.pictures.items():
                board.add_figure(f"validation/{case_id}", figure, record.epoch)
            board.flush()

        yield write
