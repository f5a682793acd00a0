"""What archives hold, and the work of reading them. Functions of a connection; they never commit.

A version's files are one row that names contents by their hash. Contents nobody names any more are swept, never while somebody names one.
Rows of a batch travel as one JSON value, so that a batch of any size is one statement.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, not_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import tables as t
from catalog.database import CONTENTS_LOCK
from catalog.engine import driver
from catalog.report import stored_json

HOUR = 3_600.0

_KNOWN = "select sha256 from chartfleet.blobs where sha256 = any (%b)"

_PUT_CONTENTS = """
    insert into chartfleet.blobs (sha256, size, content)
    select b.sha256, octet_length(b.content), b.content from unnest(%b::bytea[], %b::bytea[]) as b (sha256, content)
    on conflict do nothing
"""

# Work whose clock was set anew meanwhile is another wish: the listing changed, and the archive is read again. Apart from an update, because
# an insert that may meet a conflict writes more WAL; the caller holds the repository, so nobody else inserts.
_PUT_FILES = text("""
    with read as materialized (
      select r.*, f.version_id is not null as replaces
      from json_to_recordset(cast(:rows as json)) as r (
             version_id bigint, due timestamptz, names text[], contents bytea[], digest text, as_listed boolean, signed boolean,
             templates integer, dependencies jsonb, images text[])
      join chartfleet.file_work w on w.version_id = r.version_id and w.next_attempt_at = r.due
      left join chartfleet.version_files f on f.version_id = r.version_id
    ), put as (
      insert into chartfleet.version_files (version_id, namespace, names, contents, digest, as_listed, signed, templates,
                                            dependencies, images)
      select version_id, :namespace, names, contents, digest, as_listed, signed, templates, dependencies, images
      from read where not replaces
    ), put_again as (
      update chartfleet.version_files f
      set names = r.names, contents = r.contents, digest = r.digest, as_listed = r.as_listed, signed = r.signed, templates = r.templates,
          dependencies = r.dependencies, images = r.images, read_at = now()
      from read r where r.replaces and f.version_id = r.version_id
    ), done as (
      delete from chartfleet.file_work w using read where w.version_id = read.version_id
    )
    select count(*), coalesce(bool_or(replaces), false) from read
""")

_POSTPONE = text("""
    update chartfleet.file_work w
    set attempts = w.attempts + p.asked::integer, next_attempt_at = now() + make_interval(secs => p.seconds), error_class = p.reason,
        error = p.error
    from json_to_recordset(cast(:rows as json))
      as p (version_id bigint, due timestamptz, seconds float8, reason text, error text, asked boolean)
    where w.version_id = p.version_id and w.next_attempt_at = p.due
""")

_POSTPONE_DUE = text("""
    update chartfleet.file_work
    set attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => :seconds), error_class = :reason, error = :error
    where repository_id = :repository and next_attempt_at <= now()
""")

_RETRY_NOW = text("""
    update chartfleet.file_work set next_attempt_at = now(), attempts = 0 where repository_id = :repository and next_attempt_at > now()
""")

_DROP_UNWANTED = text("""
    delete from chartfleet.file_work w using chartfleet.chart_versions v, chartfleet.charts c
    where w.repository_id = :repository and v.id = w.version_id and c.id = v.chart_id
      and (:mode = 'none' or :mode = 'latest' and v.version <> c.version)
""")

# Wanted: what was never read, or was read as the index then listed it and is listed with another digest now.
_PUT_WANTED = text("""
    insert into chartfleet.file_work (version_id, namespace, repository_id, newest)
    select v.id, :namespace, :repository, v.version = c.version
    from chartfleet.charts c
    join chartfleet.chart_versions v on v.chart_id = c.id and v.removed_at is null and v.urls <> '{}'
    left join chartfleet.version_files f on f.version_id = v.id
    where c.repository_id = :repository and c.removed_at is null and (:mode = 'all' or :mode = 'latest' and v.version = c.version)
      and (f.version_id is null or f.as_listed and f.digest is distinct from replace(lower(v.digest), 'sha256:', ''))
    on conflict do nothing
""")

# A row that says so already is not locked: jobs would wait for one another.
_WANT_SWEEP = text("update chartfleet.housekeeping set wanted = true where task = 'contents' and not wanted")

_SWEEP_IS_DUE = text("""
    select from chartfleet.housekeeping
    where task = 'contents' and wanted and done_at < clock_timestamp() - make_interval(secs => :pause)
""")

_SWEEP = text("""
    delete from chartfleet.blobs b
    where not exists (select from chartfleet.version_files f cross join unnest(f.contents) as named (sha256) where named.sha256 = b.sha256)
""")

_SWEPT = text("update chartfleet.housekeeping set wanted = false, done_at = clock_timestamp() where task = 'contents'")


@dataclass(frozen=True, slots=True)
class FileWork:
    """An archive to read: where it may be had, what the index says, how often it was tried. `due` tells this wish from a later one."""

    version_id: int
    chart: str
    version: str
    urls: Sequence[str]
    digest: str | None
    newest: bool
    attempts: int
    due: datetime


@dataclass(frozen=True, slots=True)
class ReadArchive:
    """What an archive holds: files as name → SHA-256 of the content; `digest` is the archive's own SHA-256, hexadecimal."""

    work: FileWork
    digest: str
    files: Mapping[str, bytes]
    templates: int
    dependencies: Sequence[Mapping[str, str]]
    images: Sequence[str]
    signed: bool | None

    @property
    def as_listed(self) -> bool | None:
        """Whether the index lists this digest; None when it lists none."""
        listed = self.work.digest
        return listed.lower().removeprefix("sha256:") == self.digest if listed else None


@dataclass(frozen=True, slots=True)
class Postponed:
    """An archive that could not be read: to be tried again in so many seconds. Not `asked` for, it waits no longer the next time."""

    work: FileWork
    seconds: float
    reason: str
    error: str
    asked: bool = True


async def count_due(connection: AsyncConnection, repository: int) -> int:
    """How many archives' time has come."""
    return (await connection.execute(_due(repository).with_only_columns(func.count()))).scalar_one()


async def due_files(connection: AsyncConnection, repository: int, after: FileWork | None, most: int) -> list[FileWork]:
    """Archives whose time has come, each chart's newest first, of these those tried least; from behind `after` on, in the same order."""
    w = t.file_work.c
    place = tuple_(not_(w.newest), w.attempts, w.version_id)
    query = _due(repository).order_by(place).limit(most)
    if after:
        query = query.where(place > tuple_(not after.newest, after.attempts, after.version_id))
    return [FileWork(*row) for row in await connection.execute(query)]


async def put_contents(connection: AsyncConnection, contents: Mapping[bytes, bytes]) -> None:
    """Store contents by SHA-256, in one order for everybody: two jobs with the same ones would lock each other out."""
    await connection.execute(select(func.pg_advisory_xact_lock_shared(CONTENTS_LOCK, 0)))
    raw = await driver(connection)
    known = {row[0] for row in await (await raw.execute(_KNOWN, (list(contents),), binary=True)).fetchall()}
    new = sorted(contents.keys() - known)
    if new:
        await raw.execute(_PUT_CONTENTS, (new, [contents[sha256] for sha256 in new]))


async def put_files(connection: AsyncConnection, namespace: str, archives: Sequence[ReadArchive]) -> int:
    """Name the versions' files, whose contents are stored in this transaction, and close their work; returns how many.

    An archive is left out when a newer listing wants another one meanwhile. The caller holds the repository.
    """
    rows = [
        {
            "version_id": each.work.version_id,
            "due": each.work.due.isoformat(),
            "names": list(each.files),
            "contents": [f"\\x{sha256.hex()}" for sha256 in each.files.values()],
            "digest": each.digest,
            "as_listed": each.as_listed,
            "signed": each.signed,
            "templates": each.templates,
            "dependencies": each.dependencies,
            "images": each.images,
        }
        for each in archives
    ]
    stored, replaced = (await connection.execute(_PUT_FILES, {"rows": json.dumps(rows), "namespace": namespace})).one()
    if replaced:
        await want_sweep(connection)
    return stored


async def postpone_files(connection: AsyncConnection, postponed: Sequence[Postponed]) -> None:
    """Come back to archives that could not be read, each in its own time."""
    rows = [
        {
            "version_id": p.work.version_id,
            "due": p.work.due.isoformat(),
            "seconds": p.seconds,
            "reason": p.reason,
            "error": p.error,
            "asked": p.asked,
        }
        for p in postponed
    ]
    await connection.execute(_POSTPONE, {"rows": stored_json(rows)})


async def postpone_due(connection: AsyncConnection, repository: int, seconds: float, reason: str, error: str) -> None:
    """Postpone everything that is due in a repository."""
    await connection.execute(_POSTPONE_DUE, {"repository": repository, "seconds": seconds, "reason": reason, "error": error})


async def retry_now(connection: AsyncConnection, repository: int) -> None:
    """What failed is tried again at once: the repository is asked for in another way now."""
    await connection.execute(_RETRY_NOW, {"repository": repository})


async def want_files(connection: AsyncConnection, repository: int, namespace: str, mode: str) -> None:
    """Bring a repository's file work in line with what is wanted of it: `all` archives, each chart's `latest`, or `none`."""
    values = {"repository": repository, "namespace": namespace, "mode": mode}
    await connection.execute(_DROP_UNWANTED, values)
    await connection.execute(_PUT_WANTED, values)


async def want_sweep(connection: AsyncConnection) -> None:
    """Say that some contents may be named by nobody any more."""
    await connection.execute(select(func.pg_advisory_xact_lock_shared(CONTENTS_LOCK, 0)))
    await connection.execute(_WANT_SWEEP)


async def tidy(connection: AsyncConnection, pause: float = HOUR) -> bool:
    """Sweep if that is wanted and was not done for `pause` seconds; whoever comes by does it. Whether it was."""
    due = {"pause": pause}
    if (await connection.execute(_SWEEP_IS_DUE, due)).first() is None:
        return False
    await _lock_contents(connection)
    if (await connection.execute(_SWEEP_IS_DUE, due)).first() is None:  # somebody else was first
        return False
    await sweep_contents(connection)
    return True


async def sweep_contents(connection: AsyncConnection) -> None:
    """Remove the contents that no version names any more. Waits for those who are naming some, so that none is taken from under them."""
    await _lock_contents(connection)
    await connection.execute(_SWEEP)
    await connection.execute(_SWEPT)


async def _lock_contents(connection: AsyncConnection) -> None:
    await connection.execute(select(func.pg_advisory_xact_lock(CONTENTS_LOCK, 0)))


def _due(repository: int) -> Select[*tuple[Any, ...]]:
    w, v, c = t.file_work.c, t.chart_versions.c, t.charts.c
    return (
        select(w.version_id, c.name, v.version, v.urls, v.digest, w.newest, w.attempts, w.next_attempt_at)
        .select_from(t.file_work.join(t.chart_versions, v.id == w.version_id).join(t.charts, c.id == v.chart_id))
        .where(w.repository_id == repository, w.next_attempt_at <= func.now(), v.removed_at.is_(None), c.removed_at.is_(None))
    )
