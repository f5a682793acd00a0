"""What `up` tells while it runs: on a terminal a live table while something is read, then and elsewhere a line for each change."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.client import Client, Item
from cli.failures import Failure
from cli.output import clean

BUSY, QUIET = 0.5, 3.0  # seconds between two looks: while something syncs, and afterwards
UNFINISHED = {"queued", "sent", "running"}

Standing = Mapping[str, str]  # a line for each repository and each problem, by its key


class Progress(AbstractContextManager["Progress"]):
    """Looks at the API and tells what changed. `url` is asked anew, because a restarted API may have another port."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._said: Standing = {}
        self._phases: Mapping[str, str] = {}
        self._console = Console(highlight=False)
        self._live: Live | None = None
        self._settled = False  # the first syncs are over: from here on only those that have something to read are shown live
        self.rest = BUSY

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end_live()

    def look(self) -> None:
        """Ask the API once; an API that is away just now is the supervisor's matter."""
        client = Client(self._url())
        try:
            items, problems = list(client.items("repositories")), list(client.get("problems")["items"])
        except Failure:
            return
        busy = [item for item in items if is_busy(item)]
        self._settled = self._settled or bool(items and not busy)
        shown = [item for item in items if item["phase"] or not self._settled]
        self.rest = BUSY if busy or shown or not items else QUIET
        self._show_phases(shown)
        standing = {**{key(item): line(item) for item in items if not is_busy(item)}, **{problem(one): problem(one) for one in problems}}
        kept = {key(item): self._said[key(item)] for item in busy if key(item) in self._said}
        for text in changes(self._said, {**standing, **kept}):
            self.say(text)
        self._said = {**standing, **kept}

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _show_phases(self, items: Sequence[Item]) -> None:
        """A table that lives as long as there is something in it; where there is no terminal, a line for each phase that begins."""
        phases = {key(item): clean(item["phase"]) for item in items if item["phase"]}
        if not self._console.is_terminal:
            for text in begun(self._phases, phases):
                self.say(text)
        elif items:
            if not self._live:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(_table(items), refresh=True)
        else:
            self._end_live()
        self._phases = {**self._phases, **phases}

    def _end_live(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None


def is_busy(item: Item) -> bool:
    """Is a sync of this repository under way, or its first one still to come?"""
    return item["state"] in UNFINISHED or (item["state"] is None and item["next_due"] is not None)


def key(item: Item) -> str:
    return clean(f"{item['namespace']}/{item['name']}")


def line(item: Item) -> str:
    """How a repository stands, in a line."""
    counts = f"{item['charts']:,} charts, {item['versions']:,} versions"
    notes = f", {item['notes_total']} notes (chartfleet repo status {item['name']})" if item["notes_total"] else ""
    if item["ready"]:
        return clean(f"{key(item)}: {counts}{notes}")
    return clean(f"{key(item)}: {item['reason']}: {item['message'] or 'no sync yet'} ({counts})")


def problem(item: Item) -> str:
    """A manifest that cannot be used, in a line."""
    return clean(f"{item['file']}:{item['line']}: {item['message']}")


def begun(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What to say of the phases of `now` when those of `before` were the last: nothing while only their numbers change."""
    return [f"{name}: {phase}" for name, phase in now.items() if _kind(before.get(name, "")) != _kind(phase)]


def _kind(phase: str) -> str:
    return re.sub(r"[\d,./]+", "", phase)


def changes(before: Standing, now: Standing) -> list[str]:
    """What to say after `before` was said."""
    new = [text for name, text in now.items() if before.get(name) != text]
    return new + [f"{name}: removed" if name != text else f"{name} (solved)" for name, text in before.items() if name not in now]


def _table(items: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("REPOSITORY", "CHARTS", "VERSIONS", "NOW"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", justify="right" if name in ("CHARTS", "VERSIONS") else "left")
    for item in items:
        doing = item["phase"] or ((item["state"] or "waiting") if is_busy(item) else item["reason"])
        table.add_row(Text(key(item)), f"{item['charts']:,}", f"{item['versions']:,}", Text(clean(doing)))
    return table
