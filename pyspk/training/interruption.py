"""Signals that end a run, heeded between two batches: the run saves where it is, and leaves."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pyspk.console import end_with
from pyspk.errors import StartAgainError

_ASK_TO_LEAVE = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)      # schedulers', before a time limit; a lost terminal
SIGNALS = (signal.SIGINT, *_ASK_TO_LEAVE)                            # and Ctrl-C
_GRACE_S = 30


class Interruption:
    """Whether a signal has come, and which."""

    def __init__(self):
        self.signal: signal.Signals | None = None

    def leave(self) -> None:
        """Raise what the signal, here or in another process, asks for: KeyboardInterrupt, or StartAgainError."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise StartAgainError(f"{self.signal.name if self.signal else 'a signal to another process'} came")

    def _note(self, number: int, _frame) -> None:
        if number == signal.SIGINT == self.signal:      # a second Ctrl-C does not wait
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextmanager
def handling(numbers: Iterable[int], handler: Callable) -> Iterator[None]:
    """Within the block handler(number, frame) is called for these signals, but not for a SIGHUP that nohup has ignored.

    In the main thread only.
    """
    before = {number: signal.signal(number, handler) for number in numbers
              if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Within the block signals are noted instead of ending the process; in another thread than the main one none is."""
    noted = Interruption()
    in_main = threading.current_thread() is threading.main_thread()      # Python lets no other do this
    with handling(SIGNALS if in_main else (), noted._note):
        yield noted


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Within the block SIGTERM, SIGUSR1, SIGHUP raise StartAgainError where they come, with nothing to save."""
    def leave(number: int, _frame) -> None:
        raise StartAgainError(f"{signal.Signals(number).name} came")

    with handling(_ASK_TO_LEAVE, leave):
        yield


def outlast_signals(_worker: int) -> None:
    """For processes that read data: what comes to the whole group is the training process's to heed.

    After a SIGTERM, by which Python also ends them when the training process fails, they live for so long at most. With
    a training process that is killed they go at once: they share its hold on EXP_DIR (tables.records), for which the
    next run does not wait as long as PyTorch lets them live.
    """
    end_with(multiprocessing.parent_process().pid, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S))
