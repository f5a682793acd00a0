"""The serving worker: one Celery task that runs a job's argv on its child's own loop, connection and client."""

import asyncio
import ctypes
import signal
from collections.abc import Sequence

import click
import structlog
from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from catalog.errors import CatalogError, InvalidJob, StoreUnavailable
from catalog.jobs import from_argv
from worker import queues
from worker.process import Worker
from worker.run import run
from worker.settings import Settings

log = structlog.get_logger()
PR_SET_PDEATHSIG = 1


class Child:
    """What a pool process keeps: its loop and, from the first job on, its Worker; a lost connection is opened anew."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._worker: Worker | None = None

    def run(self, argv: Sequence[str], run_id: int) -> None:
        """Do a job. Its failures are recorded; when PostgreSQL is away it is left to be queued again from there."""
        try:
            self._loop.run_until_complete(self._run(argv, run_id))
        except InvalidJob as error:
            log.error("a message that is no job", action="refuse", run=run_id, error=str(error))
        except CatalogError as error:
            log.warning("left for later", action="leave", run=run_id, reason=error.reason, error=str(error))

    def close(self) -> None:
        if self._worker:
            self._loop.run_until_complete(self._worker.close())

    async def _run(self, argv: Sequence[str], run_id: int) -> None:
        job = from_argv(argv).job
        try:
            await run(await self._connected(), job, run_id)
        except StoreUnavailable:
            if self._worker is None or not self._worker.connection.broken:
                raise
            await self._worker.close()  # PostgreSQL was started again since the last job: this one need not wait
            await run(await self._connected(), job, run_id)

    async def _connected(self) -> Worker:
        if self._worker and self._worker.connection.closed:
            await self._worker.close()
            self._worker = None
        self._worker = self._worker or await Worker.open(self._settings)
        return self._worker


def create_app(settings: Settings) -> Celery:
    """The application with its one task; a child process makes its `Child` when it starts."""
    app = Celery("chartfleet")
    app.config_from_object(queues.settings(settings.broker_url))
    children: list[Child] = []

    def started(**_: object) -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a pool process never outlives its worker
        children.append(Child(settings))

    def stopping(**_: object) -> None:
        for child in children:
            child.close()

    def run_job(argv: list[str], run_id: int) -> None:
        children[0].run(argv, run_id)

    worker_process_init.connect(started, weak=False)
    worker_process_shutdown.connect(stopping, weak=False)
    app.task(name=queues.TASK)(run_job)
    return app


def serve(settings: Settings, arguments: Sequence[str]) -> int:
    """Serve all queues with a pool of processes until told to stop; `--concurrency N` (2)."""
    if not settings.broker_url:
        raise InvalidJob("no broker: set CHARTFLEET_BROKER_URL, for instance redis://host:6379/0")
    options = parse(arguments)
    words = ["worker", "--pool=prefork", f"--concurrency={options}", "--loglevel=WARNING", f"--queues={','.join(queues.QUEUES)}"]
    create_app(settings).worker_main([*words, "--without-gossip", "--without-mingle", "--without-heartbeat"])
    return 0


def parse(arguments: Sequence[str]) -> int:
    """The number of processes. Raises InvalidJob."""
    parser = click.Command("serve", params=[click.Option(["--concurrency"], type=click.IntRange(1, 256), default=2)])
    try:
        return parser.make_context("serve", list(arguments)).params["concurrency"]
    except click.UsageError as error:
        raise InvalidJob(error.format_message()) from None
