"""Every statement the API reads with, as SQLAlchemy Core; what the worker writes with stands in store.py and tick.py.

Functions of a connection that `seeing` opened: its transaction says which namespaces it may see, and row-level security does the rest.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Integer, LargeBinary, Text, and_, bindparam, column, exc, func, literal, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.elements import ColumnElement

from catalog.errors import CatalogError, StoreUnavailable
from catalog.model import RepositoryKey
from catalog.paging import Page, Row, Slice, Statement, listing, page, rows_of
from catalog.tables import chart_versions, charts, file_work, repositories, schedules, source_problems, sync_runs, version_files


class ChartPosition(NamedTuple):
    """`weight` is the negated rank: the best match comes first."""

    weight: int
    name: str
    namespace: str
    repository: str
    id: int


class VersionPosition(NamedTuple):
    order_key: bytes
    version: str


class RepositoryPosition(NamedTuple):
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ChartQuery:
    """Which charts to list: those that match a tsquery text, or all if it is None."""

    words: str | None = None
    namespace: str | None = None
    repository: str | None = None


@dataclass(frozen=True, slots=True)
class ChartKey:
    """A chart's name in the catalogue."""

    namespace: str
    repository: str
    chart: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.repository}/{self.chart}"


class InvalidQuery(CatalogError):
    """A question that cannot be asked."""


async def _first(connection: AsyncConnection, statement: Statement, values: Mapping[str, object]) -> Row | None:
    return next(iter(await rows_of(connection, statement, values)), None)


def _given(name: str) -> ColumnElement[str]:
    return bindparam(name, type_=Text())


def _equal_if_given(compared: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return or_(_given(name).is_(None), compared == _given(name))


_SEE = select(func.set_config("chartfleet.namespaces", _given("namespaces"), True))


@asynccontextmanager
async def seeing(engine: AsyncEngine, namespaces: Sequence[str]) -> AsyncGenerator[AsyncConnection]:
    """A connection inside a transaction that sees these namespaces (`*` is all). Raises StoreUnavailable and InvalidQuery."""
    try:
        async with engine.begin() as connection:
            await connection.execute(_SEE, {"namespaces": ",".join(namespaces)})
            yield connection
    except exc.DataError as error:
        raise InvalidQuery("a parameter holds what PostgreSQL cannot, such as a NUL character: leave it out") from error
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        raise StoreUnavailable("PostgreSQL does not answer: try again in a moment") from error


_catalogue = charts.join(repositories, repositories.c.id == charts.c.repository_id)
_chart_columns = (
    charts.c.id,
    charts.c.namespace,
    repositories.c.name.label("repository"),
    *(charts.c[name] for name in ("name", "version", "app_version", "description", "icon", "deprecated", "created")),
)
_wanted = and_(
    charts.c.removed_at.is_(None),
    _equal_if_given(charts.c.namespace, "namespace"),
    _equal_if_given(repositories.c.name, "repository"),
)
_matching = func.chartfleet.matching_charts(_given("words")).table_valued(
    column("chart_id", BigInteger), column("rank", Integer), name="matching"
)
_ALL_CHARTS = listing(
    select(literal(0).label("weight"), *_chart_columns).select_from(_catalogue).where(_wanted),
    ChartPosition,
)
_MATCHING_CHARTS = listing(
    select((-_matching.c.rank).label("weight"), *_chart_columns)
    .select_from(_catalogue.join(_matching, _matching.c.chart_id == charts.c.id))
    .where(_wanted),
    ChartPosition,
)


async def search_charts(connection: AsyncConnection, query: ChartQuery, part: Slice[ChartPosition]) -> Page[ChartPosition]:
    """Charts by rank, then by name."""
    values = {"namespace": query.namespace, "repository": query.repository}
    if query.words is None:
        return await page(connection, _ALL_CHARTS, values, part)
    return await page(connection, _MATCHING_CHARTS, {**values, "words": query.words}, part)


_versions = _catalogue.join(chart_versions, chart_versions.c.chart_id == charts.c.id)
_version_columns = (
    *(chart_versions.c[name] for name in ("version", "app_version", "created", "digest", "deprecated", "urls", "order_key")),
    chart_versions.c.metadata["description"].astext.label("description"),
)
_of_chart = and_(
    charts.c.namespace == _given("namespace"),
    repositories.c.name == _given("repository"),
    charts.c.name == _given("chart"),
    charts.c.removed_at.is_(None),
    chart_versions.c.removed_at.is_(None),
)
_of_version = and_(_of_chart, chart_versions.c.version == _given("version"))
_files = select(version_files.c.names).where(version_files.c.version_id == chart_versions.c.id).scalar_subquery().label("files")
_CHART = (
    select(*_chart_columns, charts.c.home, charts.c.keywords, charts.c.versions, chart_versions.c.metadata, _files)
    .select_from(_versions)
    .where(_of_chart, chart_versions.c.version == charts.c.version)
)
_VERSIONS = listing(select(*_version_columns).select_from(_versions).where(_of_chart), VersionPosition, descending=True)
_VERSION = select(*_version_columns, chart_versions.c.metadata, _files).select_from(_versions).where(_of_version)
_found_file = (
    func.chartfleet.version_file(chart_versions.c.id, _given("file"))
    .table_valued(column("sha256", LargeBinary), column("content", LargeBinary), name="found_file")
    .lateral()
)
_FILE = (
    select(*_found_file.c, version_files.c.digest.is_not(None).label("read"), file_work.c.version_id.is_not(None).label("due"))
    .add_columns(file_work.c.error_class, file_work.c.error)
    .select_from(
        _versions.outerjoin(version_files, version_files.c.version_id == chart_versions.c.id)
        .outerjoin(file_work, file_work.c.version_id == chart_versions.c.id)
        .outerjoin(_found_file, true())
    )
    .where(_of_version)
)


async def chart(connection: AsyncConnection, key: ChartKey) -> Row | None:
    """A chart with its newest version's metadata and the names of its files."""
    return await _first(connection, _CHART, _names(key))


async def versions_of(connection: AsyncConnection, key: ChartKey, part: Slice[VersionPosition]) -> Page[VersionPosition]:
    """A chart's versions, newest first in Helm's order; none when there is no such chart."""
    return await page(connection, _VERSIONS, _names(key), part)


async def chart_version(connection: AsyncConnection, key: ChartKey, version: str) -> Row | None:
    """One version with its metadata and the names of its files."""
    return await _first(connection, _VERSION, {**_names(key), "version": version})


async def version_file(connection: AsyncConnection, key: ChartKey, version: str, name: str) -> Row | None:
    """A version's file, or None in `sha256` and `content`; whether its archive was `read`, or is `due` (after `error`)."""
    return await _first(connection, _FILE, {**_names(key), "version": version, "file": name})


def _names(key: ChartKey) -> Mapping[str, object]:
    return {"namespace": key.namespace, "repository": key.repository, "chart": key.chart}


_run_columns = [key for key in sync_runs.c if key.name != "argv"]  # which the API's role may not read
_newest_first = sync_runs.c.id.desc()


def _newest_sync(name: str, *which: ColumnElement[bool]) -> Any:
    """A repository's newest sync of some sort, for a lateral join."""
    of_repository = and_(sync_runs.c.repository_id == repositories.c.id, sync_runs.c.job == "sync")
    return select(*_run_columns).where(of_repository, *which).order_by(_newest_first).limit(1).lateral(name)


_newest = _newest_sync("newest")
_finished = _newest_sync("finished", sync_runs.c.state.in_(("done", "failed", "parked")))
_done = _newest_sync("done", sync_runs.c.state == "done")
_reading = _newest_sync("reading", sync_runs.c.state == "done", sync_runs.c.notes.is_not(None))  # others did not read the listing
_files_pending = (
    select(func.count())
    .select_from(file_work.join(chart_versions, chart_versions.c.id == file_work.c.version_id).join(charts))
    .where(file_work.c.repository_id == repositories.c.id, chart_versions.c.removed_at.is_(None), charts.c.removed_at.is_(None))
    .scalar_subquery()
    .label("files_pending")
)
_ready = and_(func.coalesce(_finished.c.state == "done", False), schedules.c.problem_reason.is_(None), schedules.c.problem.is_(None))
_found = select(
    *(repositories.c[name] for name in ("id", "namespace", "name", "type", "charts", "versions", "body_sha256")),
    func.regexp_replace(func.regexp_replace(repositories.c.url, "//[^/@]*@", "//"), r"\?.*", "?…").label("url"),  # either may be secret
    *(schedules.c[name] for name in ("problem_reason", "problem")),
    schedules.c.next_due_at.label("next_due"),
    *(_newest.c[name] for name in ("state", "phase")),
    *(_finished.c[name] for name in ("error_class", "error")),
    _finished.c.state.label("outcome"),
    _finished.c.finished_at.label("last_sync"),
    _done.c.finished_at.label("last_success"),
    _ready.label("ready"),
    _reading.c.notes_total,
    _files_pending,
).select_from(
    repositories.outerjoin(schedules, schedules.c.repository_id == repositories.c.id)
    .outerjoin(_newest, true())
    .outerjoin(_finished, true())
    .outerjoin(_done, true())
    .outerjoin(_reading, true())
)
_REPOSITORIES = listing(_found, RepositoryPosition)
_of_key = and_(repositories.c.namespace == _given("namespace"), repositories.c.name == _given("name"))
_REPOSITORY = _found.add_columns(_reading.c.notes).where(_of_key)
_of_id = sync_runs.c.repository_id == bindparam("repository", type_=Integer())
_RUNS = select(*_run_columns).where(_of_id).order_by(_newest_first).limit(20)
_PROBLEMS = select(source_problems).order_by(source_problems.c.source, source_problems.c.file, source_problems.c.line).limit(200)
_REQUEST_SYNC = select(func.chartfleet.request_sync(_given("namespace"), _given("name")))

_each = _found.subquery()
_syncing = or_(_each.c.state.in_(("queued", "sent", "running")), and_(_each.c.state.is_(None), _each.c.next_due.is_not(None)))
_TOTALS = select(
    func.count().label("repositories"),
    func.count().filter(_each.c.ready).label("ready"),
    func.count().filter(_syncing).label("syncing"),
    *(func.coalesce(func.sum(_each.c[name]), 0).label(name) for name in ("charts", "versions", "files_pending")),
    func.extract("epoch", func.now() - func.min(_each.c.last_success)).label("oldest_success"),
)


async def list_repositories(connection: AsyncConnection, part: Slice[RepositoryPosition]) -> Page[RepositoryPosition]:
    """Repositories by namespace and name, each with its counts and how its syncs stand."""
    return await page(connection, _REPOSITORIES, {}, part)


async def repository(connection: AsyncConnection, key: RepositoryKey) -> Row | None:
    """One repository with how its syncs stand."""
    return await _first(connection, _REPOSITORY, {"namespace": key.namespace, "name": key.name})


async def latest_runs(connection: AsyncConnection, repository_id: int) -> Sequence[Row]:
    """A repository's last runs of all jobs, newest first."""
    return await rows_of(connection, _RUNS, {"repository": repository_id})


async def problems(connection: AsyncConnection) -> Sequence[Row]:
    """Documents of the manifest sources that cannot be used."""
    return await rows_of(connection, _PROBLEMS, {})


async def totals(connection: AsyncConnection) -> Row:
    """repositories, ready, syncing (or due for the first time), charts, versions, files_pending; oldest_success is an age in seconds."""
    return (await rows_of(connection, _TOTALS, {}))[0]


async def request_sync(connection: AsyncConnection, key: RepositoryKey) -> datetime | None:
    """Ask for a sync now; None when there is no such repository with a schedule."""
    return await connection.scalar(_REQUEST_SYNC, {"namespace": key.namespace, "name": key.name})
