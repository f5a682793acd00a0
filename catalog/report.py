"""What a run says of itself: one JSON for `sync_runs`, the Pod's termination message and standard output."""

import json
import re
from dataclasses import asdict, dataclass, field

MOST_NOTES = 100  # kept with the run; the total is counted beyond them
MOST_TEXT = 500  # characters of a note's or an error's text
NUL = re.compile(r"(\\\\)|\\u0000")  # in JSON, where two backslashes are one that was written


@dataclass(frozen=True, slots=True)
class Note:
    """One entry that is wrong, or worth a word; everything else is published. `reason` is CamelCase."""

    chart: str
    version: str
    reason: str
    message: str


@dataclass(slots=True)
class Report:
    """A run as it grows. `phases` holds milliseconds, `bytes` what came over the wire, `requests` how many were made."""

    result: str = "unchanged"
    charts: int | None = None
    versions: int | None = None
    added: int = 0
    changed: int = 0
    removed: int = 0
    notes: list[Note] | None = None  # None: the listing was not read, so the last reading's notes still hold
    notes_total: int | None = None
    requests: int = 0
    bytes: int = 0
    phases: dict[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """As JSON-ready values."""
        return asdict(self)


def stored_json(value: object) -> str:
    """A value as JSON that PostgreSQL stores: without the character NUL; the same letters written out are a text like any other."""
    return NUL.sub(r"\1", json.dumps(value))
