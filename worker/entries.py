"""One entry of an index → one row, or the reason why not. Pure.

An entry comes as both readers give it: every scalar is the text that was written, a plain null is None. Helm keeps every field but
`deprecated` as a string, so nothing is lost and `1.10` is never 1.1.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from catalog.report import Note
from catalog.versions import order_key

# What Helm's index knows in an entry, old names included (helm/helm pkg/repo/index.go, pkg/chart/metadata.go).
FIELDS = {
    *("name", "home", "sources", "version", "description", "keywords", "maintainers", "icon", "apiVersion", "condition", "tags"),
    *("appVersion", "deprecated", "annotations", "kubeVersion", "dependencies", "type", "urls", "created", "removed", "digest"),
    *("checksum", "engine", "tillerVersion", "url"),
}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)").fullmatch
MOST_NAME = 253  # characters of a chart's name or version: an index of PostgreSQL holds no key over 2.7 kB
TRUE = {"true", "yes", "on", "y"}  # what YAML 1.1 reads as true, in any case
COLUMNS = {"version", "appVersion", "created", "digest", "urls"}
REST_OF_ROW = b"\t\\N\t\\N\t\\N\t\\N\t\\N\n"  # the columns that only a chart's own line has
NUL = b"\\u0000"  # as JSON writes it; PostgreSQL stores no NUL. Also matches an escaped backslash before u0000, which does no harm


class Item(NamedTuple):
    """One element of a chart's list: its value, the line where it begins (from 0; -1: unknown) and the keys in it that stand twice."""

    value: Any
    line: int = -1
    repeated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One listed version. `metadata`: JSON of the fields that have no column, sorted; `fingerprint`: 16 bytes over all but `created`;
    `nul`: a NUL character stands somewhere in it, which PostgreSQL stores nowhere."""

    version: str
    order: bytes
    created: str | None
    app_version: str | None
    digest: str | None
    urls: Sequence[str]
    deprecated: bool
    metadata: bytes
    fingerprint: bytes
    nul: bool


class BadEntry(Exception):
    """Why an entry cannot be published; `reason` is CamelCase."""

    def __init__(self, reason: str, message: str, version: str = "") -> None:
        super().__init__(message)
        self.reason, self.version = reason, version


def read_chart(name: str, raw: Iterable[Item]) -> tuple[list[Entry], list[Note]]:
    """The publishable versions of a chart, in the order listed, and what is to be said of them and the rest."""
    entries: dict[str, Entry] = {}
    notes: list[Note] = []
    unknown: Counter[str] = Counter()
    for item in raw:
        try:
            entry = read_entry(item.value)
        except BadEntry as bad:
            notes.append(Note(name, bad.version, bad.reason, str(bad)))
            continue
        unknown.update(item.value.keys() - FIELDS)
        notes.extend(_remarks(name, entry, item))
        if other := entries.get(entry.version):
            notes.append(Note(name, entry.version, "DuplicateVersion", "listed more than once: the newest `created` is kept"))
            entry = max(other, entry, key=_precedence)
        entries[entry.version] = entry
    notes.extend(_unknown_fields(name, unknown))
    return list(entries.values()), notes


def newest_first(entries: Iterable[Entry]) -> list[Entry]:
    """In Helm's order; equal ones by their text."""
    return sorted(entries, key=lambda e: (e.order, e.version), reverse=True)


def read_entry(raw: Any) -> Entry:
    """One version. Raises BadEntry."""
    if not isinstance(raw, dict):
        raise BadEntry("NoEntry", "an entry is not a mapping of fields")
    version = _text(raw.get("version"))
    if not version:
        raise BadEntry("NoVersion", "an entry has no version")
    if len(version) > MOST_NAME:
        raise BadEntry("OddVersion", f"a version of {len(version):,} characters", version[:40] + "…")
    try:
        order = order_key(version)
    except ValueError as error:
        raise BadEntry("OddVersion", str(error), version.replace("\0", "␀")) from None
    urls = raw.get("urls")
    columns = version, raw.get("appVersion"), raw.get("digest"), urls
    try:
        metadata = orjson.dumps({key: value for key, value in raw.items() if key not in COLUMNS}, option=orjson.OPT_SORT_KEYS)
        metadata = bytes(memoryview(metadata))  # a copy: orjson's own bytes keep the room in which they were written, kilobytes
        whole = metadata + orjson.dumps(columns)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise BadEntry("BadContent", f"an entry cannot be written down: {error}", version) from None
    return Entry(
        version,
        order,
        _text(raw.get("created")),
        _text(columns[1]),
        _text(columns[2]),
        [url for url in (urls if isinstance(urls, list) else [urls]) if isinstance(url, str) and url],
        is_true(raw.get("deprecated")),
        metadata,
        blake2b(whole, digest_size=16).digest(),
        NUL in whole,
    )


def rollup(fingerprints: Iterable[bytes]) -> bytes:
    """16 bytes over all versions of a chart, in whatever order they are listed."""
    return blake2b(b"".join(sorted(fingerprints)), digest_size=16).digest()


def copy_rows(name: str, entries: Sequence[Entry]) -> Iterator[bytes]:
    """The versions, newest first, as lines of COPY's text format for the staging table of catalog.staging."""
    return (_copy_row(name, entry, newest=place == 0) for place, entry in enumerate(entries))


@dataclass(frozen=True, slots=True)
class ChartLine:
    """What a staged chart has besides versions. `complete`: its rows are all that is listed; else they come on top of what is stored, of
    which the versions in `dropped` are no longer listed. `pieces`: for the fast path, if it may read this chart."""

    name: str
    rollup: bytes
    complete: bool = True
    piece_rollup: bytes | None = None
    pieces: bytes | None = None
    dropped: Sequence[str] = ()

    def copied(self) -> bytes:
        """Its line for the same staging table: one without a version."""
        raw = (_hexadecimal(value) for value in (self.rollup, self.piece_rollup, self.pieces))
        rollup, piece_rollup, pieces = raw
        fields = (_copied(self.name), *[b"\\N"] * 10, rollup, b"t" if self.complete else b"f", piece_rollup, pieces, _array(self.dropped))
        return b"\t".join(fields) + b"\n"


def timestamp(text: str | None) -> datetime | None:
    """RFC 3339; None for what is none, and for the zero times that mean "unknown"."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if not 1970 <= time.year < 9999:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def copied_time(text: str | None) -> bytes:
    """A time for COPY, to the microsecond: as it is written where PostgreSQL reads that alike, else in UTC."""
    time = timestamp(text)
    if time is None or text is None:
        return b"\\N"
    if text.endswith("Z") and STAMP(text):
        return text.encode() if len(text) < 28 else text[:26].encode() + b"Z"
    return time.isoformat().encode()


def without_nul(value: Any) -> Any:
    """A copy in which no text has a NUL."""
    match value:
        case str():
            return value.replace("\0", "")
        case dict():
            return {without_nul(key): without_nul(item) for key, item in value.items()}
        case list():
            return [without_nul(item) for item in value]
        case _:
            return value


def greatest_stamp(stamps: Iterable[str | None]) -> str:
    """Of RFC 3339 times the one whose text is greatest; both readers agree on it, and for one writer it is the newest."""
    return max((stamp for stamp in stamps if stamp and STAMP(stamp)), default="")


def _unknown_fields(name: str, unknown: Counter[str]) -> Iterable[Note]:
    for field, times in sorted(unknown.items()):
        said = f"{field[:80].replace(chr(0), '␀')!r} is no field of an index entry ({times:,} of this chart's have it): kept as it is"
        yield Note(name, "", "UnknownField", said)


def _remarks(name: str, entry: Entry, item: Item) -> Iterable[Note]:
    if item.repeated:
        keys = ", ".join(sorted({key[:80] for key in item.repeated})[:3]).replace("\0", "␀")
        yield Note(name, entry.version, "DuplicateKey", f"stands more than once in the entry, the last one counts: {keys}")
    if not entry.urls:
        yield Note(name, entry.version, "NoUrl", "no url: its files cannot be read")
    if entry.nul:
        yield Note(name, entry.version, "NulCharacter", "a NUL character was left out")
    called = item.value.get("name")
    if called and called != name and isinstance(called, str):
        yield Note(name, entry.version, "NameDiffers", f"the entry calls itself {called[:80]!r}; the index's key is what counts")


def _precedence(entry: Entry) -> tuple[datetime, bytes]:
    return timestamp(entry.created) or datetime.min.replace(tzinfo=UTC), entry.fingerprint


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _copy_row(name: str, entry: Entry, *, newest: bool) -> bytes:
    metadata = orjson.dumps(without_nul(orjson.loads(entry.metadata))) if entry.nul else entry.metadata
    fields = (
        _copied(name),
        entry.version.encode(),
        b"t" if newest else b"f",
        _hexadecimal(entry.order),
        _hexadecimal(entry.fingerprint),
        _copied(entry.app_version),
        _copied(entry.digest),
        copied_time(entry.created),
        b"t" if entry.deprecated else b"f",
        _array(entry.urls),
        metadata.replace(b"\\", b"\\\\"),
    )
    return b"\t".join(fields) + REST_OF_ROW


def _hexadecimal(value: bytes | None) -> bytes:
    return b"\\N" if value is None else b"\\\\x" + value.hex().encode()


def _array(texts: Iterable[str]) -> bytes:
    return _copied("{" + ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts) + "}")


def is_true(value: Any) -> bool:
    """Helm's `deprecated`: YAML 1.1's true."""
    return isinstance(value, str) and value.lower() in TRUE


def _copied(text: str | None) -> bytes:
    if text is None:
        return b"\\N"
    escaped = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return escaped.replace("\0", "").encode()
