"""Console: what the commands say, how far they are, and the codes that they end with."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console

SOME_FAILED_EXIT_CODE = 3
PREEMPTED_EXIT_CODE = 75  # as sysexits.h calls a temporary failure: run it again

T = TypeVar("T")
console = Console()


def say(text: str) -> None:
    """Print words of others, which may look like markup, as they are."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def counted(results: Iterable[T], total: int, work: str) -> Iterator[T]:
    """Hand on results, and show how many of them there were."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(work, total=total)
        for result in results:
            yield result
            progress.advance(task)
