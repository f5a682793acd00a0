"""A watch that breaks is given up and can be begun again."""

import asyncio
import threading

import kopf
from aiohttp import web

from controller.operator import Scope, watching

KIND = {"name": "apprepositories", "kind": "AppRepository", "namespaced": True, "verbs": ["list", "watch"]}


async def answer(request: web.Request) -> web.Response:
    """An API server of one resource, whose watch says what is no JSON."""
    if request.path.endswith("/v1alpha1"):
        return web.json_response({"kind": "APIResourceList", "groupVersion": "kubeapps.com/v1alpha1", "resources": [KIND]})
    if "watch" in request.query:
        return web.Response(text="garbage\n")
    if request.path.endswith("/apprepositories"):
        return web.json_response({"kind": "AppRepositoryList", "metadata": {"resourceVersion": "1"}, "items": []})
    version = {"groupVersion": "kubeapps.com/v1alpha1", "version": "v1alpha1"}
    return web.json_response({"groups": [{"name": "kubeapps.com", "versions": [version], "preferredVersion": version}], "versions": []})


async def test_a_watch_that_breaks_ends_and_leaves_no_thread_waiting() -> None:
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    registry, stop = kopf.OperatorRegistry(), threading.Event()

    async def login(**_: object) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=address)

    async def seen(**_: object) -> None: ...

    kopf.on.login(registry=registry)(login)
    kopf.on.event("kubeapps.com", "v1alpha1", "apprepositories", registry=registry)(seen)
    watch = asyncio.create_task(asyncio.to_thread(asyncio.run, watching(registry, Scope(("apprepositories",)), stop)))
    done, _ = await asyncio.wait([watch], timeout=20)
    ended = bool(done)
    stop.set()
    await asyncio.gather(watch, return_exceptions=True)
    await runner.cleanup()
    assert ended
