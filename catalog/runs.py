"""Schedules and runs: every statement of the controller's Celery backend and of the scheduler. They never commit.

A run is queued → sent → running → done | failed | parked. Whoever claims a row locks it with SKIP LOCKED, so any number of schedulers may
run. The broker may lose everything: what is sent but not started, or running without its lock, is queued again from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import tables as t
from catalog.database import SYNC_LOCK
from catalog.model import Applied, Problem, RepositoryKey
from catalog.schedule import Cron, Every, Schedule, next_due

CHANNEL = "chartfleet_work"  # NOTIFY: there may be something to claim
MOST_ATTEMPTS = 5
KEPT_RUNS = 50  # of a repository and job


@dataclass(frozen=True, slots=True)
class Planned:
    """A row of `schedules` as the controller wants it; not `runnable`: kept, but never due (then `problem` says why)."""

    key: RepositoryKey
    type: str
    url: str
    source: str
    incarnation: str
    argv: Sequence[str]
    fingerprint: str
    schedule: Schedule
    problem_reason: str | None = None
    problem: str | None = None
    runnable: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """A run to be sent."""

    id: int
    job: str
    cause: str
    argv: Sequence[str]
    repository: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A schedule whose time has come, or that somebody asked for."""

    repository_id: int
    namespace: str
    name: str
    argv: Sequence[str]
    period_seconds: int | None
    cron: str | None
    next_due_at: datetime | None
    requested_at: datetime | None


async def applied(connection: AsyncConnection, source: str) -> dict[RepositoryKey, Applied]:
    """All scheduled repositories of a source, by key."""
    rows = await connection.execute(_APPLIED.where(t.repositories.c.source == source))
    return {each.key: each for each in map(_applied, rows)}


async def applied_to(connection: AsyncConnection, key: RepositoryKey) -> Applied | None:
    """A scheduled repository, whatever its source."""
    r = t.repositories.c
    row = (await connection.execute(_APPLIED.where(r.namespace == key.namespace, r.name == key.name))).one_or_none()
    return _applied(row) if row else None


_APPLIED = select(
    t.repositories.c.namespace,
    t.repositories.c.name,
    t.repositories.c.incarnation,
    t.repositories.c.source,
    t.schedules.c.fingerprint,
    t.schedules.c.argv,
    t.schedules.c.problem,
).select_from(t.repositories.join(t.schedules, t.schedules.c.repository_id == t.repositories.c.id))


def _applied(row: Any) -> Applied:
    key = RepositoryKey(row.namespace, row.name)
    return Applied(key, row.incarnation or "", row.fingerprint, row.source, mark(row.fingerprint, row.argv, row.problem))


def mark(fingerprint: str, argv: Sequence[str], problem: str | None) -> str:
    """What a schedule was made of, in short; the incarnation does not count."""
    words = [word for word in argv if not word.startswith("--option=incarnation=")]
    return blake2b(repr((fingerprint, words, problem)).encode(), digest_size=16).hexdigest()


async def put_schedule(connection: AsyncConnection, planned: Planned, now: datetime) -> None:
    """Create or change a repository's schedule; its next tick follows from `now`."""
    repository = {"type": planned.type, "url": planned.url, "source": planned.source, "incarnation": planned.incarnation}
    upsert = (
        insert(t.repositories)
        .values(namespace=planned.key.namespace, name=planned.key.name, **repository)
        .on_conflict_do_update(index_elements=["namespace", "name"], set_=repository)
        .returning(t.repositories.c.id)
    )
    number = (await connection.execute(upsert)).scalar_one()
    period = int(planned.schedule.period / timedelta(seconds=1)) if isinstance(planned.schedule, Every) else None
    values = {
        "namespace": planned.key.namespace,
        "argv": list(planned.argv),
        "fingerprint": planned.fingerprint,
        "period_seconds": period,
        "cron": planned.schedule.text if isinstance(planned.schedule, Cron) else None,
        "next_due_at": next_due(planned.schedule, str(planned.key), now) if planned.runnable else None,
        "problem_reason": planned.problem_reason,
        "problem": planned.problem,
    }
    if not planned.runnable:
        values["requested_at"] = None
    await connection.execute(
        insert(t.schedules).values(repository_id=number, **values).on_conflict_do_update(index_elements=["repository_id"], set_=values)
    )


async def request_sync(connection: AsyncConnection, key: RepositoryKey) -> None:
    """Ask for a sync as soon as there is room, and wake the schedulers when this commits."""
    r = t.repositories.c
    number = select(r.id).where(r.namespace == key.namespace, r.name == key.name).scalar_subquery()
    await connection.execute(update(t.schedules).where(t.schedules.c.repository_id == number).values(requested_at=func.clock_timestamp()))
    await connection.execute(select(func.pg_notify(CHANNEL, "")))


async def queue_removal(connection: AsyncConnection, key: RepositoryKey, argv: Sequence[str]) -> None:
    """Drop the schedule first, then queue the clean-up, which needs nothing of the repository's."""
    r = t.repositories.c
    number = select(r.id).where(r.namespace == key.namespace, r.name == key.name).scalar_subquery()
    await connection.execute(delete(t.schedules).where(t.schedules.c.repository_id == number))
    run = {"namespace": key.namespace, "name": key.name, "job": "delete", "cause": "deletion", "argv": list(argv), "state": "queued"}
    await connection.execute(insert(t.sync_runs).values(run))
    await connection.execute(select(func.pg_notify(CHANNEL, "")))


async def put_problems(connection: AsyncConnection, source: str, problems: Sequence[Problem]) -> None:
    """Replace what is said of a source's documents."""
    await connection.execute(delete(t.source_problems).where(t.source_problems.c.source == source))
    if problems:
        rows = [
            {"source": source, "file": p.file, "line": p.line, "namespace": p.namespace, "name": p.name, "message": p.message}
            for p in problems
        ]
        await connection.execute(insert(t.source_problems).on_conflict_do_nothing(), rows)


async def claim_due(connection: AsyncConnection, now: datetime, most: int) -> int:
    """Turn due schedules and requests into queued runs; missed ticks collapse into one. Returns how many."""
    s, r = t.schedules.c, t.repositories.c
    unfinished = exists().where(
        t.sync_runs.c.repository_id == s.repository_id, t.sync_runs.c.job == "sync", t.sync_runs.c.state.in_(("queued", "sent", "running"))
    )
    query = (
        select(s.repository_id, r.namespace, r.name, s.argv, s.period_seconds, s.cron, s.next_due_at, s.requested_at)
        .select_from(t.schedules.join(t.repositories, r.id == s.repository_id))
        .where(s.next_due_at.is_not(None), or_(s.requested_at.is_not(None), s.next_due_at <= now), ~unfinished)
        .order_by(s.requested_at.asc().nulls_last(), s.next_due_at)
        .limit(most)
        .with_for_update(of=t.schedules, skip_locked=True)
    )
    claimed = [Claimed(*row) for row in await connection.execute(query)]
    if claimed:
        await connection.execute(insert(t.sync_runs).on_conflict_do_nothing(), [_run_of(row, now) for row in claimed])
        following = [{"number": row.repository_id, "due": _following(row, now)} for row in claimed]
        await connection.execute(
            update(t.schedules).where(s.repository_id == bindparam("number")).values(next_due_at=bindparam("due"), requested_at=None),
            following,
        )
    return len(claimed)


async def queue_files(connection: AsyncConnection, most: int) -> None:
    """Queue a files job for each repository whose archives or icons are due and that has none."""
    statement = text("""
        insert into chartfleet.sync_runs (repository_id, namespace, name, job, cause, argv, state)
        select r.id, r.namespace, r.name, 'files', 'leftover', array['files'] || s.argv[2:], 'queued'
        from chartfleet.schedules s join chartfleet.repositories r on r.id = s.repository_id
        where (exists (select from chartfleet.file_work w join chartfleet.chart_versions v on v.id = w.version_id and v.removed_at is null
                       join chartfleet.charts c on c.id = v.chart_id and c.removed_at is null
                       where w.repository_id = r.id and w.next_attempt_at <= now())
               or exists (select from chartfleet.icon_sources i
                          where i.repository_id = r.id and i.sha256 is null and i.next_attempt_at <= now()))
          and not exists (select from chartfleet.sync_runs u
                          where u.repository_id = r.id and u.job = 'files'
                            and (u.state in ('queued', 'sent', 'running')
                                 or u.state = 'failed' and u.finished_at > now() - interval '1 minute'))
        limit :most
    """)
    await connection.execute(statement, {"most": most})


async def take_queued(connection: AsyncConnection, most: int) -> list[Run]:
    """Mark runs as sent, a person's first, at most so many that `most` are under way; the caller sends them before it commits."""
    statement = text("""
        update chartfleet.sync_runs u set state = 'sent', sent_at = now()
        from (
          select id from chartfleet.sync_runs where state = 'queued'
          order by cause <> 'request', id
          limit greatest(0, :most - (select count(*) from chartfleet.sync_runs where state in ('sent', 'running')))
          for update skip locked
        ) q
        where u.id = q.id
        returning u.id, u.job, u.cause, u.argv, u.namespace || '/' || u.name
    """)
    rows = await connection.execute(statement, {"most": most})
    return sorted((Run(*row) for row in rows), key=lambda run: (run.cause != "request", run.id))


async def recover(connection: AsyncConnection) -> int:
    """Queue again what its worker left: running without the repository's lock, or sent long ago; park what keeps dying."""
    statement = text("""
        update chartfleet.sync_runs u
        set state = case when u.attempt >= :attempts then 'parked' else 'queued' end, phase = null,
            finished_at = case when u.attempt >= :attempts then now() end,
            error_class = case when u.attempt >= :attempts then 'WorkerLost' end,
            error = case when u.attempt >= :attempts then 'its worker died ' || u.attempt || ' times' end
        where u.state = 'sent'
             and u.sent_at < now() - least(interval '1 hour', greatest(interval '2 minutes', u.sent_at - u.queued_at)) -- ever more seldom
           or u.state = 'running' and u.started_at < now() - interval '10 seconds' and not exists (
                select from pg_locks l join chartfleet.repositories r on r.namespace = u.namespace and r.name = u.name
                where l.locktype = 'advisory' and l.classid in (:lock, :lock + 1) and l.objid = r.id and l.objsubid = 2
                  and l.database = (select oid from pg_database where datname = current_database())
                  and (l.classid = :lock) = (u.job <> 'files'))
        returning u.id
    """)
    return len((await connection.execute(statement, {"attempts": MOST_ATTEMPTS, "lock": SYNC_LOCK})).all())


async def forget_old_runs(connection: AsyncConnection, kept: int = KEPT_RUNS) -> None:
    """Keep the last runs of each repository and, whatever their age, the last that succeeded and the last that read the listing."""
    statement = text("""
        delete from chartfleet.sync_runs u using (
          select id, row_number() over (partition by repository_id, job order by id desc) as place,
                 row_number() over (partition by repository_id, job, state order by id desc) as of_state,
                 row_number() over (partition by repository_id, job, state, notes is null order by id desc) as of_notes
          from chartfleet.sync_runs
        ) p
        where u.id = p.id and p.place > :kept and not (u.state = 'done' and (p.of_state = 1 or u.notes is not null and p.of_notes = 1))
          and u.state in ('done', 'failed', 'parked')
    """)
    await connection.execute(statement, {"kept": kept})


async def seconds_to_next(connection: AsyncConnection, most: float) -> float:
    """How long nothing will be due, at most `most` seconds."""
    soonest = func.extract("epoch", func.min(t.schedules.c.next_due_at) - func.now())
    seconds = (await connection.execute(select(soonest))).scalar()
    return most if seconds is None else min(most, max(0.0, float(seconds)))


def _run_of(claimed: Claimed, now: datetime) -> dict[str, object]:
    due = claimed.next_due_at is not None and claimed.next_due_at <= now
    return {
        "repository_id": claimed.repository_id,
        "namespace": claimed.namespace,
        "name": claimed.name,
        "job": "sync",
        "cause": "request" if claimed.requested_at else "schedule",
        "argv": claimed.argv,
        "tick": claimed.next_due_at if due else None,
        "state": "queued",
    }


def _following(claimed: Claimed, now: datetime) -> datetime | None:
    if claimed.next_due_at is None:
        return None
    schedule = Every(timedelta(seconds=claimed.period_seconds)) if claimed.period_seconds else Cron(claimed.cron or "")
    return next_due(schedule, f"{claimed.namespace}/{claimed.name}", now)
