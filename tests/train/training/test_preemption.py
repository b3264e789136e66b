"""Preemption: a signal is noted, and the process lives on."""

import os
import signal
from threading import Thread

import pytest

from train.training.preemption import preemption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted(number):
    before = signal.getsignal(number)
    with preemption() as preempted:
        assert not preempted()
        os.kill(os.getpid(), number)
        assert preempted()
    assert signal.getsignal(number) is before


def test_outside_the_main_thread_nothing_is_caught():
    told = []

    def watch():
        with preemption() as preempted:
            told.append((preempted(), signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = Thread(target=watch)
    thread.start()
    thread.join()
    assert told == [(False, before)]
