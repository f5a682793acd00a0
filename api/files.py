"""What a version's archive holds: its files, and what is known of it."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from api.errors import NotFetched, NotFound, declared
from api.models import Archive, Shortcut, Waiting
from api.params import Key, Segment
from api.store import Connection
from catalog import search
from catalog.paging import Row
from catalog.search import ChartKey

SHORTCUTS: Mapping[Shortcut, str] = {"readme": "README.md", "values": "values.yaml", "schema": "values.schema.json"}
_MEDIA_TYPES = {".md": "text/markdown", ".yaml": "application/yaml", ".json": "application/schema+json"}  # what is stored ends so
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media_type: {"schema": {"type": "string"}} for media_type in _MEDIA_TYPES.values()},
        "headers": {"chartfleet-stale": {"schema": {"const": "true"}, "description": "Present while `archive.stale` is true."}},
    },
    304: {"description": "The file is still the one of `If-None-Match`."},
    **declared(400, 404, 422, 500, 503),
}

router = APIRouter(prefix="/api/v1/charts/{namespace}/{repository}/{chart}/versions/{version}", tags=["charts"], responses=_ANSWERS)


@router.get("/files/{name}", response_class=Response)
async def show_file(
    connection: Connection, key: Key, version: Segment, name: Segment, if_none_match: Annotated[str, Header()] = ""
) -> Response:
    """A file of the version's archive by its name, byte for byte."""
    return await _file(connection, key, version, name, if_none_match)


@router.get("/{file}", response_class=Response)
async def show_known_file(
    connection: Connection, key: Key, version: Segment, file: Shortcut, if_none_match: Annotated[str, Header()] = ""
) -> Response:
    """README.md, values.yaml or values.schema.json, byte for byte."""
    return await _file(connection, key, version, SHORTCUTS[file], if_none_match)


async def _file(connection: Connection, key: ChartKey, version: str, name: str, if_none_match: str) -> Response:
    row = await search.version_file(connection, key, version, name)
    if row is None:
        raise NotFound(f"no version {version} of chart {key}")
    if row["content"] is None:
        raise _missing(f"{name} of {key} {version}", row)
    headers = {"etag": f'"{row["sha256"].hex()}"', "cache-control": "private, no-cache"}
    if row["stale"]:
        headers["chartfleet-stale"] = "true"
    if headers["etag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    media_type = _MEDIA_TYPES.get(PurePosixPath(name).suffix, "text/plain")
    return Response(row["content"], headers=headers, media_type=f"{media_type}; charset=utf-8")


def archived(row: Row) -> Mapping[str, object]:
    """The fields of Archived for a row of catalog.search.chart or chart_version."""
    read, waits = row["archive_digest"] is not None, row["attempts"] is not None
    return {
        "files": row["names"] or [],
        "archive": Archive.model_validate({**row, "digest": row["archive_digest"]}) if read else None,
        "waiting": Waiting.model_validate({**row, "reason": row["error_class"], "message": row["error"]}) if waits else None,
    }


def _missing(what: str, row: Row) -> NotFound | NotFetched:
    if row["archive_digest"] is not None:
        return NotFound(f"no {what}: the archive has {', '.join(row['names']) or 'no files'}")
    if row["attempts"] is None:
        return NotFetched(f"{what} is not fetched: this repository's archives of it are not read")
    if row["error_class"]:
        return NotFetched(f"{what} is not fetched yet, the last attempt failed: {row['error_class']}: {row['error']}")
    return NotFetched(f"{what} is not fetched yet: its archive waits to be read")
