"""Preemption: a cluster that takes its machine back says so first, by a signal; so does a user."""

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

# Kubernetes and SLURM (its --signal=USR1@120), and Ctrl-C
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_STOPPING = b"\nstopping after the next batch, to save the run; Ctrl-C again ends it at once\n"
_STDERR = 2


@contextmanager
def preemption(*, quiet: bool = False) -> Generator[Callable[[], bool]]:
    """Catch the signals within the block; yields a function that tells whether one has come.

    A Ctrl-C is raised when the block ends; one that comes after another signal, at once. Where
    Ctrl-C is ignored, as in a script's background, it stays so. Outside the main thread, where
    Python lets nobody catch signals, the function tells that none has come.

    Args:
        quiet: Do not say on a Ctrl-C that the run will stop.

    Raises:
        KeyboardInterrupt: Ctrl-C came, and the block was left as usual.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if came:
                signal.default_int_handler(number, frame)
            if not quiet:
                os.write(_STDERR, _STOPPING)  # print is not to be called in a handler
        came.append(number)

    if current_thread() is not main_thread():
        yield lambda: False
        return
    caught = [n for n in SIGNALS if n != signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in caught}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in came:
        raise KeyboardInterrupt
