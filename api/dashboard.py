"""The page: the same searches as the API's, for people."""

import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Response
from jinja2 import Template

from api.models import Repository
from api.pages import templates
from api.params import cursor_text, position_of, tsquery_text
from api.repositories import repository_of
from api.store import Connection
from catalog import icons, search, standing
from catalog.paging import Slice
from catalog.search import ChartPosition, ChartQuery

CHARTS, REPOSITORIES = 30, 200  # shown on one page
HUES = 12  # of avatars, as static/page.css paints them
WAITING = ("Pending", "Syncing", "WaitingForSecret")
_STEPS = ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (30 * 86_400, 86_400, "d"))

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(
    connection: Connection,
    q: Annotated[str, Query()] = "",
    namespace: Annotated[str, Query()] = "",
    repository: Annotated[str, Query()] = "",
    cursor: Annotated[str, Query()] = "",
) -> Response:
    """Search, charts, repositories and problems."""
    query = ChartQuery(tsquery_text(q), namespace or None, repository or None)
    charts = await search.search_charts(connection, query, Slice(CHARTS, position_of(cursor, ChartPosition)))
    repositories = await standing.list_repositories(connection, Slice(REPOSITORIES))
    totals = await standing.totals(connection)
    shown = {
        "query": {"q": q, "namespace": namespace, "repository": repository, "cursor": cursor},
        "charts": charts,
        "icons": await icons.charts_with_icons(connection, [chart["id"] for chart in charts.rows]),
        "mismatched": await search.mismatched(connection, [chart["id"] for chart in charts.rows]),
        "next": cursor_text(charts.next),
        "repositories": [repository_of(row) for row in repositories.rows],
        "problems": await standing.problems(connection),
        "totals": totals,
        # Who is searching would lose what they type.
        "refresh": not (q or cursor) and bool(totals["busy"] or not totals["repositories"]),
        "now": datetime.now(UTC),
    }
    return Response(_PAGE.render(shown), media_type="text/html")


def page_link(query: Mapping[str, str], **changes: str) -> str:
    """The page's address with some parameters changed; empty ones are left out."""
    kept = {key: value for key, value in {**query, "cursor": "", **changes}.items() if value}
    return f"/?{urlencode(kept)}" if kept else "/"


def api_link(*names: str) -> str:
    """The API's address of a chart or a repository."""
    return "/api/v1/" + "/".join(quote(name, safe="") for name in names)


def ago(then: datetime | None, now: datetime) -> str:
    """A time as people say it: 5 min ago, or a date when it is long past."""
    if then is None:
        return "never"
    seconds = max(0, int((now - then).total_seconds()))
    for end, length, unit in _STEPS:
        if seconds < end:
            return f"{seconds // length} {unit} ago"
    return f"{then.day} {then:%b %Y}"


def status(repository: Repository) -> str:
    """ready, waiting, held or failed."""
    if repository.ready:
        return "ready"
    if repository.reason == "RemovalsHeld":
        return "held"
    return "waiting" if repository.reason in WAITING else "failed"


def working(repository: Repository) -> bool:
    return repository.phase is not None or repository.state in ("queued", "sent", "running")


def hue(name: str) -> int:
    """An avatar's colour, always the same for a name."""
    return zlib.crc32(name.encode()) % HUES


def initial(name: str) -> str:
    return next((letter.upper() for letter in name if letter.isalnum()), "·")


def _page_template() -> Template:
    environment = templates()
    helpers: Mapping[str, Any] = {helper.__name__: helper for helper in (page_link, api_link, ago, status, working, hue, initial)}
    environment.globals.update(helpers)
    return environment.get_template("page.html")


_PAGE = _page_template()
