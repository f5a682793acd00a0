"""Ctrl-C, SIGTERM and SIGHUP as one wish to stop, heard between steps and never in the middle of starting a process."""

import os
import select
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_WISHES = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody asked us to stop; `signal` is how."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


class Interrupts:
    """Remembers the wish to stop; `pause` sleeps and raises it."""

    def __init__(self, wakeup: int) -> None:
        self._wakeup = wakeup
        self._wish: signal.Signals | None = None

    def note(self, number: int, _frame: FrameType | None) -> None:
        self._wish = self._wish or signal.Signals(number)

    def pause(self, seconds: float) -> None:
        """Sleep until the time is over or a signal came. Raises Interrupted."""
        if not self._wish and select.select([self._wakeup], [], [], seconds)[0]:
            os.read(self._wakeup, 512)
        if self._wish:
            raise Interrupted(self._wish)


@contextmanager
def listening() -> Generator[Interrupts]:
    """Take over the signals; a SIGHUP that nohup set aside stays set aside, and a child's end wakes a pause."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    interrupts = Interrupts(reading)
    taken = [number for number in _WISHES if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupts.note) for number in taken}
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writing)
    try:
        yield interrupts
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
