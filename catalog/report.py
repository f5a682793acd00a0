"""What a run says of itself: all of it for `sync_runs` and standard output, a summary for whoever asked for it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal

MOST_NOTES = 100  # kept with the run; the total is counted beyond them
MOST_TEXT = 500  # characters of a note's or an error's text
MOST_MESSAGE = 4_000  # bytes of a termination message: Kubernetes keeps 4,096
FIRST_NOTES = 3  # of which a summary has the text
State = Literal["done", "failed", "skipped"]  # how a run ends; skipped: somebody else does it, or it has nothing to do any more
NUL = re.compile(r"(\\\\)|\\u0000")  # in JSON, where two backslashes are one that was written


@dataclass(frozen=True, slots=True)
class Note:
    """One entry that is wrong, or worth a word; everything else is published. `reason` is CamelCase."""

    chart: str
    version: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{' '.join(filter(None, (self.chart, self.version)))}: {self.message} ({self.reason})".removeprefix(": ")


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


@dataclass(frozen=True, slots=True)
class Held:
    """A listing whose removals are held: Empty, Shrunk or Stale, and how many versions it would take away."""

    reason: str
    removals: int


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended, and how its repository stands after it, changed or not (docs/reference.md). None is what cannot be known.

    `notes` is their number, `first_notes` the text of three. `revision` is the source's own word for its state: of an index the SHA-256.
    Whoever writes it cuts the texts, so that it fits into a termination message.
    """

    job: str
    repository: str
    state: State
    run: int | None = None
    result: str | None = None
    charts: int | None = None
    versions: int | None = None
    notes: int | None = None
    first_notes: tuple[str, ...] = ()
    added: int = 0
    changed: int = 0
    removed: int = 0
    revision: str | None = None
    error_class: str | None = None
    error: str | None = None
    transient: bool | None = None
    held: Held | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def message(self) -> str:
        """JSON of at most MOST_MESSAGE bytes; the longer the texts, the more of each is cut off."""
        most = MOST_TEXT
        while len(message := json.dumps(_written(asdict(self), most))) > MOST_MESSAGE:
            most //= 2
        return message


def revision_of(body_sha256: bytes | None) -> str | None:
    """What an index calls its state, wherever users read it; None before the first was published."""
    return f"sha256:{bytes(body_sha256).hex()}" if body_sha256 else None


def summary_in(message: str) -> Summary | None:
    """The summary of a termination message; None for what is none, as of a Pod that was killed."""
    import msgspec  # noqa: PLC0415 - a run only writes

    try:
        return msgspec.json.decode(message.encode(errors="replace"), type=Summary)
    except msgspec.MsgspecError:
        return None


def _written(fields: Mapping[str, object], most: int) -> dict[str, object]:
    """JSON-ready fields without those that say nothing."""
    return {name: _cut(value, most) for name, value in fields.items() if value is not None}


def _cut(value: object, most: int) -> object:
    """A value with texts of at most `most` characters; times in UTC, to the second (RFC 3339)."""
    match value:
        case str():
            text = value.encode(errors="replace").decode()  # half a character, as an argument may have, is no JSON
            return text if len(text) <= most else f"{text[: max(0, most - 1)]}…"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        case tuple():
            return [_cut(each, most) for each in value]
        case _:
            return value


def stored_json(value: object) -> str:
    """A value as JSON that PostgreSQL stores: without the character NUL; the same letters written out are a text like any other."""
    return NUL.sub(r"\1", json.dumps(value))
