"""Log: each epoch, as a row of a Parquet file."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from manifests.ground.atomic import whole_file
from train.training.board import open_board
from train.training.validation import Validation

LOG = "log.parquet"
DICE = "dice/"  # precedes dataset and class in the name of a column

# what pandas and Arrow raise on damaged files; found by damaging some, with Arrow 26
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, pa.ArrowException)


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

    @classmethod
    def known(cls, epoch: int, stage: int, step: int, loss: float) -> "EpochRecord":
        """Return the record of an epoch of which no more is known; the rest is NaN."""
        return cls(epoch, stage, step, math.nan, loss, {}, None, math.nan, math.nan)


_COLUMNS = frozenset(field.name for field in fields(EpochRecord)) - {"terms"}

Write = Callable[[EpochRecord, Validation], None]  # of an epoch
Tell = Callable[[str], None]  # in a sentence, what does not end the training


def read_log(run: Path) -> pd.DataFrame:
    """Return a run's epochs as rows: the fields of `EpochRecord`, and `dice/DATASET/CLASS`.

    A log that is not there, or is damaged, has no rows.
    """
    try:
        log = pd.read_parquet(run / LOG)
    except _UNREADABLE:
        log = pd.DataFrame()
    if set(log.columns) >= _COLUMNS and log["epoch"].is_unique:
        return log
    return pd.DataFrame({name: pd.Series(dtype=float) for name in sorted(_COLUMNS)})


def complete_log(run: Path, done: Sequence[EpochRecord], *, tell: Tell) -> None:
    """Add to a run's log what it lacks of the epochs that are done, as a damaged one does."""
    log = read_log(run)
    there = set(log["epoch"])
    lacking = [record for record in done if record.epoch not in there]
    if lacking:
        rows = [*log.to_dict(orient="records"), *(_row(record) for record in lacking)]
        tell(
            f"{run / LOG} lacks {len(lacking)} epochs that the last checkpoint knows: it is "
            f"missing or damaged; their losses are taken from the checkpoint"
        )
        _write_rows(run, sorted(rows, key=lambda row: row["epoch"]), tell)


def copy_log(source: Path, run: Path, epochs: int, *, tell: Tell) -> None:
    """Give a run the rows that another one's log has of so many epochs."""
    log = read_log(source)
    rows = log.loc[log["epoch"] <= epochs].to_dict(orient="records")
    if rows:
        _write_rows(run, rows, tell)


@contextmanager
def open_log(run: Path, epochs: int, *, tell: Tell) -> Generator[Write]:
    """Open a run's log, and TensorBoard's, after `epochs` epochs; rows of later ones are removed.

    A run that was stopped between its log and its checkpoint trains that epoch again. A log that
    cannot be written does not end a training.
    """
    log = read_log(run)
    kept = log.loc[log["epoch"] <= epochs]
    rows: list[dict[str, Any]] = kept.to_dict(orient="records")
    with open_board(run, epochs + 1, tell=tell) as board:

        def write(record: EpochRecord, validation: Validation) -> None:
            row = _row(record)
            rows.append(row | {f"{DICE}{d}/{name}": v for (d, name), v in validation.cells.items()})
            _write_rows(run, rows, tell)
            numbers = {key: value for key, value in row.items() if key != "epoch"}
            board.add(record.epoch, numbers, validation)

        yield write


def _row(record: EpochRecord) -> dict[str, Any]:
    row = asdict(record)
    return row | row.pop("terms")


def _write_rows(run: Path, rows: Sequence[Mapping[str, Any]], tell: Tell) -> None:
    try:
        with whole_file(run / LOG) as temporary:
            pd.DataFrame(rows).to_parquet(temporary, index=False)
    except OSError as error:
        tell(f"{run / LOG} cannot be written: {error}; the training goes on, and tries again")
