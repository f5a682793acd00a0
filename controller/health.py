"""/healthz, /readyz and /metrics of the controller."""

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from catalog.errors import InvalidJob


async def serve_health(port: int, ready: Callable[[], bool], registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Answer until `stop`; alive as long as the event loop answers at all. Raises InvalidJob for a port that cannot be had."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="the cluster was not read yet\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, port).start()
        await stop.wait()
    except OSError as error:
        raise InvalidJob(f"--health-port={port} cannot be had: {error.strerror or error}") from None
    finally:
        await runner.cleanup()
