"""Console: output, progress and exit codes of the commands."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar, final

from rich.console import Console, ConsoleOptions
from rich.table import Table

SOME_FAILED_EXIT_CODE = 3
PREEMPTED_EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: run the command again

# Said while nothing else can be: a batch of a large network takes a CPU a minute.
TIMING = "timing a few batches on this machine"

_ANY_WIDTH = 10_000  # columns; a narrower console would limit what a table measures

T = TypeVar("T")
console = Console()


@final
@dataclass(frozen=True)
class FirstThatFits:
    """One table in layouts from wide to narrow: the first that fits is shown, or else the last."""

    layouts: tuple[Table, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """Yield the chosen layout."""
        *wider, last = self.layouts
        any_width = options.update(width=_ANY_WIDTH)
        for table in wider:
            if console.measure(table, options=any_width).maximum <= options.max_width:
                yield table
                return
        yield last


def say(text: str) -> None:
    """Print text as it is, also if it looks like Rich's markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def track_progress(results: Iterable[T], total: int, work: str) -> Iterator[T]:
    """Yield the results, and show how many there were so far."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(work, total=total)
        for result in results:
            yield result
            progress.advance(task)
