"""A chart's icon, as it was stored: other people's pictures, which may do nothing but be looked at."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from api.charts import Key
from api.errors import NotFetched, NotFound, declared
from api.store import Connection
from catalog import icons
from catalog.paging import Row

# An SVG opened by itself is a document: no script, no request, an origin of its own.
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "private, max-age=3600",
}
_BODIES = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in ("image/png", "image/svg+xml")}

router = APIRouter(prefix="/api/v1/charts", tags=["charts"], responses=declared(400, 422, 500, 503))


@router.get(
    "/{namespace}/{repository}/{chart}/icon",
    response_class=Response,
    responses={200: {"content": _BODIES}, 304: {"description": "The icon is still the one of `If-None-Match`."}, **declared(404)},
)
async def show_icon(connection: Connection, key: Key, if_none_match: Annotated[str, Header()] = "") -> Response:
    """The chart's icon: a PNG that fits into 160×160, or a sanitised SVG."""
    row = await icons.icon_of(connection, key)
    if row is None:
        raise NotFound(f"no chart {key}")
    if row["content"] is None:
        raise _missing(f"icon of {key}", row)
    headers = {**HEADERS, "etag": f'"{row["sha256"].hex()}"'}
    if headers["etag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(row["content"], headers=headers, media_type=row["content_type"])


def _missing(what: str, row: Row) -> NotFound | NotFetched:
    if not row["named"]:
        return NotFound(f"no {what}: the chart names none")
    if row["error_class"]:
        return NotFetched(f"{what} is not fetched yet, the last attempt failed: {row['error_class']}: {row['error']}")
    return NotFetched(f"{what} is not fetched yet: it waits to be read")
