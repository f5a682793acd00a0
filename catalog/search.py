"""What the API asks of charts, versions and files. How repositories stand is in standing.py, what became of charts in history.py.

Functions of a connection that `seeing` opened: its transaction says which namespaces it may see, and row-level security does the rest.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ARRAY, BigInteger, Integer, LargeBinary, and_, bindparam, column, exc, func, literal, not_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog.errors import CatalogError, StoreUnavailable
from catalog.paging import Page, Row, Slice, equal_if_given, first_row, given, listing, page
from catalog.tables import chart_versions, charts, file_work, repositories, version_files


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


_SEE = select(func.set_config("chartfleet.namespaces", given("namespaces"), True))


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


# What the index lists of an archive, in the form that version_files.digest has; null: it lists none.
_listed_digest = func.nullif(func.replace(func.lower(chart_versions.c.digest), "sha256:", ""), "")
_as_listed = version_files.c.digest == _listed_digest

_catalogue = charts.join(repositories, repositories.c.id == charts.c.repository_id)
_chart_columns = (
    charts.c.id,
    charts.c.namespace,
    repositories.c.name.label("repository"),
    *(charts.c[name] for name in ("name", "version", "app_version", "description", "icon", "deprecated", "created")),
)
_with_archive = chart_versions.outerjoin(version_files, version_files.c.version_id == chart_versions.c.id).outerjoin(
    file_work, file_work.c.version_id == chart_versions.c.id
)
_wanted = and_(
    charts.c.removed_at.is_(None),
    equal_if_given(charts.c.namespace, "namespace"),
    equal_if_given(repositories.c.name, "repository"),
)
_matching = func.chartfleet.matching_charts(given("words")).table_valued(
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


_MISMATCHED = (
    select(charts.c.id)
    .select_from(charts.join(_with_archive, chart_versions.c.chart_id == charts.c.id))
    .where(charts.c.id == func.any(bindparam("charts", type_=ARRAY(BigInteger))), chart_versions.c.version == charts.c.version)
    .where(not_(_as_listed), file_work.c.version_id.is_(None))
)


async def mismatched(connection: AsyncConnection, of: Sequence[int]) -> Sequence[int]:
    """Which charts, by `id`, have a newest version whose archive is not the listed one, and not because it was read before."""
    return (await connection.execute(_MISMATCHED, {"charts": list(of)})).scalars().all()


_versions = _catalogue.join(chart_versions, chart_versions.c.chart_id == charts.c.id)
_archives = _catalogue.join(_with_archive, chart_versions.c.chart_id == charts.c.id)
_version_columns = (
    *(chart_versions.c[name] for name in ("version", "app_version", "created", "digest", "deprecated", "urls", "order_key")),
    chart_versions.c.metadata["description"].astext.label("description"),
)
_of_chart = and_(
    charts.c.namespace == given("namespace"),
    repositories.c.name == given("repository"),
    charts.c.name == given("chart"),
    charts.c.removed_at.is_(None),
    chart_versions.c.removed_at.is_(None),
)
_of_version = and_(_of_chart, chart_versions.c.version == given("version"))
# Read before the index listed another digest, and to be read again.
_stale = and_(file_work.c.version_id.is_not(None), version_files.c.digest.is_distinct_from(_listed_digest))
_archive_columns = (
    version_files.c.digest.label("archive_digest"),
    _as_listed.label("as_listed"),
    _stale.label("stale"),
    *(version_files.c[name] for name in ("names", "signed", "templates", "dependencies", "images", "read_at")),
    *(file_work.c[name] for name in ("attempts", "next_attempt_at", "error_class", "error")),
)
_CHART = (
    select(*_chart_columns, charts.c.home, charts.c.keywords, charts.c.versions, chart_versions.c.metadata, *_archive_columns)
    .select_from(_archives)
    .where(_of_chart, chart_versions.c.version == charts.c.version)
)
_VERSIONS = listing(select(*_version_columns).select_from(_versions).where(_of_chart), VersionPosition, descending=True)
_VERSION = select(*_version_columns, chart_versions.c.metadata, *_archive_columns).select_from(_archives).where(_of_version)
_found_file = (
    func.chartfleet.version_file(chart_versions.c.id, given("file"))
    .table_valued(column("sha256", LargeBinary), column("content", LargeBinary), name="found_file")
    .lateral()
)
_FILE = select(*_found_file.c, *_archive_columns).select_from(_archives.outerjoin(_found_file, true())).where(_of_version)


async def chart(connection: AsyncConnection, key: ChartKey) -> Row | None:
    """A chart with its newest version's metadata and archive."""
    return await first_row(connection, _CHART, _names(key))


async def versions_of(connection: AsyncConnection, key: ChartKey, part: Slice[VersionPosition]) -> Page[VersionPosition]:
    """A chart's versions, newest first in Helm's order; none when there is no such chart."""
    return await page(connection, _VERSIONS, _names(key), part)


async def chart_version(connection: AsyncConnection, key: ChartKey, version: str) -> Row | None:
    """One version with its metadata and its archive: null in `archive_digest` if it was not read, in `attempts` if it does not wait."""
    return await first_row(connection, _VERSION, {**_names(key), "version": version})


async def version_file(connection: AsyncConnection, key: ChartKey, version: str, name: str) -> Row | None:
    """A file by the name it is stored under, with its archive; null in `sha256` and `content` if there is none."""
    return await first_row(connection, _FILE, {**_names(key), "version": version, "file": name})


def _names(key: ChartKey) -> Mapping[str, object]:
    return {"namespace": key.namespace, "repository": key.repository, "chart": key.chart}
