"""Keeps the parts of an instance running: starts them in order, restarts what dies, stops them in reverse."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.instances import Process, process
from cli.servers import Child, ServerError, stop, sweep, tail

QUICK = 30.0  # seconds; who dies sooner after its start dies quickly
MOST_QUICK_DEATHS = 5


@dataclass(frozen=True, slots=True)
class Part:
    """A process that is to run; `start` may choose anew what it listens on."""

    name: str
    start: Callable[[], Child]


@dataclass(slots=True)
class _Running:
    part: Part
    child: Child
    since: float
    quick_deaths: int = 0
    due: float | None = None  # when to start it again; None while it runs


class Supervisor:
    """The running parts of one instance. `recorded` hears who runs after every start, `say` gets lines for the user."""

    def __init__(
        self,
        logs: Path,
        recorded: Callable[[Sequence[Process]], object],
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logs, self._recorded, self._say, self._clock = logs, recorded, say, clock
        self._running: list[_Running] = []

    def start(self, part: Part) -> None:
        self._running.append(_Running(part, part.start(), self._clock()))
        self._record()

    def look(self) -> None:
        """Notice deaths and restart what is due. Raises ServerError when a part keeps dying."""
        now = self._clock()
        for running in self._running:
            if running.due is None and (status := running.child.process.poll()) is not None:
                sweep(running.child)
                self._mourn(running, f"was ended by signal {-status}" if status < 0 else f"ended with status {status}")
            if running.due is not None and running.due <= now:
                self._revive(running)

    def stop(self) -> None:
        stop([running.child for running in self._running if running.due is None])

    def _mourn(self, running: _Running, how: str) -> None:
        now, name = self._clock(), running.part.name
        running.quick_deaths = running.quick_deaths + 1 if now - running.since < QUICK else 1
        log = self._logs / f"{name}.log"
        if running.quick_deaths >= MOST_QUICK_DEATHS:
            raise ServerError(f"{name} {how}, for the {MOST_QUICK_DEATHS}th time in a row. The end of {log}:\n{tail(log)}")
        delay = backoff(running.quick_deaths)
        self._say(f"{name} {how}; starting it again in {delay:g} s (see {log})")
        running.due = now + delay

    def _revive(self, running: _Running) -> None:
        running.since = self._clock()
        try:
            running.child, running.due = running.part.start(), None
        except ServerError as error:
            self._mourn(running, str(error).splitlines()[0])
        self._record()

    def _record(self) -> None:
        self._recorded([process(running.part.name, running.child.process.pid) for running in self._running])


def backoff(deaths: int) -> float:
    """Seconds before the restart that follows so many quick deaths."""
    return min(0.5 * 2 ** (deaths - 1), 8.0)


def end_leftovers(left: Sequence[Process], grace: float = 10.0) -> list[str]:
    """End the children of an instance that was killed, servers last; returns the names of those that still ran."""
    ended = [leftover.name for leftover in left if leftover.alive]
    for leftover in reversed(left):
        end = time.monotonic() + grace
        if leftover.alive:
            os.kill(leftover.pid, signal.SIGINT if leftover.name == "postgres" else signal.SIGTERM)
        while leftover.alive and time.monotonic() < end:
            time.sleep(0.02)
        if leftover.alive:
            os.killpg(leftover.pid, signal.SIGKILL)
    return ended
