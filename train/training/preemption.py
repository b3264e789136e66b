"""Preemption: signals by which a cluster or a user asks a run to stop."""

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
    """Catch the signals within the block; yield a function that returns whether one has come.

    A Ctrl-C raises KeyboardInterrupt when the block ends, or at once if another signal came before.
    Where Ctrl-C is ignored, as in a script's background, it stays ignored. Outside the main thread,
    where Python cannot catch signals, the function returns False. With `quiet`, nothing is printed.

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
