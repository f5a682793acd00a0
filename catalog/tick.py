"""What every run reads and writes, by psycopg alone: an unchanged one needs no other statement, and a one-shot process stays small.

Functions of a connection; whoever opens the transaction ends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import class_row

from catalog.errors import CatalogError, RepositoryGone
from catalog.jobs import SyncRepository
from catalog.model import HELD_FOR, HELD_READS, RepositoryKey
from catalog.report import MOST_TEXT, Note, Report, stored_json


@dataclass(frozen=True, slots=True)
class HeldBefore:
    """A listing whose removals are held; `before`: listed versions. `ripe`: one more reading of it lets them through."""

    etag: str | None
    last_modified: str | None
    body_sha256: bytes
    content: bytes
    reason: str
    removals: int
    before: int
    ripe: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A repository's row: what the published listing was made of. `purge_due`: days of grace are over for some of it."""

    id: int
    type: str
    url: str
    incarnation: str | None
    scheduled: bool
    applied_fingerprint: str | None
    etag: str | None
    last_modified: str | None
    body_sha256: bytes | None
    charts: int
    versions: int
    files_due: bool
    applied_filter: str
    applied_files: str
    applied_url: str | None
    generated: datetime | None
    newest_created: datetime | None
    purge_due: bool
    is_held: bool
    hosts_in_trouble: bool  # any of the fleet's: almost always none, and then no request needs a look at its host

    def was_asked_by(self, job: SyncRepository) -> bool:
        """Whether the published listing was asked for as this job asks; else it is read afresh, and what failed is tried anew."""
        return (self.applied_fingerprint or "", self.type, self.applied_url) == (job.terms, job.repository.type, job.repository.url)


@dataclass(frozen=True, slots=True)
class Standing:
    """A repository after a run: its row, what is held, and of the last reading of its listing the number of notes and the first of them."""

    stored: Stored
    held: HeldBefore | None
    notes_total: int | None
    notes: Sequence[Note]


_FIND = """
    select id, type, url, incarnation, exists (select from chartfleet.schedules s where s.repository_id = r.id) as scheduled,
           applied_fingerprint, etag, last_modified, body_sha256, charts, versions,
           exists (select from chartfleet.file_work w join chartfleet.chart_versions v on v.id = w.version_id and v.removed_at is null
                   join chartfleet.charts c on c.id = v.chart_id and c.removed_at is null
                   where w.repository_id = r.id and w.next_attempt_at <= now())
             or exists (select from chartfleet.icon_sources s
                        where s.repository_id = r.id and s.sha256 is null and s.next_attempt_at <= now()) as files_due,
           applied_filter, applied_files, applied_url, generated, newest_created, coalesce(purge_at <= now(), false) as purge_due,
           exists (select from chartfleet.held_listings h where h.repository_id = r.id) as is_held,
           exists (select from chartfleet.hosts) as hosts_in_trouble
    from chartfleet.repositories r where namespace = %s and name = %s
"""

_HELD = """
    select etag, last_modified, body_sha256, content, reason, removals,
           (select coalesce(sum(c.versions), 0) from chartfleet.charts c
            where c.repository_id = h.repository_id and (c.removed_at is null or c.excluded))::integer as before,
           released_at is not null or reads + 1 >= %s and first_read_at <= now() - %s as ripe
    from chartfleet.held_listings h where repository_id = %s
"""

# The first notes alone: nobody who reads a summary gets more.
_NOTES = """
    select notes_total, jsonb_path_query_array(notes, '$[0 to 2]')
    from chartfleet.sync_runs
    where repository_id = %s and job = 'sync' and state = 'done' and notes is not null
    order by id desc limit 1
"""

_READ_AGAIN = "update chartfleet.held_listings set reads = reads + 1, last_read_at = now() where repository_id = %s returning reads"

_FENCED = "select from chartfleet.fences where namespace = %s and name = %s and incarnation = %s"

# Waits for the deletions that are under way and keeps others back until this transaction ends.
_NO_DELETION = "lock table chartfleet.fences in share mode"

_LOCK = "select pg_try_advisory_lock(%s, id) from chartfleet.repositories where namespace = %s and name = %s"

_OPEN = """
    insert into chartfleet.repositories (namespace, name, type, url, incarnation)
    values (%s, %s, %s, %s, nullif(%s, ''))
    on conflict (namespace, name) do nothing
"""

# Whoever holds a repository's lock knows that nobody else is at it; the fleet's own runs are queued again by its schedulers.
_BEGIN = """
    with lost as (
      update chartfleet.sync_runs
      set state = 'failed', finished_at = now(), phase = null, error_class = 'WorkerLost', error = 'its worker died', transient = true
      where repository_id = %(repository)s and job = %(job)s and state = 'running' and cause = 'command'
    )
    insert into chartfleet.sync_runs (repository_id, namespace, name, job, cause, argv, state, attempt, started_at, worker)
    values (%(repository)s, %(namespace)s, %(name)s, %(job)s, 'command', %(argv)s, 'running', 1, now(), %(worker)s)
    returning id
"""

_RESUME = """
    update chartfleet.sync_runs
    set state = 'running', attempt = attempt + 1, started_at = now(), finished_at = null, worker = %s, phase = null
    where id = %s and state in ('queued', 'sent', 'running')
    returning attempt
"""

_PHASE = "update chartfleet.sync_runs set phase = %s where id = %s"

_DONE = """
    update chartfleet.sync_runs
    set state = 'done', finished_at = clock_timestamp(), phase = null, error_class = null, error = null, transient = null,
        result = %(result)s, charts = %(charts)s, versions = %(versions)s, added = %(added)s, changed = %(changed)s, removed = %(removed)s,
        notes = %(notes)s, notes_total = %(notes_total)s, requests = %(requests)s, bytes = %(bytes)s, phases = %(phases)s
    where id = %(id)s
"""

_FAILED = """
    update chartfleet.sync_runs
    set state = 'failed', finished_at = clock_timestamp(), error_class = %(error_class)s, error = %(error)s, transient = %(transient)s,
        charts = %(charts)s, versions = %(versions)s, added = %(added)s, changed = %(changed)s, removed = %(removed)s,
        notes = %(notes)s, notes_total = %(notes_total)s, requests = %(requests)s, bytes = %(bytes)s, phases = %(phases)s
    where id = %(id)s
"""

_CLAIM_CHORE = """
    insert into chartfleet.housekeeping as h (task, done_at) values (%s, now())
    on conflict (task) do update set done_at = now() where h.done_at < now() - interval '1 hour'
    returning task
"""

# A transient failure is tried again after a minute, two, four … up to an hour, unless the schedule comes first.
_SOONER = """
    with failures as (
      select count(*) as number from chartfleet.sync_runs r
      where r.repository_id = %(repository)s and r.job = 'sync' and r.state = 'failed'
        and r.id > coalesce((select max(d.id) from chartfleet.sync_runs d
                             where d.repository_id = %(repository)s and d.job = 'sync' and d.state = 'done'), 0)
    )
    update chartfleet.schedules
    set next_due_at = least(next_due_at, now() + greatest(
          %(wait)s * interval '1 second', interval '1 minute' * least(60, power(2, least(7, failures.number - 1)))))
    from failures
    where repository_id = %(repository)s and next_due_at is not null
"""


async def find(connection: AsyncConnection, key: RepositoryKey) -> Stored | None:
    """The repository's row, or None."""
    async with connection.cursor(row_factory=class_row(Stored)) as cursor:
        await cursor.execute(_FIND, (key.namespace, key.name))
        return await cursor.fetchone()


async def held_before(connection: AsyncConnection, repository: int) -> HeldBefore | None:
    """The repository's held listing."""
    async with connection.cursor(row_factory=class_row(HeldBefore)) as cursor:
        await cursor.execute(_HELD, (HELD_READS, HELD_FOR, repository))
        return await cursor.fetchone()


async def standing(connection: AsyncConnection, key: RepositoryKey) -> Standing | None:
    """What there is to say of a repository, whether or not the last run read its listing; None when there is none."""
    stored = await find(connection, key)
    if stored is None:
        return None
    held = await held_before(connection, stored.id) if stored.is_held else None
    row = await (await connection.execute(_NOTES, (stored.id,))).fetchone()
    total, notes = row or (None, [])
    return Standing(stored, held, total, [Note(**note) for note in notes])


async def read_held_again(connection: AsyncConnection, repository: int) -> int:
    """The held listing came once more, unchanged; how often now."""
    row = await (await connection.execute(_READ_AGAIN, (repository,))).fetchone()
    return row[0] if row else 0


async def open_repository(connection: AsyncConnection, key: RepositoryKey, type_: str, url: str, incarnation: str) -> Stored:
    """The repository's row, made when absent. Raises RepositoryGone for a deleted incarnation."""
    await _refuse_fenced(connection, key, incarnation)
    if stored := await find(connection, key):
        if stored.scheduled and incarnation and stored.incarnation and incarnation != stored.incarnation:
            raise RepositoryGone(f"{key} is asked for by another resource now; this job is of its former life")
        return stored
    await connection.execute(_NO_DELETION)
    await _refuse_fenced(connection, key, incarnation)
    await connection.execute(_OPEN, (key.namespace, key.name, type_, url, incarnation))
    stored = await find(connection, key)
    assert stored is not None
    return stored


async def _refuse_fenced(connection: AsyncConnection, key: RepositoryKey, incarnation: str) -> None:
    if incarnation and await (await connection.execute(_FENCED, (key.namespace, key.name, incarnation))).fetchone() is not None:
        raise RepositoryGone(f"{key} was deleted; this job is of its former life")


async def try_lock(connection: AsyncConnection, key: RepositoryKey, kind: int) -> bool | None:
    """Try for the session lock of a kind on a repository; None when there is no such repository. What is found after it stands."""
    row = await (await connection.execute(_LOCK, (kind, key.namespace, key.name))).fetchone()
    return row[0] if row else None


async def begin_run(
    connection: AsyncConnection, repository: int | None, key: RepositoryKey, job: str, argv: Sequence[str], worker: str
) -> int:
    """A new run, started by hand or by a Pod, with whose lock the former ones of its sort are over; returns its id."""
    where = {"repository": repository, "namespace": key.namespace, "name": key.name}
    row = await (await connection.execute(_BEGIN, {**where, "job": job, "argv": list(argv), "worker": worker})).fetchone()
    assert row is not None
    return row[0]


async def resume_run(connection: AsyncConnection, run: int, worker: str) -> bool:
    """Take a queued run; False when it is already over, as a late redelivery finds it."""
    return (await (await connection.execute(_RESUME, (worker, run))).fetchone()) is not None


async def set_phase(connection: AsyncConnection, run: int, phase: str) -> None:
    """What a long run is doing now, for those who watch."""
    await connection.execute(_PHASE, (phase, run))


async def finish_run(connection: AsyncConnection, run: int, report: Report) -> None:
    """Record success; in the same transaction as what the run published."""
    await connection.execute(_DONE, {"id": run, **_columns(report)})


async def fail_run(connection: AsyncConnection, run: int, repository: int | None, error: CatalogError, report: Report) -> None:
    """Record a failure by its reason, and come back sooner if that can help."""
    values = {"error_class": error.reason, "error": str(error).replace("\0", "")[:MOST_TEXT], "transient": error.transient}
    await connection.execute(_FAILED, {"id": run, **_columns(report), **values})
    if error.transient and repository is not None:
        await connection.execute(_SOONER, {"repository": repository, "wait": getattr(error, "retry_after", None) or 0})


async def claim_chore(connection: AsyncConnection, task: str) -> bool:
    """Whether the caller is to do a chore that is done once an hour, by whoever comes by."""
    return (await (await connection.execute(_CLAIM_CHORE, (task,))).fetchone()) is not None


def _columns(report: Report) -> dict[str, object]:
    document = report.document()
    for name in ("notes", "phases"):
        document[name] = None if document[name] is None else stored_json(document[name])
    return document
