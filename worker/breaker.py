"""The removal breaker: does a listing's loss look like an accident? Pure.

Repositories have published an index of one chart, an empty one, or last month's, by mistake. Such a listing is held: what it adds is
published, what it takes away waits until it has been read `HELD_READS` times over `HELD_FOR`, or until a person says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from catalog.model import HELD_FOR, HELD_READS

FEW = 10  # versions that may always go
SHARE = 0.2  # of all listed versions
# What of a held listing is not published, by why it is held: an old copy also has what was withdrawn since.
HELD_BACK = {"Empty": ("changed", "removed"), "Shrunk": ("changed", "removed"), "Stale": ("changed", "removed", "reappeared")}
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Age:
    """When a listing says that it was made, and the newest `created` in it."""

    generated: datetime | None
    newest_created: datetime | None

    def is_older(self, other: "Age") -> bool:
        """Whether both times are known on both sides and lie before the other's: a stale copy, not a repair."""
        return is_before(self.generated, other.generated) and is_before(self.newest_created, other.newest_created)


def is_before(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


def accident(changes: Mapping[str, int], before: int, listed: int, age: Age, applied: Age) -> str | None:
    """Empty, Shrunk or Stale, or None for a listing to trust.

    `changes`: versions by what happened to them; `before`: how many were listed, `listed`: how many are now.
    """
    removed = changes.get("removed", 0)
    if before and not listed:
        return "Empty"
    if removed >= FEW and removed > before * SHARE:
        return "Shrunk"
    if any(changes.get(change) for change in HELD_BACK["Stale"]) and age.is_older(applied):
        return "Stale"
    return None


def held_because(reason: str, removals: int, before: int, reads: int) -> str:
    """What the user is told, with what to do."""
    what = {
        "Empty": f"the listing is empty: the {before:,} versions known before are kept",
        "Shrunk": f"the listing lacks {removals:,} of {before:,} versions: they are kept",
        "Stale": "the listing is older than the one applied: the newer one is kept",
    }[reason]
    times = f"read {reads} time{'s' if reads > 1 else ''} so far"
    terms = f"until the same listing was read {HELD_READS} times over {HELD_FOR / HOUR:g} h"
    return f"{what} {terms} ({times}), or until `chartfleet repo release NAME`"
