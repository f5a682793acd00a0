"""The application: middleware, routes, error shape, lifespan."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from api import charts, dashboard, files, icons, probes, repositories
from api.errors import answer_errors
from api.metrics import Requests
from api.middleware import Measured, RawPath, SecurityHeaders
from api.settings import Settings
from catalog.engine import pooled_engine


def create_app(settings: Settings) -> FastAPI:
    """The API and the page; the database is reached from the lifespan on."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        app.state.engine = pooled_engine(settings.database_url.get_secret_value(), "chartfleet_reader", "api")
        yield
        await app.state.engine.dispose()

    app = FastAPI(
        title="Chartfleet",
        version="1",
        summary="A searchable catalogue of Helm chart repositories.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.requests = Requests()
    for router in (charts.router, files.router, icons.router, repositories.router, probes.router, dashboard.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")))
    answer_errors(app)
    app.add_middleware(Measured, requests=app.state.requests)  # the last one added is the outermost
    app.add_middleware(RawPath)
    app.add_middleware(SecurityHeaders)
    return app
