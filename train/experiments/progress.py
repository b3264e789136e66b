"""Progress of many runs: how many are done, and where the one at work is."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as Remaining

from train.experiments.plans.planned_run import PlannedRun
from train.experiments.runner import RunResult
from train.training.events import EpochDone, Event, Remark, StepDone, Stopped
from train.training.progress import stopped_words


@final
@dataclass(frozen=True)
class RunsProgress:
    """Draws the events of runs as two bars."""

    progress: Progress
    runs: TaskID
    current: TaskID

    def on_event(self, run: PlannedRun, event: Event) -> None:
        """Show where a run is."""
        if isinstance(event, StepDone):
            self.progress.update(
                self.current,
                description=f"{run.title}: loss {event.loss:.3f}",
                completed=100 * (event.epoch - 1) + 100 * event.step // event.steps,
                total=100 * event.epochs,
            )
        elif isinstance(event, EpochDone) and event.record.validation_dice is not None:
            self.say(
                f"{run.title}, epoch {event.record.epoch}: "
                f"validation Dice {event.record.validation_dice:.3f}"
            )
        elif isinstance(event, Stopped):
            self.say(f"{run.title}: {stopped_words(event)}")
        elif isinstance(event, Remark):
            self.say(f"{run.title}: {event.words}")

    def one_done(self, result: RunResult) -> None:
        """Count a run, and say what became of it."""
        if result.scores is not None:
            there = ", which was there" if result.was_there else ""
            words = f"test Dice {result.scores.mean_dice:.3f}{there}"
        else:
            words = result.failure or "stopped by a signal"
        self.say(f"{result.run.title}: {words}")
        self.progress.advance(self.runs)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def show_progress(console: Console, total: int) -> Generator[RunsProgress]:
    """Draw the progress of so many runs within the block."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(),
    )
    with Progress(*columns, console=console) as progress:
        runs = progress.add_task("runs", total=total)
        yield RunsProgress(progress, runs, progress.add_task("", total=None))
