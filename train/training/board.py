"""Board: each epoch for TensorBoard, whose files may fail without ending the training."""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from train.training.validation import Validation

TENSORBOARD = "tensorboard"


@contextmanager
def open_board(run: Path, first: int, *, tell: Callable[[str], None]) -> Generator["Board"]:
    """Open the files of a run for epochs from `first` on; those that they have of later are hidden.

    Once they cannot be written, `tell` is called with a sentence, and they are given up.
    """
    with _threads_keep_quiet():
        board = Board(run / TENSORBOARD, first, tell)
        try:
            yield board
        finally:
            board.close()


@final
class Board:
    """TensorBoard's files of a run."""

    def __init__(self, folder: Path, first: int, tell: Callable[[str], None]) -> None:
        """Open the files for epochs from `first` on."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._writer: SummaryWriter | None = None
        self._folder, self._tell = folder, tell
        with self._or_none():
            self._writer = SummaryWriter(str(folder), purge_step=first)

    def add(self, epoch: int, numbers: Mapping[str, Any], validation: Validation) -> None:
        """Add an epoch: its numbers by name, its Dice and its pictures."""
        tags = {f"training/{name}": value for name, value in numbers.items()}
        tags |= {f"validation/{d}/{name}": v for (d, name), v in validation.cells.items()}
        with self._or_none():
            if self._writer is None:
                return
            for tag, value in tags.items():
                if value is not None:
                    self._writer.add_scalar(tag, value, epoch)
            for case_id, figure in validation.pictures.items():
                self._writer.add_figure(f"validation/{case_id}", figure, epoch)
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        with self._or_none():
            if self._writer is not None:
                self._writer.close()

    @contextmanager
    def _or_none(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            self._tell(f"{self._folder} cannot be written: {error}; TensorBoard shows no more")


@contextmanager
def _threads_keep_quiet() -> Generator[None]:
    """Show no error of TensorBoard's writing thread, which gives it to the next call, too."""
    from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.thread, _AsyncWriterThread):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
