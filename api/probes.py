"""For those who watch: is it alive, is it ready, what does it count."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api import metrics
from api.auth import ALL
from api.errors import declared
from api.models import Health
from catalog import search, standing
from catalog.database import SCHEMA_REVISION, schema_revision
from catalog.engine import driver
from catalog.errors import StoreUnavailable

_TEXT = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

router = APIRouter(tags=["probes"])


@router.get("/healthz", responses=declared(500))
async def healthz() -> Health:
    """The process answers; the database is not asked."""
    return Health()


@router.get("/readyz", responses=declared(500, 503))
async def readyz(request: Request) -> Health:
    """PostgreSQL answers and holds the schema this program was written for."""
    async with search.seeing(request.app.state.engine, ()) as connection:
        found = await schema_revision(await driver(connection))
    if found != SCHEMA_REVISION:
        raise StoreUnavailable(f"the schema is at revision {found}, not {SCHEMA_REVISION}: run python -m migrations of this release")
    return Health()


@router.get("/metrics", response_class=Response, responses={**_TEXT, **declared(500)})
async def show_metrics(request: Request) -> Response:
    """Prometheus' text format. The gauges count the whole catalogue; they are left out while PostgreSQL is away."""
    try:
        async with search.seeing(request.app.state.engine, ALL) as connection:
            totals = await standing.totals(connection)
    except StoreUnavailable:
        totals = None
    return Response(metrics.requests(request.app.state.requests) + metrics.catalogue(totals), media_type=CONTENT_TYPE_LATEST)
