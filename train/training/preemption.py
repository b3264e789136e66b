"""Preemption: a cluster that takes its machine back says so first, by a signal."""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # Kubernetes and SLURM; SLURM's --signal=USR1@120


@contextmanager
def preemption() -> Generator[Callable[[], bool]]:
    """Catch the signals within the block; yields a function that tells whether one has come.

    Outside the main thread, where Python lets nobody catch signals, it tells that none has.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    if current_thread() is not main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
