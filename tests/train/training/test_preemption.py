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


@pytest.fixture
def ctrl_c():
    """As in a terminal, whatever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_noted_and_said_and_raised_at_the_end(ctrl_c, capfd):
    reached = []

    def interrupted():
        with preemption() as preempted:
            ctrl_c()
            reached.append(preempted())

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == [True]
    assert "Ctrl-C again ends it at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_it_at_once(ctrl_c):
    reached = []

    def interrupted():
        with preemption(quiet=True):
            for number in (1, 2):
                ctrl_c()
                reached.append(number)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == [1]


def test_an_ignored_ctrl_c_stays_ignored(ctrl_c):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with preemption() as preempted:
        ctrl_c()
        assert not preempted()


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
