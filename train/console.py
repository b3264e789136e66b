"""Console: what the commands say, how far they are, and the codes that they end with."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar, final

from rich.console import Console, ConsoleOptions
from rich.table import Table

SOME_FAILED_EXIT_CODE = 3
PREEMPTED_EXIT_CODE = 75  # as sysexits.h calls a temporary failure: run it again

_ANY_WIDTH = 10_000  # of a table that is measured: else it says that what there is will do

T = TypeVar("T")
console = Console()


@final
@dataclass(frozen=True)
class FirstThatFits:
    """One table in several layouts; the first that the screen is wide enough for is shown.

    Attributes:
        layouts: From wide to narrow; the last one is shown if none fits.
    """

    layouts: tuple[Table, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """Choose as Rich asks for it."""
        *wider, last = self.layouts
        any_width = options.update(width=_ANY_WIDTH)
        for table in wider:
            if console.measure(table, options=any_width).maximum <= options.max_width:
                yield table
                return
        yield last


def say(text: str) -> None:
    """Print words of others, which may look like markup, as they are."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def track_progress(results: Iterable[T], total: int, work: str) -> Iterator[T]:
    """Hand on results, and show how many of them there were."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(work, total=total)
        for result in results:
            yield result
            progress.advance(task)
