"""Progress in a log: a line for each kind of work, and one now and then."""

import io
import threading

import pytest
from rich.console import Console

from curate import progress
from curate.download.remote_file import Transfer
from curate.progress import download_bars, progress_bars


def logged(*steps):
    console = Console(file=io.StringIO())
    with progress_bars(console) as notify:
        for step in steps:
            notify(*step)
    return console.file.getvalue().splitlines()


STEPS = [("draw [btcv]", 1, 2), ("draw [btcv]", 2, 2), ("prepare", 1, 3), ("prepare", 3, 3)]


def test_a_log_has_a_line_for_each_work_that_is_done():
    assert logged(*STEPS) == ["draw [btcv]: done", "prepare: done"]


def test_a_log_tells_of_long_work_in_between(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert logged(*STEPS[2:]) == ["prepare: 33 %", "prepare: done"]


@pytest.mark.parametrize("bars", [progress_bars, download_bars])
def test_names_in_bars_are_no_markup(bars):
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with bars(console) as on_progress:
        if bars is progress_bars:
            on_progress("[/red]evil", 1, 2)
        else:
            on_progress(Transfer("[/red]evil", 1, 2))
    assert "[/red]evil" in console.file.getvalue()


def test_bars_are_drawn_without_a_thread_beside_which_nothing_could_be_forked():
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    threads = [threading.active_count()]
    with progress_bars(console) as notify:
        for done in range(1, 1001):
            notify("prepare cases", done, 1000)
            threads.append(threading.active_count())
    drawn = console.file.getvalue()
    assert max(threads) == threads[0]
    assert "100%" in drawn
    assert drawn.count("prepare cases") < 100  # and not for each step
