"""What a controller follows of the fleet: how a repository's syncs and its removal stand. Functions of a connection; they never commit."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.model import RepositoryKey
from catalog.report import Summary, revision_of


@dataclass(frozen=True, slots=True)
class Syncs:
    """How a repository's syncs stand: its newest finished one in short, what is under way or asked for, and when the next is due."""

    newest: Summary | None
    run: int | None
    under_way: str | None
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class Watched:
    """What a look at the runs left: the newest number there was, and those that were not finished."""

    newest: int
    unfinished: frozenset[int]


async def syncs(connection: AsyncConnection, key: RepositoryKey) -> Syncs:
    """The state of a repository's syncs; nothing where it has no row."""
    statement = text("""
        select n.*, r.charts, r.versions, r.body_sha256, s.next_due_at, s.requested_at,
               (select u.notes_total from chartfleet.sync_runs u where u.repository_id = r.id and u.job = 'sync'
                and u.state = 'done' and u.notes is not null order by u.id desc limit 1) as notes,
               (select u.state from chartfleet.sync_runs u where u.repository_id = r.id and u.job = 'sync'
                and u.state in ('queued', 'sent', 'running') and u.cause = 'request' limit 1) as under_way
        from chartfleet.repositories r
        left join chartfleet.schedules s on s.repository_id = r.id
        left join lateral (
          select u.id as run, u.state, u.result, u.error_class, u.error, u.transient, u.started_at, u.finished_at
          from chartfleet.sync_runs u
          where u.repository_id = r.id and u.job = 'sync' and u.state in ('done', 'failed', 'parked') order by u.id desc limit 1
        ) n on true
        where r.namespace = :namespace and r.name = :name
    """)
    row = (await connection.execute(statement, {"namespace": key.namespace, "name": key.name})).one_or_none()
    if row is None:
        return Syncs(None, None, None, None)
    return Syncs(_summary(key, row) if row.run else None, row.run, row.under_way or (row.requested_at and "queued"), row.next_due_at)


def _summary(key: RepositoryKey, row: Any) -> Summary:
    return Summary(
        job="sync",
        repository=str(key),
        state="done" if row.state == "done" else "failed",
        run=row.run,
        result=row.result,
        charts=row.charts,
        versions=row.versions,
        notes=row.notes,
        revision=revision_of(row.body_sha256),
        error_class=row.error_class,
        error=row.error,
        transient=row.transient,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


async def removal(connection: AsyncConnection, key: RepositoryKey, incarnation: str) -> tuple[bool, str | None, str | None]:
    """Whether rows stand in this incarnation; state and error of the newest clean-up that was asked for it."""
    statement = text("""
        select exists (select from chartfleet.repositories where namespace = :namespace and name = :name
                       and coalesce(incarnation, :incarnation) = :incarnation) as stands, u.state, u.error
        from (values (1)) one left join lateral (
          select state, error from chartfleet.sync_runs
          where job = 'delete' and namespace = :namespace and name = :name and :word = any(argv) order by id desc limit 1
        ) u on true
    """)
    word = f"--option=incarnation={incarnation}"
    values = {"namespace": key.namespace, "name": key.name, "incarnation": incarnation, "word": word}
    row = (await connection.execute(statement, values)).one()
    return row.stands, row.state, row.error


async def ended_since(connection: AsyncConnection, before: Watched | None) -> tuple[set[RepositoryKey], Watched]:
    """The repositories of which a sync or clean-up has ended since the last look, however long it took, and what the next look goes by."""
    newest = (await connection.execute(text("select coalesce(max(id), 0) from chartfleet.sync_runs"))).scalar_one()
    statement = text("""
        select id, namespace, name, state in ('queued', 'sent', 'running') as unfinished from chartfleet.sync_runs
        where job <> 'files'
          and (state in ('queued', 'sent', 'running') or id > :newest or id = any (cast(:unfinished as bigint[])))
    """)
    known = before or Watched(newest, frozenset())
    rows = (await connection.execute(statement, {"newest": known.newest, "unfinished": list(known.unfinished)})).all()
    ended = {RepositoryKey(row.namespace, row.name) for row in rows if not row.unfinished}
    return ended, Watched(newest, frozenset(row.id for row in rows if row.unfinished))
