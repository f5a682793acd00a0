"""Charts, their versions and what became of them."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter

from api.errors import NotFound, declared
from api.files import archived
from api.models import Change, Chart, ChartDetail, Listed, Maintainer, Replaced, Version, VersionDetail
from api.params import Cursor, InNamespace, InRepository, InVersion, Key, Limit, Segment, Words, cursor_text, position_of, tsquery_text
from api.store import Connection
from catalog import history, search
from catalog.history import ChangePosition
from catalog.paging import Row, Slice
from catalog.search import ChartPosition, ChartQuery, VersionPosition

router = APIRouter(prefix="/api/v1/charts", tags=["charts"], responses=declared(400, 422, 500, 503))


@router.get("")
async def list_charts(
    connection: Connection,
    q: Words = None,
    namespace: InNamespace = None,
    repository: InRepository = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Listed[Chart]:
    """Charts that match, the best first; all by name when nothing is searched for."""
    query = ChartQuery(tsquery_text(q), namespace, repository)
    found = await search.search_charts(connection, query, Slice(limit, position_of(cursor, ChartPosition)))
    return Listed(items=[Chart.model_validate(row) for row in found.rows], total=found.total, next=cursor_text(found.next))


@router.get("/{namespace}/{repository}/{chart}", responses=declared(404))
async def show_chart(connection: Connection, key: Key) -> ChartDetail:
    """A chart; what only its versions have is its newest version's."""
    row = await search.chart(connection, key)
    if row is None:
        raise NotFound(f"no chart {key}")
    return ChartDetail.model_validate({**row, **_of_metadata(row["metadata"]), **archived(row)})


@router.get("/{namespace}/{repository}/{chart}/versions", responses=declared(404))
async def list_versions(connection: Connection, key: Key, limit: Limit = 50, cursor: Cursor = None) -> Listed[Version]:
    """A chart's versions, newest first in Helm's order."""
    found = await search.versions_of(connection, key, Slice(limit, position_of(cursor, VersionPosition)))
    if not found.total:
        raise NotFound(f"no chart {key}")
    return Listed(items=[Version.model_validate(row) for row in found.rows], total=found.total, next=cursor_text(found.next))


@router.get("/{namespace}/{repository}/{chart}/versions/{version}", responses=declared(404))
async def show_version(connection: Connection, key: Key, version: Segment) -> VersionDetail:
    """One version with its entry as listed."""
    row = await search.chart_version(connection, key, version)
    if row is None:
        raise NotFound(f"no version {version} of chart {key}")
    return VersionDetail.model_validate({**row, **archived(row)})


@router.get("/{namespace}/{repository}/{chart}/history", responses=declared(404))
async def show_history(
    connection: Connection, key: Key, version: InVersion = None, limit: Limit = 50, cursor: Cursor = None
) -> Listed[Change]:
    """What became of a chart and its versions, newest first; also of those that are withdrawn."""
    found = await history.changes_of(connection, key, version, Slice(limit, position_of(cursor, ChangePosition)))
    if not found.total:
        raise NotFound(f"no history of chart {key}" + (f" {version}" if version else ""))
    items = [Change.model_validate({**row, "replaced": replaced_of(row)}) for row in found.rows]
    return Listed(items=items, total=found.total, next=cursor_text(found.next))


def replaced_of(row: Row) -> Replaced | None:
    """What of the replaced entry differs from the one that came in its place."""
    if row["replaced"] is None:
        return None
    before, after = _flat(row["replaced"]), _flat(row["replacement"] or {})
    fields = {name: value for name, value in before.items() if name not in after or after[name] != value}
    hosts = {host for url in fields.get("urls") or [] if (host := _host(url))}
    return Replaced(digest=fields.pop("digest", None), hosts=sorted(hosts), fields=fields)


def _host(url: str) -> str:
    """host:port of an absolute url, else nothing."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def _flat(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An entry of the ledger as one mapping: what has columns of its own, and the rest below `metadata`."""
    return {**(entry.get("metadata") or {}), **{name: value for name, value in entry.items() if name != "metadata"}}


def _of_metadata(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parts of an entry that have a shape; what does not have it is left to `metadata`."""
    maintainers, sources, annotations = (metadata.get(key) for key in ("maintainers", "sources", "annotations"))
    return {
        "maintainers": [Maintainer(**_texts(person)) for person in _list(maintainers) if isinstance(person, dict)],
        "sources": [source for source in _list(sources) if isinstance(source, str)],
        "annotations": _texts(annotations) if isinstance(annotations, dict) else {},
    }


def _texts(mapping: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in mapping.items() if isinstance(value, str)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
