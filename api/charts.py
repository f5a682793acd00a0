"""Charts, their versions and their files."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response

from api.errors import NotFetched, NotFound, declared
from api.models import Chart, ChartDetail, FileName, Listed, Maintainer, Version, VersionDetail
from api.params import Cursor, InNamespace, InRepository, Limit, Segment, Words, cursor_text, position_of, tsquery_text
from api.store import Connection
from catalog import search
from catalog.paging import Row, Slice
from catalog.search import ChartKey, ChartPosition, ChartQuery, VersionPosition

FILES: Mapping[FileName, tuple[str, str]] = {
    "readme": ("README.md", "text/markdown"),
    "values": ("values.yaml", "application/yaml"),
    "schema": ("values.schema.json", "application/schema+json"),
}
_BODIES = {media_type: {"schema": {"type": "string"}} for _, media_type in FILES.values()}

router = APIRouter(prefix="/api/v1/charts", tags=["charts"], responses=declared(400, 422, 500, 503))


def chart_key(namespace: Segment, repository: Segment, chart: Segment) -> ChartKey:
    return ChartKey(namespace, repository, chart)


Key = Annotated[ChartKey, Depends(chart_key)]


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
    return ChartDetail.model_validate({**row, **_of_metadata(row["metadata"]), "files": _file_names(row["files"])})


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
    return VersionDetail.model_validate({**row, "files": _file_names(row["files"])})


@router.get(
    "/{namespace}/{repository}/{chart}/versions/{version}/{file}",
    response_class=Response,
    responses={200: {"content": _BODIES}, 304: {"description": "The file is still the one of `If-None-Match`."}, **declared(404)},
)
async def show_file(
    connection: Connection, key: Key, version: Segment, file: FileName, if_none_match: Annotated[str, Header()] = ""
) -> Response:
    """A file of the version's archive, byte for byte."""
    name, media_type = FILES[file]
    row = await search.version_file(connection, key, version, name)
    if row is None:
        raise NotFound(f"no version {version} of chart {key}")
    if row["content"] is None:
        raise _missing(f"{name} of {key} {version}", row)
    headers = {"etag": f'"{row["sha256"].hex()}"', "cache-control": "private, no-cache"}
    if headers["etag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(row["content"], headers=headers, media_type=f"{media_type}; charset=utf-8")


def _missing(what: str, row: Row) -> NotFound | NotFetched:
    if row["read"]:
        return NotFound(f"no {what}: the chart has none")
    if not row["due"]:
        return NotFetched(f"{what} is not fetched: this repository's archives of it are not read")
    if row["error_class"]:
        return NotFetched(f"{what} is not fetched yet, the last attempt failed: {row['error_class']}: {row['error']}")
    return NotFetched(f"{what} is not fetched yet: its archive waits to be read")


def _file_names(stored: list[str] | None) -> list[FileName]:
    return [file for file, (name, _) in FILES.items() if name in (stored or ())]


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
