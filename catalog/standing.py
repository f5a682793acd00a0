"""How repositories stand: their syncs, what is held, what a job is doing right now, and asking for one.

Functions of a connection that search.seeing opened.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Integer, and_, bindparam, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from catalog.model import RepositoryKey
from catalog.paging import Page, Row, Slice, first_row, given, listing, page, rows_of
from catalog.tables import chart_versions, charts, file_work, held_listings, repositories, schedules, source_problems, sync_runs


class RepositoryPosition(NamedTuple):
    namespace: str
    name: str


_run_columns = [key for key in sync_runs.c if key.name != "argv"]  # which the API's role may not read
_newest_first = sync_runs.c.id.desc()


def _newest_run(name: str, *which: ColumnElement[bool]) -> Any:
    """A repository's newest run of some sort, for a lateral join."""
    of_repository = sync_runs.c.repository_id == repositories.c.id
    return select(*_run_columns).where(of_repository, *which).order_by(_newest_first).limit(1).lateral(name)


_sync = sync_runs.c.job == "sync"
_newest = _newest_run("newest", _sync)
_finished = _newest_run("finished", _sync, sync_runs.c.state.in_(("done", "failed", "parked")))
_done = _newest_run("done", _sync, sync_runs.c.state == "done")
_reading = _newest_run("reading", _sync, sync_runs.c.state == "done", sync_runs.c.notes.is_not(None))  # others did not read the listing
_running = _newest_run("running", sync_runs.c.state == "running", sync_runs.c.job.in_(("sync", "files")), sync_runs.c.phase.is_not(None))
_last_files = _newest_run("last_files", sync_runs.c.job == "files", sync_runs.c.state == "done", sync_runs.c.notes.is_not(None))
_file_notes = [_last_files.c.notes.label("file_notes"), _last_files.c.notes_total.label("file_notes_total")]
_work = file_work.join(chart_versions, chart_versions.c.id == file_work.c.version_id).join(charts)
_in_sight = and_(chart_versions.c.removed_at.is_(None), charts.c.removed_at.is_(None))
_files_pending = (
    select(func.count())
    .select_from(_work)
    .where(file_work.c.repository_id == repositories.c.id, _in_sight)
    .scalar_subquery()
    .label("files_pending")
)
_ready = and_(func.coalesce(_finished.c.state == "done", False), schedules.c.problem_reason.is_(None), schedules.c.problem.is_(None))
_standing = (
    repositories.outerjoin(schedules, schedules.c.repository_id == repositories.c.id)
    .outerjoin(held_listings, held_listings.c.repository_id == repositories.c.id)
    .outerjoin(_newest, true())
    .outerjoin(_running, true())
    .outerjoin(_finished, true())
    .outerjoin(_done, true())
    .outerjoin(_reading, true())
)
_columns = (
    *(repositories.c[name] for name in ("id", "namespace", "name", "type", "charts", "versions", "body_sha256")),
    func.regexp_replace(func.regexp_replace(repositories.c.url, "//[^/@]*@", "//"), r"\?.*", "?…").label("url"),  # either may be secret
    *(schedules.c[name] for name in ("problem_reason", "problem")),
    schedules.c.next_due_at.label("next_due"),
    _newest.c.state,
    _running.c.phase,
    *(_finished.c[name] for name in ("error_class", "error")),
    _finished.c.state.label("outcome"),
    _finished.c.finished_at.label("last_sync"),
    _done.c.finished_at.label("last_success"),
    _ready.label("ready"),
    _reading.c.notes_total,
    _files_pending,
    *(held_listings.c[name].label(f"held_{name}") for name in ("reason", "removals", "versions", "reads")),
    *(held_listings.c[name] for name in ("first_read_at", "last_read_at", "released_at")),
)
_found = select(*_columns).select_from(_standing)
_REPOSITORIES = listing(_found, RepositoryPosition)
_of_key = and_(repositories.c.namespace == given("namespace"), repositories.c.name == given("name"))
_REPOSITORY = select(*_columns, _reading.c.notes, *_file_notes).select_from(_standing.outerjoin(_last_files, true())).where(_of_key)
_of_id = sync_runs.c.repository_id == bindparam("repository", type_=Integer())
_RUNS = select(*_run_columns).where(_of_id).order_by(_newest_first).limit(20)
_FAILING = (
    select(
        file_work.c.error_class.label("reason"),
        func.count().label("archives"),
        func.min(file_work.c.error).label("message"),
        func.min(file_work.c.next_attempt_at).label("next_attempt_at"),
    )
    .select_from(_work)
    .where(file_work.c.repository_id == bindparam("repository", type_=Integer()), _in_sight, file_work.c.error_class.is_not(None))
    .group_by(file_work.c.error_class)
    .order_by(func.count().desc(), file_work.c.error_class)
)
_PROBLEMS = select(source_problems).order_by(source_problems.c.source, source_problems.c.file, source_problems.c.line).limit(200)
_REQUEST_SYNC = select(func.chartfleet.request_sync(given("namespace"), given("name")))
_RELEASE_HELD = select(func.chartfleet.release_held(given("namespace"), given("name")))

_each = _found.subquery()
_first_to_come = and_(_each.c.state.is_(None), _each.c.next_due.is_not(None))
_busy = or_(_each.c.state.in_(("queued", "sent", "running")), _each.c.phase.is_not(None), _first_to_come)
_TOTALS = select(
    func.count().label("repositories"),
    func.count().filter(_each.c.ready).label("ready"),
    func.count().filter(_busy).label("busy"),
    *(func.coalesce(func.sum(_each.c[name]), 0).label(name) for name in ("charts", "versions", "files_pending")),
    func.extract("epoch", func.now() - func.min(_each.c.last_success)).label("oldest_success"),
)


async def list_repositories(connection: AsyncConnection, part: Slice[RepositoryPosition]) -> Page[RepositoryPosition]:
    """Repositories by namespace and name, each with its counts, how its syncs stand, and the facts of a held listing if there is one."""
    return await page(connection, _REPOSITORIES, {}, part)


async def repository(connection: AsyncConnection, key: RepositoryKey) -> Row | None:
    """One repository, also with the notes of the last reading of its listing, and of its archives."""
    return await first_row(connection, _REPOSITORY, {"namespace": key.namespace, "name": key.name})


async def latest_runs(connection: AsyncConnection, repository_id: int) -> Sequence[Row]:
    """A repository's last runs of all jobs, newest first."""
    return await rows_of(connection, _RUNS, {"repository": repository_id})


async def failing_files(connection: AsyncConnection, repository_id: int) -> Sequence[Row]:
    """A repository's archives whose last attempt failed, by reason: how many, one message of theirs, when the first is tried again."""
    return await rows_of(connection, _FAILING, {"repository": repository_id})


async def problems(connection: AsyncConnection) -> Sequence[Row]:
    """Documents of the manifest sources that cannot be used."""
    return await rows_of(connection, _PROBLEMS, {})


async def totals(connection: AsyncConnection) -> Row:
    """repositories, ready, busy (or due for the first time), charts, versions, files_pending; oldest_success is an age in seconds."""
    return (await rows_of(connection, _TOTALS, {}))[0]


async def request_sync(connection: AsyncConnection, key: RepositoryKey) -> datetime | None:
    """Ask for a sync now; None when there is no such repository with a schedule."""
    return await connection.scalar(_REQUEST_SYNC, {"namespace": key.namespace, "name": key.name})


async def release_held(connection: AsyncConnection, key: RepositoryKey) -> datetime | None:
    """Let the next sync apply a held listing; None when nothing is held."""
    return await connection.scalar(_RELEASE_HELD, {"namespace": key.namespace, "name": key.name})
