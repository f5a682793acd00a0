"""A deleted repository's rows go, after whatever is running for it."""

import asyncio

from catalog import contents, icons, store, tick
from catalog.database import SYNC_LOCK, advisory_lock
from catalog.errors import StoreUnavailable
from catalog.jobs import CleanUpRepository
from catalog.report import Report
from worker.process import Worker

PATIENCE = 60.0  # seconds to wait for a running sync; its publication is refused once the rows are gone


class StillRunning(StoreUnavailable):
    """A sync holds the repository; the clean-up comes again."""


async def clean_up(worker: Worker, job: CleanUpRepository, run: int, report: Report) -> None:
    """Remove the repository and record the run as done. Raises StillRunning."""
    async with worker.connection.transaction():
        stored = await tick.find(worker.connection, job.key)
    if stored is None:
        await _delete(worker, job, run, report)
        return
    clock = asyncio.get_running_loop().time
    end = clock() + PATIENCE
    while clock() < end:
        async with advisory_lock(worker.connection, SYNC_LOCK, stored.id) as had:
            if had:
                await _delete(worker, job, run, report)
                return
        await asyncio.sleep(0.5)
    raise StillRunning(f"{job.key} is being synced; its clean-up waits")


async def _delete(worker: Worker, job: CleanUpRepository, run: int, report: Report) -> None:
    async with worker.transaction() as connection:
        deleted = await store.delete_repository(connection, job.key, job.incarnation)
        if deleted:
            await contents.sweep_contents(connection)
            await icons.sweep_icons(connection)
        report.result = "changed" if deleted else "unchanged"
        await tick.finish_run(worker.connection, run, report)
