"""Keys to be looked at: each at most once at a time, once however often it was asked for, later and later while it fails."""

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

from catalog.model import RepositoryKey

FIRST_RETRY, LONGEST_RETRY = 0.5, 300.0  # seconds


@dataclass(slots=True)
class WorkQueue:
    """Ready keys in the order they were asked for, and those that wait for a time, each for its last one. One event loop; no locks."""

    ready: dict[RepositoryKey, float] = field(default_factory=dict)  # since when
    waiting: list[tuple[float, RepositoryKey]] = field(default_factory=list)
    due: dict[RepositoryKey, float] = field(default_factory=dict)  # which of a key's times holds
    active: set[RepositoryKey] = field(default_factory=set)
    failures: dict[RepositoryKey, int] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    clock: Callable[[], float] = monotonic

    def add(self, key: RepositoryKey) -> None:
        """Look at it as soon as there is a hand free; once more afterwards when it is being looked at."""
        self.ready.setdefault(key, self.clock())
        self.changed.set()

    def add_later(self, key: RepositoryKey, seconds: float) -> None:
        """Look at it then, unless somebody asks before; another time that it waited for is forgotten."""
        self.due[key] = self.clock() + seconds
        heapq.heappush(self.waiting, (self.due[key], key))
        self.changed.set()

    def retry(self, key: RepositoryKey) -> float:
        """Add it after a pause that doubles; returns the pause in seconds."""
        count = self.failures[key] = self.failures.get(key, 0) + 1
        pause = min(FIRST_RETRY * 2 ** (count - 1), LONGEST_RETRY)
        self.add_later(key, pause)
        return pause

    def forget_failures(self, key: RepositoryKey) -> None:
        self.failures.pop(key, None)

    async def take(self) -> RepositoryKey:
        """The next key; nobody else gets it before `done`."""
        while True:
            pause = self._promote()
            key = next((key for key in self.ready if key not in self.active), None)
            if key:
                del self.ready[key]
                self.due.pop(key, None)
                self.active.add(key)
                return key
            self.changed.clear()
            # Not wait_for: before Python 3.12 it swallows a cancellation that meets what it waits for, and the controller would never stop.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.changed.wait()

    def done(self, key: RepositoryKey) -> None:
        self.active.discard(key)
        if key in self.ready:
            self.changed.set()

    def oldest(self) -> float:
        """Seconds that the first ready key has waited."""
        now = self.clock()
        return max((now - since for since in self.ready.values()), default=0.0)

    def _promote(self) -> float | None:
        """Make ready what is due; returns the seconds until the next, None for none."""
        now = self.clock()
        while self.waiting and (self.waiting[0][0] <= now or not self._holds(*self.waiting[0])):
            at, key = heapq.heappop(self.waiting)
            if self._holds(at, key):
                del self.due[key]
                self.add(key)
        return self.waiting[0][0] - now if self.waiting else None

    def _holds(self, at: float, key: RepositoryKey) -> bool:
        return self.due.get(key) == at
