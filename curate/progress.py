"""A progress display for long work, as a function to call after each step."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


@contextmanager
def shown(console: Console) -> Generator[Callable[[str, int, int], None]]:
    """Show one bar per kind of work; the function takes the work's name, steps done, steps in all.

    Args:
        console: Where to draw; a console that is no terminal stays quiet.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {}

        def notify(work: str, done: int, total: int) -> None:
            if work not in tasks:
                tasks[work] = progress.add_task(work)
            progress.update(tasks[work], completed=done, total=total)

        yield notify
