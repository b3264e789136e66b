"""A progress display for long work, as a function to call after each step."""

from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from curate.download.remote_file import OnProgress, Transfer
from curate.preparation.tally import Notify

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_DRAWINGS = 0.1
NAME = TextColumn("{task.description}", markup=False)  # a name is a stranger's


@contextmanager
def progress_bars(console: Console) -> Generator[Notify]:
    """Show one bar per kind of work.

    Where the console is no terminal, as in a log, a line is printed for each kind of work when
    it is done, and in between now and then.
    """
    if not console.is_terminal:
        yield _line_printer(console)
        return
    columns = (NAME, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    # drawn by no thread of its own, beside which no worker could be forked
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        tasks: dict[str, TaskID] = {}
        drawn = monotonic()

        def notify(work: str, done: int, total: int) -> None:
            nonlocal drawn
            if work not in tasks:
                tasks[work] = progress.add_task(work)
            progress.update(tasks[work], completed=done, total=total)
            if done >= total or monotonic() - drawn > SECONDS_BETWEEN_DRAWINGS:
                drawn = monotonic()
                progress.refresh()

        yield notify


def _line_printer(console: Console) -> Notify:
    """Return a function that prints a line if work is done, or if there was none for a while."""
    printed = monotonic()

    def notify(work: str, done: int, total: int) -> None:
        nonlocal printed
        if done < total and monotonic() - printed < SECONDS_BETWEEN_LINES:
            return
        printed = monotonic()
        words = "done" if done >= total else f"{100 * done // total} %"
        console.print(f"{work}: {words}", markup=False, highlight=False, soft_wrap=True)

    return notify


@contextmanager
def download_bars(console: Console, total_bytes: int | None = None) -> Generator[OnProgress]:
    """Show one bar for a whole download, and one for each file that is on its way.

    A console that is no terminal stays quiet.
    """
    columns = (NAME, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    quiet = not console.is_terminal
    with Progress(*columns, console=console, disable=quiet) as progress:
        everything = progress.add_task("all files", total=total_bytes)
        tasks: dict[str, TaskID] = {}
        done: dict[str, int] = {}

        def on_progress(transfer: Transfer) -> None:
            name = f"{transfer.name} (checking)" if transfer.checking else transfer.name
            if not transfer.checking:  # what an earlier run left has not come now
                before = done.setdefault(transfer.name, transfer.done_bytes)
                progress.advance(everything, transfer.done_bytes - before)
                done[transfer.name] = transfer.done_bytes
                _remove(progress, tasks, f"{transfer.name} (checking)")
            if name not in tasks:
                tasks[name] = progress.add_task(name, completed=transfer.done_bytes)
            progress.update(tasks[name], completed=transfer.done_bytes, total=transfer.total_bytes)
            if transfer.done_bytes == transfer.total_bytes:
                _remove(progress, tasks, name)

        yield on_progress


def _remove(progress: Progress, tasks: dict[str, TaskID], name: str) -> None:
    if name in tasks:
        progress.remove_task(tasks.pop(name))
