"""Progress in a log: a line for each kind of work, and one now and then."""

import io

import pytest
from rich.console import Console

from curate import progress
from curate.progress import progress_bars


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
