"""Progress: the events of a training, shown as they happen."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from train.planning.schedule import means_by_key
from train.settings import TrainSettings
from train.training.events import EpochDone, Event, Remark, Started, StepDone, Stopped

_SHORT = {
    "marginal_cross_entropy": "mCE",
    "marginal_dice": "mDice",
    "exclusion_cross_entropy": "eCE",
    "exclusion_dice": "eDice",
    "binary_cross_entropy": "BCE",
    "binary_dice": "Dice",
    "cross_entropy": "CE",
    "leaf_dice": "Dice",
}
_SMOOTHING = 0.1  # share of the latest batch in the mean speed


@contextmanager
def show_progress(console: Console, settings: TrainSettings) -> Generator["TrainingProgress"]:
    """Show the events that the yielded function is called with."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("reading", total=settings.epochs)
        yield TrainingProgress(progress, task, settings)


@final
@dataclass
class TrainingProgress:
    """Shows one training's events: a line for each epoch, and a bar below them."""

    progress: Progress
    task: TaskID
    settings: TrainSettings
    _last: float = field(default_factory=perf_counter)
    _patches_per_second: float = 0.0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, EpochDone):
            self._line(event)
        elif isinstance(event, Stopped):
            self._say(stopped_words(event))
        elif isinstance(event, Remark):
            self._say(event.words)
        else:
            self._bar(event)

    def _start(self, event: Started) -> None:
        before = f", resuming after epoch {event.epochs_done}" if event.epochs_done else ""
        self._say(f"training on {event.device}{before}")
        for line in event.taken.lines() if event.taken else ():
            self._say(line)
        self.progress.update(self.task, completed=event.epochs_done)

    def _line(self, event: EpochDone) -> None:
        r = event.record
        score = "" if r.validation_dice is None else f"  validation Dice {r.validation_dice:.3f}"
        best = "  best so far" if event.improved and score else ""
        classes = means_by_key((name, dice) for (_, name), dice in event.cells.items())
        each = "".join(f"  {name} {dice:.2f}" for name, dice in classes.items())
        self._say(
            f"epoch {r.epoch:4d}  stage {r.stage}  loss {r.loss:.4f}  "
            f"{r.seconds:.0f} s{score}{best}{each}"
        )

    def _say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)

    def _bar(self, event: StepDone) -> None:
        now = perf_counter()
        rate = self.settings.batch_size / max(now - self._last, 1e-9)
        # a moving mean, which is easier to read
        self._patches_per_second += _SMOOTHING * (rate - self._patches_per_second)
        self._last = now
        done = event.epoch - 1 + event.step / event.steps
        terms = "  ".join(f"{_SHORT.get(n, n)} {value:.2f}" for n, value in event.terms.items())
        text = (
            f"epoch {event.epoch}/{event.epochs}  loss {event.loss:.3f} ({terms})  "
            f"{self._patches_per_second:.1f} patches/s"
        )
        self.progress.update(self.task, completed=done, total=event.epochs, description=text)


def stopped_words(event: Stopped) -> str:
    """Return where a training was stopped, and how to resume it."""
    return (
        f"stopped by a signal and saved after {event.epochs} whole epochs and {event.batches} "
        f"batches; the same command resumes"
    )
